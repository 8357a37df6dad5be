//! A disk that fills up in a moment, at any moment: a small tmpfs with a node of its own.
//!
//! It is a passing thing: removals go on meanwhile, and with room again mail is taken without a new start.

use crate::error::{ChaosError, Stop};
use crate::finding::Finding;
use crate::folder;
use crate::load::{History, Load, codes_after_mark};
use crate::node::Node;
use crate::reader::Depth;
use crate::wire;
use crate::world::{Settings, World};
use rustix::fs::{FallocateFlags, fallocate, statvfs};
use rustix::mount::{MountFlags, UnmountFlags, mount, unmount};
use std::fs::File;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// The disk, and the room that the node has to keep free on it: the least that may be set.
const DISK: &std::ffi::CStr = c"size=512m";
const MIN_FREE_BYTES: u64 = 128 * 1024 * 1024;
/// Taken before the load begins, so that the rest goes in a moment.
const TAKEN_BYTES: u64 = 128 * 1024 * 1024;
/// What the filler leaves when the disk becomes nearly full.
const LEFT_BYTES: u64 = 100 * 1024 * 1024;
/// Less than this is not worth filling.
const FILL_BYTES_MIN: u64 = 4096;
/// For the node to notice, in either direction.
const NOTICE: Duration = Duration::from_secs(3);
/// For removals to go on, and for service to come back.
const BACK_WAIT: Duration = Duration::from_secs(20);
/// Acknowledged before the disk fills up, so that there is something to remove until the end.
const ENOUGH: u64 = 2_000;
/// Between two looks.
const LOOK_PAUSE: Duration = Duration::from_millis(20);

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

    /// Takes what is not part of the sudden loss.
    fn take(&self) -> Result<(), ChaosError> {
        let path = self.0.join("taken");
        let file = File::create(&path).map_err(ChaosError::file(&path))?;
        fallocate(&file, FallocateFlags::empty(), 0, TAKEN_BYTES).map_err(ChaosError::system("fallocate"))
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
    world.figures.longest_fill = inner.figures.longest_fill;
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
    disk.take()?;
    let load = world.load(&node)?;
    world.some_time().await;
    until(BACK_WAIT, || load.acknowledged() >= ENOUGH).await;
    let wholly = world.random.one_in(2);
    let begin = Instant::now();
    disk.fill(if wholly { 0 } else { LEFT_BYTES })?;
    world.figures.longest_fill = begin.elapsed();
    tokio::time::sleep(NOTICE).await;
    load.mark();
    tokio::time::sleep(NOTICE).await;
    let removed = until(BACK_WAIT, || load.removed() > 0).await;
    let sent = world.end_load(load).await;
    let codes = codes_after_mark(&sent);
    let (taken, put_off) = (codes.get(&250).copied().unwrap_or(0), codes.get(&452).copied().unwrap_or(0));
    // Reads go on, and nothing is missing.
    world.judge_to(&mut node, Depth::All).await?;
    if taken > 0 || put_off == 0 {
        return Err(Finding::FullDiskTaken { count: taken, refused: put_off }.into());
    }
    disk.relieve()?;
    if node.log_says(&["no more writes"]) {
        // The one case that needs a new start: the last byte went while the log itself was written.
        failed(&node).await?;
        world.figures.service_restarts += 1;
    } else if !removed {
        return Err(Finding::FullDiskNoRemoval { log: node.log() }.into());
    } else {
        ready(&node).await?;
        service(world, &node, "after the disk had room again").await?;
        world.judge(&mut node).await?;
    }
    node.kill();
    let mut node = world.start("after a full disk").await?;
    world.judge_to(&mut node, Depth::All).await?;
    service(world, &node, "after a full disk and a new start").await?;
    world.judge(&mut node).await?;
    node.stop().await
}

/// The page for health says that the node needs help, as its log does.
async fn failed(node: &Node) -> Result<(), Stop> {
    let page = "/health/ready";
    let text = wire::page(&node.listener("http")?, page).await;
    if text.contains(" 503 ") {
        return Ok(());
    }
    Err(Finding::SilentPage { page, of: "the end of service", text }.into())
}

/// The page for health says within the time it has that the node serves and takes mail.
async fn ready(node: &Node) -> Result<(), Stop> {
    let (page, address) = ("/health/ready", node.listener("http")?);
    let end = Instant::now() + BACK_WAIT;
    loop {
        let text = wire::page(&address, page).await;
        if text.contains(" 200 ") && text.contains("\"takes_mail\":true") {
            return Ok(());
        }
        if Instant::now() > end {
            return Err(Finding::SilentPage { page, of: "service that came back", text }.into());
        }
        tokio::time::sleep(LOOK_PAUSE).await;
    }
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
    let taken = until(wait, || load.acknowledged() > 0).await;
    (world.end_load(load).await, taken)
}

/// True if it happens within so long.
async fn until(wait: Duration, mut happened: impl FnMut() -> bool) -> bool {
    let end = Instant::now() + wait;
    while !happened() && Instant::now() < end {
        tokio::time::sleep(LOOK_PAUSE).await;
    }
    happened()
}
