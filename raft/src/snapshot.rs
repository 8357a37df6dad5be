//! Snapshot files: the whole state of a group at one index, in one file.
//!
//! Made only when a peer or an operator asks (see `docs/decisions/003-snapshots.md`). A file is written under a
//! temporary name, synced and renamed: what has its right name is whole. Layout, numbers big-endian:
//! magic ‖ version (u8) ‖ header length (u32) ‖ header ‖ rows ‖ 0 (u8) ‖ number of rows (u64) ‖ BLAKE3 of all before.
//! A row: range number + 1 (u8) ‖ key length (u32) ‖ value length (u32) ‖ key ‖ value.

use std::fs::{self, File};
use std::io::{self, BufReader, BufWriter, Read as _, Write};
use std::iter;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::sync_channel;

use estafette_storage::{Batch, Direction, Family, Read};
use serde::{Deserialize, Serialize};

use crate::codec::{self, Applied};
use crate::error::{Error, SnapshotError};
use crate::keys::{self, Meta};
use crate::log::Shared;
use crate::settings::ROOM_PAUSE;
use crate::state::Rows;
use crate::types::LogId;
use crate::{Checksum, GroupId, References};

pub(crate) type Ranges = Vec<(Family, Range<Vec<u8>>)>;

const MAGIC: &[u8; 8] = b"estasnap";
const VERSION: u8 = 1;
const END: u8 = 0;
const HASH_BYTES: u64 = 32;
/// Longest key or value that is believed.
const MAX_FIELD_BYTES: u32 = 256 << 20;
/// Longest header that is believed.
const MAX_HEADER_BYTES: u32 = 1 << 20;
/// Bytes of rows in one write while installing.
const INSTALL_BYTES: usize = 4 << 20;

#[derive(Serialize, Deserialize)]
struct Header {
    group: u32,
    applied: Vec<u8>,
    /// Name of the family, start and end of each range.
    ranges: Vec<(String, Vec<u8>, Vec<u8>)>,
}

/// The name of the file of a group at an index.
fn file_name(group: GroupId, applied: &Applied) -> String {
    let index = applied.log_id.map_or(0, |id| id.index);
    format!("{group}-{index}.snapshot")
}

/// Writes the file of a group's state and removes the group's older ones.
///
/// Blocks; rows are read from the view, so that the group goes on meanwhile.
pub(crate) fn write(folder: &Path, group: GroupId, rows: &Rows) -> Result<PathBuf, Error> {
    let path = folder.join(file_name(group, &rows.applied));
    let temporary = path.with_extension("tmp");
    let written = || -> Result<(), Failure> {
        fs::create_dir_all(folder)?;
        let file = write_rows(File::create(&temporary)?, group, rows)?;
        file.sync_all()?;
        fs::rename(&temporary, &path)?;
        sync_folder(folder)?;
        Ok(())
    };
    written().map_err(|failure| failure.at(&path))?;
    remove_older(folder, group, &path);
    Ok(path)
}

/// The same, one after the other for a group, with the file open: one that is written later removes it from the folder, and
/// not from under who still sends it.
pub(crate) fn write_in_turn(shared: &Shared, folder: &Path, rows: &Rows) -> Result<(PathBuf, File), Error> {
    let _turn = shared.snapshot_turn.lock();
    let path = write(folder, shared.group, rows)?;
    let file = File::open(&path).map_err(|error| Error::snapshot(&path, SnapshotError::from(error)))?;
    Ok((path, file))
}

/// An error of the disk or of the store; the path is added by who knows it.
enum Failure {
    File(SnapshotError),
    Store(Error),
}

impl Failure {
    fn at(self, path: &Path) -> Error {
        match self {
            Self::File(cause) => Error::snapshot(path, cause),
            Self::Store(error) => error,
        }
    }
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        Self::File(error.into())
    }
}

