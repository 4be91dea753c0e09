//! A version that will go says so in every answer (RFC 9745, RFC 8594); others do not.

use pei_bridge::api::Version;
use pei_bridge::config::DeprecatedVersion;
use serde_json::json;

use super::support::{VERSIONS, ask};
use crate::support::Rig;
use crate::support::answer::Answer;
use crate::support::client::Ask;

fn deprecated(version: &str, sunset: Option<&str>, link: Option<&str>) -> DeprecatedVersion {
    DeprecatedVersion {
        version: Version::named(version).unwrap(),
        since: "2026-09-01T00:00:00Z".parse().unwrap(),
        sunset: sunset.map(|time| time.parse().unwrap()),
        link: link.map(|link| link.to_owned().try_into().unwrap()),
    }
}

fn told(answer: &Answer) -> [Option<&str>; 3] {
    ["deprecation", "sunset", "link"].map(|name| answer.header(name))
}

#[tokio::test]
async fn every_answer_of_a_deprecated_version_says_so() {
    let page = "https://developer.example.com/device-identifier?from=v0.1.0";
    let rig = Rig::configured(|config| {
        config.api.deprecated = vec![
            deprecated("v0.1.0", Some("2027-03-01T12:30:00+01:00"), Some(page)),
            deprecated("v0.3", None, Some(page)),
            deprecated("v0.4alpha1", None, None),
        ];
    })
    .await;
    let since = Some("@1788220800");
    let both = format!("<{page}>; rel=\"deprecation sunset\"");
    let one = format!("<{page}>; rel=\"deprecation\"");
    let expected = [
        [
            since,
            Some("Mon, 01 Mar 2027 11:30:00 GMT"),
            Some(both.as_str()),
        ],
        [None, None, None],
        [since, None, Some(one.as_str())],
        [since, None, None],
    ];
    for ((version, operations), expected) in VERSIONS.iter().zip(expected) {
        for operation in *operations {
            let good = ask(version, operation, &json!({"phoneNumber": "+123456789"}));
            let asks = [
                (good.clone(), 200),
                (good.clone().body("{"), 400),
                (good.clone().method(http::Method::GET), 405),
                (good.header("x-correlator", "no correlator"), 400),
            ];
            for (ask, status) in asks {
                let answer = rig.bridge.send(&ask).await;
                assert_eq!(answer.status, status, "{version} {operation}");
                assert_eq!(told(&answer), expected, "{version} {operation} {status}");
            }
        }
    }
    let nowhere = Ask::any().path("/device-identifier/v0.1.0/retrieve-everything");
    assert_eq!(told(&rig.bridge.send(&nowhere).await), [None; 3]);
}

#[test]
fn what_is_said_of_a_version_must_make_sense() {
    let refused = |entries: Vec<DeprecatedVersion>| {
        let mut config = crate::support::config(&["127.0.0.1:1".parse().unwrap()]);
        config.api.versions = vec![Version::named("v0.1.0").unwrap()];
        config.api.deprecated = entries;
        config.validate().err().map(|error| error.to_string())
    };
    let good = || deprecated("v0.1.0", Some("2027-03-01T00:00:00Z"), None);
    assert_eq!(refused(vec![good()]), None);
    for (entries, said) in [
        (vec![good(), good()], "twice"),
        (vec![deprecated("v0.2", None, None)], "api.versions"),
        (
            vec![deprecated("v0.1.0", Some("2026-08-31T23:59:59Z"), None)],
            "sunset",
        ),
    ] {
        let refusal = refused(entries).unwrap();
        assert!(
            refusal.contains("api.deprecated") && refusal.contains(said),
            "{refusal}"
        );
    }
}
