//! Addresses of sessions: through NATs and without, and those that can be nobody's.

use pei_bridge::config::Config;
use pei_bridge::lookup::nat::NatPool;
use serde_json::{Value, json};
use simcore::{BsfPrefix, Options};

use crate::support::Rig;
use crate::support::control::{GET_3GPP, GET_BINDINGS, UE_IP_INFO};

fn port(public: &str, port: u16) -> Value {
    json!({"ipv4Address": {"publicAddress": public, "publicPort": port}})
}

fn private(public: &str, private: &str) -> Value {
    json!({"ipv4Address": {"publicAddress": public, "privateAddress": private}})
}

fn pool(public: &str, first_port: u16, ports: u16, private: &str, domain: &str) -> NatPool {
    NatPool {
        public_prefix: public.parse().unwrap(),
        first_port,
        ports_per_subscriber: ports,
        private_prefix: private.parse().unwrap(),
        ip_domain: Some(domain.to_owned()),
    }
}

/// The pools of the fixtures, configured instead of asked for.
fn with_pools(config: &mut Config) {
    config.nat.pools = vec![
        pool("84.125.93.10/32", 58000, 1000, "10.45.0.0/24", "nat-a"),
        pool("203.0.113.0/24", 1024, 1000, "10.64.0.0/18", "nat-b"),
    ];
    config.core.upf = Vec::new();
}

#[tokio::test]
async fn the_upf_translates_and_the_bsf_is_asked_where_the_upf_names_nobody() {
    let options = Options {
        subscribers: 100,
        ..Options::default()
    };
    let rig = Rig::with(options, |_| {}).await;
    // nat-a: private address and domain alone, so the BSF names the subscription.
    rig.ask(&port("84.125.93.10", 59001))
        .await
        .is_imei("490154203237518");
    for (operation, calls) in [(UE_IP_INFO, 1), (GET_BINDINGS, 1), (GET_3GPP, 1)] {
        assert_eq!(
            rig.control.count(operation).await,
            calls,
            "nat-a {operation}"
        );
    }
    // nat-b: the UPF names the subscription itself.
    rig.control.reset().await;
    let answer = rig.ask(&port("203.0.113.1", 2024)).await;
    assert_eq!(answer.json()["imeisv"], "3500000000006500");
    for (operation, calls) in [(UE_IP_INFO, 1), (GET_BINDINGS, 0), (GET_3GPP, 1)] {
        assert_eq!(
            rig.control.count(operation).await,
            calls,
            "nat-b {operation}"
        );
    }
}

#[tokio::test]
async fn a_port_of_nobody_is_not_found() {
    let rig = Rig::start().await;
    for (public, of_nobody) in [
        ("84.125.93.10", 58_999),
        ("84.125.93.10", 60_000),
        ("84.125.93.11", 59_000),
    ] {
        rig.control.reset().await;
        let answer = rig.ask(&port(public, of_nobody)).await;
        answer.is_error(404, "NOT_FOUND");
        assert_eq!(rig.control.count(UE_IP_INFO).await, 1);
        // What no NAT covers is looked up as it is.
        assert_eq!(rig.control.count(GET_BINDINGS).await, 1);
        assert_eq!(rig.control.count(GET_3GPP).await, 0);
    }
}

#[tokio::test]
async fn a_public_address_without_nat_is_its_sessions_own() {
    let rig = Rig::start().await;
    for body in [
        port("198.51.100.7", 1024),
        port("198.51.100.7", 65_535),
        private("198.51.100.7", "198.51.100.7"),
        json!({"ipv4Address": {"publicAddress": "198.51.100.7", "publicPort": 4000,
            "privateAddress": "198.51.100.7"}}),
    ] {
        rig.ask(&body).await.is_imei("356938035643809");
    }
    rig.ask(&private("198.51.100.8", "198.51.100.8"))
        .await
        .is_error(404, "NOT_FOUND");
}

/// Of two UPFs one is gone: only what it may have behind its translation is not known.
#[tokio::test]
async fn an_upf_that_is_gone_takes_no_other_address_along() {
    let rig = Rig::configured(|config| {
        config.core.upf.push("http://127.0.0.1:1".parse().unwrap());
        config.core.connect_timeout = crate::support::SHORT_DEADLINE / 4;
    })
    .await;
    rig.ask(&port("84.125.93.10", 59_001))
        .await
        .is_imei("490154203237518");
    rig.ask(&port("198.51.100.7", 4000))
        .await
        .is_imei("356938035643809");
    rig.ask(&port("84.125.93.11", 59_000))
        .await
        .is_error(503, "UNAVAILABLE");
}

