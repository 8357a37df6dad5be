//! Removing bodies that nothing names.
//!
//! A body that loses a hold or a reference is written down as a candidate, without a look at its
//! counters. A round looks at candidates older than the grace period and removes those that have no
//! reference and no hold. Rounds run on the committer thread alone, between commits, so a commit that
//! brings the same body again comes wholly before or wholly after.
//!
//! The store's own family has `0x02 ‖ time (u64 BE, ms) ‖ hash`: candidates in the order of time.
//! `blob_ref` has the time of the last one for each hash; an older candidate of the same body is void.

use std::collections::HashSet;
use std::ops::Range;

use rocksdb::{ReadOptions, WriteBatch};

use crate::body::{self, BodyHash, CANDIDATE_SCOPE, HOLD_SCOPE, Known, Place, Stored};
use crate::count;
use crate::database::Database;
use crate::error::Error;
use crate::family::Family;
use crate::key::{Key, prefix_range, successor};
use crate::missing;
use crate::stage;

const CANDIDATE: u8 = 0x02;
const VALUE: [u8; 1] = [1];

/// What a round did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Collected {
    /// Candidates looked at.
    pub examined: usize,
    /// Bodies removed.
    pub bodies: usize,
    /// Bytes of these bodies.
    pub bytes: u64,
    /// True if the limit was reached: there may be more.
    pub more: bool,
}

/// The same, with the places of the bodies and their bytes.
pub(crate) struct Done {
    pub(crate) collected: Collected,
    pub(crate) emptied: Vec<(Place, u64)>,
}

/// Writes down that a body may have lost its last name.
pub(crate) fn write_candidate(database: &Database, out: &mut WriteBatch, hash: &BodyHash, now_ms: u64) {
    out.put_cf(database.handle(Family::BlobRef), body::candidate_key(hash), body::encode_u64(now_ms));
    out.put_cf(database.own(), candidate(now_ms, hash), VALUE);
}

fn candidate(time_ms: u64, hash: &BodyHash) -> Vec<u8> {
    Key::new().u8(CANDIDATE).u64(time_ms).bytes(&hash.0).build()
}

/// One round: looks at up to `limit` candidates from before `until_ms`; the writes are left to the caller. `owned`: bodies
/// that commits on their way may name; they stay candidates, and do not keep others from being looked at.
pub(crate) fn round(
    database: &Database,
    until_ms: u64,
    limit: usize,
    owned: &HashSet<BodyHash>,
    out: &mut WriteBatch,
) -> Result<Done, Error> {
    let (mut done, mut emptied) = (Collected::default(), Vec::new());
    let range = vec![CANDIDATE]..Key::new().u8(CANDIDATE).u64(until_ms.saturating_add(1)).build();
    let mut rows = database.db().raw_iterator_cf_opt(database.own(), within(range));
    rows.seek_to_first();
    while let Some(key) = rows.key() {
        let candidate = parse(key);
        if candidate.is_some_and(|(_, hash)| owned.contains(&hash)) {
            rows.next();
            continue;
        }
        if done.examined == limit {
            done.more = true;
            break;
        }
        done.examined += 1;
        if let Some((time_ms, hash)) = candidate
            && let Some(named) = Named::look(database, &hash)?
            && !named.names.is_named()
            && named.names.candidate_ms.is_none_or(|last| last == time_ms)
        {
            remove_rows(database, out, &hash)?;
            if let Some(stored) = named.stored {
                remove_chunks(database, out, &hash, &stored);
                done.bodies += 1;
                done.bytes += stored.len;
                emptied.push((stored.place, stored.len));
            } else {
                missing::end(database, out, &hash);
            }
        }
        out.delete_cf(database.own(), key);
        rows.next();
    }
    rows.status()?;
    Ok(Done { collected: done, emptied })
}

fn parse(key: &[u8]) -> Option<(u64, BodyHash)> {
    let (time, hash) = key.strip_prefix(&[CANDIDATE])?.split_first_chunk::<8>()?;
    Some((u64::from_be_bytes(*time), BodyHash::from_slice(hash)?))
}

/// What names a body.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Named {
    /// `None` if it is missing.
    pub(crate) stored: Option<Stored>,
    pub(crate) names: Names,
}

/// Those of its names that are not its row.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Names {
    /// Scope and number, zeros left out.
    pub(crate) references: Vec<(u32, i64)>,
    pub(crate) holds: usize,
    pub(crate) candidate_ms: Option<u64>,
}

impl Named {
    /// Reads all rows of a body in `blob_ref`; `None` if it is neither stored nor missing.
    pub(crate) fn look(database: &Database, hash: &BodyHash) -> Result<Option<Named>, Error> {
        let handle = database.handle(Family::BlobRef);
        let mut rows = database.db().raw_iterator_cf_opt(handle, within(prefix_range(&hash.0)));
        rows.seek_to_first();
        let (mut known, mut names) = (Known::Nothing, Names::default());
        while let Some((key, value)) = rows.item() {
            let rest = key.get(hash.0.len()..).unwrap_or_default();
            if rest.is_empty() {
                known = Known::decode(hash, value).ok_or_else(|| unreadable(hash))?;
            } else {
                names.take(rest, value).ok_or_else(|| unreadable(hash))?;
            }
            rows.next();
        }
        rows.status()?;
        Ok((known != Known::Nothing).then(|| Named { stored: known.stored(), names }))
    }
}

impl Names {
    /// Takes in a row of `blob_ref`, by what follows the hash in its key.
    pub(crate) fn take(&mut self, rest: &[u8], value: &[u8]) -> Option<()> {
        let scope = u32::from_be_bytes(*rest.first_chunk::<4>()?);
        match scope {
            HOLD_SCOPE => self.holds += 1,
            CANDIDATE_SCOPE => self.candidate_ms = Some(body::decode_u64(value)?),
            scope => match count::decode(value)? {
                0 => {}
                number => self.references.push((scope, number)),
            },
        }
        Some(())
    }

    /// A negative number counts as a name: it is a fault that `verify` reports, no reason to remove mail.
    pub(crate) fn is_named(&self) -> bool {
        self.holds > 0 || !self.references.is_empty()
    }
}

fn unreadable(hash: &BodyHash) -> Error {
    Error::damaged(format!("body {hash}"), "unreadable references")
}

/// Removes the bytes of a body, wherever they are.
pub(crate) fn remove_chunks(database: &Database, out: &mut WriteBatch, hash: &BodyHash, stored: &Stored) {
    for number in 0..body::chunks(stored.len) {
        out.delete_cf(database.handle(Family::Blob), body::chunk_key(&stored.place, number));
    }
    if stored.place != Place::from(*hash) {
        out.delete_cf(database.own(), stage::own_key(stage::PLACED, &stored.place));
    }
}

/// Removes all rows whose keys begin with the hash of a body.
fn remove_rows(database: &Database, out: &mut WriteBatch, hash: &BodyHash) -> Result<(), Error> {
    for family in [Family::BlobRef, Family::Structure] {
        let handle = database.handle(family);
        let mut rows = database.db().raw_iterator_cf_opt(handle, within(hash.0.to_vec()..successor(&hash.0)));
        rows.seek_to_first();
        while let Some(key) = rows.key() {
            out.delete_cf(handle, key);
            rows.next();
        }
        rows.status()?;
    }
    Ok(())
}

pub(crate) fn within(range: Range<Vec<u8>>) -> ReadOptions {
    let mut options = ReadOptions::default();
    options.set_iterate_lower_bound(range.start);
    if !range.end.is_empty() {
        options.set_iterate_upper_bound(range.end);
    }
    options
}
