//! The body of a request, by the rules of every version: any bytes are a request, whose device has
//! at least one identifier, or an error.

#![no_main]

use libfuzzer_sys::fuzz_target;
use pei_bridge::api::{Version, request_json};

fuzz_target!(|body: &[u8]| {
    for version in Version::all() {
        for operation in version.operations() {
            if let Ok(request) = request_json::parse(version, *operation, body) {
                assert!(request.device.is_none_or(|device| device.identifiers() > 0));
            }
        }
    }
});
