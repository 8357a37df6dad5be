//! Before RocksDB opens a folder: is all there that was acknowledged, and where do the logs end?
//!
//! A process that was killed leaves a torn record at the end of its log; that is normal, and nothing that
//! was acknowledged is in it. A damaged record looks the same, but acknowledged commits come after it. The
//! watermark tells the two apart. What lies past the first break is cut off, so that RocksDB never meets
//! anything doubtful; while it is not known to be worthless, it lies in `cut/` and comes back if opening
//! ends before that: the tail of a log as `NAME.log.OFFSET`, later logs under their own names.

use std::fs::{self, File, OpenOptions};
use std::io::{Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::database::Database;
use crate::error::Error;
use crate::open::last_commit;
use crate::options::Tuning;
use crate::store::{Behind, FolderLock, Settings};
use crate::wal::{self, Break};
use crate::watermark::Watermark;

/// A data folder that is about to be opened.
pub(crate) struct Folder<'a> {
    pub(crate) dir: &'a Path,
    pub(crate) db_dir: &'a Path,
    pub(crate) lock: &'a FolderLock,
}

impl Folder<'_> {
    /// Compares the database with the watermark. If it is refused, nothing in the folder is changed.
    ///
    /// # Errors
    /// [`Error::Behind`] unless the settings accept that.
    pub(crate) fn recover(
        &self,
        watermark: &Watermark,
        settings: &Settings,
        tuning: &Tuning<'_>,
    ) -> Result<Option<Behind>, Error> {
        self.restore()?;
        let scan = wal::scan(self.db_dir)?;
        if let Some(broken) = &scan.broken {
            self.cut(broken)?;
        }
        let found = match scan.commit {
            Some(commit) if commit >= watermark.commit => Ok(commit),
            // Nothing can be missing; and the families may not all be made yet.
            None if watermark.commit == 0 => Ok(0),
            // The logs alone do not say: the number may be in files already.
            _ => {
                Database::look_at(self.db_dir, Arc::clone(self.lock), tuning).and_then(|db| last_commit(&db))
            }
        };
        let found = match found {
            Ok(found) if found >= watermark.commit || settings.accept_behind => found,
            Ok(found) => {
                self.restore()?;
                return Err(self.behind(watermark.commit, found, scan.broken.as_ref()));
            }
            Err(error) => {
                self.restore()?;
                return Err(error);
            }
        };
        if let Some(broken) = &scan.broken {
            tracing::warn!(log = %broken.log.display(), offset = broken.offset, reason = broken.reason, "what was not acknowledged was cut off a log");
        }
        self.discard()?;
        let expected = watermark.commit;
        Ok((found < expected).then_some(Behind { expected, found }))
    }

    fn behind(&self, expected: u64, found: u64, broken: Option<&Break>) -> Error {
        let reason = broken.map_or("its last logs are missing or cut short".to_owned(), |b| {
            format!("{} at byte {} of {}", b.reason, b.offset, b.log.display())
        });
        Error::Behind { dir: self.dir.to_owned(), expected, found, reason: reason.into() }
    }

    fn aside(&self) -> PathBuf {
        self.dir.join("cut")
    }

    /// Ends the log at its break; its tail and all later logs are put aside.
    pub(crate) fn cut(&self, broken: &Break) -> Result<(), Error> {
        let aside = self.aside();
        fs::create_dir_all(&aside).map_err(|e| Error::io(&aside, e))?;
        let mut affected = wal::logs(self.db_dir)?.into_iter().skip_while(|log| *log != broken.log);
        if let Some(log) = affected.next() {
            self.save_tail(&log, broken.offset).map_err(|e| Error::io(&log, e))?;
            let file = OpenOptions::new().write(true).open(&log).map_err(|e| Error::io(&log, e))?;
            file.set_len(broken.offset).and_then(|()| file.sync_all()).map_err(|e| Error::io(&log, e))?;
        }
        for log in affected {
            fs::rename(&log, aside.join(name(&log))).map_err(|e| Error::io(&log, e))?;
        }
        sync_dir(&aside)?;
        sync_dir(self.db_dir)
    }

    /// Copies the tail of a log, durably, under a name that comes last.
    fn save_tail(&self, log: &Path, offset: u64) -> std::io::Result<()> {
        let aside = self.aside();
        let unfinished = aside.join("unfinished");
        let mut source = File::open(log)?;
        source.seek(SeekFrom::Start(offset))?;
        let mut target = File::create(&unfinished)?;
        std::io::copy(&mut source, &mut target)?;
        target.sync_all()?;
        fs::rename(unfinished, aside.join(format!("{}.{offset}", name(log))))?;
        File::open(&aside)?.sync_all()?;
        File::open(self.dir)?.sync_all()
    }

    /// Brings back what lies aside.
    fn restore(&self) -> Result<(), Error> {
        let aside = self.aside();
        if !aside.exists() {
            return Ok(());
        }
        for entry in fs::read_dir(&aside).map_err(|e| Error::io(&aside, e))? {
            let path = entry.map_err(|e| Error::io(&aside, e))?.path();
            self.restore_one(&path).map_err(|e| Error::io(&path, e))?;
        }
        sync_dir(self.db_dir)?;
        fs::remove_dir_all(&aside).map_err(|e| Error::io(&aside, e))?;
        sync_dir(self.dir)
    }

    fn restore_one(&self, path: &Path) -> std::io::Result<()> {
        let name = name(path);
        if name.ends_with(".log") {
            return fs::rename(path, self.db_dir.join(name));
        }
        let Some((log, offset)) = name.rsplit_once('.').and_then(|(log, at)| Some((log, at.parse().ok()?)))
        else {
            return Ok(());
        };
        let mut target = OpenOptions::new().write(true).open(self.db_dir.join(log))?;
        target.seek(SeekFrom::Start(offset))?;
        std::io::copy(&mut File::open(path)?, &mut target)?;
        target.sync_all()
    }

    /// Gives up what lies aside. By a rename first: RocksDB may use the logs' numbers again, so nothing
    /// of it may come back.
    fn discard(&self) -> Result<(), Error> {
        let (aside, worthless) = (self.aside(), self.dir.join("cut.old"));
        if aside.exists() {
            remove_all(&worthless)?;
            fs::rename(&aside, &worthless).map_err(|e| Error::io(&aside, e))?;
            sync_dir(self.dir)?;
        }
        remove_all(&worthless)
    }
}

fn name(path: &Path) -> String {
    path.file_name().unwrap_or_default().to_string_lossy().into_owned()
}

fn remove_all(dir: &Path) -> Result<(), Error> {
    match fs::remove_dir_all(dir) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(Error::io(dir, error)),
        _ => Ok(()),
    }
}

fn sync_dir(dir: &Path) -> Result<(), Error> {
    File::open(dir).and_then(|dir| dir.sync_all()).map_err(|e| Error::io(dir, e))
}
