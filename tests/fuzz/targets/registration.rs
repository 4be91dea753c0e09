//! What a UDM says of a registration: any bytes are a registration or an error.

#![no_main]

use adapters::udm::Registration;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|body: &[u8]| {
    if let Ok(registration) = Registration::from_json(body) {
        // Only the headers of an answer tell these.
        assert!(registration.date.is_none() && registration.max_age.is_none());
    }
});
