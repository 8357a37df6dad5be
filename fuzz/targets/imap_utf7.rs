//! Modified UTF-7: every name can be written and read again; whatever is read has one written form.
#![no_main]

use estafette_imap::codec::command::Mailbox;
use estafette_imap::codec::utf7::{decode, encode};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    if let Some(name) = decode(data) {
        assert_eq!(decode(encode(&name).as_bytes()).as_ref(), Some(&name));
    }
    if let Ok(name) = std::str::from_utf8(data) {
        let wire = encode(name);
        assert!(wire.bytes().all(|byte| matches!(byte, b' '..=b'~')));
        assert_eq!(decode(wire.as_bytes()).as_deref(), Some(name));
        if let Some(mailbox) = Mailbox::new(name) {
            assert_eq!(Mailbox::new(mailbox.as_str()).as_ref(), Some(&mailbox));
        }
    }
});
