//! Tokens of an `OpenID` provider that nobody here wrote: `oidc-provider` of the npm registry.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use pei_bridge::config::{AuthMode, Issuer, SecretSource};
use serde_json::Value;
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::process::{Child, Command};

use super::support::{AUDIENCE, guarded};
use crate::support::client::{Ask, Connection};
use crate::support::process::file;

/// Packages may have to come from far away.
const INSTALLATION: Duration = Duration::from_mins(3);
const REQUIRED: &str = "PEI_BRIDGE_REQUIRE_NODE";
const SECRETS: [(&str, &str); 2] = [
    ("api-consumer", "consumer-test-secret"),
    ("bridge", "bridge-test-secret"),
];
const SCOPE: &str = "device-identifier:retrieve-identifier";

struct Provider {
    issuer: String,
    address: SocketAddr,
    _process: Child,
}

async fn has_node() -> bool {
    let version = |program| {
        let mut command = Command::new(program);
        command
            .arg("--version")
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        async move { command.status().await.is_ok_and(|status| status.success()) }
    };
    version("node").await && version("npm").await
}

/// A copy with its packages, so that the tree stays clean.
async fn install() -> PathBuf {
    let from = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/oidc-provider");
    let to = Path::new(env!("CARGO_TARGET_TMPDIR")).join("oidc-provider");
    std::fs::create_dir_all(&to).unwrap();
    for name in ["package.json", "package-lock.json", "provider.mjs"] {
        std::fs::copy(from.join(name), to.join(name)).unwrap();
    }
    let mut npm = Command::new("npm");
    npm.args(["ci", "--no-audit", "--no-fund", "--ignore-scripts"])
        .current_dir(&to)
        .stdin(Stdio::null());
    let installed = tokio::time::timeout(INSTALLATION, npm.output()).await;
    let installed = installed.expect("npm ends").unwrap();
    assert!(installed.status.success(), "{installed:?}");
    to
}

impl Provider {
    async fn start() -> Self {
        let mut process = Command::new("node")
            .arg("provider.mjs")
            .current_dir(install().await)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(process.stdout.take().unwrap()).lines();
        let line = tokio::time::timeout(INSTALLATION, lines.next_line()).await;
        let line = line.expect("it starts").unwrap().expect("it says where");
        let said: Value = serde_json::from_str(&line).unwrap();
        let issuer = said["issuer"].as_str().unwrap().to_owned();
        let address = issuer.strip_prefix("http://").unwrap().parse().unwrap();
        Self {
            issuer,
            address,
            _process: process,
        }
    }

    async fn token(&self, more: &str) -> String {
        let (id, secret) = SECRETS[0];
        let credentials = STANDARD.encode(format!("{id}:{secret}"));
        let ask = Ask::any()
            .path("/token")
            .without("content-type")
            .header("content-type", "application/x-www-form-urlencoded")
            .header("authorization", format!("Basic {credentials}"))
            .body(format!("grant_type=client_credentials{more}"));
        let answer = Connection::http1(self.address).await.try_send(&ask).await;
        let answer = answer.unwrap().json();
        let token = answer["access_token"].as_str();
        token.unwrap_or_else(|| panic!("{answer}")).to_owned()
    }

    /// Known by its name alone: where its keys are, its metadata say.
    fn issuer(&self) -> Issuer {
        let (id, secret) = SECRETS[1];
        Issuer {
            client_id: Some(id.to_owned()),
            client_secret: Some(SecretSource::File(file(".secret", secret))),
            ..Issuer::new(self.issuer.clone(), AUDIENCE.to_owned())
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn tokens_of_a_real_provider_are_understood() {
    if !has_node().await {
        assert!(
            std::env::var_os(REQUIRED).is_none(),
            "{REQUIRED} is set, and there is no Node.js"
        );
        writeln_skipped();
        return;
    }
    let provider = Provider::start().await;
    let signed = Issuer {
        client_id: None,
        client_secret: None,
        ..provider.issuer()
    };
    let rig = guarded(|config| config.auth.issuers = vec![signed]).await;
    for algorithm in ["RS256", "PS256", "ES256", "EdDSA"] {
        let resource = format!("&resource=urn:device-identifier:{algorithm}");
        let scoped = format!("{resource}&scope={SCOPE}");
        for (form, status) in [(&scoped, 200), (&resource, 403)] {
            let token = provider.token(form).await;
            assert_eq!(token.split('.').count(), 3, "{algorithm}: signed");
            let answer = rig.bridge.send(&Ask::any().bearer(&token)).await;
            assert_eq!(answer.status, status, "{algorithm}: {}", answer.json());
        }
    }
    let opaque = provider.token(&format!("&scope={SCOPE}")).await;
    let answer = rig.bridge.send(&Ask::any().bearer(&opaque)).await;
    answer.is_error(401, "UNAUTHENTICATED");

    // This one does not say whom an opaque token is for, which the operator has to put up with.
    let introspecting = async |audience_required| {
        guarded(|config| {
            config.auth.mode = AuthMode::Introspection;
            config.auth.issuers = vec![Issuer {
                audience_required,
                ..provider.issuer()
            }];
        })
        .await
    };
    let strict = introspecting(true).await;
    let answer = strict.bridge.send(&Ask::any().bearer(&opaque)).await;
    answer.is_error(401, "UNAUTHENTICATED");
    let rig = introspecting(false).await;
    let answer = rig.bridge.send(&Ask::any().bearer(&opaque)).await;
    answer.is_imei("490154203237518");
    let unscoped = provider.token("").await;
    let answer = rig.bridge.send(&Ask::any().bearer(&unscoped)).await;
    answer.is_error(403, "PERMISSION_DENIED");
    let answer = rig.bridge.send(&Ask::any().bearer("abc")).await;
    answer.is_error(401, "UNAUTHENTICATED");
    // Another client's secret does not explain tokens, and what nobody explains is not believed.
    let rig = guarded(|config| {
        config.auth.mode = AuthMode::Introspection;
        config.auth.issuers = vec![Issuer {
            client_secret: Some(SecretSource::File(file(".secret", "wrong"))),
            ..provider.issuer()
        }];
    })
    .await;
    let answer = rig.bridge.send(&Ask::any().bearer(&opaque)).await;
    answer.is_error(503, "UNAVAILABLE");
}

#[allow(clippy::print_stderr, reason = "whoever runs the tests has to see it")]
fn writeln_skipped() {
    eprintln!("NOT CHECKED: Node.js is not there, so no real OpenID provider gave tokens");
}
