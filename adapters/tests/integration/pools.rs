//! Instances that come and go, send us elsewhere, or take long.

use std::time::Duration;

use adapters::sbi::{
    ApiRoot, Client, Delegation, Error, IdentityRange, Instance, NfType, OutlierSettings, Route,
    Scp, Serves, ServiceName, Services, Settings,
};
use adapters::udm::{AmfRegistration, Udm};
use device::{Supi, UeId};

use crate::core::{Asked, Core, Reply, client, eventually, metrics, quick, ready, soon};

const NONE: Result<AmfRegistration, Error> = Ok(AmfRegistration::Unspecified);

fn ue(supi: &str) -> UeId {
    Supi::parse(supi).unwrap().into()
}

async fn ask(udm: &Udm) -> Result<AmfRegistration, Error> {
    let ue = ue("imsi-001010000000001");
    udm.amf_3gpp_access_registration(&ue, soon()).await
}

async fn nobody() -> Core {
    Core::start(|_, _| Reply::status(404)).await
}

#[tokio::test]
async fn instances_come_and_go_with_their_requests_answered() {
    let first = Core::start(|_, n| match n {
        0 => Reply::Later(Duration::from_millis(200), Box::new(Reply::status(404))),
        _ => Reply::status(404),
    })
    .await;
    let second = nobody().await;
    let client = client(NfType::Udm, vec![first.root()], &quick());
    let udm = Udm::new(client.clone());
    let under_way = tokio::spawn({
        let udm = udm.clone();
        async move { ask(&udm).await }
    });
    eventually("it is under way", || first.asked().len() == 1).await;
    client.replace(vec![second.root().into()]);
    for _ in 0..5 {
        assert_eq!(ask(&udm).await, NONE);
    }
    assert_eq!(second.asked().len(), 5);
    assert_eq!(under_way.await.unwrap(), NONE);
    assert_eq!(first.asked().len(), 1);
    client.replace(Vec::new());
    assert_eq!(ask(&udm).await, Err(Error::Unreachable));
    client.replace(vec![first.root().into()]);
    assert_eq!(ask(&udm).await, NONE);
}

#[tokio::test]
async fn who_waits_for_an_instance_that_goes_does_not_wait_on() {
    // Takes connections and never says a word.
    let silent = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let root = format!("http://{}", silent.local_addr().unwrap());
    let settings = Settings {
        connect_timeout: Duration::from_mins(1),
        ..quick()
    };
    let client = client(NfType::Udm, vec![root.parse().unwrap()], &settings);
    let udm = Udm::new(client.clone());
    let waiting = tokio::spawn(async move { ask(&udm).await });
    tokio::task::yield_now().await;
    client.replace(Vec::new());
    assert_eq!(waiting.await.unwrap(), Err(Error::Unreachable));
}

#[tokio::test]
async fn a_subscription_is_asked_for_where_it_is_served() {
    let cores = [nobody().await, nobody().await];
    let range = |start: &str, end: &str| Serves {
        supis: vec![IdentityRange::Numbers {
            start: start.into(),
            end: end.into(),
        }]
        .into(),
        ..Serves::default()
    };
    let mut instances: Vec<Instance> = cores.iter().map(|core| core.root().into()).collect();
    instances[0].serves = range("001010000000001", "001010000000009").into();
    instances[1].serves = range("001010000000010", "001010000000019").into();
    let client = client(NfType::Udm, Vec::new(), &quick());
    client.replace(instances);
    let udm = Udm::new(client);
    for supi in [
        "imsi-001010000000003",
        "imsi-001010000000013",
        "imsi-001010000000005",
    ] {
        let answer = udm.amf_3gpp_access_registration(&ue(supi), soon()).await;
        assert_eq!(answer, NONE);
    }
    assert_eq!(cores.map(|core| core.asked().len()), [2, 1]);
}

