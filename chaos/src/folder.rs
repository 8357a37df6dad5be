//! What can be done to a data folder whose node does not run.

use crate::error::ChaosError;
use crate::random::Random;
use std::fs::{self, OpenOptions};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

/// Where RocksDB's files lie in a data folder.
const DATABASE: &str = "store/db";
/// Files that are never changed once they are written: a copy may share them.
const UNCHANGING: [&str; 2] = ["sst", "blob"];

/// Copies a folder. Files that never change are linked, so [`flip`] replaces the file it damages.
pub(crate) fn copy(from: &Path, to: &Path) -> Result<(), ChaosError> {
    fs::create_dir_all(to).map_err(ChaosError::file(to))?;
    for entry in fs::read_dir(from).map_err(ChaosError::file(from))? {
        let path = entry.map_err(ChaosError::file(from))?.path();
        let Some(name) = path.file_name() else { continue };
        let target = to.join(name);
        let kind = fs::symlink_metadata(&path).map_err(ChaosError::file(&path))?.file_type();
        if kind.is_dir() {
            copy(&path, &target)?;
        } else if kind.is_file() {
            let shared = has_ending(&path, &UNCHANGING) && fs::hard_link(&path, &target).is_ok();
            if !shared {
                fs::copy(&path, &target).map_err(ChaosError::file(&path))?;
            }
        }
    }
    Ok(())
}

/// Removes a folder if it is there.
pub(crate) fn remove(folder: &Path) -> Result<(), ChaosError> {
    match fs::remove_dir_all(folder) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(ChaosError::file(folder)(error)),
        _ => Ok(()),
    }
}

/// Files of the database with this ending that are not empty, and their sizes; oldest first.
pub(crate) fn files(data: &Path, ending: &str) -> Result<Vec<(PathBuf, u64)>, ChaosError> {
    let database = data.join(DATABASE);
    let mut files = Vec::new();
    for entry in fs::read_dir(&database).map_err(ChaosError::file(&database))? {
        let path = entry.map_err(ChaosError::file(&database))?.path();
        if has_ending(&path, &[ending]) {
            let bytes = fs::metadata(&path).map_err(ChaosError::file(&path))?.len();
            files.push((path, bytes));
        }
    }
    files.retain(|(_, bytes)| *bytes > 0);
    files.sort();
    Ok(files)
}

fn has_ending(path: &Path, endings: &[&str]) -> bool {
    path.extension().is_some_and(|ending| endings.iter().any(|known| ending == *known))
}

/// Takes so many bytes off the end of a file (all, if it has fewer).
pub(crate) fn cut(path: &Path, bytes: u64) -> Result<(), ChaosError> {
    let file = OpenOptions::new().write(true).open(path).map_err(ChaosError::file(path))?;
    let size = file.metadata().map_err(ChaosError::file(path))?.len();
    file.set_len(size.saturating_sub(bytes)).map_err(ChaosError::file(path))
}

/// Flips bits of a file, each at its byte, in a copy that takes its place.
pub(crate) fn flip(path: &Path, bits: impl IntoIterator<Item = (u64, u8)>) -> Result<(), ChaosError> {
    let damaged = path.with_extension("damaged");
    fs::copy(path, &damaged).map_err(ChaosError::file(path))?;
    let file =
        OpenOptions::new().read(true).write(true).open(&damaged).map_err(ChaosError::file(&damaged))?;
    for (at, bit) in bits {
        let mut byte = [0];
        file.read_exact_at(&mut byte, at).map_err(ChaosError::file(&damaged))?;
        let flipped = byte.map(|byte| byte ^ (1 << (bit % 8)));
        file.write_all_at(&flipped, at).map_err(ChaosError::file(&damaged))?;
    }
    fs::rename(&damaged, path).map_err(ChaosError::file(path))
}

/// A place in one of the files, each byte as likely as any other.
pub(crate) fn place<'a>(files: &'a [(PathBuf, u64)], random: &mut Random) -> Option<(&'a Path, u64)> {
    let total = files.iter().map(|(_, bytes)| bytes).sum();
    let mut at = random.within(0..total);
    for (path, bytes) in files {
        if at < *bytes {
            return Some((path, at));
        }
        at -= bytes;
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn damage_to_a_copy_leaves_the_folder_whole() {
        let dir = tempfile::tempdir().unwrap();
        let (data, trial) = (dir.path().join("data"), dir.path().join("trial"));
        let database = data.join(DATABASE);
        fs::create_dir_all(&database).unwrap();
        for name in ["1.log", "2.sst", "3.blob", "CURRENT"] {
            fs::write(database.join(name), b"0123456789").unwrap();
        }
        copy(&data, &trial).unwrap();
        for ending in ["log", "sst", "blob"] {
            let found = files(&trial, ending).unwrap();
            assert_eq!(found.len(), 1, "{ending}");
            flip(&found[0].0, [(3, 0)]).unwrap();
            assert_eq!(fs::read(&found[0].0).unwrap(), b"0122456789");
        }
        cut(&files(&trial, "log").unwrap()[0].0, 4).unwrap();
        assert_eq!(fs::read(&files(&trial, "log").unwrap()[0].0).unwrap(), b"012245");
        for ending in ["log", "sst", "blob"] {
            assert_eq!(fs::read(&files(&data, ending).unwrap()[0].0).unwrap(), b"0123456789");
        }
    }

    #[test]
    fn places_cover_all_files() {
        let files = [(PathBuf::from("a"), 1), (PathBuf::from("b"), 3)];
        let mut random = Random::new(1);
        let places: std::collections::BTreeSet<_> =
            (0..100).filter_map(|_| place(&files, &mut random)).map(|(p, at)| (p.to_owned(), at)).collect();
        assert_eq!(places.len(), 4);
        assert_eq!(place(&[], &mut random), None);
    }
}
