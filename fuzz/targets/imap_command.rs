//! Commands: every frame gives a command or a fault; sets and partial ranges mean what they say.
#![no_main]

use bytes::BytesMut;
use estafette_fuzz::{bounded, head};
use estafette_imap::codec::Dialect;
use estafette_imap::codec::command::CommandBody;
use estafette_imap::codec::date::{Date, DateTime};
use estafette_imap::codec::framer::{Framed, Framer, Limits};
use estafette_imap::codec::parse;
use estafette_imap::codec::sequence::SequenceSet;
use libfuzzer_sys::fuzz_target;

fn check_set(set: &SequenceSet) {
    for last in [0, 1, 7, u32::MAX] {
        let Some(numbers) = set.resolve(last) else { continue };
        let ranges = numbers.ranges();
        assert!(ranges.iter().all(|(from, to)| 0 < *from && from <= to), "{ranges:?}");
        assert!(ranges.windows(2).all(|pair| u64::from(pair[0].1) + 1 < u64::from(pair[1].0)), "{ranges:?}");
        let len = ranges.iter().map(|(from, to)| u64::from(to - from) + 1).sum::<u64>();
        assert_eq!(numbers.len(), len);
        assert!(last == 0 || set.exceeds(last) == numbers.last().is_some_and(|number| number > last));
    }
}

fn check(body: &CommandBody) {
    match body {
        CommandBody::Fetch(fetch) => check_set(&fetch.set),
        CommandBody::Store(store) => check_set(&store.set),
        CommandBody::Copy { set, .. } | CommandBody::Move { set, .. } => check_set(set),
        CommandBody::Expunge(Some(set)) => check_set(set),
        _ => {}
    }
    assert!(!body.verb().is_empty());
}

fuzz_target!(|data: &[u8]| {
    let (settings, _, input) = head(data);
    let dialect = if settings & 1 == 0 { Dialect::Ascii } else { Dialect::Utf8 };
    bounded(1024 * 1024 + 200 * input.len(), || {
        let mut framer = Framer::new(Limits::after_login(1 << 20));
        let mut buffer = BytesMut::from(input);
        buffer.extend_from_slice(b"\r\n");
        loop {
            match framer.next(&mut buffer) {
                Framed::Incomplete | Framed::Fatal(_) | Framed::Part { .. } => break,
                Framed::Continue(_) | Framed::Refused(_) => {}
                Framed::Frame(frame) => match parse::command(&frame, dialect) {
                    Ok(command) => check(&command.body),
                    Err(error) => assert!(!error.fault.to_string().is_empty()),
                },
            }
        }
    });
    let _ = (parse::authenticate_response(input), parse::is_done(input));
    if let Ok(text) = std::str::from_utf8(input) {
        if let Some(date) = Date::parse(text) {
            assert_eq!(Date::from_days(date.days_since_epoch()), date);
        }
        if let Some(moment) = DateTime::parse(text) {
            assert_eq!(DateTime::parse(&moment.to_string()), Some(moment));
        }
    }
});
