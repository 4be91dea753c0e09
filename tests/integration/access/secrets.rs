//! A secret that somebody wrote where its place should stand, in the file or the environment, is
//! told by nobody: not by `check`, not by an error, not by the log.

use crate::support::process::{Ended, file, run, run_with};

const SECRET: &str = "iN1ine-s3cret-0123456789abcdefghijklmnop";
/// Any part of it that gives it away.
const PARTS: [&str; 3] = ["iN1ine", "s3cret-0123", "klmnop"];

/// A configuration that would do, but for these lines.
fn configuration(issuer: &str, more: &str) -> String {
    format!(
        "[api]\nlisten = \"127.0.0.1:0\"\n[admin]\nlisten = \"127.0.0.1:0\"\n\
         [core]\nudm = [\"http://127.0.0.1:1\"]\n\
         [log]\nlevel = \"trace\"\n[auth]\nmode = \"introspection\"\n\
         [[auth.issuers]]\nissuer = \"https://issuer.example\"\naudience = \"a\"\n\
         client_id = \"bridge\"\n{issuer}\n{more}\n"
    )
}

fn is_silent(what: &str, ended: &Ended) {
    assert_eq!(ended.code, Some(2), "{what}: {ended:?}");
    assert!(!ended.stderr.is_empty(), "{what}");
    for said in [&ended.stderr, &ended.stdout] {
        for part in PARTS {
            assert!(!said.contains(part), "{what} is told: {said}");
        }
    }
}

#[tokio::test]
async fn a_secret_in_the_file_is_not_told() {
    const READ: &str = "client_secret = { env = \"PATH\" }";
    for (issuer, more) in [
        (format!("client_secret = \"{SECRET}\""), String::new()),
        (format!("client_secret = \"{SECRET}"), String::new()),
        (format!("client_secret = {SECRET}"), String::new()),
        (format!("client_secret = [\"{SECRET}\"]"), String::new()),
        (
            format!("client_secret = {{ value = \"{SECRET}\" }}"),
            String::new(),
        ),
        (
            format!("client_secret = {{ \"{SECRET}\" = \"file\" }}"),
            String::new(),
        ),
        (
            format!("client_secret = {{ file = [\"{SECRET}\"] }}"),
            String::new(),
        ),
        (format!("client_password = \"{SECRET}\""), String::new()),
        (
            format!("{READ}\njwks_uri = \"https://bridge:{SECRET}@issuer.example/\""),
            String::new(),
        ),
        (
            READ.to_owned(),
            format!("[audit]\npseudonym_key = \"{SECRET}\""),
        ),
        (
            READ.to_owned(),
            format!("[[ppid.secrets]]\nid = \"a\"\nsecret = \"{SECRET}\""),
        ),
    ] {
        let what = format!("{issuer} {more}");
        let config = file(".toml", &configuration(&issuer, &more));
        for command in ["check", "serve"] {
            let ended = run(&[command, "--config", config.to_str().unwrap()]).await;
            is_silent(&what, &ended);
        }
    }
}

#[tokio::test]
async fn a_secret_in_the_environment_is_not_told() {
    let config = file(
        ".toml",
        &configuration("client_secret = { env = \"PATH\" }", ""),
    );
    let config = ["check", "--config", config.to_str().unwrap()];
    let quoted = format!("\"{SECRET}\"");
    let table = format!("{{ value = \"{SECRET}\" }}");
    let issuers = format!("[{{ issuer = \"a\", audience = \"b\", client_secret = {quoted} }}]");
    for (variable, value) in [
        ("PEI_BRIDGE__AUDIT__PSEUDONYM_KEY", SECRET),
        ("PEI_BRIDGE__AUDIT__PSEUDONYM_KEY", &quoted),
        ("PEI_BRIDGE__AUDIT__PSEUDONYM_KEY", &table),
        ("PEI_BRIDGE__AUDIT__PSEUDONYM", SECRET),
        ("PEI_BRIDGE__AUTH__ISSUERS", &issuers),
        ("PEI_BRIDGE__PPID__SECRETS", SECRET),
    ] {
        let ended = run_with(&config, &[(variable, value)]).await;
        is_silent(&format!("{variable}={value}"), &ended);
        assert!(ended.stderr.contains(variable), "{ended:?}");
    }
}

/// What `check` prints of a secret is where it is.
#[tokio::test]
async fn a_secret_in_its_place_is_not_told() {
    let secret = file(".secret", SECRET);
    let place = secret.to_str().unwrap();
    let config = configuration(
        &format!("client_secret = {{ file = \"{place}\" }}"),
        &format!(
            "[audit]\npseudonym_key = {{ env = \"BRIDGE_TEST_KEY\" }}\n\
             [[ppid.secrets]]\nid = \"a\"\nsecret = {{ file = \"{place}\" }}"
        ),
    );
    let config = file(".toml", &config);
    let arguments = ["check", "--config", config.to_str().unwrap()];
    let ended = run_with(&arguments, &[("BRIDGE_TEST_KEY", SECRET)]).await;
    assert_eq!(ended.code, Some(0), "{ended:?}");
    assert!(ended.stdout.contains(place) && ended.stdout.contains("BRIDGE_TEST_KEY"));
    for part in PARTS {
        let said = format!("{}{}", ended.stdout, ended.stderr);
        assert!(!said.contains(part), "{said}");
    }
}
