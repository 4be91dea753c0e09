//! Access tokens of an NRF that gives some, or none, or goes.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use adapters::sbi::{Client, Error, NfType, Route, ServiceName, Tokens};
use adapters::udm::{AmfRegistration, Udm};
use device::Supi;
use tokio::task::JoinSet;
use uuid::Uuid;

use crate::core::{Core, Reply, client, eventually, metrics, quick, soon};

const NONE: Result<AmfRegistration, Error> = Ok(AmfRegistration::Unspecified);

fn token(number: usize, expires_in: u64) -> Reply {
    let token = format!(
        r#"{{"access_token":"t{number}","token_type":"Bearer","expires_in":{expires_in}}}"#
    );
    Reply::json(200, token)
}

fn tokens(nrf: &Core) -> Tokens {
    let nrf = client(NfType::Nrf, vec![nrf.root()], &quick());
    Tokens::new(&nrf, Uuid::nil(), "NEF")
}

fn udm(core: &Core, tokens: Tokens) -> Udm {
    let instances = vec![core.root().into()];
    let (settings, metrics) = (quick(), metrics().1);
    let tokens = Some(tokens);
    Udm::new(Client::with(
        NfType::Udm,
        instances,
        Route::Direct,
        tokens,
        &settings,
        metrics,
    ))
}

async fn ask(udm: &Udm) -> Result<AmfRegistration, Error> {
    let ue = Supi::parse("imsi-001010000000001").unwrap().into();
    udm.amf_3gpp_access_registration(&ue, soon()).await
}

/// The tokens that were shown, in turn.
fn shown(core: &Core) -> Vec<String> {
    let asked = core.asked().into_iter();
    let token = |asked: crate::core::Asked| {
        let header = asked.headers["authorization"].to_str().unwrap().to_owned();
        header.strip_prefix("Bearer ").unwrap().to_owned()
    };
    asked.map(token).collect()
}

#[tokio::test]
async fn a_token_that_is_kept_is_there_before_it_is_needed_and_renewed_before_it_ends() {
    let nrf = Core::start(|_, n| token(n, 2)).await;
    let core = Core::start(|_, _| Reply::status(404)).await;
    let tokens = tokens(&nrf);
    tokens.keep(ServiceName::NudmUecm);
    // Whoever renews the second one has taken it in.
    eventually("nobody asks, and it is renewed", || nrf.asked().len() >= 3).await;
    assert_eq!(ask(&udm(&core, tokens)).await, NONE);
    assert_ne!(shown(&core), ["t0"]);
}

#[tokio::test]
async fn a_token_is_shown_until_it_ends_whatever_becomes_of_its_renewal() {
    // It is renewed after three seconds, in vain.
    let nrf = Core::start(|_, n| match n {
        0 => token(0, 6),
        _ => Reply::status(503),
    })
    .await;
    let core = Core::start(|_, _| Reply::status(404)).await;
    let udm = udm(&core, tokens(&nrf));
    assert_eq!(ask(&udm).await, NONE);
    eventually("the renewal has failed", || nrf.asked().len() >= 2).await;
    assert_eq!(ask(&udm).await, NONE);
    assert_eq!(shown(&core), ["t0", "t0"]);
}

#[tokio::test]
async fn a_refused_token_stays_where_the_nrf_gives_no_other() {
    let nrf = Core::start(|_, n| match n {
        0 => token(0, 3600),
        _ => Reply::status(503),
    })
    .await;
    let core = Core::start(|_, n| Reply::status(if n == 0 { 401 } else { 404 })).await;
    let udm = udm(&core, tokens(&nrf));
    assert_eq!(ask(&udm).await, Err(Error::Refused { status: 401 }));
    assert_eq!(ask(&udm).await, NONE);
    assert_eq!(shown(&core), ["t0", "t0"]);
}

#[tokio::test]
async fn a_producer_that_refuses_every_token_does_not_make_the_nrf_give_one_for_each_request() {
    let nrf = Core::start(|_, n| token(n, 3600)).await;
    let core = Core::start(|_, _| Reply::status(401)).await;
    let udm = udm(&core, tokens(&nrf));
    for _ in 0..50 {
        assert_eq!(ask(&udm).await, Err(Error::Refused { status: 401 }));
    }
    let given = nrf.asked().len();
    assert!(given < 50, "{given}");
}

#[tokio::test]
async fn an_nrf_that_gives_none_is_not_asked_by_every_request() {
    let gives = Arc::new(AtomicBool::new(false));
    let nrf = Core::start({
        let gives = gives.clone();
        move |_, n| {
            if gives.load(Ordering::Relaxed) {
                token(n, 3600)
            } else {
                Reply::json(400, r#"{"error":"unauthorized_client"}"#)
            }
        }
    })
    .await;
    let core = Core::start(|_, _| Reply::status(404)).await;
    let udm = udm(&core, tokens(&nrf));
    for _ in 0..50 {
        assert_eq!(ask(&udm).await, Err(Error::Refused { status: 400 }));
    }
    let asked = nrf.asked().len();
    assert!(asked < 50, "{asked}");
    gives.store(true, Ordering::Relaxed);
    let limit = soon();
    while ask(&udm).await != NONE {
        assert!(tokio::time::Instant::now() < limit);
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test]
async fn however_many_wait_for_the_first_token_the_nrf_is_asked_once() {
    let nrf =
        Core::start(|_, n| Reply::Later(Duration::from_millis(50), Box::new(token(n, 3600)))).await;
    let core = Core::start(|_, _| Reply::status(404)).await;
    let udm = udm(&core, tokens(&nrf));
    let mut waiting = JoinSet::new();
    for _ in 0..50 {
        let udm = udm.clone();
        waiting.spawn(async move { ask(&udm).await });
    }
    while let Some(answer) = waiting.join_next().await {
        assert_eq!(answer.unwrap(), NONE);
    }
    assert_eq!((nrf.asked().len(), core.asked().len()), (1, 50));
}

#[tokio::test]
async fn what_is_no_token_is_not_shown() {
    for (body, is_token) in [
        (r#"{"access_token":"t","token_type":"bearer"}"#, true),
        (
            r#"{"access_token":"t","token_type":"Bearer","expires_in":18446744073709551615}"#,
            true,
        ),
        (
            r#"{"access_token":"t","token_type":"Bearer","expires_in":0}"#,
            true,
        ),
        (
            r#"{"access_token":"t","token_type":"Bearer","expires_in":-1}"#,
            false,
        ),
        (r#"{"access_token":"t","token_type":"mac"}"#, false),
        (
            r#"{"access_token":"t\r\nx-injected: 1","token_type":"Bearer"}"#,
            false,
        ),
        (r#"{"token_type":"Bearer"}"#, false),
        ("[]", false),
    ] {
        let nrf = Core::start(move |_, _| Reply::json(200, body)).await;
        let core = Core::start(|_, _| Reply::status(404)).await;
        let answer = ask(&udm(&core, tokens(&nrf))).await;
        let expected = if is_token {
            NONE
        } else {
            Err(Error::BadAnswer)
        };
        assert_eq!(answer, expected, "{body}");
        assert_eq!(core.asked().len(), usize::from(is_token), "{body}");
    }
}