impl From<SnapshotError> for Failure {
    fn from(error: SnapshotError) -> Self {
        Self::File(error)
    }
}

impl From<estafette_storage::Error> for Failure {
    fn from(error: estafette_storage::Error) -> Self {
        Self::Store(error.into())
    }
}

/// A writer that hashes what goes through it.
struct Hashed<W> {
    to: W,
    hasher: blake3::Hasher,
}

impl<W: Write> Write for Hashed<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let count = self.to.write(bytes)?;
        self.hasher.update(bytes.get(..count).unwrap_or_default());
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.to.flush()
    }
}

fn length(field: &[u8]) -> Result<[u8; 4], SnapshotError> {
    u32::try_from(field.len())
        .ok()
        .filter(|length| *length <= MAX_FIELD_BYTES)
        .map(u32::to_be_bytes)
        .ok_or(SnapshotError::Damaged("a row is too long"))
}

fn write_rows(file: File, group: GroupId, rows: &Rows) -> Result<File, Failure> {
    let mut out = BufWriter::with_capacity(1 << 20, Hashed { to: file, hasher: blake3::Hasher::new() });
    let header = codec::encode(
        &Header {
            group: group.0,
            applied: codec::encode_applied(&rows.applied),
            ranges: rows
                .ranges
                .iter()
                .map(|(family, range)| (family.name().to_owned(), range.start.clone(), range.end.clone()))
                .collect(),
        },
        256,
    );
    out.write_all(MAGIC)?;
    out.write_all(&[VERSION])?;
    out.write_all(&length(&header)?)?;
    out.write_all(&header)?;
    let mut count = 0_u64;
    for (number, (family, range)) in (1_u8..=u8::MAX).zip(&rows.ranges) {
        #[cfg(feature = "planted")]
        if *family == Family::Queue && estafette_storage::planted::is("snapshot-without-queue") {
            continue;
        }
        for row in rows.view.scan(*family, range.clone(), Direction::Forward)? {
            let row = row?;
            out.write_all(&[number])?;
            out.write_all(&length(&row.key)?)?;
            out.write_all(&length(&row.value)?)?;
            out.write_all(&row.key)?;
            out.write_all(&row.value)?;
            count += 1;
        }
    }
    out.write_all(&[END])?;
    out.write_all(&count.to_be_bytes())?;
    let Hashed { mut to, hasher } = out.into_inner().map_err(io::IntoInnerError::into_error)?;
    to.write_all(hasher.finalize().as_bytes())?;
    Ok(to)
}

fn sync_folder(folder: &Path) -> io::Result<()> {
    File::open(folder)?.sync_all()
}

/// Removes other snapshots of the group; what cannot be removed now is tried again next time.
fn remove_older(folder: &Path, group: GroupId, keep: &Path) {
    let prefix = format!("{group}-");
    for file in fs::read_dir(folder).into_iter().flatten().flatten() {
        let name = file.file_name();
        let name = name.to_string_lossy();
        let of_group = name.strip_prefix(&prefix).is_some_and(|rest| {
            rest.trim_end_matches(|c: char| !c.is_ascii_digit()).bytes().all(|byte| byte.is_ascii_digit())
        });
        if of_group && file.path() != keep {
            let _ = fs::remove_file(file.path());
        }
    }
}

/// Takes a received file into the folder under its right name, if it is the snapshot of this entry. Blocks: all of it is read.
pub(crate) fn adopt(
    folder: &Path,
    group: GroupId,
    received: &Path,
    last: Option<&LogId>,
) -> Result<Reader, Error> {
    let reader = Reader::open(received, group)?;
    if reader.applied.log_id.as_ref() != last {
        let why = SnapshotError::Damaged("it is not the one that was announced");
        return Err(Error::snapshot(received, why));
    }
    let path = folder.join(file_name(group, &reader.applied));
    let moved = || -> io::Result<()> {
        fs::create_dir_all(folder)?;
        File::open(received)?.sync_all()?;
        if received != path {
            fs::rename(received, &path)?;
        }
        sync_folder(folder)
    };
    moved().map_err(|error| Error::snapshot(&path, error))?;
    Ok(Reader { path, ..reader })
}