#[tokio::test]
async fn a_subscription_is_not_asked_for_elsewhere_while_its_instance_is_gone() {
    let other = nobody().await;
    let mut instances: Vec<Instance> = vec![other.root().into()];
    instances.push(Instance {
        serves: Serves {
            supis: vec![IdentityRange::Numbers {
                start: "001010000000001".into(),
                end: "001010000000009".into(),
            }]
            .into(),
            ..Serves::default()
        }
        .into(),
        ..Instance::from("http://127.0.0.1:1".parse::<ApiRoot>().unwrap())
    });
    let client = client(NfType::Udm, Vec::new(), &quick());
    client.replace(instances);
    let udm = Udm::new(client);
    // It would say that there is no such subscription, and be wrong.
    let answer = ask(&udm).await;
    assert_eq!(answer, Err(Error::Unreachable));
    assert!(other.asked().is_empty());
}

#[tokio::test]
async fn each_service_is_asked_where_it_is() {
    let cores = [nobody().await, nobody().await];
    let at = |core: &Core, service| Instance {
        services: Services::NONE.with(service),
        ..core.root().into()
    };
    let client = client(NfType::Udm, Vec::new(), &quick());
    client.replace(vec![
        at(&cores[0], ServiceName::NudmUecm),
        at(&cores[1], ServiceName::NudmSdm),
    ]);
    let udm = Udm::new(client);
    assert_eq!(ask(&udm).await, NONE);
    let ue = ue("imsi-001010000000001");
    assert_eq!(udm.id_translation(&ue, soon()).await, Ok(None));
    let path = |core: &Core| {
        core.asked()
            .iter()
            .map(|asked| asked.path.clone())
            .collect::<Vec<_>>()
    };
    assert!(path(&cores[0])[0].starts_with("/nudm-uecm/"));
    assert!(path(&cores[1])[0].starts_with("/nudm-sdm/"));
}

#[tokio::test]
async fn a_redirection_is_followed_to_a_known_instance_and_nowhere_else() {
    for status in [307, 308] {
        let there = nobody().await;
        let elsewhere = there.root().to_string();
        let move_to = move |asked: &Asked, _| {
            let location = format!("{elsewhere}{}", asked.path);
            Reply::status(status).with("location", &location)
        };
        let here = Core::start(move_to).await;
        // Known, and never chosen by itself.
        let known = Instance {
            priority: 9,
            ..there.root().into()
        };
        let client = client(NfType::Udm, vec![here.root()], &quick());
        let udm = Udm::new(client.clone());
        assert_eq!(ask(&udm).await, Err(Error::Refused { status }));
        assert!(there.asked().is_empty());
        client.replace(vec![here.root().into(), known]);
        assert_eq!(ask(&udm).await, NONE);
        assert_eq!(there.asked()[0].path, here.asked()[0].path);
    }
}

#[tokio::test]
async fn a_circle_of_redirections_ends() {
    let address = crate::core::vacant().await;
    let builder = h2::server::Builder::new();
    let core = Core::start_at(address, builder, move |asked, _| {
        let location = format!("http://{address}{}", asked.path);
        Reply::status(307).with("location", &location)
    })
    .await;
    let udm = Udm::new(client(NfType::Udm, vec![core.root()], &quick()));
    assert_eq!(ask(&udm).await, Err(Error::Refused { status: 307 }));
    assert_eq!(core.asked().len(), 3);
}

#[tokio::test]
async fn a_second_instance_is_asked_when_the_first_takes_long() {
    let cores = [Core::start(|_, _| Reply::Hang).await, nobody().await];
    let settings = Settings {
        hedge_quantile: Some(0.9),
        ..quick()
    };
    let (registry, metrics) = metrics();
    let roots = cores.iter().map(Core::root).collect();
    let udm = Udm::new(Client::new(NfType::Udm, roots, &settings, metrics));
    eventually("both are connected", || ready(&registry) == 2).await;
    for _ in 0..10 {
        assert_eq!(ask(&udm).await, NONE);
    }
    let [hanging, answering] = cores.map(|core| core.asked().len());
    assert!(hanging > 0);
    assert_eq!(answering, 10);
}

