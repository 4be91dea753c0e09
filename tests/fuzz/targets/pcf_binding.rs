//! What a BSF says of a session: any bytes are a binding or an error.

#![no_main]

use adapters::bsf::PcfBinding;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|body: &[u8]| {
    if let Ok(Some(binding)) = PcfBinding::from_json(body) {
        assert!(binding.supi().is_some() || binding.gpsi().is_some());
    }
});
