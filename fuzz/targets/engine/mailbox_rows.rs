//! Rows of mailboxes from a damaged store: nothing, or a value that can be written and read again.
#![no_main]
#![allow(dead_code)]

#[path = "../../../engine/mailbox/src/codec.rs"]
mod codec;
#[path = "../../../engine/mailbox/src/flags.rs"]
mod flags;
#[path = "../../../engine/mailbox/src/rows.rs"]
mod rows;

use libfuzzer_sys::fuzz_target;

macro_rules! round_trip {
    ($data:expr, $($row:ty),*) => {$(
        if let Some(row) = <$row>::decode($data) {
            assert_eq!(<$row>::decode(&row.encode()), Some(row));
        }
    )*};
}

fuzz_target!(|data: &[u8]| {
    estafette_fuzz::bounded(64 * 1024 + 100 * data.len(), || {
        round_trip!(
            data,
            rows::AccountRow,
            rows::NameRow,
            rows::MailboxRow,
            rows::MessageRow,
            rows::Delivered
        );
        round_trip!(data, flags::KeywordTable);
        for base in [0, 2048, u32::MAX] {
            let runs = |bytes: &[u8]| codec::Reader::new(bytes, 1).and_then(|reader| reader.runs(base));
            if let Some(uids) = runs(data) {
                let bytes = codec::Writer::new(1).runs(&uids, base).done();
                assert_eq!(runs(&bytes), Some(uids));
            }
        }
    });
});
