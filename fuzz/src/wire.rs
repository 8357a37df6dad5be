//! What every text on the wire must be.

/// Every CR has its LF and every LF its CR; the last line may lack both.
pub fn assert_line_ends(said: &[u8]) {
    let mut last = 0;
    for (at, byte) in said.iter().enumerate() {
        let near = || String::from_utf8_lossy(&said[at.saturating_sub(80)..at + 1]).into_owned();
        assert!(*byte != b'\n' || last == b'\r', "LF without CR: {:?}", near());
        assert!(last != b'\r' || *byte == b'\n', "CR without LF: {:?}", near());
        last = *byte;
    }
    assert!(last != b'\r', "CR at the end");
}
