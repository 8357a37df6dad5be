//! PROXY protocol: what is said of the first bytes of a connection is said of all that begin with them, and
//! what was understood can be written and means the same then.
#![no_main]

use estafette_proxy::{HEADER_MAX_BYTES, Parsed, header, parse};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let whole = parse(data);
    // Every length up to some, then a few: headers are judged within their first bytes.
    let ends = (0..data.len()).filter(|end| *end < 300 || end % 97 == 0);
    for end in ends {
        match parse(&data[..end]) {
            Ok(Parsed::Partial { wanted_bytes }) => {
                assert!(wanted_bytes > end && wanted_bytes <= HEADER_MAX_BYTES);
                if let Ok(Parsed::Header { bytes, .. }) = whole {
                    assert!(wanted_bytes <= bytes, "it would have read what is the client's");
                }
            }
            early => assert_eq!(early, whole, "after {end} bytes"),
        }
    }
    let Ok(Parsed::Header { bytes, addresses }) = whole else { return };
    assert!(bytes <= data.len());
    let said = header(addresses.as_ref());
    assert_eq!(parse(&said), Ok(Parsed::Header { bytes: said.len(), addresses }));
});
