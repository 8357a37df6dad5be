//! Bodies that something names and that are not here yet: a replica fetches them from another one.
//!
//! A log entry may name a body that everybody else has removed since, and the rows of a snapshot come before the bodies
//! that they name. The row of such a hash in `blob_ref` says that it is missing; references and holds stand beside it as
//! beside any other, and it is collected like any other. The commit that brings the body writes over that row.
//!
//! The store's own family has `0x05 ‖ hash` → version, and the length (u64 BE) where it is known: exactly for those
//! hashes, so that they are found without a walk over all bodies. Only the committer thread writes either row, so a body
//! that comes meanwhile comes wholly before or wholly after.

use rocksdb::{ReadOptions, Snapshot, WriteBatch};

use crate::body::{self, BodyHash, MISSING_VALUE};
use crate::collect::{Named, within};
use crate::database::Database;
use crate::error::Error;
use crate::family::Family;
use crate::key::{Key, prefix_range};

const MISSING: u8 = 0x05;
const VERSION: u8 = 1;

fn own_key(hash: &BodyHash) -> Vec<u8> {
    Key::new().u8(MISSING).bytes(&hash.0).build()
}

/// Notes that a body, of which there is no row, is to be fetched.
pub(crate) fn write(database: &Database, out: &mut WriteBatch, hash: &BodyHash, len: Option<u64>) {
    out.put_cf(database.handle(Family::BlobRef), hash.0, MISSING_VALUE);
    let value = len.map_or(vec![VERSION], |len| body::encode_u64(len).to_vec());
    out.put_cf(database.own(), own_key(hash), value);
}

/// It came, or nothing names it any more. The row in `blob_ref` is the caller's.
pub(crate) fn end(database: &Database, out: &mut WriteBatch, hash: &BodyHash) {
    out.delete_cf(database.own(), own_key(hash));
}

/// True if a body was listed to be fetched.
pub(crate) fn was_listed(
    database: &Database,
    snapshot: &Snapshot<'_>,
    hash: &BodyHash,
) -> Result<bool, Error> {
    let mut options = ReadOptions::default();
    options.set_snapshot(snapshot);
    Ok(database.db().get_pinned_cf_opt(database.own(), own_key(hash), &options)?.is_some())
}

/// Up to `limit` bodies to be fetched, in the order of their hashes, with their lengths where these are known. Those that
/// nothing names any more are left out: they wait to be collected, and nobody may have them.
pub(crate) fn list(
    database: &Database,
    after: Option<BodyHash>,
    limit: usize,
) -> Result<Vec<(BodyHash, Option<u64>)>, Error> {
    let mut range = prefix_range(&[MISSING]);
    if let Some(hash) = after {
        range.start = Key::new().bytes(&own_key(&hash)).u8(0).build();
    }
    let mut rows = database.db().raw_iterator_cf_opt(database.own(), within(range));
    rows.seek_to_first();
    let mut found = Vec::new();
    while let Some((key, value)) = rows.item().filter(|_| found.len() < limit) {
        let unreadable = || Error::damaged(format!("row {key:02x?}"), "unreadable name of a missing body");
        let (hash, len) = decode(key, value).ok_or_else(unreadable)?;
        if Named::look(database, &hash)?.is_some_and(|named| named.names.is_named()) {
            found.push((hash, len));
        }
        rows.next();
    }
    rows.status()?;
    Ok(found)
}

fn decode(key: &[u8], value: &[u8]) -> Option<(BodyHash, Option<u64>)> {
    let hash = BodyHash::from_slice(key.strip_prefix(&[MISSING])?)?;
    match value {
        [VERSION] => Some((hash, None)),
        value => Some((hash, Some(body::decode_u64(value)?))),
    }
}