#[tokio::test]
async fn a_configured_pool_needs_no_upf() {
    let options = Options {
        subscribers: 1000,
        ..Options::default()
    };
    let rig = Rig::with(options, with_pools).await;
    for (body, imeisv) in [
        // The second block of nat-a belongs to the second private address, 10.45.0.1.
        (port("84.125.93.10", 59_000), "4901542032375180"),
        (port("84.125.93.10", 59_999), "4901542032375180"),
        (port("203.0.113.0", 1024), "3500000000000000"),
        (port("203.0.113.2", 64_023), "3500000000019000"),
        (private("84.125.93.10", "10.45.0.1"), "4901542032375180"),
        (private("203.0.113.1", "10.64.0.65"), "3500000000006500"),
    ] {
        let answer = rig.ask(&body).await;
        assert_eq!(answer.json()["imeisv"], imeisv, "{body}: {}", answer.json());
    }
    assert_eq!(rig.control.count(UE_IP_INFO).await, 0);
    for (body, bindings) in [
        (port("84.125.93.10", 58_999), 1),
        (port("203.0.113.99", 65_500), 1),
        // The pool knows that this private address is seen as another public one.
        (private("203.0.113.2", "10.64.0.65"), 0),
    ] {
        rig.control.reset().await;
        rig.ask(&body).await.is_error(404, "NOT_FOUND");
        assert_eq!(rig.control.count(GET_BINDINGS).await, bindings, "{body}");
        assert_eq!(rig.control.count(GET_3GPP).await, 0, "{body}");
    }
}

/// Private addresses are used more than once: only the IP domain tells whose one is.
#[tokio::test]
async fn the_pool_tells_the_address_space_of_a_private_address() {
    let rig = Rig::configured(with_pools).await;
    rig.control
        .put(&json!({
            "supi": "imsi-001010000000021", "gpsis": ["msisdn-34600000021"],
            "amf3gpp": {"pei": "imeisv-3529920912345602",
                "registrationTime": "2026-01-15T08:00:21.000Z"},
            "sessions": [{"pduSessionId": 1, "ipv4Addr": "10.45.0.1", "ipDomain": "nat-c"}],
        }))
        .await;
    for body in [
        port("84.125.93.10", 59_000),
        private("84.125.93.10", "10.45.0.1"),
    ] {
        rig.ask(&body).await.is_imei("490154203237518");
    }
    // Without a pool nothing tells the domain, and one of two must not be guessed.
    let rig = Rig::start().await;
    rig.control
        .put(&json!({
            "supi": "imsi-001010000000021",
            "amf3gpp": {"pei": "imeisv-3529920912345602"},
            "sessions": [{"pduSessionId": 1, "ipv4Addr": "10.45.0.1", "ipDomain": "nat-c"}],
        }))
        .await;
    rig.ask(&private("84.125.93.10", "10.45.0.1"))
        .await
        .is_error(404, "NOT_FOUND");
    // The UPF does tell it.
    rig.ask(&port("84.125.93.10", 59_000))
        .await
        .is_imei("490154203237518");
}

/// A subscriber in another address space, with a private address that is nobody's there.
async fn another_address_space(rig: &Rig) {
    rig.control
        .put(&json!({
            "supi": "imsi-001010000000021", "gpsis": ["msisdn-34600000021"],
            "amf3gpp": {"pei": "imeisv-3529920912345602",
                "registrationTime": "2026-01-15T08:00:21.000Z"},
            "sessions": [
                {"pduSessionId": 1, "ipv4Addr": "10.45.0.9", "ipDomain": "nat-c"},
                {"pduSessionId": 2, "ipv4Addr": "10.45.0.10"},
                {"pduSessionId": 3, "ipv4Addr": "198.51.100.9", "ipDomain": "nat-c"},
            ],
        }))
        .await;
}

