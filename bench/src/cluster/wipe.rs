//! How long a node that has lost its disk takes to have all mail again, and what others notice of it.

use super::nodes::{Nodes, Number, Returning};
use super::result::Times;
use super::scrape;
use super::trickle::{Delivered, Flow, Trickle};
use crate::error::BenchError;
use crate::load::{Ingest, Mail, Protocol, Span, Target};
use crate::process::Meter;
use crate::report::text::number;
use indicatif::ProgressBar;
use serde::Serialize;
use std::fmt;
use std::path::Path;
use std::time::{Duration, Instant};

/// Sizes of messages, and the share of all bytes that each gets, in percent; the small ones last, so that little of it
/// is in the entries that logs keep.
const SIZES: [(usize, usize); 4] = [(2 << 20, 20), (256 << 10, 30), (32 << 10, 30), (4 << 10, 20)];
/// Sessions that fill.
const FILLERS: usize = 12;
/// The trickle: clients, the pause between two deliveries, bytes of each.
const CLIENTS: u32 = 8;
const EVERY: Duration = Duration::from_millis(20);
const MESSAGE_BYTES: usize = 4 << 10;
/// How long the trickle is watched before: some thousands of deliveries, so that one in a hundred says something.
const BEFORE: Duration = Duration::from_secs(60);
/// For what the filling has left to do.
const REST: Duration = Duration::from_secs(10);
/// See [`Wipe::during_pieces`].
const PIECE: Duration = Duration::from_secs(10);
/// Between two looks at how far the node is.
const LOOK_PAUSE: Duration = Duration::from_millis(500);
/// The longest that the node may take, and how much longer for each GiB.
const WHOLE_MAX: Duration = Duration::from_secs(600);
const WHOLE_MAX_OF_GIB: Duration = Duration::from_secs(600);

/// What was found.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Wipe {
    /// Bytes of mail, each message once.
    bytes: u64,
    messages: u64,
    fill_seconds: f64,
    /// From when it is put back, with an empty folder, until it has joined.
    joined_seconds: f64,
    /// From then until it serves.
    serving_seconds: f64,
    /// From then until it votes in every group, which it does when it has all entries and bodies.
    whole_seconds: f64,
    /// Mail that came to it, from its start until it is whole.
    mb_per_second: f64,
    /// Bodies that it fetched by themselves; the others came with entries of logs.
    bodies_fetched: f64,
    /// Files of the wiped node in the end, and of another one.
    folder_bytes: u64,
    other_folder_bytes: u64,
    /// Deliveries by the nodes that stayed.
    before: Option<Times>,
    /// With nobody in the place of the node that went: each waits for both of those that stayed.
    by_two: Option<Times>,
    during: Option<Times>,
    /// Likewise, in pieces of [`PIECE`]; none of one in which nothing was delivered.
    during_pieces: Vec<Option<Times>>,
    /// Attempts that failed meanwhile.
    failed: usize,
}

/// Fills the nodes, wipes the last one, and watches it come back.
pub(super) async fn measure(
    gib: f64,
    returning: &Returning,
    nodes: &mut Nodes,
    bar: &ProgressBar,
) -> Result<Wipe, BenchError> {
    let began = Instant::now();
    let (bytes, messages) = fill(gib, nodes, bar).await?;
    let fill_seconds = began.elapsed().as_secs_f64();
    tokio::time::sleep(REST).await;
    nodes.settle(WHOLE_MAX).await?;
    let victim = nodes.running().last().unwrap_or_default();
    let stay = nodes.others(victim);
    let flow = Flow {
        doors: nodes.doors(&stay)?,
        recipients: nodes.recipients(),
        every: EVERY,
        clients: CLIENTS,
        bytes: MESSAGE_BYTES,
    };
    bar.set_message("wipe: before");
    let trickle = Trickle::start(flow.clone());
    tokio::time::sleep(BEFORE).await;
    let (before, _) = trickle.stop().await?;
    bar.set_message("wipe: a node is gone");
    let old = give_up(victim, returning, nodes).await?;
    tokio::time::sleep(REST).await;
    let trickle = Trickle::start(flow.clone());
    tokio::time::sleep(BEFORE).await;
    let (by_two, _) = trickle.stop().await?;
    bar.set_message("wipe: a node comes back");
    let trickle = Trickle::start(flow);
    let back = Instant::now();
    nodes.join(victim, "token").await?;
    let joined_seconds = back.elapsed().as_secs_f64();
    nodes.launch(victim).await?;
    let serving_seconds = back.elapsed().as_secs_f64();
    let whole_max = WHOLE_MAX + WHOLE_MAX_OF_GIB.mul_f64(gib.max(0.0));
    until_it_votes(victim, old, nodes, whole_max).await?;
    let whole_seconds = back.elapsed().as_secs_f64();
    let (during, failed) = trickle.stop().await?;
    let metrics = scrape::text(&nodes.address(victim, "http")?).await?;
    let times = |delivered: &[Delivered]| Times::of(delivered.iter().map(|one| one.took));
    Ok(Wipe {
        bytes,
        messages,
        fill_seconds,
        joined_seconds,
        serving_seconds,
        whole_seconds,
        mb_per_second: bytes as f64 / 1e6 / (whole_seconds - joined_seconds).max(1e-3),
        bodies_fetched: scrape::sum(&metrics, "estafette_bodies_fetched_total", ""),
        folder_bytes: size(&nodes.data(victim)?),
        other_folder_bytes: stay.first().map_or(Ok(0), |other| nodes.data(*other).map(|data| size(&data)))?,
        before: times(&before),
        by_two: times(&by_two),
        during: times(&during),
        during_pieces: pieces(&during, back),
        failed,
    })
}

