//! Header values as text: total and within the limit; a value without encoded words is itself.
#![no_main]

use estafette_fuzz::{bounded, head};
use estafette_mime::{decode_words, field_values, fields, unfolded};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let (settings, _, value) = head(data);
    bounded(1024 * 1024 + 100 * value.len(), || {
        let limit = usize::from(settings);
        let whole = decode_words(value, usize::MAX);
        let cut = decode_words(value, limit);
        assert!(cut.len() <= limit && whole.starts_with(&*cut), "{whole:?} {cut:?}");
        // What is unfolded may bring `=` and `?` together.
        if let Ok(text) = String::from_utf8(unfolded(value))
            && !text.contains("=?")
        {
            assert_eq!(whole, text);
        }
        let total: usize = fields(value).map(|field| field.raw.len()).sum();
        assert!(total <= value.len());
        let _ = field_values(value, "subject").count();
    });
});