#[tokio::test]
async fn nobody_is_asked_twice_for_taking_long() {
    let late = || Reply::Later(Duration::from_millis(300), Box::new(Reply::status(404)));
    let slow = || Core::start(move |_, _| late());
    let only = slow().await;
    let proxy = slow().await;
    let settings = Settings {
        hedge_quantile: Some(0.01),
        ..quick()
    };
    let (registry, metrics) = metrics();
    let scp = Scp::new(vec![proxy.root()], &settings, &metrics);
    let of = |root: ApiRoot, route| {
        let instances = vec![root.into()];
        let (settings, metrics) = (&settings, metrics.clone());
        Udm::new(Client::with(
            NfType::Udm,
            instances,
            route,
            None,
            settings,
            metrics,
        ))
    };
    let direct = of(only.root(), Route::Direct);
    let behind = of(only.root(), Route::Proxy(scp.clone()));
    let delegated = of(only.root(), Route::Delegated(scp, Delegation::default()));
    eventually("all are connected", || ready(&registry) == 1).await;
    for udm in [&direct, &behind, &delegated] {
        assert_eq!(ask(udm).await, NONE);
    }
    assert_eq!((only.asked().len(), proxy.asked().len()), (1, 2));
}

#[tokio::test]
async fn behind_an_scp_another_instance_is_asked_when_one_takes_long() {
    let proxy = Core::start(|_, n| match n {
        0 => Reply::Hang,
        _ => Reply::status(404),
    })
    .await;
    let settings = Settings {
        hedge_quantile: Some(0.9),
        ..quick()
    };
    let (_, metrics) = metrics();
    let scp = Scp::new(vec![proxy.root()], &settings, &metrics);
    let instances = ["http://192.0.2.1:1", "http://192.0.2.2:1"];
    let instances = instances.map(|root| root.parse::<ApiRoot>().unwrap().into());
    let (route, instances) = (Route::Proxy(scp), instances.to_vec());
    let udm = Client::with(NfType::Udm, instances, route, None, &settings, metrics);
    assert_eq!(ask(&Udm::new(udm)).await, NONE);
    let asked = proxy.asked();
    let [first, second] = [0, 1].map(|n| &asked[n].headers["3gpp-sbi-target-apiroot"]);
    assert_ne!(first, second);
}

#[tokio::test]
async fn a_fast_fault_does_not_win_over_a_slow_answer() {
    // Neither is ejected, so that each is asked first and second.
    let slow =
        Core::start(|_, _| Reply::Later(Duration::from_millis(400), Box::new(Reply::status(404))))
            .await;
    let failing =
        Core::start(|_, _| Reply::Later(Duration::from_millis(200), Box::new(Reply::status(500))))
            .await;
    let settings = Settings {
        hedge_quantile: Some(0.01),
        outlier: OutlierSettings {
            consecutive_failures: 0,
            ..OutlierSettings::default()
        },
        ..quick()
    };
    let (registry, metrics) = metrics();
    let roots = vec![slow.root(), failing.root()];
    let udm = Udm::new(Client::new(NfType::Udm, roots, &settings, metrics));
    eventually("both are connected", || ready(&registry) == 2).await;
    for _ in 0..4 {
        assert_eq!(ask(&udm).await, NONE);
    }
    assert_eq!((slow.asked().len(), failing.asked().len()), (4, 4));
}

#[tokio::test]
async fn an_instance_that_is_slow_is_left_alone() {
    // What fails after a long time is one bad answer, not two.
    let late = |reply| Reply::Later(Duration::from_millis(60), Box::new(reply));
    slow_is_left_alone_at_the_second_time(move || late(Reply::status(404))).await;
    let reset = move || late(Reply::Reset(h2::Reason::INTERNAL_ERROR));
    slow_is_left_alone_at_the_second_time(reset).await;
}

async fn slow_is_left_alone_at_the_second_time(reply: impl Fn() -> Reply + Send + Sync + 'static) {
    let slow = Core::start(move |_, _| reply()).await;
    let fast = nobody().await;
    let settings = Settings {
        outlier: OutlierSettings {
            consecutive_failures: 2,
            slow: Duration::from_millis(30),
            eject_for: Duration::from_mins(1),
            eject_max: Duration::from_mins(1),
        },
        ..quick()
    };
    let (registry, metrics) = metrics();
    let udm = Udm::new(Client::new(
        NfType::Udm,
        vec![slow.root(), fast.root()],
        &settings,
        metrics,
    ));
    eventually("both are connected", || ready(&registry) == 2).await;
    let mut answered = 0;
    for _ in 0..20 {
        answered += usize::from(ask(&udm).await == NONE);
    }
    assert!(answered >= 18, "{answered}");
    assert_eq!(slow.asked().len(), 2);
}
