//! Bits of a node's files are flipped while it does not run: one, or as many as the run says.
//!
//! Contract: it serves no wrong byte: it either repairs what is damaged from the others, or refuses to start, or ends when
//! it meets the damage, and says what is wrong; then its operator empties the folder and it joins anew.

use super::{Scene, wipe};
use crate::error::Stop;
use crate::faults::damage::{CLEAR, clear};
use crate::finding::Finding;
use crate::folder;
use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::atomic::Ordering;

/// Bytes of files, and the bit of each that is flipped.
type Places = BTreeMap<PathBuf, BTreeSet<(u64, u8)>>;

pub(super) async fn flip(mut scene: Scene, ending: &str) -> Result<(), Stop> {
    let mut random = scene.random.fork();
    let data = {
        let mut member = scene.member().await?;
        member.kill();
        member.life += 1;
        if scene.cluster.flips > 1 {
            // Many are for what lies in files: what the logs held is written to them by a start.
            member.launch(&mut random)?;
            member.serving("after SIGKILL").await?;
            member.stop().await?;
        }
        member.data()
    };
    scene.hold().await;
    let places = draw(&mut scene, &folder::files(&data, ending)?);
    for (path, bits) in &places {
        folder::flip(path, bits.iter().copied())?;
    }
    let flipped = places.values().map(BTreeSet::len).sum::<usize>();
    scene.cluster.flipped.fetch_add(flipped as u64, Ordering::SeqCst);
    let refused = {
        let mut member = scene.member().await?;
        member.flipped |= flipped > 0;
        member.suspect |= flipped > 0;
        member.launch(&mut random)?;
        member.refused().await?
    };
    if let Some(log) = refused {
        if flipped == 0 {
            return Err(Finding::NoStart { after: "nothing was flipped", log }.into());
        }
        clear(&log, &told(scene.victim, &places), &CLEAR)?;
        scene.cluster.replaced.fetch_add(1, Ordering::SeqCst);
        wipe::empty_and_join(&mut scene).await?;
    }
    Ok(())
}

/// As many places as the run says, each bit as likely as any other; fewer where there are fewer.
fn draw(scene: &mut Scene, files: &[(PathBuf, u64)]) -> Places {
    let mut places = Places::new();
    for _ in 0..scene.cluster.flips {
        let Some((path, at)) = folder::place(files, &mut scene.random) else { break };
        let bit = u8::try_from(scene.random.within(0..8)).unwrap_or(0);
        // Twice the same would be no flip.
        places.entry(path.to_owned()).or_default().insert((at, bit));
    }
    places
}

/// What was done, for a finding: the first place of each file, and how many more.
fn told(victim: usize, places: &Places) -> String {
    let of_file = |(path, bits): (&PathBuf, &BTreeSet<(u64, u8)>)| {
        let (at, bit) = bits.first().copied().unwrap_or_default();
        let more = if bits.len() > 1 { format!(" and {} more", bits.len() - 1) } else { String::new() };
        format!("bit {bit} of byte {at}{more} of {} flipped", path.display())
    };
    format!("node {victim}: {}", places.iter().map(of_file).collect::<Vec<_>>().join(", "))
}