/// Number of the range, key, value.
type FileRow = (usize, Vec<u8>, Vec<u8>);

/// A snapshot file whose checksum fits.
#[derive(Debug)]
pub(crate) struct Reader {
    file: BufReader<File>,
    pub(crate) path: PathBuf,
    pub(crate) applied: Applied,
    ranges: Vec<(String, Vec<u8>, Vec<u8>)>,
}

impl Reader {
    /// Opens a file, checks all of it, and reads the header.
    pub(crate) fn open(path: &Path, group: GroupId) -> Result<Self, Error> {
        Self::check(path, group).map_err(|cause| Error::snapshot(path, cause))
    }

    fn check(path: &Path, group: GroupId) -> Result<Self, SnapshotError> {
        let mut start = [0; MAGIC.len() + 1];
        let mut file = File::open(path)?;
        let total = file.metadata()?.len();
        let hashed = total.checked_sub(HASH_BYTES).ok_or(SnapshotError::Format)?;
        file.read_exact(&mut start).map_err(|_| SnapshotError::Format)?;
        if start.split_last() != Some((&VERSION, MAGIC)) {
            return Err(SnapshotError::Format);
        }
        let mut hasher = blake3::Hasher::new();
        hasher.update(&start);
        let rest = hashed.saturating_sub(start.len() as u64);
        io::copy(&mut BufReader::with_capacity(1 << 20, (&mut file).take(rest)), &mut hasher)?;
        let mut hash = [0; 32];
        file.read_exact(&mut hash).map_err(|_| SnapshotError::Damaged("it ends early"))?;
        if hasher.finalize() != hash {
            return Err(SnapshotError::Damaged("its checksum does not fit"));
        }
        let mut file = BufReader::with_capacity(1 << 20, File::open(path)?);
        file.read_exact(&mut start)?;
        let header = field(&mut file, MAX_HEADER_BYTES)?;
        let header: Header = codec::decode(&header).map_err(|_| SnapshotError::Format)?;
        if header.group != group.0 {
            return Err(SnapshotError::OtherGroup { found: GroupId(header.group), wanted: group });
        }
        let applied = codec::decode_applied(&header.applied).map_err(|_| SnapshotError::Format)?;
        Ok(Self { file, path: path.to_owned(), applied, ranges: header.ranges })
    }

    /// The next row.
    fn row(&mut self) -> Result<Option<FileRow>, SnapshotError> {
        let mut number = [0];
        self.file.read_exact(&mut number)?;
        let [number] = number;
        if number == END {
            return Ok(None);
        }
        let (mut key, mut value) = ([0; 4], [0; 4]);
        self.file.read_exact(&mut key)?;
        self.file.read_exact(&mut value)?;
        let key = exactly(&mut self.file, u32::from_be_bytes(key), MAX_FIELD_BYTES)?;
        let value = exactly(&mut self.file, u32::from_be_bytes(value), MAX_FIELD_BYTES)?;
        Ok(Some((usize::from(number) - 1, key, value)))
    }
}

fn field(file: &mut impl io::Read, limit: u32) -> Result<Vec<u8>, SnapshotError> {
    let mut length = [0; 4];
    file.read_exact(&mut length)?;
    exactly(file, u32::from_be_bytes(length), limit)
}

fn exactly(file: &mut impl io::Read, length: u32, limit: u32) -> Result<Vec<u8>, SnapshotError> {
    if length > limit {
        return Err(SnapshotError::Damaged("a length is out of bounds"));
    }
    let mut bytes = Vec::new();
    file.take(u64::from(length)).read_to_end(&mut bytes)?;
    if bytes.len() as u64 == u64::from(length) {
        Ok(bytes)
    } else {
        Err(SnapshotError::Damaged("it ends early"))
    }
}