/// A BSF that gives the first of several sessions would give the wrong person's.
#[tokio::test]
async fn a_private_address_alone_names_nobody_where_there_are_several_spaces() {
    let rig = Rig::start().await;
    another_address_space(&rig).await;
    let of_first = private("84.125.93.10", "10.45.0.1");
    // As long as there is one for all that is known.
    rig.ask(&of_first).await.is_imei("490154203237518");
    let in_another = private("84.125.93.10", "10.45.0.9");
    rig.ask(&in_another).await.is_error(404, "NOT_FOUND");
    rig.ask(&of_first).await.is_error(404, "NOT_FOUND");
    // What is in no address space, or public, or behind a port, is told apart all the same.
    for (body, imei) in [
        (private("84.125.93.10", "10.45.0.10"), "352992091234569"),
        (private("198.51.100.9", "198.51.100.9"), "352992091234569"),
        (port("198.51.100.9", 4000), "352992091234569"),
        (port("84.125.93.10", 59_001), "490154203237518"),
    ] {
        rig.ask(&body).await.is_imei(imei);
    }
}

#[tokio::test]
async fn the_address_space_of_private_addresses_can_be_named() {
    let rig = Rig::configured(|config| {
        config.nat.private_ip_domain = Some("nat-a".to_owned());
    })
    .await;
    another_address_space(&rig).await;
    for _ in 0..2 {
        rig.ask(&private("84.125.93.10", "10.45.0.1"))
            .await
            .is_imei("490154203237518");
        rig.ask(&private("84.125.93.10", "10.45.0.9"))
            .await
            .is_error(404, "NOT_FOUND");
        rig.ask(&private("198.51.100.9", "198.51.100.9"))
            .await
            .is_imei("352992091234569");
    }
}

#[tokio::test]
async fn both_dialects_of_a_bsf_are_found_out_and_kept() {
    let of_first = json!({"ipv6Address": "2001:db8:85a3:8d3:1319:8a2e:370:7344"});
    let of_nobody = json!({"ipv6Address": "2001:db8:dead::1"});
    for (bsf_prefix, first_calls, later_calls) in [
        (BsfPrefix::Address, 1, 1),
        (BsfPrefix::Subnet, 2, 1),
        (BsfPrefix::SubnetSilent, 2, 1),
    ] {
        let options = Options {
            bsf_prefix,
            ..Options::default()
        };
        let rig = Rig::with(options, |_| {}).await;
        // Nothing is learned from "none": both ways are tried.
        rig.ask(&of_nobody).await.is_error(404, "NOT_FOUND");
        assert_eq!(rig.control.count(GET_BINDINGS).await, 2, "{bsf_prefix:?}");
        rig.control.reset().await;
        rig.ask(&of_first).await.is_imei("490154203237518");
        assert_eq!(
            rig.control.count(GET_BINDINGS).await,
            first_calls,
            "{bsf_prefix:?}"
        );
        rig.control.reset().await;
        for body in [&of_first, &of_nobody] {
            rig.ask(body).await;
        }
        assert_eq!(
            rig.control.count(GET_BINDINGS).await,
            2 * later_calls,
            "{bsf_prefix:?}"
        );
    }
}

#[tokio::test]
async fn addresses_of_no_session_are_not_sent_to_the_core() {
    let rig = Rig::start().await;
    for address in [
        "127.0.0.1",
        "127.255.255.254",
        "0.0.0.0",
        "224.0.0.1",
        "239.255.255.255",
        "169.254.0.1",
    ] {
        for body in [port(address, 4000), private(address, address)] {
            rig.ask(&body).await.is_error(404, "NOT_FOUND");
        }
        let body = private("84.125.93.10", address);
        rig.ask(&body).await.is_error(404, "NOT_FOUND");
    }
    for address in ["::1", "::", "ff02::1", "ff0e::1", "fe80::1", "febf::1"] {
        let body = json!({ "ipv6Address": address });
        rig.ask(&body).await.is_error(404, "NOT_FOUND");
    }
    assert_eq!(rig.control.total().await, 0);
}

#[tokio::test]
async fn without_functions_that_know_addresses_none_is_found() {
    let rig = Rig::configured(|config| {
        config.core.bsf = Vec::new();
        config.core.upf = Vec::new();
    })
    .await;
    for body in [
        port("84.125.93.10", 59_000),
        private("198.51.100.7", "198.51.100.7"),
        json!({"ipv6Address": "2001:db8:85a3:8d3::1"}),
    ] {
        rig.ask(&body).await.is_error(404, "NOT_FOUND");
    }
    rig.ask(&json!({"phoneNumber": "123456789"}))
        .await
        .is_imei("490154203237518");
}
