//! A configuration: any text is one or an error, and one that is valid survives being printed, as
//! `check` prints it, and read again.

#![no_main]

use libfuzzer_sys::fuzz_target;
use pei_bridge::config::Config;

fuzz_target!(|text: &str| {
    let Ok(config) = toml::from_str::<Config>(text) else {
        return;
    };
    if config.validate().is_ok() {
        let printed = config
            .to_toml()
            .expect("a valid configuration can be printed");
        let again: Config = toml::from_str(&printed).expect("what was printed can be read");
        assert_eq!(again, config);
    }
});
