//! The fields behind the addresses: a byte of type, two of length, a value. They are stepped over; the
//! checksum is checked.

use crate::Error;

/// CRC-32C of the whole header, computed with zeros in its own place.
pub(crate) const CRC32C: u8 = 0x03;
/// Type and length.
const HEAD_BYTES: usize = 3;

/// Checks that the fields from `at` on fill the header, and the checksum if there is one.
pub(crate) fn check_fields(header: &[u8], mut at: usize) -> Result<(), Error> {
    let mut rest = header.get(at..).ok_or(Error::TooShort)?;
    let mut summed = false;
    while !rest.is_empty() {
        let (&[kind, high, low], after) = rest.split_first_chunk::<HEAD_BYTES>().ok_or(Error::Field)?;
        let length = usize::from(u16::from_be_bytes([high, low]));
        let (value, after) = after.split_at_checked(length).ok_or(Error::Field)?;
        at += HEAD_BYTES;
        if kind == CRC32C {
            if summed || value != checksum(header, at).to_be_bytes() {
                return Err(Error::Checksum);
            }
            summed = true;
        }
        at += length;
        rest = after;
    }
    Ok(())
}

/// The checksum of a header that has room for it at `at`.
pub(crate) fn checksum(header: &[u8], at: usize) -> u32 {
    let before = crc32c::crc32c(header.get(..at).unwrap_or_default());
    let zeros = crc32c::crc32c_append(before, &[0; 4]);
    crc32c::crc32c_append(zeros, header.get(at + 4..).unwrap_or_default())
}
