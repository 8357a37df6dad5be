//! Addresses and domains: whatever is taken can be said again, and means the same then.
#![no_main]

use estafette_types::{Address, Domain};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let Ok(text) = std::str::from_utf8(data) else { return };
    if let Ok(address) = Address::parse(text) {
        let said = address.to_string();
        assert_eq!(Address::parse(&said).as_ref(), Ok(&address), "{text:?} was said as {said:?}");
        assert_eq!(address.needs_smtputf8(), !address.local.as_str().is_ascii());
    }
    if let Ok(domain) = Domain::parse(text) {
        assert_eq!(Domain::parse(domain.as_str()).as_ref(), Ok(&domain), "{text:?}");
        assert_eq!(Domain::parse(&domain.to_ascii()).as_ref(), Ok(&domain), "{text:?} by its ASCII form");
        assert!(domain.to_ascii().is_ascii());
    }
});
