//! Encoded structures from a damaged cache: an error, or a structure that can be walked and encoded.
#![no_main]

use bytes::Bytes;
use estafette_fuzz::bounded;
use estafette_mime::Structure;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    bounded(1024 * 1024 + 400 * data.len(), || {
        let Ok(structure) = Structure::decode(Bytes::copy_from_slice(data)) else { return };
        let mut seen = 0;
        let mut open: Vec<_> = structure.root().into_iter().collect();
        while let Some(part) = open.pop() {
            seen += 1;
            open.extend(part.children());
        }
        assert_eq!(seen, structure.parts().len());
        for numbers in [&[][..], &[1], &[1, 1], &[2, 1, 1]] {
            let _ = structure.section(numbers);
        }
        assert_eq!(Structure::decode(structure.encode()), Ok(structure));
    });
});
