//! Damage to files. It is done to a copy of the folder, so that the folder itself goes on whole.

use crate::error::{ChaosError, Stop};
use crate::finding::Finding;
use crate::folder;
use crate::node::{Node, Started};
use crate::oracle::Tolerance;
use crate::world::{Checked, World, check};
use std::path::{Path, PathBuf};

/// The largest cut.
const CUT_BYTES: std::ops::Range<u64> = 1024..64 * 1024 + 1;
/// Words of which a refusal has one at least: it has to say what is wrong with the data.
pub(crate) const CLEAR: [&str; 4] = ["acknowledged", "damaged", "corrupt", "missing"];
/// A refusal for a log says up to where it is whole.
const CLEAR_FOR_LOGS: [&str; 2] = ["acknowledged", "damaged"];

/// Load, SIGKILL, and a copy of what is left. Nothing is read in between.
async fn killed(world: &mut World, node: Node) -> Result<PathBuf, Stop> {
    let load = world.load(&node)?;
    world.some_time().await;
    node.kill();
    world.end_load(load).await;
    copy(world)
}

fn copy(world: &World) -> Result<PathBuf, Stop> {
    let trial = world.folder.join("damaged");
    folder::remove(&trial)?;
    folder::copy(&world.data, &trial)?;
    Ok(trial)
}

pub(super) async fn cut_wal(world: &mut World, node: Node) -> Result<Node, Stop> {
    let trial = killed(world, node).await?;
    if let Some((path, size)) = folder::files(&trial, "log")?.pop() {
        let bytes = world.random.within(CUT_BYTES).min(size);
        folder::cut(&path, bytes)?;
        let what = format!("{bytes} of {size} bytes cut off the end of {}", name(&path));
        log_trial(world, &trial, what).await?;
    }
    resume(world, &trial, "after a copy of it was cut").await
}

pub(super) async fn flip_wal(world: &mut World, node: Node) -> Result<Node, Stop> {
    let trial = killed(world, node).await?;
    let logs = folder::files(&trial, "log")?;
    if let Some((path, at)) = folder::place(&logs, &mut world.random) {
        let what = flip(world, path, at)?;
        log_trial(world, &trial, what).await?;
    }
    resume(world, &trial, "after a copy of it was damaged").await
}

fn flip(world: &mut World, path: &Path, at: u64) -> Result<String, ChaosError> {
    let bit = u8::try_from(world.random.within(0..8)).unwrap_or(0);
    folder::flip(path, [(at, bit)])?;
    Ok(format!("bit {bit} of byte {at} of {} flipped", name(path)))
}

/// A damaged log: refused with a clear message, again and again, or nothing is missing.
async fn log_trial(world: &mut World, trial: &Path, what: String) -> Result<(), Stop> {
    match world.try_start(trial).await? {
        Started::Serving(node) => {
            world.judge_copy(&node, Tolerance::None).await?;
            world.figures.taken_starts += 1;
            node.kill();
            Ok(())
        }
        Started::Ended(log) => {
            clear(&log, &what, &CLEAR_FOR_LOGS)?;
            world.figures.refused_starts += 1;
            match world.try_start(trial).await? {
                Started::Ended(_) => Ok(()),
                Started::Serving(_) => Err(Finding::RefusedOnce { what }.into()),
                again @ Started::Neither(_) => again.serving("on a damaged log").map(Node::kill),
            }
        }
        neither @ Started::Neither(_) => neither.serving("on a damaged log").map(Node::kill),
    }
}

/// A finding unless the log of a refused start names what is wrong.
pub(crate) fn clear(log: &str, what: &str, words: &[&str]) -> Result<(), Stop> {
    let said = log.lines().any(|line| line.starts_with("error:") || line.contains("ERROR"));
    let lower = log.to_lowercase();
    if said && !lower.contains("panicked") && words.iter().any(|word| lower.contains(word)) {
        return Ok(());
    }
    Err(Finding::UnclearRefusal { what: what.to_owned(), log: log.to_owned() }.into())
}

/// A damaged table or blob file: errors, never wrong bytes, never silence.
pub(super) async fn flip_file(world: &mut World, node: Node, ending: &str) -> Result<Node, Stop> {
    let load = world.load(&node)?;
    world.some_time().await;
    node.kill();
    world.end_load(load).await;
    // Starting writes what the logs held to files.
    let mut node = world.start("after SIGKILL").await?;
    world.judge(&mut node).await?;
    node.stop().await?;
    let trial = copy(world)?;
    let files = folder::files(&trial, ending)?;
    if let Some((path, at)) = folder::place(&files, &mut world.random) {
        let what = flip(world, path, at)?;
        file_trial(world, &trial, what).await?;
    }
    resume(world, &trial, "after a copy of it was damaged").await
}

async fn file_trial(world: &mut World, trial: &Path, what: String) -> Result<(), Stop> {
    let unreadable = match world.try_start(trial).await? {
        Started::Serving(node) => {
            let unreadable = world.judge_copy(&node, Tolerance::Errors).await?;
            world.figures.taken_starts += 1;
            node.kill();
            unreadable
        }
        Started::Ended(log) => {
            clear(&log, &what, &CLEAR)?;
            world.figures.refused_starts += 1;
            1
        }
        neither @ Started::Neither(_) => neither.serving("on a damaged file").map(|_| 0)?,
    };
    let found = check(&world.settings.program, trial).await?;
    if unreadable > 0 && matches!(found, Checked::Clean) {
        return Err(Finding::CheckBlind { what, unreadable }.into());
    }
    Ok(())
}

/// Goes on with the folder itself.
async fn resume(world: &mut World, trial: &Path, after: &'static str) -> Result<Node, Stop> {
    let mut node = world.start(after).await?;
    world.judge(&mut node).await?;
    folder::remove(trial)?;
    Ok(node)
}

fn name(path: &Path) -> String {
    path.file_name().unwrap_or_default().to_string_lossy().into_owned()
}
