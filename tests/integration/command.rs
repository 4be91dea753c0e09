//! The binary itself: its commands and their exit codes (interfaces.md).

use crate::support::client::{self, Ask, Connection};
use crate::support::process::{Service, file, run, run_with};
use crate::support::{PATIENCE, Rig, eventually};

const ANY_PORTS: &str = "[api]\nlisten = \"127.0.0.1:0\"\n[admin]\nlisten = \"127.0.0.1:0\"\n[auth]\nmode = \"none\"\n[consent]\nmode = \"none\"\n[log]\nformat = \"text\"\n";

fn any_core() -> String {
    format!("{ANY_PORTS}[core]\nudm = [\"http://127.0.0.1:1\"]\n")
}

/// The address that the line about the start gives for a listener.
fn address(line: &str, listener: &str) -> std::net::SocketAddr {
    let (_, rest) = line.split_once(&format!("{listener}=")).unwrap();
    rest.split_whitespace().next().unwrap().parse().unwrap()
}

#[tokio::test]
async fn the_demo_asks_itself_and_is_content() {
    let listen = [
        "--api-listen",
        "--admin-listen",
        "--core-listen",
        "--control-listen",
    ];
    let mut arguments = vec!["demo", "--once"];
    for flag in listen {
        arguments.extend([flag, "127.0.0.1:0"]);
    }
    let ended = run(&arguments).await;
    assert_eq!(ended.code, Some(0), "{ended:?}");
    for shown in [
        "490154203237518",
        "4901542032375180",
        "49015420",
        "Nokia",
        "3110",
        "2024-02-20T10:41:38.657Z",
        "356938035643809",
        "networkAccessIdentifier",
        "ipv4Address",
        "ipv6Address",
    ] {
        assert!(ended.stdout.contains(shown), "{shown}: {}", ended.stdout);
    }
    // Beside more subscribers, and with settings laid over its own.
    let settings = file(".toml", "[api]\nmultiple_identifiers = \"reject\"\n");
    arguments.extend([
        "--subscribers",
        "1000",
        "--config",
        settings.to_str().unwrap(),
    ]);
    let ended = run(&arguments).await;
    assert_eq!(ended.code, Some(0), "{ended:?}");
}

#[tokio::test]
async fn bad_usage_is_2() {
    for arguments in [
        vec![],
        vec!["dance"],
        vec!["serve"],
        vec!["check"],
        vec!["serve", "--config"],
        vec!["serve", "--config", "x", "--fast"],
        vec!["demo", "--api-listen", "here"],
        vec!["demo", "--subscribers", "-1"],
        vec!["demo", "--control-listen", "0.0.0.0:0"],
        vec!["demo", "--control-listen", "[::]:0"],
    ] {
        let ended = run(&arguments).await;
        assert_eq!(ended.code, Some(2), "{arguments:?}: {ended:?}");
        assert!(!ended.stderr.is_empty(), "{arguments:?}");
    }
    for arguments in [["--help"], ["--version"]] {
        assert_eq!(run(&arguments).await.code, Some(0), "{arguments:?}");
    }
}

#[tokio::test]
async fn a_bad_configuration_is_2_with_its_line() {
    let bad = file(".toml", "[api]\n\nlistn = \"127.0.0.1:1\"\n");
    let open = file(
        ".toml",
        "[api]\nlisten = \"0.0.0.0:0\"\n[auth]\nmode = \"none\"\n[core]\nudm = [\"http://127.0.0.1:1\"]\n",
    );
    for (path, said) in [
        (bad.to_str().unwrap(), vec!["line 3", "listn"]),
        (open.to_str().unwrap(), vec!["line 4", "auth.mode"]),
        ("no/such/file.toml", vec!["no/such/file.toml"]),
    ] {
        for command in ["serve", "check"] {
            let ended = run(&[command, "--config", path]).await;
            assert_eq!(ended.code, Some(2), "{ended:?}");
            for words in &said {
                assert!(ended.stderr.contains(words), "{words}: {ended:?}");
            }
            assert!(ended.stdout.is_empty(), "{ended:?}");
        }
    }
    let ended = run(&["demo", "--once", "--config", bad.to_str().unwrap()]).await;
    assert_eq!(ended.code, Some(2), "{ended:?}");
}

