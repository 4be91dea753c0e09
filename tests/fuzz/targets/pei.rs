//! A PEI: any text is equipment or an error, and an IMEI has 15 digits that pass the Luhn check.

#![no_main]

use device::Pei;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    let Ok(pei) = Pei::parse(text) else {
        return;
    };
    if let Some(imei) = pei.imei() {
        let digits = imei.reveal().to_string();
        assert_eq!(digits.len(), 15);
        assert!(passes_luhn(&digits));
        assert!(digits.starts_with(&imei.tac().to_string()));
        // What follows the prefix of the text, but for the check digit.
        assert!(text.contains(&digits[..14]));
    }
    if let Some(imeisv) = pei.imeisv() {
        assert_eq!(text, format!("imeisv-{}", imeisv.reveal()));
    }
});

fn passes_luhn(digits: &str) -> bool {
    let sum: u32 = digits
        .chars()
        .rev()
        .zip([1, 2].into_iter().cycle())
        .filter_map(|(digit, weight)| Some(digit.to_digit(10)? * weight))
        .map(|product| product / 10 + product % 10)
        .sum();
    sum.is_multiple_of(10)
}
