//! The body of a request: any bytes are a query with at least one identifier, or an error.

#![no_main]

use libfuzzer_sys::fuzz_target;
use pei_bridge::api::device_json;

fuzz_target!(|body: &[u8]| {
    if let Ok(query) = device_json::parse(body) {
        assert!(
            query.phone_number.is_some()
                || query.network_access_identifier.is_some()
                || query.ipv6_address.is_some()
                || query.ipv4_address.is_some()
        );
    }
});