/// Replaces the rows of `ranges` by those in the file. Not atomic: the caller has marked the group as being installed.
pub(crate) fn replace_rows(shared: &Shared, mut reader: Reader, ranges: &Ranges) -> Result<(), Error> {
    let damaged = |path: &Path, why| Error::snapshot(path, SnapshotError::Damaged(why));
    let families: Vec<(Family, Range<Vec<u8>>)> = reader
        .ranges
        .iter()
        .filter_map(|(name, start, end)| {
            let family = Family::ALL.into_iter().find(|family| family.name() == name)?;
            Some((family, start.clone()..end.clone()))
        })
        .collect();
    if &families != ranges {
        return Err(damaged(&reader.path, "it holds other ranges than the machine has"));
    }
    let mut batch = Batch::new();
    for (family, range) in ranges {
        batch.delete_range(*family, range.clone());
    }
    let mut bytes = 0;
    while let Some((number, key, value)) =
        reader.row().map_err(|cause| Error::snapshot(&reader.path, cause))?
    {
        let (family, _) = ranges
            .get(number)
            .filter(|(_, range)| key >= range.start && (range.end.is_empty() || key < range.end))
            .ok_or_else(|| damaged(&reader.path, "a row lies outside its range"))?;
        bytes += key.len() + value.len();
        batch.put(*family, key, value);
        if bytes >= INSTALL_BYTES {
            apply(shared, std::mem::take(&mut batch))?;
            bytes = 0;
        }
    }
    apply(shared, batch)
}

/// Makes the references of a machine's rows anew. Bodies that are not here are to be fetched. Blocks.
pub(crate) fn replace_references(shared: &Shared, references: Option<References>) -> Result<(), Error> {
    /// References on their way from who finds them to who counts them.
    const UNDER_WAY_MAX: usize = 4096;
    let Some(references) = references else { return Ok(()) };
    let view = shared.store.view();
    let (found, counted) = sync_channel(UNDER_WAY_MAX);
    let complete = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let (walk, complete) = (&references.walk, &complete);
        let walking = scope.spawn(move || {
            // Nobody counts any more after an error, which is told there.
            let walked = walk(&view, &mut |hash, len| drop(found.send(Ok((hash, len)))));
            complete.store(walked.is_ok(), Ordering::Release);
            walked
        });
        // A part of the references must not be taken for all of them: the bodies of the others would be collected.
        let broken_off = iter::once_with(|| complete.load(Ordering::Acquire));
        let broken_off =
            broken_off.filter(|complete| !complete).map(|_| Err(estafette_storage::Error::Closed));
        let rebuilt =
            shared.store.replace_references(references.scope, counted.into_iter().chain(broken_off));
        match walking.join() {
            Ok(Err(cause)) => Err(Error::Machine { group: shared.group, index: 0, cause: Arc::new(cause) }),
            Ok(Ok(())) => Ok(rebuilt.map(|_| ())?),
            Err(_) => Err(Error::Interrupted { group: shared.group }),
        }
    })
}

/// Writes a piece; waits for room on the disk.
fn apply(shared: &Shared, batch: Batch) -> Result<(), Error> {
    let mut written = shared.store.apply_batch(batch.clone());
    while shared.waits_for_room(&written) {
        std::thread::sleep(ROOM_PAUSE);
        written = shared.store.apply_batch(batch.clone());
    }
    Ok(written?)
}

/// The write that ends an installation.
pub(crate) fn installed(group: GroupId, applied: &Applied) -> Batch {
    let mut batch = Batch::new();
    batch.put(Family::RaftMeta, keys::meta(group, Meta::Applied), codec::encode_applied(applied));
    batch.delete(Family::RaftMeta, keys::meta(group, Meta::Installing));
    batch
}

