//! What an operator does about nodes whose database is damaged: such a node says so and ends, and is emptied and joined anew.
//!
//! Two damaged nodes of three are more than a cluster survives, and damage may lie where nobody reads for long. So after a
//! round whose faults damaged a node, `estafette check` looks through its folder before another one is damaged.

use super::Cluster;
use super::faults::Scene;
use super::faults::wipe::empty_and_join;
use super::judge;
use super::net::Number;
use crate::error::Stop;
use crate::random::Random;
use crate::world::{Checked, check};
use std::sync::Arc;
use std::sync::atomic::Ordering;

/// Empties nodes that were damaged and have said that they are, and joins them anew; true if there were any.
pub(super) async fn replace_damaged(cluster: &Arc<Cluster>, random: &mut Random) -> Result<bool, Stop> {
    let mut some = false;
    for number in 1..=cluster.nodes {
        if cluster.member(number).await?.says_damaged() {
            replace(cluster, number, random).await?;
            some = true;
        }
    }
    Ok(some)
}

async fn replace(cluster: &Arc<Cluster>, victim: Number, random: &mut Random) -> Result<(), Stop> {
    cluster.replaced.fetch_add(1, Ordering::SeqCst);
    let mut scene = Scene { cluster: Arc::clone(cluster), victim, random: random.fork() };
    empty_and_join(&mut scene).await
}

/// Looks through the folders of nodes that were damaged and have not been emptied since, and waits until all copies of the
/// data are whole again.
pub(super) async fn inspect(cluster: &Arc<Cluster>, random: &mut Random) -> Result<(), Stop> {
    let mut some = false;
    for number in 1..=cluster.nodes {
        let is_suspect = cluster.member(number).await?.suspect;
        if is_suspect {
            inspect_one(cluster, number, random).await?;
            some = true;
        }
    }
    if some && !judge::settle(cluster, random).await? {
        return Err(judge::not_settled(cluster).await.into());
    }
    Ok(())
}

/// A node in whose folder the check finds nothing goes on.
async fn inspect_one(cluster: &Arc<Cluster>, number: Number, random: &mut Random) -> Result<(), Stop> {
    let mut member = cluster.member(number).await?;
    // It may come upon its damage just now.
    member.end().await?;
    if !matches!(check(cluster.program(), &member.data()).await?, Checked::Clean) {
        drop(member);
        return replace(cluster, number, random).await;
    }
    member.suspect = false;
    member.launch(random)?;
    member.serving("after a check that found nothing").await?;
    Ok(())
}
