//! Structures: every message has one, the same however it comes; parts lie within their parents; it
//! survives its encoding; IMAP can print it; texts and subsets of fields keep to their limits.
#![no_main]

use estafette_fuzz::{Dice, bounded, head, wire};
use estafette_imap::codec::Dialect;
use estafette_imap::codec::encode::Encoder;
use estafette_mime::{
    HeaderBlock, Kind, Select, Structure, decode_body, decode_text, decode_words, fields, select_fields,
};
use libfuzzer_sys::fuzz_target;

fn within(message: &[u8], start: u64, end: u64) -> &[u8] {
    &message[start as usize..end as usize]
}

fn check_parts(message: &[u8], structure: &Structure) {
    assert_eq!(structure.octets(), message.len() as u64);
    let mut seen = 0;
    let mut open: Vec<_> = structure.root().into_iter().collect();
    while let Some(part) = open.pop() {
        seen += 1;
        let children: Vec<_> = part.children().collect();
        assert!(part.kind != Kind::Single || children.is_empty());
        assert!(part.kind != Kind::Message || children.len() == 1);
        assert!(part.header_start <= part.body_start && part.body_start <= part.body_end);
        let body = within(message, part.body_start, part.body_end);
        assert_eq!(part.lines, body.iter().filter(|byte| **byte == b'\n').count() as u64);
        let mut end = part.body_start;
        for child in &children {
            assert_eq!(child.part().parent, Some(part.index()));
            assert!(end <= child.header_start && child.body_end <= part.body_end);
            end = child.body_end;
        }
        open.extend(children);
    }
    assert_eq!(seen, structure.parts().len());
}

fn check_texts(message: &[u8], structure: &Structure, dice: &mut Dice) {
    for part in structure.parts().iter().take(20) {
        let body = within(message, part.body_start, part.body_end);
        let limit = dice.below(300);
        let whole = decode_text(part, [body], limit);
        assert!(whole.text.len() <= limit);
        assert_eq!(decode_text(part, dice.cut(body), limit), whole);
        let bytes = decode_body(part.encoding.as_deref(), [body], limit);
        assert!(bytes.len() <= limit);
        assert_eq!(decode_body(part.encoding.as_deref(), dice.cut(body), limit), bytes);
        assert_eq!(
            decode_body(part.encoding.as_deref(), [body], usize::MAX).get(..bytes.len()),
            Some(&bytes[..])
        );
    }
}

fn check_header(message: &[u8], structure: &Structure) {
    let HeaderBlock::Kept(block) = structure.header() else { return };
    assert!(message.starts_with(block));
    let mut end = 0;
    for field in fields(block) {
        assert_eq!(field.raw.start, end);
        end = field.raw.end;
        assert!(decode_words(field.value(), 100).len() <= 100);
    }
    let rest = &block[end..];
    assert!(matches!(rest, b"" | b"\n" | b"\r\n"), "{rest:?}");
    let names = ["subject", "To", "content-type"];
    let named = select_fields(block, &names, Select::Named);
    let others = select_fields(block, &names, Select::NotNamed);
    let count = |block: &[u8]| fields(block).count();
    assert_eq!(count(&named) + count(&others), count(block));
    assert!(fields(&named).all(|field| names.iter().any(|name| field.is(name))));
}

fn check_print(structure: &Structure) {
    for dialect in [Dialect::Ascii, Dialect::Utf8] {
        let mut encoder = Encoder::new(dialect);
        let mut fetch = encoder.fetch(1);
        fetch.body_structure(structure);
        fetch.body(structure);
        fetch.envelope(structure);
        fetch.finish();
        assert_eq!(wire::imap_responses(&encoder.into_pieces().concat()).len(), 1);
    }
}

fuzz_target!(|data: &[u8]| {
    let (_, mut dice, message) = head(data);
    bounded(2 * 1024 * 1024 + 400 * message.len(), || {
        let structure = Structure::of([message]);
        assert_eq!(Structure::of(dice.cut(message)), structure);
        check_parts(message, &structure);
        check_texts(message, &structure, &mut dice);
        check_header(message, &structure);
        check_print(&structure);
        assert_eq!(Structure::decode(structure.encode()), Ok(structure));
    });
});
