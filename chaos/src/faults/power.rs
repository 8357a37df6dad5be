//! Power loss: what was not synced is gone. SIGKILL alone leaves it in the kernel's cache, so that a
//! missing sync is never seen.
//!
//! The library writes down how long each file was when it was last synced; after SIGKILL all files are cut
//! to that, and those whose folder was not synced since they were made are removed. Writes in the middle of
//! a file are taken to have reached the disk, and removed files stay removed: the model is milder than a
//! real loss there.

use super::shim;
use crate::error::{ChaosError, Stop};
use crate::node::Node;
use crate::reader::Depth;
use crate::world::World;
use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, OpenOptions};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

/// What is known to be on the disk. Times are nanoseconds since 1970.
#[derive(Debug, Default)]
struct Synced {
    /// By inode, because files are renamed: when it was last synced, and its size then.
    files: BTreeMap<u64, (u128, u64)>,
    /// When folders were last synced.
    folders: BTreeMap<PathBuf, u128>,
    /// Files whose names were there before.
    names: BTreeSet<PathBuf>,
}

/// A file as it is now.
#[derive(Clone, Debug)]
struct File {
    path: PathBuf,
    inode: u64,
    size: u64,
    made_ns: u128,
}

impl Synced {
    /// What there is before a node starts counts as synced.
    fn before(folder: &Path) -> Result<Synced, ChaosError> {
        let mut synced = Synced::default();
        let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_nanos());
        for file in files(folder)? {
            synced.files.insert(file.inode, (now, file.size));
            synced.names.insert(file.path);
        }
        Ok(synced)
    }

    /// Takes in a line of the journal: time, size, inode, path.
    fn take(&mut self, line: &str) -> Option<()> {
        let mut parts = line.splitn(4, ' ');
        let time = parts.next()?.parse().ok()?;
        let size = parts.next()?.parse().ok()?;
        self.files.insert(parts.next()?.parse().ok()?, (time, size));
        self.folders.insert(PathBuf::from(parts.next()?), time);
        Some(())
    }

    /// As much of a file as a power loss leaves; `None`: not even its name.
    fn left(&self, file: &File) -> Option<u64> {
        let folder = file.path.parent().and_then(|folder| self.folders.get(folder));
        let named = self.names.contains(&file.path) || folder.is_some_and(|synced| file.made_ns <= *synced);
        // An inode may have belonged to another file, synced before this one was made.
        let synced = self.files.get(&file.inode).filter(|(time, _)| file.made_ns <= *time);
        named.then(|| synced.map_or(0, |(_, size)| file.size.min(*size)))
    }
}

/// All files of a folder.
fn files(folder: &Path) -> Result<Vec<File>, ChaosError> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).map_err(ChaosError::file(folder))? {
        let path = entry.map_err(ChaosError::file(folder))?.path();
        let about = fs::symlink_metadata(&path).map_err(ChaosError::file(&path))?;
        if about.is_dir() {
            found.extend(files(&path)?);
        } else if about.is_file() {
            let made = about.created().ok().and_then(|made| made.duration_since(UNIX_EPOCH).ok());
            let made_ns = made.map_or(0, |made| made.as_nanos());
            found.push(File { path, inode: about.ino(), size: about.len(), made_ns });
        }
    }
    Ok(found)
}

/// Takes away what was not synced.
fn lose(folder: &Path, synced: &Synced) -> Result<u64, ChaosError> {
    let mut lost = 0;
    for file in files(folder)? {
        let (path, left) = (&file.path, synced.left(&file));
        match left {
            Some(left) if left < file.size => {
                let open = OpenOptions::new().write(true).open(path).map_err(ChaosError::file(path))?;
                open.set_len(left).map_err(ChaosError::file(path))?;
            }
            Some(_) => {}
            None => fs::remove_file(path).map_err(ChaosError::file(path))?,
        }
        lost += file.size - left.unwrap_or(0);
    }
    Ok(lost)
}

pub(super) async fn power_loss(world: &mut World, node: Node) -> Result<Node, Stop> {
    let mut plan = shim::plan(world)?;
    node.stop().await?;
    let journal = world.folder.join("synced");
    let _ = fs::remove_file(&journal);
    plan.environment.push(("CHAOS_JOURNAL".to_owned(), journal.clone()));
    if world.settings.planted == Some(super::Planted::SyncLeftOut) {
        plan.environment.push(("CHAOS_SKIP".to_owned(), PathBuf::from(".log")));
    }
    let mut synced = Synced::before(&world.data)?;
    let node = world.start_by(&plan, "with the library that notes syncs").await?;
    let load = world.load(&node)?;
    world.some_time().await;
    node.kill();
    world.end_load(load).await;
    let text = fs::read_to_string(&journal).map_err(ChaosError::file(&journal))?;
    for line in text.lines() {
        synced.take(line);
    }
    world.figures.unsynced_bytes += lose(&world.data, &synced)?;
    let mut node = world.start("after a power loss").await?;
    world.judge_to(&mut node, Depth::All).await?;
    Ok(node)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn left(path: &str, inode: u64, size: u64, made_ns: u128) -> Option<u64> {
        let mut synced = Synced::default();
        for (old, inode) in [("/d/old", 1), ("/e/old", 2)] {
            synced.files.insert(inode, (20, 10));
            synced.names.insert(old.into());
        }
        for line in [
            "50 100 3 /d/new",
            "60 300 3 /d/new",
            "65 9 7 /d/temporary",
            "70 0 99 /d",
            "80 5 4 /d/later",
            "90 7 5 /e/alone",
            "95 12 2 /e/old",
        ] {
            synced.take(line).unwrap();
        }
        synced.left(&File { path: path.into(), inode, size, made_ns })
    }

    #[test]
    fn what_was_not_synced_is_lost() {
        // There before, and longer now.
        assert_eq!(left("/d/old", 1, 25, 1), Some(10));
        assert_eq!(left("/d/old", 1, 4, 1), Some(4));
        assert_eq!(left("/e/old", 2, 25, 1), Some(12));
        // Synced twice; the folder after it was made.
        assert_eq!(left("/d/new", 3, 400, 40), Some(300));
        // Synced, but the folder only before it was made, or never.
        assert_eq!(left("/d/later", 4, 5, 75), None);
        assert_eq!(left("/e/alone", 5, 7, 1), None);
        // Synced under another name.
        assert_eq!(left("/d/renamed", 7, 9, 62), Some(9));
        // Named, but never synced; its inode was another file's before.
        assert_eq!(left("/d/unsynced", 6, 8, 62), Some(0));
        assert_eq!(left("/d/unsynced", 3, 8, 62), Some(0));
        assert_eq!(left("/d/unnamed", 6, 8, 71), None);
        assert!(Synced::default().take("x y").is_none());
    }

    #[test]
    fn a_loss_cuts_and_removes() {
        let dir = tempfile::tempdir().unwrap();
        let (kept, made) = (dir.path().join("kept"), dir.path().join("made"));
        fs::write(&kept, b"0123456789").unwrap();
        let synced = Synced::before(dir.path()).unwrap();
        fs::write(&kept, b"0123456789and more").unwrap();
        fs::write(&made, b"new").unwrap();
        assert_eq!(lose(dir.path(), &synced).unwrap(), 11);
        assert_eq!(fs::read(&kept).unwrap(), b"0123456789");
        assert!(!made.exists());
    }
}
