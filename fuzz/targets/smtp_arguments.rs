//! The arguments of MAIL, RCPT and BDAT, replies, and xtext: total; what was read can be said again.
#![no_main]

use bytes::BytesMut;
use estafette_fuzz::head;
use estafette_smtp::codec::{
    ReplyReader, chunk, forward_path, mail, original_recipient, recipient, reverse_path, split_path,
    xtext_decode, xtext_encode,
};
use estafette_smtp::{REPLY_LINES_MAX, Reply};
use estafette_types::{EnhancedStatus, ForwardPath, ReversePath};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let (settings, _, input) = head(data);
    let text = String::from_utf8_lossy(input);
    if let Ok(envelope) = mail(&text, settings & 1 != 0) {
        assert!(envelope.recipients.is_empty());
        let path = match &envelope.reverse_path {
            ReversePath::Null => String::new(),
            ReversePath::Address(address) => address.to_string(),
        };
        let again = mail(&format!("FROM:<{path}> SMTPUTF8"), false).map(|found| found.reverse_path);
        assert_eq!(again.as_ref(), Ok(&envelope.reverse_path), "{text:?}");
        for text in [&envelope.dsn_envelope_id, &envelope.auth].into_iter().flatten() {
            assert_eq!(xtext_decode(&xtext_encode(text)).as_ref(), Some(text));
        }
    }
    if let Ok(found) = recipient(&text, settings & 2 != 0) {
        let again = recipient(&format!("TO:<{}>", found.path), true).map(|again| again.path);
        assert_eq!(again.as_ref(), Ok(&found.path), "{text:?}");
        assert!(found.original.iter().all(|(_, text)| !text.chars().any(char::is_control)));
    }
    if let Some((inner, _)) = split_path(&text) {
        let both = (reverse_path(inner), forward_path(inner));
        if let (Ok(ReversePath::Address(one)), Ok(ForwardPath::Address(two))) = both {
            assert_eq!(one, two);
        }
    }
    let _ = (chunk(&text), original_recipient(&text));
    if let Some(status) = EnhancedStatus::parse(&text) {
        assert_eq!(EnhancedStatus::parse(&status.to_string()), Some(status));
    }
    if !text.chars().any(char::is_control) {
        assert_eq!(xtext_decode(&xtext_encode(&text)).as_deref(), Some(&*text));
    }
    reply(&text, settings);
});

/// Whatever text is put in, one reply leaves, and it can be read.
fn reply(text: &str, settings: u8) {
    let code = [200, 250, 334, 354, 421, 451, 550, 599][usize::from(settings % 8)];
    let reply = match settings & 8 {
        0 => Reply::bare(code, text.to_owned()),
        _ => Reply::new(code, ((code / 100) as u8, 7, u16::from(settings)), text.to_owned()),
    };
    let mut wire = BytesMut::new();
    reply.encode(&mut wire);
    estafette_fuzz::wire::assert_line_ends(&wire);
    let read = ReplyReader::default().take(&mut wire).expect("our own reply").expect("a whole reply");
    assert!(wire.is_empty(), "more than one reply");
    assert_eq!(read.code, code);
    assert!(read.text.lines().count() <= REPLY_LINES_MAX);
}
