//! Opening a data folder: its lock, its format, its watermark, then the database.
//!
//! ```text
//! LOCK        held by the one process that has the folder open
//! FORMAT      version of the folder, a number in text
//! watermark   what was acknowledged
//! reserve/    room that is kept back from other programs
//! db/         RocksDB
//! ```
//! A folder that does not fit its watermark is refused before anything in it is changed.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::Write;
use std::path::Path;
use std::sync::Arc;

use crate::body;
use crate::committer::COMMIT_KEY;
use crate::database::Database;
use crate::error::Error;
use crate::options::Tuning;
use crate::recover::Folder;
use crate::references;
use crate::space::Space;
use crate::stage::{self, Left};
use crate::store::{Behind, FolderLock, Settings, make_dir};
use crate::watermark::{Watermark, WatermarkFile};

/// The newest format of a data folder that this program knows.
pub const FORMAT: u32 = 1;

pub(crate) struct Opened {
    pub(crate) database: Database,
    pub(crate) file: WatermarkFile,
    pub(crate) watermark: Watermark,
    pub(crate) behind: Option<Behind>,
    pub(crate) space: Space,
    /// Bodies that were under way and that nobody will take.
    pub(crate) left: Vec<Left>,
}

pub(crate) fn open(dir: &Path, settings: &Settings) -> Result<Opened, Error> {
    make_dir(dir)?;
    let lock = lock(dir)?;
    let db_dir = dir.join("db");
    let watermark_path = dir.join("watermark");
    let exists = db_dir.join("CURRENT").exists();
    prepare(dir, &watermark_path, exists)?;
    // Before the database: it needs room to open, and gets what was kept back.
    let space = Space::of(dir, settings.min_free_bytes)?;
    let (file, mut watermark) = WatermarkFile::open(&watermark_path)?;
    let tuning = Tuning::new(settings);
    let behind = match exists {
        true => Folder { dir, db_dir: &db_dir, lock: &lock }.recover(&watermark, settings, &tuning)?,
        false if watermark.commit == 0 => None,
        false => {
            return Err(Error::damaged(
                db_dir.display().to_string(),
                "the database is missing, but was there before",
            ));
        }
    };
    let database = Database::open_at(&db_dir, lock, &tuning)?;
    watermark.commit = watermark.commit.max(last_commit(&database)?);
    references::clear_left_behind(&database)?;
    let left = stage::left_behind(&database)?;
    if !left.is_empty() {
        tracing::info!(bodies = left.len(), "messages that were coming in when the node stopped are removed");
    }
    Ok(Opened { database, file, watermark, behind, space, left })
}

fn lock(dir: &Path) -> Result<FolderLock, Error> {
    let path = dir.join("LOCK");
    let file = OpenOptions::new()
        .create(true)
        .truncate(false)
        .write(true)
        .open(&path)
        .map_err(|e| Error::io(&path, e))?;
    match file.try_lock() {
        Ok(()) => Ok(Arc::new(file)),
        Err(TryLockError::WouldBlock) => Err(Error::Locked { dir: dir.to_owned() }),
        Err(TryLockError::Error(error)) => Err(Error::io(&path, error)),
    }
}

/// Checks the format; makes the files of a new folder, the watermark before the database.
fn prepare(dir: &Path, watermark: &Path, exists: bool) -> Result<(), Error> {
    let path = dir.join("FORMAT");
    match fs::read_to_string(&path) {
        Ok(text) => {
            let found = text
                .trim()
                .parse()
                .map_err(|_| Error::damaged(path.display().to_string(), "not a number"))?;
            if found > FORMAT {
                return Err(Error::NewerFormat { dir: dir.to_owned(), found, known: FORMAT });
            }
        }
        Err(error) if error.kind() == std::io::ErrorKind::NotFound && !exists => {
            let io = |e| Error::io(&path, e);
            let mut file = File::create(&path).map_err(io)?;
            file.write_all(format!("{FORMAT}\n").as_bytes()).and_then(|()| file.sync_all()).map_err(io)?;
        }
        Err(error) => return Err(Error::io(&path, error)),
    }
    if !watermark.exists() {
        if exists {
            return Err(Error::damaged(
                watermark.display().to_string(),
                "the watermark is missing, so it cannot be told whether the store is whole; restore a backup, \
                 or let the node catch up from its cluster",
            ));
        }
        WatermarkFile::create(watermark)?;
    }
    File::open(dir).and_then(|dir| dir.sync_all()).map_err(|e| Error::io(dir, e))
}

pub(crate) fn last_commit(database: &Database) -> Result<u64, Error> {
    let row = database.db().get_pinned_cf(database.own(), COMMIT_KEY)?;
    row.map_or(Ok(0), |value| {
        body::decode_u64(&value)
            .ok_or_else(|| Error::damaged("database", "unreadable number of the last commit"))
    })
}
