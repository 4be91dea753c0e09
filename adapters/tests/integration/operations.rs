//! What is asked, and what each answer means.

use std::net::{Ipv4Addr, Ipv6Addr};
use std::sync::Arc;
use std::time::Duration;

use adapters::bsf::{Bsf, PcfBinding};
use adapters::sbi::{Client, Error, NfType, Settings};
use adapters::smf::Smf;
use adapters::subscription::{Renewal, Subscribing};
use adapters::udm::events::UdmEvents;
use adapters::udm::{AmfRegistration, Consent, Udm};
use adapters::upf::Upf;
use device::{Supi, UeId};

use crate::core::{Core, Reply, client, metrics, quick, soon};

const SUPI: &str = "imsi-001010000000001";
const PROBLEM: &str = "application/problem+json";

fn supi() -> Supi {
    Supi::parse(SUPI).unwrap()
}

fn gpsi(text: &str) -> UeId {
    device::Gpsi::parse(text).unwrap().into()
}

fn udm(core: &Core) -> Udm {
    Udm::new(client(NfType::Udm, vec![core.root()], &quick()))
}

fn bsf(core: &Core) -> Bsf {
    Bsf::new(&client(NfType::Bsf, vec![core.root()], &quick()))
}

fn upf(core: &Core) -> Upf {
    Upf::new(&client(NfType::Upf, vec![core.root()], &quick()))
}

