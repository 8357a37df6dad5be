//! What a crash leaves of a node's folder.
//!
//! The library in front of the system's calls (`shim/sim.c`) notes each sync in a journal: which file, and how long it was.
//! After a killed process all that was written is there. After a power loss, what was synced, and of the rest a part that
//! may be torn. What was overwritten in place (the watermark) is there as it was when it was last synced, or as it is.

use crate::error::ChaosError;
use crate::random::Random;
use std::collections::BTreeMap;
use std::fs;
use std::io::Read;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// How a node ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Loss {
    /// Its process; the kernel keeps what was written.
    Process,
    /// Its power.
    Power,
}

/// What torn parts consist of.
const SECTOR_BYTES: u64 = 512;
/// The file that is written in place.
const IN_PLACE: &str = "watermark";

/// What the names of files begin with that nobody reads back; their lengths are not the same in equal runs.
const NOT_READ: [&str; 3] = ["LOG", "LOCK", "OPTIONS"];

/// The journal of syncs, as far as it was read, and the disks of all nodes.
pub(super) struct Disks {
    journal: PathBuf,
    read_to: u64,
    /// Length of a file when it was last synced, by its inode.
    synced: BTreeMap<u64, u64>,
    /// Content of files that are written in place, at their last sync.
    contents: BTreeMap<u64, (PathBuf, Vec<u8>)>,
    /// The same as they were at the moment of a crash.
    at_crash: BTreeMap<u64, Vec<u8>>,
    pub(super) lost_bytes: u64,
}

impl Disks {
    pub(super) fn new(journal: &Path) -> Disks {
        let journal = journal.to_owned();
        let (synced, contents, at_crash) = (BTreeMap::new(), BTreeMap::new(), BTreeMap::new());
        Disks { journal, read_to: 0, synced, contents, at_crash, lost_bytes: 0 }
    }

    /// All of a folder is on the disk.
    pub(super) fn adopt(&mut self, folder: &Path) -> Result<(), ChaosError> {
        for path in files(folder)? {
            let about = fs::metadata(&path).map_err(ChaosError::file(&path))?;
            self.synced.insert(about.ino(), about.len());
            self.keep(&path, about.ino())?;
        }
        Ok(())
    }

    /// Looks after what is written in place in a folder that was made anew.
    pub(super) fn watch(&mut self, folder: &Path) -> Result<(), ChaosError> {
        for path in files(folder)? {
            let inode = fs::metadata(&path).map_err(ChaosError::file(&path))?.ino();
            self.keep(&path, inode)?;
        }
        Ok(())
    }

    fn keep(&mut self, path: &Path, inode: u64) -> Result<(), ChaosError> {
        if path.ends_with(IN_PLACE) {
            let content = fs::read(path).map_err(ChaosError::file(path))?;
            self.contents.insert(inode, (path.to_owned(), content));
        }
        Ok(())
    }

    /// Takes in what was synced since the last call. Called often, so that the content of files that are written in place
    /// is that of the sync.
    pub(super) fn look(&mut self) -> Result<(), ChaosError> {
        let mut text = String::new();
        let error = ChaosError::file(&self.journal);
        let mut file = match fs::File::open(&self.journal) {
            Ok(file) => file,
            Err(cause) => return Err(error(cause)),
        };
        let read = std::io::Seek::seek(&mut file, std::io::SeekFrom::Start(self.read_to))
            .and_then(|_| file.read_to_string(&mut text));
        if let Err(cause) = read {
            return Err(error(cause));
        }
        let whole = text.rfind('\n').map_or(0, |at| at + 1);
        self.read_to += whole as u64;
        let mut changed = Vec::new();
        for line in text.get(..whole).unwrap_or_default().lines() {
            let numbers = line.split_once(' ').and_then(|(a, b)| Some((a.parse().ok()?, b.parse().ok()?)));
            let Some((inode, size)) = numbers else { continue };
            self.synced.insert(inode, size);
            changed.push(inode);
        }
        for inode in changed {
            if let Some((path, _)) = self.contents.get(&inode) {
                self.keep(&path.clone(), inode)?;
            }
        }
        Ok(())
    }

    /// The moment of a crash: what is synced or written in place after it has not happened.
    pub(super) fn freeze(&mut self, folder: &Path) -> Result<(), ChaosError> {
        self.look()?;
        self.at_crash.clear();
        for (inode, (path, _)) in self.contents.iter().filter(|(_, (path, _))| path.starts_with(folder)) {
            self.at_crash.insert(*inode, fs::read(path).map_err(ChaosError::file(path))?);
        }
        Ok(())
    }

