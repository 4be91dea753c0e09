//! What a bridge does not start with, and what it says then.

use pei_bridge::app::App;
use pei_bridge::config::{AuthMode, Config, Layers};
use pei_bridge::tac::TacTable;

use super::authority::{Authority, Folder};
use super::support::{config, server_tls};

const CORE: &str = "http://127.0.0.1:1";

/// What is said to a file with these lines.
fn refusal(lines: &str) -> String {
    let folder = Folder::new();
    let text = format!("[core]\nudm = [\"{CORE}\"]\n{lines}");
    let layers = Layers {
        file: Some(folder.write("bridge.toml", &text)),
        ..Layers::default()
    };
    layers.load().unwrap_err().to_string()
}

#[test]
fn settings_that_do_not_fit_together_are_named() {
    let listener = "[auth]\nmode = \"none\"\n[api.tls]\ncertificate_file = \"a\"\n";
    for (lines, key) in [
        (listener.to_owned(), "key_file"),
        (
            format!("{listener}key_file = \"b\"\nclient_certificates = \"required\"\n"),
            "api.tls.client_ca_file",
        ),
        (
            format!("{listener}key_file = \"b\"\nclient_certificates = \"optional\"\n"),
            "api.tls.client_ca_file",
        ),
        (
            format!("{listener}key_file = \"b\"\nclient_ca_file = \"c\"\n"),
            "api.tls.client_ca_file",
        ),
        (
            format!("{listener}key_file = \"b\"\nclient_certificates = \"sometimes\"\n"),
            "api.tls.client_certificates",
        ),
        (
            "[auth]\nmode = \"none\"\n[core.tls]\ncertificate_file = \"a\"\n".to_owned(),
            "core.tls.key_file",
        ),
        (
            "[auth]\nmode = \"none\"\n[core.tls]\nkey_file = \"a\"\n".to_owned(),
            "core.tls.certificate_file",
        ),
        (
            "[auth]\nmode = \"none\"\n[auth.tls]\nkey_file = \"a\"\n".to_owned(),
            "auth.tls.certificate_file",
        ),
        (
            "[api]\nlisten = \"0.0.0.0:8080\"\n[[auth.issuers]]\nissuer = \"https://i\"\n\
             audience = \"a\"\n"
                .to_owned(),
            "api.listen",
        ),
    ] {
        let said = refusal(&lines);
        assert!(said.contains(key), "{key}: {said}");
    }
}

/// Why no bridge comes about. Within a runtime.
fn start_failure(config: &Config) -> String {
    match App::build_with(config, TacTable::default()) {
        Err(error) => error.to_string(),
        Ok(_) => panic!("it started"),
    }
}

#[tokio::test]
async fn files_that_cannot_be_used_are_named_and_not_quoted() {
    let (authority, folder) = (Authority::new("Ours"), Folder::new());
    let (ours, other) = (authority.issue(), authority.issue());
    let half = ours.key.get(..ours.key.len() / 2).unwrap();
    let not_der = "-----BEGIN PRIVATE KEY-----\nc2VjcmV0\n-----END PRIVATE KEY-----\n";
    let not_x509 = "-----BEGIN CERTIFICATE-----\nc2VjcmV0\n-----END CERTIFICATE-----\n";
    for (file, text, said) in [
        ("api.pem", "", "holds no certificate in PEM"),
        ("api.pem", ours.key.as_str(), "holds no certificate in PEM"),
        (
            "api.pem",
            not_x509,
            "holds a certificate that cannot be used",
        ),
        ("api.key", "", "holds no private key in PEM"),
        (
            "api.key",
            ours.certificate.as_str(),
            "holds no private key in PEM",
        ),
        ("api.key", half, "is damaged PEM"),
        ("api.key", not_der, "holds no private key that can be used"),
        (
            "api.key",
            other.key.as_str(),
            "is not the key of the certificate in",
        ),
    ] {
        let mut config = config(CORE);
        config.api.tls = Some(server_tls(&folder, &ours));
        let path = folder.write(file, text);
        let failure = start_failure(&config);
        assert!(failure.starts_with("api.tls: "), "{failure}");
        assert!(failure.contains(said), "{said}: {failure}");
        assert!(failure.contains(path.to_str().unwrap()), "{failure}");
        assert!(!failure.contains("c2VjcmV0"), "{failure}");
        for line in text.lines().filter(|line| !line.contains("-----")) {
            assert!(!failure.contains(line), "it quotes the file: {failure}");
        }
    }
}

#[tokio::test]
async fn files_that_are_not_there_are_named() {
    let (authority, folder) = (Authority::new("Ours"), Folder::new());
    let ours = authority.issue();
    let missing = folder.path("missing.pem");
    let mut listener = config(CORE);
    listener.api.tls = Some(server_tls(&folder, &ours));
    listener
        .api
        .tls
        .as_mut()
        .unwrap()
        .key_file
        .clone_from(&missing);
    let mut core = config("https://localhost:1");
    core.core.tls.ca_file = Some(missing.clone());
    for (config, section) in [(listener, "api.tls: "), (core, "core.tls: ")] {
        let failure = start_failure(&config);
        assert!(failure.starts_with(section), "{failure}");
        assert!(failure.contains(missing.to_str().unwrap()), "{failure}");
    }
}

#[test]
fn plain_http_beyond_loopback_takes_so_many_words() {
    let issuer = "[[auth.issuers]]\nissuer = \"https://i\"\naudience = \"a\"\n";
    let text = format!(
        "[api]\nlisten = \"0.0.0.0:8080\"\nallow_plain_http = true\n[core]\nudm = [\"{CORE}\"]\n{issuer}"
    );
    let folder = Folder::new();
    let layers = Layers {
        file: Some(folder.write("bridge.toml", &text)),
        ..Layers::default()
    };
    let config = layers.load().unwrap();
    assert_eq!(config.auth.mode, AuthMode::Jwt);
}
