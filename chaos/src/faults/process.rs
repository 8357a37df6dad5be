//! Signals.

use crate::error::Stop;
use crate::node::Node;
use crate::world::World;
use std::time::Duration;

/// One round in so many kills the node once more while it starts.
const AGAIN_ONE_IN: u64 = 3;

pub(super) async fn kill(world: &mut World, node: Node) -> Result<Node, Stop> {
    let load = world.load(&node)?;
    world.some_time().await;
    node.kill();
    world.end_load(load).await;
    while world.random.one_in(AGAIN_ONE_IN) {
        let data = world.data.clone();
        let mut process = world.plan(&data).spawn()?;
        let ms = world.random.within(0..400);
        tokio::time::sleep(Duration::from_millis(ms)).await;
        process.kill();
    }
    let mut node = world.start("after SIGKILL").await?;
    world.judge(&mut node).await?;
    Ok(node)
}

pub(super) async fn term(world: &mut World, node: Node) -> Result<Node, Stop> {
    let load = world.load(&node)?;
    world.some_time().await;
    let ended = node.stop().await;
    world.end_load(load).await;
    ended?;
    let mut node = world.start("after SIGTERM").await?;
    world.judge(&mut node).await?;
    Ok(node)
}

pub(super) async fn pause(world: &mut World, mut node: Node) -> Result<Node, Stop> {
    let load = world.load(&node)?;
    for _ in 0..world.random.within(1..4) {
        world.some_time().await;
        node.pause();
        let ms = world.random.within(10..3000);
        tokio::time::sleep(Duration::from_millis(ms)).await;
        node.go_on();
    }
    let before = load.acknowledged();
    let deadline = tokio::time::Instant::now() + Duration::from_secs(20);
    while load.acknowledged() == before && tokio::time::Instant::now() < deadline {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let served = load.acknowledged() > before;
    world.end_load(load).await;
    node.alive()?;
    if !served {
        let answers = node.log();
        return Err(crate::finding::Finding::NoService { after: "within 20 s of a pause", answers }.into());
    }
    world.judge(&mut node).await?;
    Ok(node)
}