/// The checksum of a group's state. Blocks.
pub(crate) fn checksum(rows: &Rows) -> Result<Checksum, Error> {
    let mut hasher = blake3::Hasher::new();
    let mut count = 0_u64;
    for (number, (family, range)) in (0_u64..).zip(&rows.ranges) {
        for row in rows.view.scan(*family, range.clone(), Direction::Forward)? {
            let row = row?;
            hasher.update(&number.to_be_bytes());
            hasher.update(&(row.key.len() as u64).to_be_bytes());
            hasher.update(&(row.value.len() as u64).to_be_bytes());
            hasher.update(&row.key);
            hasher.update(&row.value);
            count += 1;
        }
    }
    Ok(Checksum {
        index: rows.applied.log_id.map(|id| id.index),
        rows: count,
        hash: hasher.finalize().into(),
    })
}

#[cfg(test)]
mod tests {
    use estafette_storage::Store;
    use openraft::storage::RaftStateMachine;

    use super::*;
    use crate::counter::{self, Counter, command};
    use crate::log::Alive;
    use crate::state::{Source, StateMachine};
    use crate::types::SnapshotMeta;
    use crate::{Node, NodeId};

    const GROUP: GroupId = GroupId::shard(0);

    /// A snapshot file of a group with 500 rows, and the checksum of that group.
    async fn made(folder: &Path) -> (PathBuf, Checksum) {
        let (_store, node, group) = counter::one(folder, counter::settings(folder)).await;
        counter::propose_all(&group, 0..500).await;
        group.snapshot().await.unwrap();
        let sum = group.checksum().await.unwrap();
        node.shutdown().await;
        let path = folder.join("snapshots").join(format!("shard-0-{}.snapshot", sum.index.unwrap()));
        (path, sum)
    }

    fn machine(store: &Store, folder: &Path) -> Result<StateMachine, Error> {
        let settings = counter::settings(folder);
        let (shared, _log) = Shared::open(store, GROUP, &settings, Alive::new().0)?;
        StateMachine::open(shared, Box::new(Counter::new(7)), settings.snapshots, Alive::new().0)
    }

    fn meta(path: &Path) -> SnapshotMeta {
        let applied = Reader::open(path, GROUP).unwrap().applied;
        SnapshotMeta { last_log_id: applied.log_id, last_membership: applied.membership }
    }

    #[tokio::test]
    async fn an_installed_snapshot_is_the_same_state() {
        let (from, to) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let (path, sum) = made(from.path()).await;
        let store = counter::store(to.path());
        // A row that the snapshot does not have, and one beside the ranges.
        let mut batch = Batch::new();
        batch.put(Family::Row, Counter::key(7, 1 << 50), [9; 44]);
        batch.put(Family::Row, Counter::key(8, 1), [9; 44]);
        store.apply_batch(batch).unwrap();
        let mut state = machine(&store, to.path()).unwrap();
        state.install_snapshot(&meta(&path), Source::File(path.clone())).await.unwrap();
        assert_eq!(checksum(&state.rows()).unwrap(), sum);
        assert_eq!(state.applied_state().await.unwrap().0.map(|id| id.index), sum.index);
        assert!(store.read(Family::Row, &Counter::key(8, 1)).unwrap().is_some());
        assert!(!path.exists(), "it was taken over");
        drop(state);
        // And a node goes on from there.
        drop(store);
        let (store, node, group) = counter::one(to.path(), counter::settings(to.path())).await;
        assert_eq!(group.status().purged, sum.index);
        group.propose(command(7)).await.unwrap();
        assert_eq!(counter::count(&store, 7, 7), 2);
        node.shutdown().await;
    }

