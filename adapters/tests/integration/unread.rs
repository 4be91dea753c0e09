//! Profiles that say more than is read of them: whom we cannot tell that they serve, they may serve.

use adapters::nrf::instances_from_json;
use adapters::sbi::{ApiRoot, Instance};
use device::{Supi, UeId};
use serde_json::{Value, json};

use crate::core::{Core, Reply};
use crate::directory::{ask, found, ignorant, nrf_at, udm};
use crate::parts::is_registered;

/// An expression that ECMA-262 knows and we do not.
const BEYOND_US: &str = "^imsi-(?!00102)[0-9]{15}$";

fn dead() -> ApiRoot {
    "http://127.0.0.1:1".parse().unwrap()
}

fn subscriber() -> UeId {
    Supi::parse("imsi-001010000000002").unwrap().into()
}

fn pattern(text: &str) -> Value {
    json!({ "pattern": text })
}

/// More of them than are read: the last one alone holds the subscriber.
fn too_many() -> Value {
    let others = (0..200).map(|index| pattern(&format!("^imsi-00199{index:03}[0-9]{{7}}$")));
    others.chain([pattern("^imsi-001010000000002$")]).collect()
}

/// The instance as the NRF tells it.
fn told(core: &Core, udm_info: &Value) -> Instance {
    let service = json!({"serviceName": "nudm-uecm", "ipEndPoints": [
        {"ipv4Address": "127.0.0.1", "port": core.address.port()},
    ]});
    let profile = json!({"nfServices": [service], "udmInfo": udm_info});
    let result = json!({ "nfInstances": [profile] }).to_string();
    instances_from_json(result.as_bytes()).unwrap().remove(0)
}

async fn knowing() -> Core {
    Core::start(|_, _| Reply::json(200, "{}")).await
}

#[tokio::test]
async fn whom_a_range_may_hold_that_is_not_read_is_searched_for() {
    for (its, others) in [
        (json!({"supiRanges": too_many()}), json!({"groupId": "a"})),
        (
            json!({"supiRanges": [pattern(BEYOND_US)]}),
            json!({"supiRanges": [pattern("^(?!imsi-001).*$")]}),
        ),
        (
            json!({"supiRanges": [pattern(BEYOND_US)]}),
            json!({"supiRanges": [{"start": "001990000000000", "end": "001999999999999"},
                                  {"start": "001020000000000"}]}),
        ),
    ] {
        let (knows, ignores) = (knowing().await, ignorant().await);
        let port = knows.address.port();
        let nrf = Core::start(move |_, _| found("nudm-uecm", &[port])).await;
        let both = || vec![told(&ignores, &others), told(&knows, &its)];
        let of_both = udm(&nrf_at(nrf.root()), both());
        for _ in 0..4 {
            let answer = ask(&of_both, &subscriber()).await;
            assert!(is_registered(&answer), "{its} {others}");
        }
        assert_eq!((knows.asked().len(), ignores.asked().len()), (4, 0));
        // The wrong one says that there is nobody, and is not believed.
        let without_nrf = udm(&nrf_at(dead()), both());
        for _ in 0..4 {
            assert!(is_registered(&ask(&without_nrf, &subscriber()).await));
        }
        assert_eq!(knows.asked().len(), 8);
    }
}

#[tokio::test]
async fn whoever_says_the_same_serves_the_same_though_it_is_not_read() {
    for info in [
        json!({"supiRanges": too_many()}),
        json!({"supiRanges": [pattern(BEYOND_US), pattern("(")]}),
    ] {
        let both = [knowing().await, knowing().await];
        let instances = both.iter().map(|core| told(core, &info)).collect();
        let udm = udm(&nrf_at(dead()), instances);
        for _ in 0..4 {
            assert!(is_registered(&ask(&udm, &subscriber()).await));
        }
        assert_eq!(both.iter().map(|core| core.asked().len()).sum::<usize>(), 4);
    }
}

#[tokio::test]
async fn who_states_a_subscriber_is_asked_before_who_may_serve_it() {
    let [certain, perhaps] = [knowing().await, ignorant().await];
    let stated = json!({"supiRanges": [pattern("^imsi-00101[0-9]{10}$"), pattern("(")]});
    let udm = udm(
        &nrf_at(dead()),
        vec![
            told(&perhaps, &json!({"supiRanges": [pattern(BEYOND_US)]})),
            told(&certain, &stated),
        ],
    );
    assert!(is_registered(&ask(&udm, &subscriber()).await));
    assert!(perhaps.asked().is_empty());
}
