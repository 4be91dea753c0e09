//! Make and model of a device, as long as each version lets them be.

use serde_json::json;

use super::support::{VERSIONS, ask, token_of};
use crate::access::support::{Settings, guarded, serve};
use crate::support::client::Connection;
use crate::support::process::file;

/// Characters, of which some take more than one byte.
#[tokio::test(flavor = "multi_thread")]
async fn a_long_name_is_cut_where_the_version_says_so() {
    let (maker, model) = ("Ü".repeat(33), "電話".repeat(20));
    let fitting = "m".repeat(32);
    let table = file(
        ".csv",
        &format!("tac,manufacturer,model\n49015420,{maker},{model}\n35693803,{fitting},Phone\n"),
    );
    let rig = guarded(|_| {}).await;
    let more = format!("[tac]\nfile = \"{}\"\n", table.display());
    let settings = Settings {
        more: &more,
        ..Settings::default()
    };
    let served = serve(&rig, &settings).await;
    let token = token_of(&rig, "shop").await;
    let mut connection = Connection::http1(served.api).await;
    for (version, _) in VERSIONS {
        let longest = match version {
            "v0.4alpha1" => 32,
            _ => usize::MAX,
        };
        let cut = |name: &str| name.chars().take(longest).collect::<String>();
        for operation in ["retrieve-identifier", "retrieve-type"] {
            for (number, maker, model) in [
                ("+123456789", maker.as_str(), model.as_str()),
                ("+34600000002", fitting.as_str(), "Phone"),
            ] {
                let ask = ask(version, operation, &json!({ "phoneNumber": number }));
                let answer = connection.send(&ask.bearer(&token)).await.json();
                assert_eq!(answer["manufacturer"], cut(maker), "{version} {operation}");
                assert_eq!(answer["model"], cut(model), "{version} {operation}");
            }
        }
    }
    let ended = served.service.terminate().await;
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
}
