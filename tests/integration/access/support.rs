//! A bridge that wants tokens, and consumers that have them.

use pei_bridge::config::{AuthMode, Config, ConsentMode, Issuer, IssuerUrl};
use simcore::{Options, Simcore};

use crate::support::client::Ask;
use crate::support::control::Control;
use crate::support::{Bridge, Rig, config};

/// Both operations, as a form writes them.
pub const SCOPES: &str =
    "scope=device-identifier:retrieve-identifier+device-identifier:retrieve-type";

pub const AUDIENCE: &str = "device-identifier";

/// A bridge that believes the issuer beside its core, and asks that core for consent.
pub async fn guarded(change: impl FnOnce(&mut Config)) -> Rig {
    let core = Simcore::start(Options::default()).await.unwrap();
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
pub fn issuer(control: std::net::SocketAddr) -> Issuer {
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
