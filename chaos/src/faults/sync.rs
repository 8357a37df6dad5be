//! Syncs that fail: a library in front of the C library's calls gives EIO once a file is there.

use super::shim;
use crate::error::{ChaosError, Stop};
use crate::finding::Finding;
use crate::node::Node;
use crate::reader::Depth;
use crate::wire;
use crate::world::World;
use std::path::Path;
use std::time::Duration;

/// How long mail comes in after syncs have begun to fail.
const FAILING: Duration = Duration::from_secs(2);

pub(super) async fn sync_fails(world: &mut World, node: Node) -> Result<Node, Stop> {
    let mut plan = shim::plan(world)?;
    node.stop().await?;
    let trigger = world.folder.join("syncs-fail");
    plan.environment.push(("CHAOS_TRIGGER".to_owned(), trigger.clone()));
    let mut node = world.start_by(&plan, "with the library for failing syncs").await?;
    let result = failing(world, &mut node, &trigger).await;
    let _ = std::fs::remove_file(&trigger);
    result?;
    if world.random.one_in(2) {
        node.kill();
    } else {
        // It has failed, so it does not end with success; it only has to end.
        node.terminate();
        node.wait().await?;
    }
    let mut node = world.start("after syncs had failed").await?;
    world.judge_to(&mut node, Depth::All).await?;
    Ok(node)
}

async fn failing(world: &mut World, node: &mut Node, trigger: &Path) -> Result<(), Stop> {
    let load = world.load(node)?;
    world.some_time().await;
    std::fs::write(trigger, b"").map_err(ChaosError::file(trigger))?;
    load.mark();
    tokio::time::sleep(FAILING).await;
    let history = world.end_load(load).await;
    let told = history.sent.iter().filter(|sent| sent.after_mark).flat_map(|sent| &sent.told);
    let taken = told.filter(|(_, told)| told.must_be_there()).count();
    let removed = history.erased.iter().filter(|erased| erased.after_mark && erased.sure).count();
    let count = (taken + removed) as u64;
    if count > 0 {
        return Err(Finding::AcknowledgedUnsynced { count }.into());
    }
    if !node.log_says(&["no more writes", "disk failed", "sync failed"]) {
        return Err(Finding::SilentLog { of: "failed syncs", log: node.log() }.into());
    }
    pages(node).await?;
    world.judge(node).await
}

/// Health and metrics have to say it, where the node has them.
async fn pages(node: &Node) -> Result<(), Stop> {
    let Ok(address) = node.listener("http") else { return Ok(()) };
    let of = "failed syncs";
    let page = "/health/ready";
    let text = wire::page(&address, page).await;
    if text.contains(" 404 ") {
        return Ok(());
    }
    if !text.contains(" 503 ") {
        return Err(Finding::SilentPage { page, of, text }.into());
    }
    let page = "/metrics";
    let text = wire::page(&address, page).await;
    if text.lines().any(|line| line.split_once("storage_failed").is_some_and(|(_, rest)| rest.trim() == "1"))
    {
        return Ok(());
    }
    let text = text.lines().filter(|line| line.contains("storage")).take(20).collect::<Vec<_>>().join("\n");
    Err(Finding::SilentPage { page, of, text }.into())
}
