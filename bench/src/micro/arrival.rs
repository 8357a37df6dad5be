//! Bytes as the front end hands them to a session.

use bytes::BytesMut;

/// What arrives with one read.
pub(super) const READ_BYTES: usize = 64 * 1024;

/// A text cut into what arrives with one read; one for each turn.
pub(super) fn arriving(text: &[u8], turns: usize) -> Vec<Vec<BytesMut>> {
    (0..turns).map(|_| text.chunks(READ_BYTES).map(BytesMut::from).collect()).collect()
}

/// What was read follows what is left; where nothing is, it is not copied.
pub(super) fn arrives(input: &mut BytesMut, read: BytesMut) {
    if input.is_empty() {
        *input = read;
    } else {
        input.extend_from_slice(&read);
    }
}