/// These by when they were acknowledged.
fn pieces(delivered: &[Delivered], since: Instant) -> Vec<Option<Times>> {
    let place = |one: &Delivered| one.at.saturating_duration_since(since).as_secs() / PIECE.as_secs();
    let last = delivered.iter().map(place).max();
    let piece = |number| delivered.iter().filter(move |one| place(one) == number).map(|one| one.took);
    last.map_or(Vec::new(), |last| (0..=last).map(|number| Times::of(piece(number))).collect())
}

/// Delivers so much mail by all nodes; bytes and messages.
async fn fill(gib: f64, nodes: &Nodes, bar: &ProgressBar) -> Result<(u64, u64), BenchError> {
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a number of bytes")]
    let total = (gib.max(0.0) * f64::from(1 << 30)) as usize;
    let (mut bytes, mut messages) = (0, 0);
    for (size, percent) in SIZES {
        bar.set_message(format!("wipe: fill with messages of {} KiB", size / 1024));
        let mail = Mail {
            protocol: Protocol::Lmtp,
            target: Target::default(),
            recipients: nodes.recipients(),
            size,
            span: Span::operations((total / 100 * percent / size).max(1)),
            meter: Meter::default(),
        };
        let load = Ingest::of(mail, FILLERS).run_over(&nodes.targets()?).await?;
        messages += load.operations;
        bytes += load.operations * size as u64;
    }
    Ok((bytes, messages))
}

/// A node loses all and is given up; the number that it had.
async fn give_up(victim: Number, returning: &Returning, nodes: &mut Nodes) -> Result<u64, BenchError> {
    let status = nodes.status().await.unwrap_or_default();
    let unknown = || BenchError::Unknown { what: "node", name: (victim + 1).to_string() };
    let old = nodes.id(&status, victim).ok_or_else(unknown)?;
    nodes.wipe(victim, returning)?;
    let by = nodes.running().next().unwrap_or_default();
    nodes.say(by, &["cluster", "leave", &old.to_string(), "--no-wait"]).await?;
    Ok(old)
}

/// Waits until a node that has come back as another one votes in every group.
async fn until_it_votes(victim: Number, old: u64, nodes: &Nodes, wait: Duration) -> Result<(), BenchError> {
    let (end, stay) = (Instant::now() + wait, nodes.others(victim));
    loop {
        let status = nodes.status_of(&stay).await.unwrap_or_default();
        let new = nodes.id(&status, victim).filter(|new| *new != old);
        if new.is_some_and(|new| status.votes_everywhere(new)) {
            return Ok(());
        }
        if Instant::now() > end {
            return Err(BenchError::Slow(wait.as_secs()));
        }
        tokio::time::sleep(LOOK_PAUSE).await;
    }
}

/// Bytes of all files in a folder; those that go meanwhile do not count.
fn size(folder: &Path) -> u64 {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    let of_entry = |entry: std::fs::DirEntry| match entry.metadata() {
        Ok(data) if data.is_dir() => size(&entry.path()),
        Ok(data) if data.is_file() => data.len(),
        _ => 0,
    };
    entries.map(of_entry).sum()
}

impl fmt::Display for Wipe {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mb = |bytes: u64| number(bytes as f64 / 1e6);
        writeln!(
            f,
            "a node that lost {} MB of mail in {} messages (which took {} s to deliver)",
            mb(self.bytes),
            self.messages,
            number(self.fill_seconds)
        )?;
        writeln!(
            f,
            "  joined after {} s, serves after {} s, has all and votes after {} s: {} MB/s, {} bodies by \
             themselves; its files {} MB, another's {} MB",
            number(self.joined_seconds),
            number(self.serving_seconds),
            number(self.whole_seconds),
            number(self.mb_per_second),
            number(self.bodies_fetched),
            mb(self.folder_bytes),
            mb(self.other_folder_bytes)
        )?;
        let times = |times: Option<Times>| times.map_or("-".to_owned(), |times| times.to_string());
        writeln!(f, "  deliveries by the others before: {}", times(self.before))?;
        writeln!(f, "  with two nodes and nothing else to do: {}", times(self.by_two))?;
        writeln!(f, "  meanwhile: {}; {} failed", times(self.during), self.failed)?;
        let p99 = |piece: &Option<Times>| piece.map_or("-".to_owned(), |times| number(times.p99_ms));
        let pieces: Vec<String> = self.during_pieces.iter().map(p99).collect();
        writeln!(f, "  p99 of each {} s: {} ms", PIECE.as_secs(), pieces.join(", "))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_piece_without_a_delivery_has_its_place() {
        let since = Instant::now();
        let at = |seconds| Delivered {
            at: since + Duration::from_secs(seconds),
            took: Duration::from_millis(seconds),
        };
        let counts: Vec<_> = pieces(&[at(1), at(9), at(35)], since)
            .iter()
            .map(|piece| piece.map(|times| times.count))
            .collect();
        assert_eq!(counts, [Some(2), None, None, Some(1)]);
        assert!(pieces(&[], since).is_empty());
    }
}
