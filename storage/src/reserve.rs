//! Room that is kept back: blocks of the disk that no other program can take.
//!
//! A folder of empty files with blocks allocated behind their ends (`fallocate` that keeps the size), so
//! that a copy of the data folder costs nothing. To give room, a file is removed: that works on every
//! file system, where blocks behind an end cannot everywhere be cut off one by one.

use std::fs::{self, File};
use std::io::ErrorKind;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use rustix::fs::{FallocateFlags, fallocate};
use rustix::io::Errno;

use crate::error::Error;

/// One file. As much as RocksDB allocates at once for a log, or a little less.
pub(crate) const SLICE_BYTES: u64 = 16 * 1024 * 1024;
/// Most slices that are kept.
const SLICES_MAX: u64 = 16;
/// Unit of a file's number of blocks, whatever the file system uses.
const BLOCK_BYTES: u64 = 512;

/// See the head of this module.
pub(crate) struct Reserve {
    dir: PathBuf,
    /// Numbers of the files that are there.
    slices: Vec<u64>,
    wanted: u64,
    /// False once the file system has refused to allocate in this way.
    possible: bool,
}

impl Reserve {
    /// Looks at what is there. Half of `min_free_bytes` is wanted, in whole slices.
    pub(crate) fn open(store_dir: &Path, min_free_bytes: u64) -> Result<Reserve, Error> {
        let dir = store_dir.join("reserve");
        let wanted = (min_free_bytes / 2 / SLICE_BYTES).min(SLICES_MAX);
        let mut reserve = Reserve { dir, slices: Vec::new(), wanted, possible: true };
        reserve.find().map_err(|e| Error::io(&reserve.dir, e))?;
        Ok(reserve)
    }

    /// Takes in the files that hold their room; others (a copied folder has such) are removed.
    fn find(&mut self) -> std::io::Result<()> {
        let entries = match fs::read_dir(&self.dir) {
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
            entries => entries?,
        };
        for entry in entries {
            let entry = entry?;
            let number = entry.file_name().to_str().and_then(|name| name.parse().ok());
            let holds = entry.metadata()?.blocks().saturating_mul(BLOCK_BYTES) >= SLICE_BYTES;
            match number.filter(|number| holds && *number < self.wanted) {
                Some(number) => self.slices.push(number),
                None => fs::remove_file(entry.path())?,
            }
        }
        Ok(())
    }

    /// Bytes kept back now.
    pub(crate) fn bytes(&self) -> u64 {
        self.slices.len() as u64 * SLICE_BYTES
    }

    /// True if there is all that is wanted, or no way to get it.
    pub(crate) fn is_whole(&self) -> bool {
        !self.possible || self.slices.len() as u64 >= self.wanted
    }

    /// Gives up one slice; false if there is none.
    pub(crate) fn release(&mut self) -> bool {
        while let Some(number) = self.slices.pop() {
            match fs::remove_file(self.path(number)) {
                Ok(()) => return true,
                Err(error) => tracing::warn!(%error, "room that was kept back cannot be given up"),
            }
        }
        false
    }

    /// Keeps back what is wanted, as far as `spare_bytes` go.
    pub(crate) fn refill(&mut self, spare_bytes: u64) {
        for number in (0..self.wanted).take(usize::try_from(spare_bytes / SLICE_BYTES).unwrap_or(0)) {
            if self.slices.contains(&number) {
                continue;
            }
            match self.allocate(number) {
                Ok(()) => self.slices.push(number),
                Err(Errno::NOSPC) => return,
                Err(error) => {
                    tracing::warn!(%error, dir = %self.dir.display(), "no room can be kept back on this file system: the last of a full disk may go to others");
                    self.possible = false;
                    return;
                }
            }
        }
    }

    fn allocate(&self, number: u64) -> Result<(), Errno> {
        let path = self.path(number);
        let errno = |error: std::io::Error| Errno::from_io_error(&error).unwrap_or(Errno::IO);
        fs::create_dir_all(&self.dir).map_err(errno)?;
        let file = File::create(&path).map_err(errno)?;
        fallocate(&file, FallocateFlags::KEEP_SIZE, 0, SLICE_BYTES).inspect_err(|_| {
            // An empty file holds nothing; the next start removes it if this does not.
            let _ = fs::remove_file(&path);
        })
    }

    fn path(&self, number: u64) -> PathBuf {
        self.dir.join(number.to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const WANTED: u64 = 4;

    fn open(dir: &Path) -> Reserve {
        Reserve::open(dir, WANTED * 2 * SLICE_BYTES).unwrap()
    }

    #[test]
    fn it_is_kept_given_and_found_again() {
        let dir = tempfile::tempdir().unwrap();
        let mut reserve = open(dir.path());
        assert_eq!((reserve.bytes(), reserve.is_whole()), (0, false));
        reserve.refill(2 * SLICE_BYTES + 1);
        if !reserve.possible {
            println!("skipped: this file system cannot");
            return;
        }
        assert_eq!((reserve.bytes(), reserve.is_whole()), (2 * SLICE_BYTES, false));
        reserve.refill(u64::MAX);
        assert!(reserve.is_whole());
        drop(reserve);
        let mut reserve = open(dir.path());
        assert_eq!(reserve.bytes(), WANTED * SLICE_BYTES);
        for left in (0..WANTED).rev() {
            assert!(reserve.release());
            assert_eq!(reserve.bytes(), left * SLICE_BYTES);
        }
        assert!(!reserve.release());
        reserve.refill(u64::MAX);
        assert_eq!(open(dir.path()).bytes(), WANTED * SLICE_BYTES);
        assert_eq!(
            Reserve::open(dir.path(), 2 * SLICE_BYTES).unwrap().bytes(),
            SLICE_BYTES,
            "fewer are wanted"
        );
    }

    #[test]
    fn files_that_hold_nothing_are_removed() {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join("reserve")).unwrap();
        for name in ["0", "1", "x"] {
            fs::write(dir.path().join("reserve").join(name), "").unwrap();
        }
        assert_eq!(open(dir.path()).bytes(), 0);
        assert_eq!(fs::read_dir(dir.path().join("reserve")).unwrap().count(), 0);
    }
}
