//! A bridge that wants tokens, and consumers that have them.

use std::net::SocketAddr;

use pei_bridge::config::{AuthMode, Config, ConsentMode, Issuer, IssuerUrl};
use simcore::{Options, Simcore};

use crate::support::client::{self, Ask};
use crate::support::control::Control;
use crate::support::process::{Service, file};
use crate::support::{Bridge, Rig, config, eventually};

/// Both operations, as a form writes them.
pub const SCOPES: &str =
    "scope=device-identifier:retrieve-identifier+device-identifier:retrieve-type";

pub const AUDIENCE: &str = "device-identifier";

/// A bridge that believes the issuer beside its core, and asks that core for consent.
pub async fn guarded(change: impl FnOnce(&mut Config)) -> Rig {
    guarded_with(Options::default(), change).await
}

/// The same before another core.
pub async fn guarded_with(options: Options, change: impl FnOnce(&mut Config)) -> Rig {
    let core = Simcore::start(options).await.unwrap();
    let mut config = config(&[core.core_addr()]);
    config.auth.mode = AuthMode::Jwt;
    config.auth.issuers = vec![issuer(core.control_addr())];
    config.consent.mode = ConsentMode::Core;
    change(&mut config);
    let bridge = Bridge::start(&config);
    bridge.until_ready().await;
    let control = Control(core.control_addr());
    control.reset().await;
    Rig {
        core,
        control,
        bridge,
    }
}

/// The issuer beside a core.
pub fn issuer(control: SocketAddr) -> Issuer {
    let name = format!("http://{control}/oidc");
    let jwks_uri = IssuerUrl::parse(&format!("{name}/jwks")).unwrap();
    Issuer {
        jwks_uri: Some(jwks_uri),
        ..Issuer::new(name, AUDIENCE.to_owned())
    }
}

/// A good two-legged token of this consumer.
pub async fn token_of(rig: &Rig, consumer: &str) -> String {
    let form = format!("client_id={consumer}&{SCOPES}");
    rig.control.token(&form).await
}

/// A good token of this consumer that names a device.
pub async fn token_for(rig: &Rig, hint: &str) -> String {
    let hint = hint.replace('+', "%2B");
    let form = format!("client_id=consumer&{SCOPES}&login_hint={hint}");
    rig.control.token(&form).await
}

/// `retrieve-identifier` for a phone number.
pub fn ask_number(number: &str, token: &str) -> Ask {
    Ask::identifier(&serde_json::json!({ "phoneNumber": number })).bearer(token)
}

/// Lines for sections of a configuration file.
#[derive(Default)]
pub struct Settings<'a> {
    pub api: &'a str,
    pub audit: &'a str,
    pub log: &'a str,
    /// Whole sections.
    pub more: &'a str,
    /// An issuer of its own instead of the one beside the core.
    pub issuers: Option<&'a str>,
    /// How the core is found, instead of by its address.
    pub core: Option<&'a str>,
}

/// The real binary.
pub struct Served {
    pub service: Service,
    pub api: SocketAddr,
    pub admin: SocketAddr,
}

/// Starts the binary before the core of this rig.
pub async fn serve(rig: &Rig, settings: &Settings<'_>) -> Served {
    let core = rig.core.core_addr();
    let issuer = format!("http://{}/oidc", rig.control.0);
    let beside = format!(
        "[[auth.issuers]]\nissuer = \"{issuer}\"\naudience = \"{AUDIENCE}\"\n\
         jwks_uri = \"{issuer}/jwks\"\n"
    );
    let at_its_address =
        format!("udm = [\"http://{core}\"]\nbsf = [\"http://{core}\"]\nupf = [\"http://{core}\"]");
    let text = format!(
        "[api]\nlisten = \"127.0.0.1:0\"\n{}\n[admin]\nlisten = \"127.0.0.1:0\"\n\
         [core]\n{}\n[audit]\n{}\n[log]\nformat = \"text\"\n{}\n{}\n{}",
        settings.api,
        settings.core.unwrap_or(&at_its_address),
        settings.audit,
        settings.log,
        settings.more,
        settings.issuers.unwrap_or(&beside),
    );
    let config = file(".toml", &text);
    let service = Service::start(&["serve", "--config", config.to_str().unwrap()]);
    let line = service.until_says("serving").await;
    let [api, admin] = ["api=", "admin="].map(|name| {
        let (_, rest) = line.split_once(name).unwrap();
        rest.split_whitespace().next().unwrap().parse().unwrap()
    });
    eventually("it is ready", async || {
        (client::get(admin, "/readyz").await.0 == 200).then_some(())
    })
    .await;
    Served {
        service,
        api,
        admin,
    }
}