    #[tokio::test]
    async fn an_installation_that_was_cut_short_is_done_again() {
        let (from, to) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let (path, sum) = made(from.path()).await;
        let store = counter::store(to.path());
        let last = Reader::open(&path, GROUP).unwrap().applied.log_id.unwrap();
        let path = adopt(&to.path().join("snapshots"), GROUP, &path, Some(&last)).unwrap().path;
        let mut batch = Batch::new();
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        batch.put(Family::RaftMeta, keys::meta(GROUP, Meta::Installing), name);
        batch.put(Family::Row, Counter::key(7, 1 << 50), [9; 44]);
        store.apply_batch(batch).unwrap();
        let mut state = machine(&store, to.path()).unwrap();
        assert_eq!(checksum(&state.rows()).unwrap(), sum);
        assert!(store.read(Family::RaftMeta, &keys::meta(GROUP, Meta::Installing)).unwrap().is_none());
    }

    #[tokio::test]
    async fn damaged_and_foreign_files_are_refused() {
        let from = tempfile::tempdir().unwrap();
        let (path, _) = made(from.path()).await;
        let good = std::fs::read(&path).unwrap();
        let bad = from.path().join("bad");
        let cause = |bytes: &[u8], group| {
            std::fs::write(&bad, bytes).unwrap();
            match Reader::open(&bad, group).unwrap_err() {
                Error::Snapshot { cause, .. } => cause,
                other => panic!("{other}"),
            }
        };
        for place in (0..good.len()).step_by(101) {
            let mut bytes = good.clone();
            bytes[place] ^= 4;
            assert!(
                matches!(*cause(&bytes, GROUP), SnapshotError::Damaged(_) | SnapshotError::Format),
                "byte {place}"
            );
        }
        for length in [0, 5, 9, 12, 40, 41, good.len() / 2, good.len() - 1] {
            assert!(
                matches!(*cause(&good[..length], GROUP), SnapshotError::Damaged(_) | SnapshotError::Format),
                "length {length}"
            );
        }
        assert!(matches!(*cause(&good, GroupId::shard(3)), SnapshotError::OtherGroup { .. }));
        // Nothing of the machine's changed.
        let to = tempfile::tempdir().unwrap();
        let store = counter::store(to.path());
        let mut state = machine(&store, to.path()).unwrap();
        std::fs::write(&bad, &good[..good.len() - 3]).unwrap();
        assert!(state.install_snapshot(&meta(&path), Source::File(bad)).await.is_err());
        assert_eq!(state.applied_state().await.unwrap().0, None);
    }

    #[test]
    fn only_older_files_of_the_group_are_removed() {
        let folder = tempfile::tempdir().unwrap();
        let keep = folder.path().join("shard-1-30.snapshot");
        for name in [
            "shard-1-30.snapshot",
            "shard-1-7.snapshot",
            "shard-1-8.tmp",
            "shard-11-7.snapshot",
            "control-7.snapshot",
            "note",
        ] {
            std::fs::write(folder.path().join(name), "").unwrap();
        }
        remove_older(folder.path(), GroupId::shard(1), &keep);
        let mut left: Vec<_> = std::fs::read_dir(folder.path())
            .unwrap()
            .map(|file| file.unwrap().file_name().into_string().unwrap())
            .collect();
        left.sort();
        assert_eq!(left, ["control-7.snapshot", "note", "shard-1-30.snapshot", "shard-11-7.snapshot"]);
    }

    #[tokio::test]
    async fn a_file_that_cannot_be_written_is_an_error_and_the_group_goes_on() {
        let folder = tempfile::tempdir().unwrap();
        let mut settings = counter::settings(folder.path());
        std::fs::write(folder.path().join("occupied"), "").unwrap();
        settings.snapshots = folder.path().join("occupied");
        let node = Node::start(counter::store(folder.path()), NodeId(1), settings).unwrap();
        let group = node.open(GROUP, Box::new(Counter::new(7))).await.unwrap();
        group.ready().await.unwrap();
        assert!(matches!(group.snapshot().await, Err(Error::Snapshot { .. })));
        group.propose(command(1)).await.unwrap();
        node.shutdown().await;
    }
}
