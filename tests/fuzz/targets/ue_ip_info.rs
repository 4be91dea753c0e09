//! What a UPF says of a translated address: any bytes lead to a session, to nobody, or are an error.

#![no_main]

use adapters::upf::UeIpInfo;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|body: &[u8]| {
    if let Ok(Some(info)) = UeIpInfo::from_json(body) {
        assert!(info.supi.is_some() || info.gpsi.is_some() || info.private_ipv4.is_some());
    }
});
