//! UDMs that each serve a part of the subscriptions, by SUPI: none of them tells whose public name
//! it knows.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use adapters::sbi::{ApiRoot, Error, Instance, ServiceName, Services};
use adapters::udm::{AmfRegistration, Udm};
use device::{Gpsi, UeId};

use crate::core::{Core, Reply, soon};
use crate::directory::{SUBSCRIBER, ask, found, ignorant, nrf_at, serving, udm};

const FIRST: Option<(&str, &str)> = Some(("001010000000001", "001010000000009"));
const SECOND: Option<(&str, &str)> = Some(("001010000000010", "001010000000019"));
const UNSPECIFIED: Result<AmfRegistration, Error> = Ok(AmfRegistration::Unspecified);
const UNKNOWN: Result<AmfRegistration, Error> = Ok(AmfRegistration::UnknownSubscriber);

fn number() -> UeId {
    Gpsi::parse("msisdn-34600000002").unwrap().into()
}

fn dead() -> ApiRoot {
    "http://127.0.0.1:1".parse().unwrap()
}

fn without_nrf(instances: Vec<Instance>) -> Udm {
    udm(&nrf_at(dead()), instances)
}

async fn registered() -> Core {
    Core::start(|_, _| Reply::json(200, "{}")).await
}

async fn saying(cause: &'static str) -> Core {
    Core::start(move |_, _| {
        let body = serde_json::json!({ "cause": cause }).to_string();
        Reply::json(404, body)
    })
    .await
}

pub(crate) fn is_registered(answer: &Result<AmfRegistration, Error>) -> bool {
    matches!(answer, Ok(AmfRegistration::Registered(_)))
}

#[tokio::test]
async fn a_number_is_asked_for_in_every_part_until_one_knows_it() {
    let (ignores, knows) = (saying("USER_NOT_FOUND").await, registered().await);
    let udm = without_nrf(vec![
        serving(&ignores, FIRST, None),
        serving(&knows, SECOND, None),
    ]);
    for _ in 0..10 {
        let answer = ask(&udm, &number()).await;
        assert!(is_registered(&answer), "{answer:?}");
    }
    assert_eq!(knows.asked().len(), 10);
    assert!(ignores.asked().len() <= 1, "who knew it is remembered");
}

#[tokio::test]
async fn nobody_knows_a_number_only_where_every_part_says_so() {
    let [first, second] = [
        saying("USER_NOT_FOUND").await,
        saying("USER_NOT_FOUND").await,
    ];
    let both = |other: Instance| without_nrf(vec![serving(&first, FIRST, None), other]);
    let udm = both(serving(&second, SECOND, None));
    assert_eq!(ask(&udm, &number()).await, UNKNOWN);
    assert_eq!((first.asked().len(), second.asked().len()), (1, 1));
    // It may be registered over the other access: it is not said to be unknown.
    let unspecified = ignorant().await;
    let udm = both(serving(&unspecified, SECOND, None));
    assert_eq!(ask(&udm, &number()).await, UNSPECIFIED);
    let gone = Instance {
        root: dead(),
        ..serving(&second, SECOND, None)
    };
    for _ in 0..10 {
        assert_eq!(
            ask(&both(gone.clone()), &number()).await,
            Err(Error::Unreachable)
        );
    }
}

#[tokio::test]
async fn a_number_that_moved_to_another_part_is_found_there() {
    let has_moved = Arc::new(AtomicBool::new(false));
    let knowing_when = |moved: bool| {
        let has_moved = Arc::clone(&has_moved);
        Core::start(move |_, _| {
            if has_moved.load(Ordering::SeqCst) == moved {
                Reply::json(200, "{}")
            } else {
                Reply::status(404)
            }
        })
    };
    let (before, after) = (knowing_when(false).await, knowing_when(true).await);
    let udm = without_nrf(vec![
        serving(&before, FIRST, None),
        serving(&after, SECOND, None),
    ]);
    for moved in [false, true] {
        has_moved.store(moved, Ordering::SeqCst);
        for _ in 0..3 {
            let answer = ask(&udm, &number()).await;
            assert!(is_registered(&answer), "{answer:?}");
        }
    }
    let asked_in_vain = before.asked().len() - 3;
    assert!(asked_in_vain <= 2, "where it is now is remembered");
}

