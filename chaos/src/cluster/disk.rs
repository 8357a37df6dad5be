//! The disk of one node: a file system in an image, so that a power loss can be had at any moment.
//!
//! A power loss is what the image holds at that moment: what was written but not yet brought to the disk lies
//! in the page cache of the mounted file system and is lost. The node is stopped while the image is copied, and the
//! file system commits by itself only rarely, so the copy is of one moment. What reached the image counts as
//! durable: a real disk may lose what its cache held, so the model is milder there.

use super::enter::tool;
use crate::error::ChaosError;
use rustix::fs::{FallocateFlags, fallocate, statvfs};
use rustix::mount::{UnmountFlags, unmount};
use std::fs::{self, File};
use std::path::{Path, PathBuf};

/// The size of a node's disk, with room for what an hour of load leaves; the image has holes.
const DISK_BYTES: u64 = 6 * 1024 * 1024 * 1024;
/// Metadata is committed with syncs; by itself only after so long.
const OPTIONS: &str = "loop,noatime,commit=600";
const FILLER: &str = "filler";

/// A mounted image.
#[derive(Debug)]
pub(crate) struct Disk {
    image: PathBuf,
    at: PathBuf,
}

impl Disk {
    /// Makes an empty one, mounted on a folder of its name.
    pub(crate) fn make(folder: &Path, name: &str) -> Result<Disk, ChaosError> {
        let disk = Disk { image: folder.join(format!("{name}.img")), at: folder.join(name) };
        fs::create_dir_all(&disk.at).map_err(ChaosError::file(&disk.at))?;
        let file = File::create(&disk.image).map_err(ChaosError::file(&disk.image))?;
        file.set_len(DISK_BYTES).map_err(ChaosError::file(&disk.image))?;
        drop(file);
        tool("mkfs.ext4", &["-q", "-F", "-m", "0", &text(&disk.image)])?;
        disk.mount()?;
        Ok(disk)
    }

    fn mount(&self) -> Result<(), ChaosError> {
        tool("mount", &["-o", OPTIONS, &text(&self.image), &text(&self.at)]).map(|_| ())
    }

    /// The data folder on it.
    pub(crate) fn data(&self) -> PathBuf {
        self.at.join("data")
    }

    /// The power fails now: what is left is what the image holds. The node must be stopped (SIGSTOP) before, and
    /// killed by `kill` once the image is copied.
    pub(crate) fn lose_power(&self, kill: impl FnOnce()) -> Result<(), ChaosError> {
        let copy = self.image.with_extension("copy");
        let copied = tool("cp", &["--sparse=always", &text(&self.image), &text(&copy)]);
        kill();
        copied?;
        unmount(&self.at, UnmountFlags::empty()).map_err(ChaosError::system("unmount"))?;
        fs::rename(&copy, &self.image).map_err(ChaosError::file(&self.image))?;
        self.mount()
    }

    /// Fills it, so that so many bytes are left. Nodes write at the same time, so room may go meanwhile.
    pub(crate) fn fill(&self, left: u64) -> Result<(), ChaosError> {
        let path = self.at.join(FILLER);
        let file = File::create(&path).map_err(ChaosError::file(&path))?;
        let stat = statvfs(&self.at).map_err(ChaosError::system("statvfs"))?;
        let bytes = (stat.f_bavail * stat.f_frsize).saturating_sub(left);
        match fallocate(&file, FallocateFlags::empty(), 0, bytes.max(1)) {
            Ok(()) | Err(rustix::io::Errno::NOSPC) => Ok(()),
            Err(error) => Err(ChaosError::system("fallocate")(error)),
        }
    }

    /// Gives the room back.
    pub(crate) fn relieve(&self) {
        let _ = fs::remove_file(self.at.join(FILLER));
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        // The namespace's end does the same.
        let _ = unmount(&self.at, UnmountFlags::DETACH);
    }
}

fn text(path: &Path) -> String {
    path.display().to_string()
}
