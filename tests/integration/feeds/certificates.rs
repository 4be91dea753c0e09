//! Notifications over TLS, from who shows a certificate of the core.

use pei_bridge::config::{ClientCertificates, ServerTls};
use serde_json::json;
use simcore::{Options, Simcore, Tls};

use super::support::{
    EQUIPMENT, FIRST, OTHER_IMEISV, OTHER_PEI, callback, feed, notification, path_of, report,
    until_live,
};
use crate::support::client::Connection;
use crate::support::control::Control;
use crate::support::{Bridge, Rig};
use crate::tls::authority::{Authority, Folder};
use crate::tls::support::Offer;

#[tokio::test]
async fn a_notification_without_a_certificate_of_the_core_is_refused() {
    let (folder, operator, others) = (
        Folder::new(),
        Authority::new("The operator"),
        Authority::new("Others"),
    );
    let (of_core, of_bridge) = (operator.issue(), operator.issue());
    let trusted = folder.write("operator.pem", &operator.pem());
    let options = Options {
        tls: Some(Tls {
            certificate: folder.write("core.pem", &of_core.certificate),
            key: folder.write("core.key", &of_core.key),
            client_ca: None,
        }),
        peer_ca: Some(trusted.clone()),
        ..Options::default()
    };
    let core = Simcore::start(options).await.unwrap();
    let root = format!("https://{}", core.core_addr());
    let mut config = crate::tls::support::config(&root);
    config.core.tls.ca_file = Some(trusted.clone());
    feed(&mut config, EQUIPMENT);
    config.callback.tls = Some(ServerTls {
        certificate_file: folder.write("bridge.pem", &of_bridge.certificate),
        key_file: folder.write("bridge.key", &of_bridge.key),
        client_certificates: ClientCertificates::Required,
        client_ca_file: Some(trusted),
    });
    let rig = Rig {
        bridge: Bridge::start(&config),
        control: Control(core.control_addr()),
        core,
    };
    until_live(&rig.bridge, EQUIPMENT).await;
    let path = path_of(&rig, "equipment").await;
    let stranger = others.issue_for(&["smf"]);
    let known = operator.issue_for(&["smf"]);
    let offers = [
        (None, false),
        (Some(&stranger), false),
        (Some(&known), true),
    ];
    let body = json!({"phoneNumber": "123456789"});
    for (identity, is_let_in) in offers {
        rig.ask(&body).await.is_imei("490154203237518");
        let offer = Offer {
            identity,
            ..Offer::new(&operator)
        };
        // With TLS 1.3, who is refused learns it when it asks.
        let answered = async {
            let stream = offer.connect(callback(&rig)).await.ok()?;
            let mut connection = Connection::tls(stream, callback(&rig)).await.ok()?;
            let answer = connection.try_send(&notification(&path, &report())).await;
            answer.ok().map(|answer| answer.status)
        };
        assert_eq!(answered.await, is_let_in.then_some(204));
    }
    assert_eq!(rig.ask(&body).await.json()["imeisv"], OTHER_IMEISV);
    // The core shows its own.
    let third = "imeisv-3529920912345602";
    assert_ne!(OTHER_PEI, third);
    rig.control.swap_device(FIRST, third).await;
    assert_eq!(rig.ask(&body).await.json()["imeisv"], third[7..]);
}
