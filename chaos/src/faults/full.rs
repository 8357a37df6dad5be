//! A disk that fills up: a small tmpfs with a node of its own.

use crate::error::{ChaosError, Stop};
use crate::finding::Finding;
use crate::folder;
use crate::load::{History, Load, Tally, codes_after_mark};
use crate::node::Node;
use crate::reader::Depth;
use crate::wire;
use crate::world::{Settings, World};
use rustix::fs::{FallocateFlags, fallocate, statvfs};
use rustix::mount::{MountFlags, UnmountFlags, mount, unmount};
use std::fs::File;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// The disk, and the room that the node has to keep free on it (its default).
const DISK: &std::ffi::CStr = c"size=512m";
const MIN_FREE_BYTES: u64 = 256 * 1024 * 1024;
/// What the filler leaves when the disk becomes nearly full.
const LEFT_BYTES: u64 = 200 * 1024 * 1024;
/// Less than this is not worth filling.
const FILL_BYTES_MIN: u64 = 4096;
/// For the node to notice, in either direction.
const NOTICE: Duration = Duration::from_secs(3);
/// For service to come back.
const BACK_WAIT: Duration = Duration::from_secs(20);

/// A mounted tmpfs; unmounted when dropped.
struct Disk(PathBuf);

impl Disk {
    fn mount(at: &Path) -> Result<Disk, Stop> {
        std::fs::create_dir_all(at).map_err(ChaosError::file(at))?;
        match mount("tmpfs", at, "tmpfs", MountFlags::empty(), DISK) {
            Ok(()) => Ok(Disk(at.to_owned())),
            Err(_) => Err(Stop::Skipped("mounting a tmpfs needs root")),
        }
    }

    fn free(&self) -> Result<u64, ChaosError> {
        let stat = statvfs(&self.0).map_err(ChaosError::system("statvfs"))?;
        Ok(stat.f_bavail * stat.f_frsize)
    }

    fn filler(&self) -> PathBuf {
        self.0.join("filler")
    }

    /// Leaves so many bytes free. The node writes at the same time, so room may go while it is asked for.
    fn fill(&self, left: u64) -> Result<(), ChaosError> {
        let file = File::create(self.filler()).map_err(ChaosError::file(&self.filler()))?;
        let mut filled = 0;
        loop {
            let bytes = self.free()?.saturating_sub(left);
            if bytes < FILL_BYTES_MIN {
                return Ok(());
            }
            match fallocate(&file, FallocateFlags::empty(), filled, bytes) {
                Ok(()) => filled += bytes,
                Err(rustix::io::Errno::NOSPC) => {}
                Err(error) => return Err(ChaosError::system("fallocate")(error)),
            }
        }
    }

    fn relieve(&self) -> Result<(), ChaosError> {
        std::fs::remove_file(self.filler()).map_err(ChaosError::file(&self.filler()))
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        let _ = unmount(&self.0, UnmountFlags::DETACH);
    }
}

/// The world's own node goes on untouched; another one gets the disk that fills up.
pub(super) async fn disk_full(world: &mut World, node: Node) -> Result<Node, Stop> {
    let at = world.folder.join("disk");
    let disk = Disk::mount(&at)?;
    let logs = world.folder.join("disk-logs");
    std::fs::create_dir_all(&logs).map_err(ChaosError::file(&logs))?;
    let settings = Settings { min_free_bytes: Some(MIN_FREE_BYTES), ..world.settings.clone() };
    let mut inner = World::new(settings, &logs, &at.join("data"), world.random.fork());
    let result = filled(&mut inner, &disk).await;
    world.figures.tally += inner.figures.tally;
    world.figures.counts = inner.figures.counts;
    world.figures.starts += inner.figures.starts;
    world.figures.service_restarts += inner.figures.service_restarts;
    world.figures.longest_start = world.figures.longest_start.max(inner.figures.longest_start);
    if result.is_err() {
        // The disk goes away; what is on it is evidence.
        let _ = folder::copy(&inner.data, &world.folder.join("disk-data"));
    }
    drop(disk);
    let _ = std::fs::remove_dir(&at);
    result.map(|()| node)
}

async fn filled(world: &mut World, disk: &Disk) -> Result<(), Stop> {
    let mut node = world.start("on an empty disk").await?;
    let load = world.load(&node)?;
    world.some_time().await;
    let wholly = world.random.one_in(2);
    disk.fill(if wholly { 0 } else { LEFT_BYTES })?;
    tokio::time::sleep(NOTICE).await;
    load.mark();
    tokio::time::sleep(NOTICE).await;
    let sent = world.end_load(load).await;
    let codes = codes_after_mark(&sent);
    let (taken, put_off) = (codes.get(&250).copied().unwrap_or(0), codes.get(&452).copied().unwrap_or(0));
    if taken > 0 || (put_off == 0 && !wholly) {
        return Err(Finding::FullDiskTaken { count: taken, refused: put_off }.into());
    }
    // Reads go on, and nothing is missing.
    world.judge_to(&mut node, Depth::All).await?;
    disk.relieve()?;
    if !wholly || serves(world, &node).await? {
        service(world, &node, "after the disk had room again").await?;
        world.judge(&mut node).await?;
        node.kill();
    } else {
        // It may need a new start after it met a disk without any room, but then it has to say so.
        stopped(&node).await?;
        world.figures.service_restarts += 1;
        node.kill();
    }
    let mut node = world.start("after a full disk").await?;
    world.judge_to(&mut node, Depth::All).await?;
    service(world, &node, "after a full disk and a new start").await?;
    world.judge(&mut node).await?;
    node.stop().await
}

/// The log and the page for health say that the node needs help.
async fn stopped(node: &Node) -> Result<(), Stop> {
    if !node.log_says(&["no more writes", "disk failed", "group stops"]) {
        return Err(Finding::SilentLog { of: "the end of service", log: node.log() }.into());
    }
    let Ok(address) = node.listener("http") else { return Ok(()) };
    let page = "/health/ready";
    let text = wire::page(&address, page).await;
    if text.contains(" 503 ") {
        return Ok(());
    }
    Err(Finding::SilentPage { page, of: "the end of service", text }.into())
}

/// True if it takes mail again within the time it has to notice.
async fn serves(world: &mut World, node: &Node) -> Result<bool, Stop> {
    let load = world.load(node)?;
    let (sent, _) = until_taken(world, load, NOTICE).await;
    Ok(Tally::of(&sent).acknowledged > 0)
}

async fn service(world: &mut World, node: &Node, after: &'static str) -> Result<(), Stop> {
    let load = world.load(node)?;
    load.mark();
    let (sent, taken) = until_taken(world, load, BACK_WAIT).await;
    if taken {
        return Ok(());
    }
    Err(Finding::NoService { after, answers: format!("{:?}", codes_after_mark(&sent)) }.into())
}

/// Delivers until a message is taken, or so long.
async fn until_taken(world: &mut World, load: Load, wait: Duration) -> (History, bool) {
    let end = tokio::time::Instant::now() + wait;
    while load.acknowledged() == 0 && tokio::time::Instant::now() < end {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let taken = load.acknowledged() > 0;
    (world.end_load(load).await, taken)
}