#[tokio::test]
async fn check_prints_what_serve_would_use() {
    let config = file(".toml", &any_core());
    let path = config.to_str().unwrap();
    let printed = run_with(
        &["check", "--config", path],
        &[("PEI_BRIDGE__API__MAX_CONNECTIONS", "17")],
    )
    .await;
    assert_eq!(printed.code, Some(0), "{printed:?}");
    assert!(
        printed.stdout.contains("max_connections = 17"),
        "{printed:?}"
    );
    let again = file(".toml", &printed.stdout);
    let again = run(&["check", "--config", again.to_str().unwrap()]).await;
    assert_eq!((again.code, &again.stdout), (Some(0), &printed.stdout));
    let refused = run_with(
        &["check", "--config", path],
        &[("PEI_BRIDGE__API__MAX_CONNECTION", "17")],
    )
    .await;
    assert_eq!(refused.code, Some(2), "{refused:?}");
}

/// The configuration is good, and the start fails: with 1, and with 2 where it is checked.
#[tokio::test]
async fn a_tac_table_that_cannot_be_read_refuses_the_start() {
    let headless = file(".csv", "imei,make\n1,2\n");
    for table in ["no/such/table.csv", headless.to_str().unwrap()] {
        let config = file(
            ".toml",
            &format!("{}[tac]\nfile = \"{table}\"\n", any_core()),
        );
        for (command, code) in [("serve", 1), ("check", 2)] {
            let ended = run(&[command, "--config", config.to_str().unwrap()]).await;
            assert_eq!(ended.code, Some(code), "{ended:?}");
            assert!(ended.stderr.contains(table), "{ended:?}");
        }
    }
}

/// Each of them, by its key and its name; and nobody hears of it.
#[tokio::test]
async fn check_looks_at_every_file_that_is_named() {
    let rig = Rig::start().await;
    rig.control.reset().await;
    let bad = file(".txt", "nothing of use");
    let bad = bad.display();
    let text = format!(
        "[api.tls]\ncertificate_file = \"{bad}\"\nkey_file = \"no/api.key\"\n\
         [[auth.issuers]]\nissuer = \"http://127.0.0.1:1\"\naudience = \"a\"\n\
         jwks_file = \"no/jwks.json\"\n\
         [core]\nnrf = [\"http://{0}\"]\ngpsi_to_supi = \"file\"\n\
         gpsi_to_supi_file = \"no/table.csv\"\n\
         [core.registration]\nfqdn = \"bridge.example\"\n\
         [callback]\nlisten = \"127.0.0.1:0\"\nnrf_keys_file = \"{bad}\"\n\
         [callback.tls]\ncertificate_file = \"no/callback.crt\"\nkey_file = \"no/callback.key\"\n\
         [tac]\nfile = \"no/tac.csv\"\n\
         [audit]\nsink = \"file\"\nfile = \"no/audit.log\"\npseudonym_key = {{ file = \"no/key\" }}\n\
         [[ppid.secrets]]\nid = \"a\"\nfrom = \"2026-01-01T00:00:00Z\"\n\
         secret = {{ env = \"NO_SUCH_SECRET\" }}\n",
        rig.core.core_addr()
    );
    let config = file(".toml", &text);
    let ended = run(&["check", "--config", config.to_str().unwrap()]).await;
    assert_eq!(ended.code, Some(2), "{ended:?}");
    for said in [
        "api.tls: ",
        "jwks_file: ",
        "core.gpsi_to_supi_file no/table.csv",
        "callback.nrf_keys_file: ",
        "callback.tls: no/callback.crt",
        "no/tac.csv",
        "audit.pseudonym_key: no/key",
        "audit.file no/audit.log: ",
        "NO_SUCH_SECRET",
    ] {
        assert!(ended.stderr.contains(said), "{said}: {}", ended.stderr);
    }
    assert_eq!(ended.stderr.lines().count(), 9, "{}", ended.stderr);
    assert!(ended.stdout.contains("no/table.csv"), "{}", ended.stdout);
    assert_eq!(rig.control.total().await, 0);
}

/// A start would take the rest of it: they are told, and no reason to refuse.
#[tokio::test]
async fn check_tells_the_rows_that_a_start_would_skip() {
    let table = file(
        ".csv",
        "tac,manufacturer,model\nx,bad,row\n49015420,Nokia,3110\n",
    );
    let text = format!("{}[tac]\nfile = \"{}\"\n", any_core(), table.display());
    let config = file(".toml", &text);
    let ended = run(&["check", "--config", config.to_str().unwrap()]).await;
    assert_eq!(ended.code, Some(0), "{ended:?}");
    for said in ["line=2", "skipped=1"] {
        assert!(ended.stderr.contains(said), "{said}: {}", ended.stderr);
    }
    assert!(ended.stdout.starts_with("[api]"), "{}", ended.stdout);
}