fn problem(status: u16, cause: &str) -> Reply {
    Reply::json(
        status,
        format!(r#"{{"status":{status},"cause":"{cause}"}}"#),
    )
    .with("content-type", PROBLEM)
}

#[tokio::test]
async fn every_operation_asks_by_its_path_below_the_prefix() {
    let core = Core::start(|_, _| Reply::status(404)).await;
    let root = format!("http://{}/pre/fix", core.address).parse().unwrap();
    let client = client(NfType::Udm, vec![root], &quick());
    let (udm, bsf, upf) = (
        Udm::new(client.clone()),
        Bsf::new(&client),
        Upf::new(&client),
    );
    let ue = gpsi("extid-sensor/17@iot.example.com");
    let _ = udm
        .amf_3gpp_access_registration(&gpsi("msisdn-34600000002"), soon())
        .await;
    let _ = udm.amf_non_3gpp_access_registration(&ue, soon()).await;
    let _ = udm.id_translation(&supi().into(), soon()).await;
    let _ = udm.uc_data(&supi(), "NW_CAP_EXPOSURE", soon()).await;
    let _ = bsf
        .pcf_binding_ipv4(Ipv4Addr::new(10, 45, 0, 1), Some("nat&a"), soon())
        .await;
    let _ = bsf
        .pcf_binding_ipv4(Ipv4Addr::new(198, 51, 100, 7), None, soon())
        .await;
    let _ = bsf
        .pcf_binding_ipv6("2001:db8:85a3:8d3::1".parse().unwrap(), soon())
        .await;
    let _ = upf
        .ue_ip_info(Ipv4Addr::new(84, 125, 93, 10), 59000, soon())
        .await;
    let paths: Vec<_> = core.asked().into_iter().map(|asked| asked.path).collect();
    assert_eq!(
        paths,
        [
            "/pre/fix/nudm-uecm/v1/msisdn-34600000002/registrations/amf-3gpp-access",
            "/pre/fix/nudm-uecm/v1/extid-sensor%2F17%40iot.example.com/registrations/amf-non-3gpp-access",
            "/pre/fix/nudm-sdm/v2/imsi-001010000000001/id-translation-result",
            "/pre/fix/nudm-sdm/v2/imsi-001010000000001/uc-data?uc-purpose=NW_CAP_EXPOSURE",
            "/pre/fix/nbsf-management/v1/pcfBindings?ipv4Addr=10.45.0.1&ipDomain=nat%26a",
            "/pre/fix/nbsf-management/v1/pcfBindings?ipv4Addr=198.51.100.7",
            "/pre/fix/nbsf-management/v1/pcfBindings?ipv6Prefix=2001:db8:85a3:8d3::1%2F128",
            "/pre/fix/nbsf-management/v1/pcfBindings?ipv6Prefix=2001:db8:85a3:8d3::%2F64",
            "/pre/fix/nupf-gueip/v1/ue-ip-info?ue-ipv4-address=84.125.93.10&port-number=59000",
        ]
    );
}

#[tokio::test]
async fn a_request_says_who_asks_and_for_how_long_it_matters() {
    let core = Core::start(|_, _| Reply::status(404)).await;
    let settings = quick();
    let udm = Udm::new(client(NfType::Udm, vec![core.root()], &settings));
    let _ = udm
        .amf_3gpp_access_registration(&supi().into(), soon())
        .await;
    let headers = &core.asked()[0].headers;
    assert_eq!(
        headers["user-agent"],
        format!("NEF-{}", settings.nf_instance_id)
    );
    assert_eq!(
        headers["accept"],
        "application/json, application/problem+json"
    );
    let left: u64 = headers["3gpp-sbi-max-rsp-time"]
        .to_str()
        .unwrap()
        .parse()
        .unwrap();
    assert!((1..=10_000).contains(&left), "{left}");
    assert!(
        headers["3gpp-sbi-sender-timestamp"]
            .to_str()
            .unwrap()
            .ends_with(" GMT")
    );
    assert_eq!(
        headers["3gpp-sbi-correlation-info"],
        supi().reveal().to_string()
    );
}

#[tokio::test]
async fn each_answer_about_a_registration_has_its_meaning_and_is_asked_once() {
    use AmfRegistration::{NotRegistered, UnknownSubscriber, Unspecified};
    let refused = |status| Err(Error::Refused { status });
    let overloaded = |retry_after| Err(Error::Overloaded { retry_after });
    let bad = || Err(Error::BadAnswer);
    let cases: Vec<(Reply, Result<AmfRegistration, Error>)> = vec![
        (problem(404, "CONTEXT_NOT_FOUND"), Ok(NotRegistered)),
        (problem(404, "USER_NOT_FOUND"), Ok(UnknownSubscriber)),
        (problem(404, "DATA_NOT_FOUND"), Ok(UnknownSubscriber)),
        (Reply::status(404), Ok(Unspecified)),
        (
            Reply::json(404, r#"{"title":"gone","status":404}"#),
            Ok(Unspecified),
        ),
        (
            Reply::json(403, r#"{"title":"no","status":403}"#),
            Ok(Unspecified),
        ),
        (
            problem(404, "RESOURCE_URI_STRUCTURE_NOT_FOUND"),
            refused(404),
        ),
        (problem(403, "UNAUTHORIZED"), refused(403)),
        (Reply::status(400), refused(400)),
        (Reply::status(401), refused(401)),
        (Reply::status(307), refused(307)),
        (
            Reply::status(429).with("retry-after", "7"),
            overloaded(Some(7)),
        ),
        (
            Reply::status(503).with("retry-after", "3"),
            overloaded(Some(3)),
        ),
        (Reply::status(503), overloaded(None)),
        (Reply::status(500), bad()),
        (Reply::status(502), bad()),
        (Reply::status(504), bad()),
        (Reply::status(204), bad()),
        (Reply::status(200), bad()),
        (Reply::json(200, "garbage"), bad()),
        (Reply::json(200, r#"{"pei":"imeisv-49015"#), bad()),
        (Reply::json(200, r#"{"pei":7}"#), bad()),
        (Reply::json(200, r#"{"pei":"imei-1"}"#), bad()),
        (
            Reply::json(200, r#"{"registrationTime":"yesterday"}"#),
            bad(),
        ),
        (Reply::json(200, r#"{"purgeFlag":"true"}"#), bad()),
        (
            Reply::json(200, "{}").with("content-type", "text/html"),
            bad(),
        ),
        (
            Reply::json(200, format!("{{\"x\":\"{}\"}}", "x".repeat(300_000))),
            bad(),
        ),
        (Reply::Reset(h2::Reason::INTERNAL_ERROR), bad()),
        (Reply::Reset(h2::Reason::NO_ERROR), bad()),
        (Reply::HalfBody(h2::Reason::INTERNAL_ERROR), bad()),
        (Reply::HalfBody(h2::Reason::REFUSED_STREAM), bad()),
    ];
    for (number, (reply, expected)) in cases.into_iter().enumerate() {
        let reply = std::sync::Mutex::new(Some(reply));
        let core = Core::start(move |_, _| reply.lock().unwrap().take().unwrap()).await;
        let ue = supi().into();
        let result = udm(&core).amf_3gpp_access_registration(&ue, soon()).await;
        assert_eq!(result, expected, "case {number}");
        assert_eq!(core.asked().len(), 1, "case {number}");
    }
}

#[tokio::test]
async fn a_body_that_is_too_large_is_a_bad_answer_and_not_a_long_wait() {
    for (most, length, read) in [
        (1000, 1000, true),
        (1000, 1001, false),
        (1000, 3_000_000, false),
        (3_000_000, 3_000_000, true),
        (3_000_000, 3_000_001, false),
        (usize::MAX, 20_000_000, true),
    ] {
        let body = format!("{{}}{}", " ".repeat(length - 2));
        let core = Core::start(move |_, _| Reply::json(200, body.clone())).await;
        let settings = Settings {
            max_response_bytes: most,
            ..quick()
        };
        let udm = Udm::new(client(NfType::Udm, vec![core.root()], &settings));
        let ue = supi().into();
        let result = udm.amf_3gpp_access_registration(&ue, soon()).await;
        assert_eq!(result.is_ok(), read, "{length} of {most}");
        assert!(read || result == Err(Error::BadAnswer));
    }
}

#[tokio::test]
async fn a_registration_is_read_with_the_headers_of_its_answer() {
    let core = Core::start(|_, _| {
        let body = r#"{"amfInstanceId":"x","pei":"imeisv-4901542032375180","purgeFlag":true,
            "supi":"imsi-001010000000001","registrationTime":"2024-02-20T10:41:38.657Z",
            "lastSynchronizationTime":"2024-02-20T12:41:38+02:00"}"#;
        Reply::json(200, body)
            .with("date", "Tue, 20 Feb 2024 10:50:00 GMT")
            .with("cache-control", "max-age=30")
    })
    .await;
    let answer = udm(&core)
        .amf_non_3gpp_access_registration(&supi().into(), soon())
        .await;
    let AmfRegistration::Registered(registration) = answer.unwrap() else {
        panic!("registered")
    };
    let imei = registration.pei.unwrap().imei().unwrap();
    assert_eq!(imei.reveal().to_string(), "490154203237518");
    assert!(registration.purged);
    let times = [
        registration.registration_time,
        registration.last_synchronization_time,
        registration.date,
    ];
    assert_eq!(
        times.map(|time| time.unwrap().to_string()),
        [
            "2024-02-20T10:41:38.657Z",
            "2024-02-20T10:41:38Z",
            "2024-02-20T10:50:00Z"
        ]
    );
    assert_eq!(registration.max_age, Some(Duration::from_secs(30)));
}

/// A registration of somebody else is nobody's answer.
#[tokio::test]
async fn a_registration_is_of_the_subscription_that_was_asked_for() {
    let imsi = || UeId::from(supi());
    let nai = || UeId::from(Supi::parse("nai-pump@factory.example").unwrap());
    let msisdn = || gpsi("msisdn-34600000002");
    for (asked, stated, is_taken) in [
        (imsi(), SUPI, true),
        (imsi(), "imsi-001010000000002", false),
        (imsi(), "001010000000001", true),
        (imsi(), "001010000000002", false),
        (imsi(), "", true),
        (imsi(), "imsi-01010000000001", false),
        (imsi(), "nai-001010000000001", false),
        (nai(), "nai-pump@factory.example", true),
        (nai(), "nai-valve@factory.example", false),
        // Whose number it is, is what the UDM tells.
        (msisdn(), SUPI, true),
        (msisdn(), "imsi-001010000000002", true),
    ] {
        let body = format!(r#"{{"supi":"{stated}","pei":"imeisv-4901542032375180"}}"#);
        let core = Core::start(move |_, _| Reply::json(200, body.clone())).await;
        let udm = udm(&core);
        for answer in [
            udm.amf_3gpp_access_registration(&asked, soon()).await,
            udm.amf_non_3gpp_access_registration(&asked, soon()).await,
        ] {
            match answer {
                Ok(AmfRegistration::Registered(_)) => assert!(is_taken, "{stated}"),
                other => assert_eq!(
                    (other, is_taken),
                    (Err(Error::BadAnswer), false),
                    "{stated}"
                ),
            }
        }
    }
}

#[tokio::test]
async fn only_what_is_read_has_to_be_there() {
    let core = Core::start(|_, _| Reply::json(200, "{}")).await;
    let answer = udm(&core)
        .amf_3gpp_access_registration(&supi().into(), soon())
        .await;
    let AmfRegistration::Registered(registration) = answer.unwrap() else {
        panic!("registered")
    };
    assert_eq!((registration.pei, registration.purged), (None, false));
    assert_eq!(
        (registration.registration_time, registration.max_age),
        (None, None)
    );
}

#[tokio::test]
async fn a_translation_is_found_or_not() {
    for (reply, expected) in [
        (
            Reply::json(200, format!(r#"{{"supi":"{SUPI}"}}"#)),
            Ok(Some(supi())),
        ),
        (problem(404, "USER_NOT_FOUND"), Ok(None)),
        (Reply::status(404), Ok(None)),
        (
            problem(404, "SOMETHING_ELSE"),
            Err(Error::Refused { status: 404 }),
        ),
        (Reply::status(400), Err(Error::Refused { status: 400 })),
        (Reply::json(200, "{}"), Err(Error::BadAnswer)),
    ] {
        let reply = std::sync::Mutex::new(Some(reply));
        let core = Core::start(move |_, _| reply.lock().unwrap().take().unwrap()).await;
        let found = udm(&core)
            .id_translation(&gpsi("msisdn-34600000002"), soon())
            .await;
        assert_eq!(found.map(|found| found.map(|found| found.supi)), expected);
    }
}

#[tokio::test]
async fn nothing_but_an_explicit_consent_is_one() {
    let list = |value: &str| {
        Reply::json(
            200,
            format!(r#"{{"userConsentPerPurposeList":{{"NW_CAP_EXPOSURE":{value}}}}}"#),
        )
    };
    for (reply, expected) in [
        (list(r#""CONSENT_GIVEN""#), Ok(Consent::Given)),
        (list(r#""CONSENT_NOT_GIVEN""#), Ok(Consent::NotGiven)),
        (list(r#""consent_given""#), Ok(Consent::NotGiven)),
        (list("true"), Err(Error::BadAnswer)),
        (
            Reply::json(
                200,
                r#"{"userConsentPerPurposeList":{"ANALYTICS":"CONSENT_GIVEN"}}"#,
            ),
            Ok(Consent::NotGiven),
        ),
        (Reply::json(200, "{}"), Ok(Consent::NotGiven)),
        (problem(404, "ANYTHING"), Ok(Consent::NotGiven)),
        (Reply::json(200, "<html>"), Err(Error::BadAnswer)),
        (Reply::status(500), Err(Error::BadAnswer)),
    ] {
        let reply = std::sync::Mutex::new(Some(reply));
        let core = Core::start(move |_, _| reply.lock().unwrap().take().unwrap()).await;
        assert_eq!(
            udm(&core).uc_data(&supi(), "NW_CAP_EXPOSURE", soon()).await,
            expected
        );
    }
}

#[tokio::test]
async fn a_binding_names_its_subscriber_or_is_none() {
    let both = format!(r#"{{"supi":"{SUPI}","gpsi":"msisdn-34600000002","dnn":"internet"}}"#);
    for (reply, expected) in [
        (Reply::json(200, both), Ok((true, true))),
        (
            Reply::json(200, format!(r#"{{"supi":"{SUPI}"}}"#)),
            Ok((true, false)),
        ),
        (
            Reply::json(200, r#"{"gpsi":"msisdn-34600000002"}"#),
            Ok((false, true)),
        ),
        (
            Reply::json(200, r#"{"dnn":"internet"}"#),
            Ok((false, false)),
        ),
        (Reply::status(204), Ok((false, false))),
        (problem(404, "WHATEVER"), Ok((false, false))),
        (
            problem(400, "MULTIPLE_BINDING_INFO_FOUND"),
            Ok((false, false)),
        ),
        (
            problem(400, "MANDATORY_QUERY_PARAM_INCORRECT"),
            Err(Error::Refused { status: 400 }),
        ),
        (Reply::json(200, r#"{"supi":"x"}"#), Err(Error::BadAnswer)),
        (Reply::status(200), Err(Error::BadAnswer)),
    ] {
        let reply = std::sync::Mutex::new(Some(reply));
        let core = Core::start(move |_, _| reply.lock().unwrap().take().unwrap()).await;
        let found = bsf(&core)
            .pcf_binding_ipv4(Ipv4Addr::new(10, 0, 0, 1), None, soon())
            .await;
        let named = |binding: &PcfBinding| (binding.supi().is_some(), binding.gpsi().is_some());
        assert_eq!(
            found.map(|found| {
                let found = found.map(|found| found.subscriber);
                found.as_ref().map_or((false, false), named)
            }),
            expected
        );
    }
}

/// A binding of another address is nobody's answer, and who asks is told what this one says.
#[tokio::test]
async fn a_binding_is_of_the_address_that_was_asked_for() {
    let body = |more: &str| format!(r#"{{"supi":"{SUPI}"{more}}}"#);
    for (body, expected) in [
        (body(""), Ok((false, None))),
        (body(r#","ipv4Addr":"10.0.0.1""#), Ok((true, None))),
        (
            body(r#","ipv4Addr":"10.0.0.1","ipDomain":"nat-a""#),
            Ok((true, Some("nat-a"))),
        ),
        (body(r#","ipDomain":"nat-a""#), Ok((false, Some("nat-a")))),
        (body(r#","ipv4Addr":"10.0.0.2""#), Err(Error::BadAnswer)),
        (body(r#","ipv4Addr":"10.0.0""#), Err(Error::BadAnswer)),
        // A network behind the device, which may be somebody else's in another address space.
        (
            body(r#","ipv4Addr":"10.0.0.2","ipv4FrameRouteList":["10.0.0.0/24"]"#),
            Ok((false, None)),
        ),
        (
            body(r#","ipv4Addr":"10.0.0.2","ipv4FrameRouteList":["10.0.1.0/24"]"#),
            Err(Error::BadAnswer),
        ),
        // Whose the other family's are, was not asked.
        (
            body(r#","ipv4Addr":"10.0.0.1","ipv6Prefix":"x","addIpv6Prefixes":["y"]"#),
            Ok((true, None)),
        ),
        (body(r#","ipv4Addr":7"#), Err(Error::BadAnswer)),
        // What cannot be read beside what can, or says nothing.
        (body(r#","ipv4Addr":"""#), Ok((false, None))),
        (
            body(r#","ipv4Addr":"x","ipv4FrameRouteList":["y","10.0.0.0/24"]"#),
            Ok((false, None)),
        ),
    ] {
        let reply = body.clone();
        let core = Core::start(move |_, _| Reply::json(200, reply.clone())).await;
        let found = bsf(&core)
            .pcf_binding_ipv4(Ipv4Addr::new(10, 0, 0, 1), None, soon())
            .await;
        let found = found.as_ref().map(|found| {
            let found = found.as_ref().unwrap();
            (found.names_address, found.ip_domain.as_deref())
        });
        assert_eq!(found.map_err(|error| *error), expected, "{body}");
    }
}

/// The same private address is somebody else's in another address space.
#[tokio::test]
async fn a_binding_is_of_the_ip_domain_that_was_asked_for() {
    let of_other = Err(Error::BadAnswer);
    for (asked, stated, expected) in [
        (Some("nat-a"), Some("nat-a"), Ok(Some("nat-a"))),
        (Some("nat-a"), None, Ok(None)),
        (Some("nat-a"), Some("some-other-domain"), of_other),
        (Some("nat-a"), Some("NAT-A"), of_other),
        (Some("nat-a"), Some(""), Ok(None)),
        (None, Some("nat-a"), Ok(Some("nat-a"))),
    ] {
        let mut body = serde_json::json!({"supi": SUPI, "ipv4Addr": "10.45.0.1"});
        if let Some(stated) = stated {
            body["ipDomain"] = stated.into();
        }
        let core = Core::start(move |_, _| Reply::json(200, body.to_string())).await;
        let found = bsf(&core)
            .pcf_binding_ipv4(Ipv4Addr::new(10, 45, 0, 1), asked, soon())
            .await;
        let found = found.as_ref().map_err(|error| *error);
        let found = found.map(|found| found.as_ref().unwrap().ip_domain.as_deref());
        assert_eq!(found, expected, "{asked:?} {stated:?}");
    }
}

/// Asked by an address in `2001:db8:1::/64`, in both dialects, and in the BSF's own words.
#[tokio::test]
async fn a_binding_is_of_the_prefix_that_holds_the_address() {
    use serde_json::json;
    let own = Ok(true);
    let of_other = Err(Error::BadAnswer);
    for (stated, expected) in [
        (json!({}), own),
        (json!({"ipv4Addr": "10.45.0.1"}), own),
        // What cannot be read beside what can, or says nothing.
        (json!({"ipv6Prefix": "", "ipv6FrameRouteList": [""]}), own),
        (
            json!({"ipv6Prefix": "x", "addIpv6Prefixes": ["", "2001:db8:1::/64"]}),
            own,
        ),
        (json!({"ipv6Prefix": null}), own),
        (json!({"ipv6Prefix": "2001:db8:1::/64"}), own),
        (json!({"ipv6Prefix": "2001:db8:1::7/64"}), own),
        (json!({"ipv6Prefix": "2001:db8:1::7/128"}), own),
        (json!({"ipv6Prefix": "2001:db8:1::7"}), own),
        (json!({"ipv6Prefix": "2001:db8::/32"}), own),
        (json!({"ipv6Prefix": "2001:db8:2::/64"}), of_other),
        (json!({"ipv6Prefix": "2001:db8:2::7"}), of_other),
        (json!({"ipv6Prefix": "2001:db8:1::/129"}), of_other),
        (json!({"ipv6Prefix": "10.45.0.0/16"}), of_other),
        (json!({"ipv6Prefix": 7}), of_other),
        (json!({"addIpv6Prefixes": ["2001:db8:1::/64"]}), own),
        (json!({"addIpv6Prefixes": ["2001:db8:2::/64"]}), of_other),
        (
            json!({"ipv6Prefix": "2001:db8:2::/64",
                "addIpv6Prefixes": ["2001:db8:3::/64", "2001:db8:1::/64"]}),
            own,
        ),
        (
            json!({"ipv6Prefix": "2001:db8:2::/64", "addIpv6Prefixes": ["2001:db8:3::/64"]}),
            of_other,
        ),
        // A network behind the device.
        (
            json!({"ipv6Prefix": "2001:db8:2::/64", "ipv6FrameRouteList": ["2001:db8:1::/48"]}),
            own,
        ),
    ] {
        for dialect in ["%2F128", "%2F64"] {
            let found = found_by("2001:db8:1::7", dialect, &stated).await;
            let found = found.map(|found| found.is_some());
            assert_eq!(found, expected, "{dialect} {stated}");
        }
    }
}

/// What is made of a binding that states this, at a BSF of this dialect.
async fn found_by(
    address: &str,
    dialect: &'static str,
    stated: &serde_json::Value,
) -> Result<Option<PcfBinding>, Error> {
    let mut body = stated.clone();
    body["supi"] = SUPI.into();
    let core = Core::start(move |asked, _| {
        if asked.path.ends_with(dialect) {
            Reply::json(200, body.to_string())
        } else {
            Reply::status(400)
        }
    })
    .await;
    let address = address.parse().unwrap();
    bsf(&core).pcf_binding_ipv6(address, soon()).await
}

/// Some PCFs register a /64 as its first address; asked for the address, it is the address that
/// counts.
#[tokio::test]
async fn a_binding_of_a_part_of_the_prefix_is_of_the_session_that_has_it() {
    use serde_json::json;
    let whole_session = Ok(Some(PcfBinding::Supi(supi())));
    let of_other = Err(Error::BadAnswer);
    for (stated, expected) in [
        (json!({"ipv6Prefix": "2001:db8:1::/128"}), &whole_session),
        (json!({"ipv6Prefix": "2001:db8:1::"}), &whole_session),
        (json!({"ipv6Prefix": "2001:db8:1::/80"}), &whole_session),
        (json!({"ipv6Prefix": "2001:db8:1::8/128"}), &of_other),
        (json!({"ipv6Prefix": "2001:db8:1:0:1::/80"}), &of_other),
        (
            json!({"addIpv6Prefixes": ["2001:db8:2::/128", "2001:db8:1::/128"]}),
            &whole_session,
        ),
        (json!({"ipv6Prefix": "2001:db8:2::/128"}), &of_other),
        // Behind the device there may be many networks.
        (
            json!({"ipv6FrameRouteList": ["2001:db8:1::/128"]}),
            &of_other,
        ),
    ] {
        for (dialect, expected) in [("%2F64", expected), ("%2F128", &of_other)] {
            let found = found_by("2001:db8:1:0:5::7", dialect, &stated).await;
            assert_eq!(&found, expected, "{dialect} {stated}");
        }
    }
}

/// The metrics show that what was answered was of no use.
#[tokio::test]
async fn bindings_of_another_domain_or_address_are_counted_as_bad_answers() {
    let core = Core::start(|asked, _| {
        let stated = if asked.path.contains("ipv6Prefix") {
            r#""ipv6Prefix":"2001:db8:2::/64""#
        } else {
            r#""ipDomain":"nat-b""#
        };
        Reply::json(200, format!(r#"{{"supi":"{SUPI}",{stated}}}"#))
    })
    .await;
    let (registry, metrics) = metrics();
    let bsf = Bsf::new(&Client::new(
        NfType::Bsf,
        vec![core.root()],
        &quick(),
        metrics,
    ));
    let address = Ipv4Addr::new(10, 0, 0, 1);
    let found = bsf.pcf_binding_ipv4(address, Some("nat-a"), soon()).await;
    assert_eq!(found, Err(Error::BadAnswer));
    let address = "2001:db8:1::7".parse().unwrap();
    let found = bsf.pcf_binding_ipv6(address, soon()).await;
    assert_eq!(found, Err(Error::BadAnswer));
    let text = prometheus::TextEncoder::new()
        .encode_to_string(&registry.gather())
        .unwrap();
    let line = r#"pei_bridge_core_calls_total{nf="BSF",operation="GetPCFBindings",outcome="bad_answer"} 2"#;
    assert!(text.contains(line), "{line} in\n{text}");
}

/// A core that leaves out some of what it is asked to tell is not taken at its word.
#[tokio::test]
async fn a_subscription_to_less_than_was_asked_for_is_none() {
    let wanted = Subscribing {
        correlation_id: "1-a",
        callback: "http://localhost/callback/sessions/1-a",
        expires: "2100-01-01T00:00:00Z".parse().unwrap(),
    };
    let all = r#"[{"event":"UE_IP_CH"},{"event":"PDU_SES_REL"},{"event":"PDU_SES_EST"}]"#;
    let some = r#"[{"event":"PDU_SES_EST"},{"event":"UE_IP_CH"}]"#;
    let sessions = |events: &str| format!(r#"{{"eventSubs":{events}}}"#);
    let equipment = |failed: &str| format!(r#"{{"eeSubscription":{{}}{failed}}}"#);
    let failed = |reference| {
        format!(r#","failedMonitoringConfigs":{{"{reference}":{{"failedCause":"x"}}}}"#)
    };
    for (body, is_smf, taken) in [
        ("{}".to_owned(), true, true),
        (sessions(all), true, true),
        (sessions(some), true, false),
        (sessions("[]"), true, false),
        (equipment(""), false, true),
        (equipment(&failed(2)), false, true),
        (equipment(&failed(1)), false, false),
    ] {
        let answer = body.clone();
        let core = Core::start(move |asked, _| match asked.method.as_str() {
            "POST" => Reply::json(201, answer.clone()).with("location", "/made/1"),
            _ => Reply::status(204),
        })
        .await;
        let made = if is_smf {
            let smf = Smf::new(&client(NfType::Smf, vec![core.root()], &quick()));
            smf.subscribe(&wanted, soon()).await.map(drop)
        } else {
            let udm = UdmEvents::new(&client(NfType::Udm, vec![core.root()], &quick()));
            udm.subscribe_equipment(&wanted, soon()).await.map(drop)
        };
        assert_eq!(made, if taken { Ok(()) } else { Err(Error::BadAnswer) });
        // It does not stay there.
        let asked = core.asked();
        let ended = asked.iter().any(|one| one.method == "DELETE");
        assert_eq!(ended, !taken, "{body}");
    }
}

/// A UDM need not keep the time that it was asked for, until it is asked again.
#[tokio::test]
async fn a_time_that_is_not_there_is_added() {
    for (options, op) in [
        ("{}", "add"),
        (r#"{"expiry":"2099-01-01T00:00:00Z"}"#, "replace"),
    ] {
        let core = Core::start(move |asked, _| match asked.method.as_str() {
            "POST" => {
                let made = format!(r#"{{"eeSubscription":{{"reportingOptions":{options}}}}}"#);
                Reply::json(201, made).with("location", "/made/1")
            }
            _ => Reply::status(204),
        })
        .await;
        let udm = UdmEvents::new(&client(NfType::Udm, vec![core.root()], &quick()));
        let expires = "2100-01-01T00:00:00Z".parse().unwrap();
        let wanted = Subscribing {
            correlation_id: "1-a",
            callback: "http://localhost/callback/equipment/1-a",
            expires,
        };
        let made = udm.subscribe_equipment(&wanted, soon()).await.unwrap();
        let renewed = udm.renew_equipment(&made, expires, soon()).await;
        assert_eq!(renewed, Ok(Renewal::Renewed(Some(expires))));
        let patch = core.asked().pop().unwrap();
        assert_eq!(patch.method, "PATCH");
        let expected = format!(
            r#"[{{"op":"{op}","path":"/reportingOptions/expiry","value":"2100-01-01T00:00:00Z"}}]"#
        );
        assert_eq!(patch.body, expected);
    }
}

#[tokio::test]
async fn answers_without_a_subscriber_are_counted() {
    let core = Core::start(|_, n| {
        if n == 0 {
            Reply::json(200, "{}")
        } else {
            Reply::status(204)
        }
    })
    .await;
    let (registry, metrics) = metrics();
    let client = Client::new(NfType::Bsf, vec![core.root()], &quick(), metrics);
    let bsf = Bsf::new(&client);
    for _ in 0..3 {
        let found = bsf
            .pcf_binding_ipv4(Ipv4Addr::new(10, 0, 0, 1), None, soon())
            .await;
        assert_eq!(found, Ok(None));
    }
    let text = prometheus::TextEncoder::new()
        .encode_to_string(&registry.gather())
        .unwrap();
    for line in [
        r#"pei_bridge_core_bindings_without_subscriber_total{status="200"} 1"#,
        r#"pei_bridge_core_bindings_without_subscriber_total{status="204"} 2"#,
        r#"pei_bridge_core_calls_total{nf="BSF",operation="GetPCFBindings",outcome="answered"} 3"#,
        r#"pei_bridge_core_connections{nf="BSF",state="ready"} 1"#,
    ] {
        assert!(text.contains(line), "{line} in\n{text}");
    }
}

/// How a BSF answers in each dialect: the status for /128 and for /64.
async fn dialects(address_status: u16, prefix_status: u16) -> (Core, Bsf) {
    let core = Core::start(move |asked, _| {
        let address = asked.path.ends_with("%2F128");
        match if address {
            address_status
        } else {
            prefix_status
        } {
            200 => Reply::json(200, format!(r#"{{"supi":"{SUPI}"}}"#)),
            status => Reply::status(status),
        }
    })
    .await;
    let bsf = bsf(&core);
    (core, bsf)
}

#[tokio::test]
async fn a_bsf_is_asked_in_both_dialects_until_one_has_found_something() {
    let address: Ipv6Addr = "2001:db8:85a3:8d3::1".parse().unwrap();
    let found = Ok(Some(PcfBinding::Supi(supi())));
    let refused = Err(Error::Refused { status: 400 });
    // Status by dialect, the result, and the requests that two questions make.
    for (address_status, prefix_status, expected, requests) in [
        (200, 400, found.clone(), 2),
        (200, 200, found.clone(), 2),
        (400, 200, found.clone(), 3),
        (404, 200, found.clone(), 3),
        (204, 200, found, 3),
        (404, 404, Ok(None), 4),
        (404, 400, Ok(None), 4),
        (400, 204, Ok(None), 4),
        (400, 400, refused, 4),
        (500, 200, Err(Error::BadAnswer), 2),
        (404, 500, Err(Error::BadAnswer), 4),
    ] {
        let (core, bsf) = dialects(address_status, prefix_status).await;
        for _ in 0..2 {
            let result = bsf.pcf_binding_ipv6(address, soon()).await;
            assert_eq!(result, expected, "{address_status} {prefix_status}");
        }
        assert_eq!(
            core.asked().len(),
            requests,
            "{address_status} {prefix_status}"
        );
    }
}

#[tokio::test]
async fn a_known_dialect_is_kept_whatever_comes() {
    let status = Arc::new(std::sync::atomic::AtomicU16::new(200));
    let now = Arc::clone(&status);
    let core = Core::start(move |asked, _| match asked.path.ends_with("%2F64") {
        true if now.load(std::sync::atomic::Ordering::SeqCst) == 200 => {
            Reply::json(200, format!(r#"{{"supi":"{SUPI}"}}"#))
        }
        true => Reply::status(now.load(std::sync::atomic::Ordering::SeqCst)),
        false => Reply::status(400),
    })
    .await;
    let bsf = bsf(&core);
    let address: Ipv6Addr = "2001:db8::1".parse().unwrap();
    assert!(
        bsf.pcf_binding_ipv6(address, soon())
            .await
            .unwrap()
            .is_some()
    );
    for (answer, expected) in [(404, Ok(None)), (400, Err(Error::Refused { status: 400 }))] {
        status.store(answer, std::sync::atomic::Ordering::SeqCst);
        assert_eq!(bsf.pcf_binding_ipv6(address, soon()).await, expected);
    }
    assert_eq!(core.asked().len(), 4);
}

#[tokio::test]
async fn what_the_upf_tells_leads_further_or_is_none() {
    let private = Some(Ipv4Addr::new(10, 45, 0, 1));
    for (reply, expected) in [
        (
            Reply::json(
                200,
                r#"{"privateIpv4Address":"10.45.0.1","ipDomain":"nat-a"}"#,
            ),
            Ok(Some((false, private, Some("nat-a".to_owned())))),
        ),
        (
            Reply::json(200, format!(r#"{{"supi":"{SUPI}"}}"#)),
            Ok(Some((true, None, None))),
        ),
        (Reply::json(200, r#"{"ipDomain":"nat-a"}"#), Ok(None)),
        (problem(404, "WHATEVER"), Ok(None)),
        (
            Reply::json(200, r#"{"privateIpv4Address":"10.45.0"}"#),
            Err(Error::BadAnswer),
        ),
        (Reply::status(403), Err(Error::Refused { status: 403 })),
    ] {
        let reply = std::sync::Mutex::new(Some(reply));
        let core = Core::start(move |_, _| reply.lock().unwrap().take().unwrap()).await;
        let info = upf(&core)
            .ue_ip_info(Ipv4Addr::new(84, 125, 93, 10), 59000, soon())
            .await;
        let read = info
            .map(|info| info.map(|info| (info.supi.is_some(), info.private_ipv4, info.ip_domain)));
        assert_eq!(read, expected);
    }
}

#[tokio::test]
async fn each_bsf_is_asked_in_its_own_dialect() {
    let of = |understood: &'static str| {
        Core::start(move |asked, _| {
            if asked.path.ends_with(understood) {
                Reply::json(200, r#"{"supi":"imsi-001010000000001"}"#)
            } else {
                Reply::status(404)
            }
        })
    };
    let bsfs = [of("%2F128").await, of("%2F64").await];
    let (registry, metrics) = metrics();
    let roots = bsfs.iter().map(Core::root).collect();
    let client = Client::new(NfType::Bsf, roots, &quick(), metrics);
    crate::core::eventually("both are connected", || crate::core::ready(&registry) == 2).await;
    let bsf = Bsf::new(&client);
    for _ in 0..20 {
        let address = "2001:db8:85a3:8d3::1".parse().unwrap();
        let found = bsf.pcf_binding_ipv6(address, soon()).await;
        assert!(matches!(found, Ok(Some(_))), "{found:?}");
    }
    for bsf in bsfs {
        assert!(!bsf.asked().is_empty());
    }
}
