//! The order of checks: of any two faults, the earlier one is answered.

use http::Method;

use super::support::{SCOPES, guarded, token_of};
use crate::support::client::Ask;

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
    fn answer(self) -> (u16, &'static str) {
        match self {
            Path => (404, "NOT_FOUND"),
            Self::Method => (405, "METHOD_NOT_ALLOWED"),
            Correlator | ContentType | Body => (400, "INVALID_ARGUMENT"),
            Token => (401, "UNAUTHENTICATED"),
            Scope => (403, "PERMISSION_DENIED"),
            Rate => (429, "TOO_MANY_REQUESTS"),
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
            Path => ask.path("/device-identifier/v0.1.0/retrieve-everything"),
            Self::Method => ask.method(Method::PUT),
            Correlator => ask.header("x-correlator", "no correlator"),
            Accept => ask.header("accept", "text/html"),
            ContentType => ask
                .without("content-type")
                .header("content-type", "text/plain"),
            Body => ask.body("{\"phoneNumber\": 5"),
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
            requests_per_day: 1,
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
    for (index, earlier) in ALL.into_iter().enumerate() {
        for later in &ALL[index..] {
            let has = |fault| earlier == fault || *later == fault;
            let token = match (has(Token), has(Scope), has(Rate)) {
                (true, _, _) => &expired,
                (_, true, true) => &poor_unscoped,
                (_, true, false) => &rich_unscoped,
                (_, false, true) => &poor,
                (_, false, false) => &rich,
            };
            let mut ask = earlier.apply(Ask::any().bearer(token));
            if *later != earlier {
                ask = later.apply(ask);
            }
            let answer = rig.bridge.send(&ask).await;
            let (status, code) = earlier.answer();
            let got = (answer.status, answer.code());
            assert_eq!(got, (status, code.to_owned()), "{earlier:?} and {later:?}");
            let message = answer.message();
            assert!(message.contains(earlier.word()), "{earlier:?}: {message}");
        }
    }
    assert_eq!(rig.control.total().await, 0, "the core was asked");
}