#[tokio::test]
async fn instances_of_one_part_are_asked_once_for_all() {
    let [first, other, second] = [ignorant().await, ignorant().await, ignorant().await];
    let alike = vec![serving(&first, FIRST, None), serving(&other, FIRST, None)];
    let nrf = Core::start(|_, _| found("nudm-uecm", &[])).await;
    let redundant = udm(&nrf_at(nrf.root()), alike.clone());
    let asked = || first.asked().len() + other.asked().len();
    for before in 0..4 {
        assert_eq!(asked(), before);
        assert_eq!(ask(&redundant, &number()).await, UNSPECIFIED);
    }
    assert!(nrf.asked().is_empty(), "nothing is to be searched for");
    let mut parted = alike;
    parted.push(serving(&second, SECOND, None));
    assert_eq!(ask(&without_nrf(parted), &number()).await, UNSPECIFIED);
    assert_eq!((asked(), second.asked().len()), (5, 1));
}

#[tokio::test]
async fn the_part_that_the_nrf_names_is_asked_first() {
    let (ignores, knows) = (ignorant().await, registered().await);
    let parts = || {
        vec![
            serving(&ignores, FIRST, None),
            serving(&knows, SECOND, None),
        ]
    };
    let naming = async |core: &Core| {
        let port = core.address.port();
        Core::start(move |_, _| found("nudm-uecm", &[port])).await
    };
    let right = naming(&knows).await;
    let udm_of_right = udm(&nrf_at(right.root()), parts());
    for _ in 0..3 {
        let answer = ask(&udm_of_right, &number()).await;
        assert!(is_registered(&answer), "{answer:?}");
    }
    assert_eq!((ignores.asked().len(), knows.asked().len()), (0, 3));
    assert_eq!(right.asked().len(), 1);
    // It may not have seen all of them.
    let wrong = naming(&ignores).await;
    let udm_of_wrong = udm(&nrf_at(wrong.root()), parts());
    let answer = ask(&udm_of_wrong, &number()).await;
    assert!(is_registered(&answer), "{answer:?}");
}

#[tokio::test]
async fn of_more_parts_than_can_be_asked_nobody_is_said_to_know_nothing() {
    let mut parts = Vec::new();
    let mut cores = Vec::new();
    for part in 0..17 {
        let (core, number) = (ignorant().await, format!("0010100000000{part:02}"));
        parts.push(serving(&core, Some((&number, &number)), None));
        cores.push(core);
    }
    let udm_of_16 = without_nrf(parts[..16].to_vec());
    assert_eq!(ask(&udm_of_16, &number()).await, UNSPECIFIED);
    let udm_of_17 = without_nrf(parts);
    assert_eq!(ask(&udm_of_17, &number()).await, Err(Error::Unreachable));
    assert_eq!(
        cores.iter().map(|core| core.asked().len()).sum::<usize>(),
        32
    );
}

#[tokio::test]
async fn a_part_that_is_known_of_one_service_is_known_of_another() {
    let (ignores, knows) = (ignorant().await, registered().await);
    let translates = Core::start(|_, _| Reply::json(200, SUBSCRIBER)).await;
    let translates_others = ignorant().await;
    let sdm = |core: &Core, supis| Instance {
        services: Services::NONE.with(ServiceName::NudmSdm),
        ..serving(core, supis, None)
    };
    let udm = without_nrf(vec![
        serving(&ignores, FIRST, None),
        sdm(&translates_others, FIRST),
        serving(&knows, SECOND, None),
        sdm(&translates, SECOND),
    ]);
    let answer = ask(&udm, &number()).await;
    assert!(is_registered(&answer), "{answer:?}");
    let translation = udm.id_translation(&number(), soon()).await;
    assert!(translation.unwrap().is_some());
    assert!(translates_others.asked().is_empty());
}

#[tokio::test]
async fn a_number_is_found_whatever_the_udms_tell_of_themselves() {
    for (one, other) in [
        // SUPIs beside a group, groups alone, both.
        ((FIRST, None), (None, Some("a"))),
        ((None, Some("a")), (FIRST, None)),
        ((None, Some("a")), (None, Some("b"))),
        ((FIRST, Some("a")), (SECOND, Some("b"))),
    ] {
        // Of the other access some say that it has nothing, whomever they are asked about.
        for cause in ["USER_NOT_FOUND", "CONTEXT_NOT_FOUND"] {
            let (ignores, knows) = (saying(cause).await, registered().await);
            let instances = vec![
                serving(&ignores, one.0, one.1),
                serving(&knows, other.0, other.1),
            ];
            let ports = [ignores.address.port(), knows.address.port()];
            for named in [&[][..], &ports] {
                let named = named.to_vec();
                let nrf = Core::start(move |_, _| found("nudm-uecm", &named)).await;
                let udm = udm(&nrf_at(nrf.root()), instances.clone());
                for _ in 0..3 {
                    let answer = ask(&udm, &number()).await;
                    assert!(
                        is_registered(&answer),
                        "{answer:?} {one:?} {other:?} {cause}"
                    );
                }
            }
        }
    }
}