    /// Copies a folder as a crash leaves it, after [`Disks::freeze`].
    pub(super) fn crash(
        &mut self,
        from: &Path,
        to: &Path,
        loss: Loss,
        random: &mut Random,
    ) -> Result<(), ChaosError> {
        for path in files(from)? {
            let Ok(rest) = path.strip_prefix(from) else { continue };
            let target = to.join(rest);
            if let Some(folder) = target.parent() {
                fs::create_dir_all(folder).map_err(ChaosError::file(folder))?;
            }
            let about = fs::metadata(&path).map_err(ChaosError::file(&path))?;
            let mut content = fs::read(&path).map_err(ChaosError::file(&path))?;
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            let words = NOT_READ.iter().any(|begin| name.starts_with(begin));
            if loss == Loss::Power && !words {
                let is_log = path.extension().is_some_and(|end| end == "log");
                self.lose(&mut content, about.ino(), is_log, random);
            }
            fs::write(&target, content).map_err(ChaosError::file(&target))?;
        }
        self.adopt(to)
    }

    /// Takes away of a file what was not synced, or a part of that. Of logs, what is left may be torn: the store reads them
    /// itself. RocksDB's list of its files it leaves to RocksDB, which takes a torn end for damage, and says so.
    fn lose(&mut self, content: &mut Vec<u8>, inode: u64, is_log: bool, random: &mut Random) {
        if let Some((_, synced)) = self.contents.get(&inode) {
            let written = self.at_crash.get(&inode).unwrap_or(synced);
            content.clone_from(if random.one_in(2) { synced } else { written });
            return;
        }
        let (synced, size) = (self.synced.get(&inode).copied().unwrap_or(0), content.len() as u64);
        if synced >= size {
            return;
        }
        let left = match random.within(0..4) {
            0 => size,
            1 => synced,
            _ => random.within(synced..size),
        };
        self.lost_bytes += size - left;
        content.truncate(usize::try_from(left).unwrap_or(usize::MAX));
        if is_log && random.one_in(3) && left > synced {
            tear(content, synced, left, random);
        }
    }
}

/// A sector of what was not synced has not reached the disk, though one behind it may have.
fn tear(content: &mut [u8], synced: u64, left: u64, random: &mut Random) {
    let begin = random.within(synced..left);
    let end = (begin / SECTOR_BYTES + 1) * SECTOR_BYTES;
    let place = |at: u64| usize::try_from(at.min(left)).unwrap_or(usize::MAX);
    if let Some(sector) = content.get_mut(place(begin)..place(end)) {
        sector.fill(0);
    }
}

/// All files of a folder, in the order of their names.
fn files(folder: &Path) -> Result<Vec<PathBuf>, ChaosError> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).map_err(ChaosError::file(folder))? {
        let path = entry.map_err(ChaosError::file(folder))?.path();
        if path.is_dir() {
            found.extend(files(&path)?);
        } else {
            found.push(path);
        }
    }
    found.sort();
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is left of a log of which 6 of 10 bytes were synced, over many power losses.
    #[test]
    fn a_power_loss_leaves_what_was_synced_and_perhaps_more() {
        let dir = tempfile::tempdir().unwrap();
        let (from, journal) = (dir.path().join("from"), dir.path().join("journal"));
        fs::create_dir(&from).unwrap();
        let log = from.join("000001.log");
        fs::write(&log, b"0123456789").unwrap();
        fs::write(&journal, format!("{} 6\n", fs::metadata(&log).unwrap().ino())).unwrap();
        let mut random = Random::new(1);
        let mut lengths = std::collections::BTreeSet::new();
        for round in 0..200 {
            let mut disks = Disks::new(&journal);
            disks.freeze(&from).unwrap();
            let to = dir.path().join(round.to_string());
            disks.crash(&from, &to, Loss::Power, &mut random).unwrap();
            let left = fs::read(to.join("000001.log")).unwrap();
            assert!(left.starts_with(b"012345"), "{left:?}");
            lengths.insert(left.len());
        }
        assert_eq!(lengths, (6..=10).collect());
        let mut disks = Disks::new(&journal);
        let to = dir.path().join("process");
        disks.crash(&from, &to, Loss::Process, &mut random).unwrap();
        assert_eq!(fs::read(to.join("000001.log")).unwrap(), b"0123456789");
    }

    /// What is written in place is there as it was synced, or as it was at the crash, but never later.
    #[test]
    fn nothing_is_written_in_place_after_a_crash() {
        let dir = tempfile::tempdir().unwrap();
        let (from, journal) = (dir.path().join("from"), dir.path().join("journal"));
        fs::create_dir(&from).unwrap();
        fs::write(&journal, "").unwrap();
        let mark = from.join(IN_PLACE);
        fs::write(&mark, "synced").unwrap();
        let mut disks = Disks::new(&journal);
        disks.watch(&from).unwrap();
        fs::write(&mark, "before").unwrap();
        disks.freeze(&from).unwrap();
        fs::write(&mark, "after!").unwrap();
        let mut found = std::collections::BTreeSet::new();
        let mut random = Random::new(1);
        for round in 0..50 {
            let to = dir.path().join(round.to_string());
            disks.crash(&from, &to, Loss::Power, &mut random).unwrap();
            found.insert(fs::read_to_string(to.join(IN_PLACE)).unwrap());
        }
        assert_eq!(found, ["before".to_owned(), "synced".to_owned()].into());
    }
}
