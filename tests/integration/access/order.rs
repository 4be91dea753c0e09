//! The order of checks: of any two faults, the earlier one is answered, in every version.

use http::Method;
use serde_json::json;

use super::support::{SCOPES, guarded};
use crate::support::client::Ask;
use crate::versions::support::{VERSIONS, ask, token_of};

/// In their order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Fault {
    Path,
    Method,
    Correlator,
    Token,
    Scope,
    Rate,
    Accept,
    ContentType,
    Body,
}

use Fault::{Accept, Body, ContentType, Correlator, Path, Rate, Scope, Token};

const ALL: [Fault; 9] = [
    Path,
    Fault::Method,
    Correlator,
    Token,
    Scope,
    Rate,
    Accept,
    ContentType,
    Body,
];

impl Fault {
    fn answer(self, version: &str) -> (u16, &'static str) {
        let is_first = version == "v0.1.0";
        match self {
            Path => (404, "NOT_FOUND"),
            Self::Method => (405, "METHOD_NOT_ALLOWED"),
            ContentType if !is_first => (415, "UNSUPPORTED_MEDIA_TYPE"),
            Correlator | ContentType | Body => (400, "INVALID_ARGUMENT"),
            Token => (401, "UNAUTHENTICATED"),
            Scope => (403, "PERMISSION_DENIED"),
            Rate if is_first => (429, "TOO_MANY_REQUESTS"),
            Rate => (429, "QUOTA_EXCEEDED"),
            Accept => (406, "NOT_ACCEPTABLE"),
        }
    }

    /// A word of the message, where codes do not tell faults apart.
    fn word(self) -> &'static str {
        match self {
            Correlator => "orrelator",
            ContentType => "content type",
            _ => "",
        }
    }

    fn apply(self, ask: Ask) -> Ask {
        match self {
            Path => {
                let path = format!("{}-in-the-world", ask.path);
                ask.path(&path)
            }
            Self::Method => ask.method(Method::PUT),
            Correlator => ask.header("x-correlator", "no correlator"),
            Accept => ask.header("accept", "text/html"),
            ContentType => ask
                .without("content-type")
                .header("content-type", "text/plain"),
            Body => ask.body("{\"device\": 5"),
            // By the token that is chosen.
            Token | Scope | Rate => ask,
        }
    }
}

#[tokio::test]
async fn of_two_faults_the_earlier_one_is_answered() {
    let rig = guarded(|config| {
        let poor = pei_bridge::config::LimitsClass {
            consumers: vec!["poor".to_owned()],
            requests_per_day: Some(1),
            ..Default::default()
        };
        config.limits.classes.insert("poor".to_owned(), poor);
    })
    .await;
    let rich = token_of(&rig, "rich").await;
    let poor = token_of(&rig, "poor").await;
    let token = |consumer: &str| format!("client_id={consumer}&scope=openid");
    let rich_unscoped = rig.control.token(&token("rich")).await;
    let poor_unscoped = rig.control.token(&token("poor")).await;
    let expired = format!("client_id=poor&{SCOPES}&expires_in=-60");
    let expired = rig.control.token(&expired).await;
    let first = rig.bridge.send(&Ask::any().bearer(&poor)).await;
    assert_eq!(first.status, 200);
    rig.control.reset().await;
    let pairs = || {
        let from = |(index, earlier)| ALL[index..].iter().map(move |later| (earlier, later));
        ALL.into_iter().enumerate().flat_map(from)
    };
    for (version, operations) in VERSIONS {
        let operation = operations.last().unwrap();
        let device = json!({"phoneNumber": "+123456789"});
        let any = || ask(version, operation, &device);
        for (earlier, later) in pairs() {
            let has = |fault| earlier == fault || *later == fault;
            let token = match (has(Token), has(Scope), has(Rate)) {
                (true, _, _) => &expired,
                (_, true, true) => &poor_unscoped,
                (_, true, false) => &rich_unscoped,
                (_, false, true) => &poor,
                (_, false, false) => &rich,
            };
            let mut ask = earlier.apply(any().bearer(token));
            if *later != earlier {
                ask = later.apply(ask);
            }
            let answer = rig.bridge.send(&ask).await;
            let (status, code) = earlier.answer(version);
            let got = (answer.status, answer.code());
            assert_eq!(
                got,
                (status, code.to_owned()),
                "{version}: {earlier:?} and {later:?}"
            );
            let message = answer.message();
            assert!(message.contains(earlier.word()), "{earlier:?}: {message}");
        }
    }
    assert_eq!(rig.control.total().await, 0, "the core was asked");
}
