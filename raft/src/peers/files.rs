//! Snapshot files on their way between nodes.
//!
//! A file is sent part by part, each answered before the next, so the receiver sets the pace. What was not finished goes
//! with the next start, or when its sender is silent for too long.

use std::collections::HashMap;
use std::fs::{self, File};
use std::io::Write;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use estafette_storage::Store;
use parking_lot::Mutex;
use tokio::time::Instant;

use super::Hub;
use super::wire::{Ask, Refused, SnapshotPart, Told};
use crate::blocking::blocking;
use crate::codec::VoteRow;
use crate::{GroupId, Lane, NodeId, Unreached};

/// Bytes of one part.
const PART_BYTES: usize = 1 << 20;
/// Files that may come at once.
const FILES_MAX: usize = 64;
/// How long a file waits for its next part.
const PART_WAIT: Duration = Duration::from_secs(60);
/// What the name of a file begins with while it comes.
const COMING: &str = "incoming-";

/// Files that come, by who sends them and the number of the transfer.
pub(crate) struct Files {
    folder: PathBuf,
    coming: Mutex<HashMap<(NodeId, u64), Coming>>,
}

struct Coming {
    file: File,
    path: PathBuf,
    bytes: u64,
    since: Instant,
}

impl Drop for Coming {
    /// Whoever takes the file over has renamed it by then.
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.path);
    }
}

/// A file that came whole. Removed when this goes, unless it was moved.
pub(crate) struct Received(Coming);

impl Received {
    pub(crate) fn path(&self) -> &Path {
        &self.0.path
    }
}

impl Files {
    /// In this folder; what did not come whole before the last stop is removed.
    pub(crate) fn new(folder: PathBuf) -> Files {
        for file in fs::read_dir(&folder).into_iter().flatten().flatten() {
            if file.file_name().to_string_lossy().starts_with(COMING) {
                let _ = fs::remove_file(file.path());
            }
        }
        Files { folder, coming: Mutex::default() }
    }

    /// Where snapshots lie.
    pub(crate) fn folder(&self) -> &Path {
        &self.folder
    }

    /// Adds a part; gives the file when it was the last. Blocks.
    pub(crate) fn add(
        &self,
        from: NodeId,
        group: GroupId,
        part: &SnapshotPart,
        bytes: &[u8],
    ) -> Result<Option<Received>, Refused> {
        let SnapshotPart { transfer, offset, last, .. } = *part;
        let mut coming = self.take(from, group, transfer, offset)?;
        let written = coming.file.write_all(bytes);
        if let Err(error) = written {
            tracing::warn!(%group, %from, %error, "a snapshot that comes cannot be written");
            return Err(Refused::Storage);
        }
        coming.bytes += bytes.len() as u64;
        coming.since = Instant::now();
        if last {
            return Ok(Some(Received(coming)));
        }
        self.coming.lock().insert((from, transfer), coming);
        Ok(None)
    }

    fn take(&self, from: NodeId, group: GroupId, transfer: u64, offset: u64) -> Result<Coming, Refused> {
        let mut all = self.coming.lock();
        all.retain(|_, coming| coming.since.elapsed() < PART_WAIT);
        if offset > 0 {
            let coming = all.remove(&(from, transfer)).filter(|coming| coming.bytes == offset);
            return coming.ok_or(Refused::Unknown);
        }
        if all.len() >= FILES_MAX {
            return Err(Refused::Storage);
        }
        let path = self.folder.join(format!("{COMING}{group}-{from}-{transfer:016x}"));
        let made = fs::create_dir_all(&self.folder).and_then(|()| File::create(&path));
        let file = made.map_err(|_| Refused::Storage)?;
        Ok(Coming { file, path, bytes: 0, since: Instant::now() })
    }
}

impl Hub {
    /// Sends a snapshot file; gives the vote of the receiver once it has installed it.
    ///
    /// # Errors
    /// The peer does not answer, or does not take it; the file cannot be read.
    pub(crate) async fn send_file(
        &self,
        to: NodeId,
        group: GroupId,
        vote: VoteRow,
        file: File,
    ) -> Result<VoteRow, Unsent> {
        let file = Arc::new(file);
        let mut number = [0; 8];
        getrandom::fill(&mut number).map_err(|_| Unsent::Unreadable)?;
        let transfer = u64::from_le_bytes(number);
        let mut offset = 0;
        loop {
            let (bytes, last) = read_part(&self.store, Arc::clone(&file), offset).await?;
            let end = offset + bytes.len() as u64;
            let ask = Ask::SnapshotPart(SnapshotPart { transfer, offset, last, vote });
            match self.ask::<Told<Option<VoteRow>>>(to, Lane::Bulk, group, ask, [bytes]).await? {
                Told::Value(Some(vote)) => return Ok(vote),
                Told::Value(None) if !last => offset = end,
                Told::Value(None) => return Err(Unsent::Refused(Refused::Unknown)),
                Told::Refused(refused) => return Err(Unsent::Refused(refused)),
            }
        }
    }
}

async fn read_part(store: &Store, file: Arc<File>, offset: u64) -> Result<(Bytes, bool), Unsent> {
    let read = move || -> std::io::Result<(Bytes, bool)> {
        let left = file.metadata()?.len().saturating_sub(offset);
        let bytes = usize::try_from(left).unwrap_or(usize::MAX).min(PART_BYTES);
        let mut part = vec![0; bytes];
        file.read_exact_at(&mut part, offset)?;
        Ok((part.into(), bytes as u64 == left))
    };
    match blocking(store, read).await {
        Ok(Ok(part)) => Ok(part),
        _ => Err(Unsent::Unreadable),
    }
}

/// Why a file did not get to a peer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Unsent {
    #[error(transparent)]
    Unreached(#[from] Unreached),
    #[error("the peer does not take the snapshot: {0:?}")]
    Refused(Refused),
    #[error("the snapshot cannot be read")]
    Unreadable,
}