/// Whether it can be written is told without a line in it.
#[tokio::test]
async fn check_leaves_the_audit_as_it_is() {
    let (old, new) = (file(".log", "a line\n"), file(".log", ""));
    std::fs::remove_file(&new).unwrap();
    for (path, code) in [
        (old.as_path(), 0),
        (new.as_path(), 0),
        (old.parent().unwrap(), 2),
    ] {
        let text = format!(
            "{}[audit]\nsink = \"file\"\nfile = \"{}\"\n",
            any_core(),
            path.display()
        );
        let config = file(".toml", &text);
        let ended = run(&["check", "--config", config.to_str().unwrap()]).await;
        assert_eq!(ended.code, Some(code), "{ended:?}");
        assert_eq!(ended.stderr.contains("audit.file "), code == 2, "{ended:?}");
    }
    assert_eq!(std::fs::read_to_string(old).unwrap(), "a line\n");
    assert!(!new.exists());
}

/// What a sample needs beside itself is said by `check`, and nothing else is missing.
#[tokio::test]
async fn check_names_what_a_sample_of_a_core_needs() {
    let sample = |name: &str| format!("{}/deploy/cores/{name}", env!("CARGO_MANIFEST_DIR"));
    let table = file(".csv", "gpsi,supi\nmsisdn-123456789,imsi-001010000000001\n");
    let table = [(
        "PEI_BRIDGE__CORE__GPSI_TO_SUPI_FILE",
        table.to_str().unwrap(),
    )];
    let open5gs = sample("open5gs.toml");
    let open5gs = ["check", "--config", &open5gs];
    let feeds = sample("feeds.toml");
    let feeds = ["check", "--config", &feeds];
    for (arguments, missing) in [
        (open5gs, vec!["/etc/pei-bridge/subscriptions.csv"]),
        (
            feeds,
            vec![
                "/etc/pei-bridge/callback.crt",
                "/etc/pei-bridge/nrf-keys.json",
            ],
        ),
    ] {
        let ended = run(&arguments).await;
        assert_eq!(ended.code, Some(2), "{ended:?}");
        for file in &missing {
            assert!(ended.stderr.contains(file), "{ended:?}");
        }
        assert_eq!(ended.stderr.lines().count(), missing.len(), "{ended:?}");
    }
    assert_eq!(run_with(&open5gs, &table).await.code, Some(0));
    for name in ["direct.toml", "nrf.toml", "scp.toml"] {
        let ended = run(&["check", "--config", &sample(name)]).await;
        assert_eq!(ended.code, Some(0), "{ended:?}");
    }
}

#[tokio::test]
async fn a_port_that_is_taken_refuses_the_start() {
    let taken = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let taken = taken.local_addr().unwrap();
    let keep = tokio::net::TcpListener::bind(taken).await;
    for key in ["api", "admin"] {
        let text = any_core().replacen(
            &format!("[{key}]\nlisten = \"127.0.0.1:0\""),
            &format!("[{key}]\nlisten = \"{taken}\""),
            1,
        );
        let config = file(".toml", &text);
        let ended = run(&["serve", "--config", config.to_str().unwrap()]).await;
        assert_eq!(ended.code, Some(1), "{ended:?}");
        assert!(ended.stderr.contains(&format!("{key}.listen")), "{ended:?}");
    }
    drop(keep);
}

#[tokio::test]
async fn serve_answers_and_ends_with_0_on_sigterm() {
    let rig = Rig::start().await;
    let table = file(
        ".csv",
        "tac,manufacturer,model\nx,bad,row\n49015420,Nokia,3110\n4901542,short,tac\n49015420,again,x\n",
    );
    let core = rig.core.core_addr();
    let text = format!(
        "{ANY_PORTS}[core]\nudm = [\"http://{core}\"]\n[tac]\nfile = \"{}\"\n",
        table.display()
    );
    let config = file(".toml", &text);
    let service = Service::start(&["serve", "--config", config.to_str().unwrap()]);
    let line = service.until_says("serving").await;
    let (api, admin) = (address(&line, "api"), address(&line, "admin"));
    eventually("it is ready", async || {
        (client::get(admin, "/readyz").await.0 == 200).then_some(())
    })
    .await;
    let mut connection = Connection::http1(api).await;
    let answer = connection.send(&Ask::any()).await;
    assert_eq!(answer.json()["model"], "3110", "the good row is kept");
    let begun = std::time::Instant::now();
    let ended = service.terminate().await;
    assert!(begun.elapsed() < PATIENCE);
    assert_eq!(ended.code, Some(0), "{ended:?}");
    for skipped in ["line=2", "line=4", "line=5", "skipped=3"] {
        assert!(
            ended.stderr.contains(skipped),
            "{skipped}: {}",
            ended.stderr
        );
    }
}
