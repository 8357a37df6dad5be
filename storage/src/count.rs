//! Counters as values: a version byte and an i64, summed by the merge operator.

const VERSION: u8 = 1;

/// Length of an encoded counter.
pub(crate) const COUNT_BYTES: usize = 9;

/// A counter as it stands on disk, also as the operand of a merge.
#[must_use]
pub fn encode(count: i64) -> [u8; COUNT_BYTES] {
    let [a, b, c, d, e, f, g, h] = count.to_be_bytes();
    [VERSION, a, b, c, d, e, f, g, h]
}

/// Reads what [`encode`] made; `None` if it is anything else.
#[must_use]
pub fn decode(value: &[u8]) -> Option<i64> {
    let (version, rest) = value.split_first()?;
    if *version != VERSION {
        return None;
    }
    rest.try_into().ok().map(i64::from_be_bytes)
}
