//! Accounts move to other shards while mail flows, and whatever else happens to the cluster.
//!
//! Contract: all that was answered is there, once, under its UIDs; each move ends, or is put off until it can.

use super::{Scene, patiently};
use crate::cluster::control;
use crate::error::Stop;

/// Accounts that move at a time.
const ACCOUNTS: usize = 3;

pub(super) async fn there_and_on(mut scene: Scene) -> Result<(), Stop> {
    let (program, data) = (scene.cluster.program().to_owned(), scene.cluster.data(1));
    let names = patiently(async || control::usernames(&program, &data).await).await?;
    for _ in 0..ACCOUNTS {
        let Some(name) = scene.random.pick(&names).cloned() else { return Ok(()) };
        patiently(async || control::move_account(&program, &data, &name).await).await?;
    }
    scene.hold().await;
    patiently(async || control::moves_ended(&program, &data).await).await
}
