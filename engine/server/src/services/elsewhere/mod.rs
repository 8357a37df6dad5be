//! Sessions whose mailboxes other nodes have: they begin here, up to their login, and go on there.
//!
//! Duty: find a node that has the shard and takes the session ([`hand_over`]), and take those of other nodes (`doorway`).
//! The first node then carries bytes between its client and that node (`estafette_reactor`), without a look at what they
//! mean but for one thing: where a response ends, so that an IMAP client can be told why it is cut off ([`Parting`]).
//!
//! Invariants: a session that was taken over is not handed on once more; all waits for a node are bounded, so a login that
//! finds nobody fails soon. `docs/decisions/017-sessions-handed-over.md` has why it is done so.

mod doorway;
mod pump;
#[cfg(test)]
mod tests;

pub(crate) use doorway::Doorman;

use crate::engine::{Engine, EngineError};
use bytes::Bytes;
use estafette_imap::codec::boundary::Boundary;
use estafette_mailbox::{AccountRef, Action, Response, read};
use estafette_mesh::Stream;
use estafette_reactor::{Elsewhere, Parted, Parting, Peer};
use serde::{Deserialize, Serialize};
use std::net::SocketAddr;
use std::time::Duration;
use tokio::time::{Instant, timeout};

/// The form of head and answer.
const VERSION: u8 = 1;
/// How long one node may take to say whether it takes a session.
const ONE_NODE: Duration = Duration::from_millis(2_500);
/// How long a login waits for all of them.
const ALL_NODES: Duration = Duration::from_millis(4_500);

/// Which protocol a session speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Speech {
    /// Its login is answered where the client is connected.
    Imap,
    /// Its login is answered where the maildrop is.
    Pop3,
}

/// What a node is told of a session that it is to take over.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Head {
    version: u8,
    speech: Speech,
    /// The name of the listener.
    listener: String,
    /// Who has logged in.
    account: u64,
    /// The ends of the client's connection.
    remote: SocketAddr,
    local: SocketAddr,
}

/// What the node says that takes it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Welcome {
    version: u8,
    append_max_bytes: u64,
}

fn encoded(value: &impl Serialize) -> Bytes {
    postcard::to_allocvec(value).map(Bytes::from).unwrap_or_default()
}

impl Head {
    fn decode(bytes: &[u8]) -> Option<Head> {
        // What is of another version may be of another form behind its first byte.
        let version = bytes.first().filter(|version| **version == VERSION)?;
        postcard::from_bytes(bytes).ok().filter(|head: &Head| head.version == *version)
    }
}

impl Welcome {
    fn decode(bytes: &[u8]) -> Option<Welcome> {
        bytes.first().filter(|version| **version == VERSION)?;
        postcard::from_bytes(bytes).ok()
    }
}

/// Where the mailboxes of an account can be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Found {
    /// Here, and they are as new as anybody was told.
    Here(AccountRef),
    /// On other nodes alone.
    Elsewhere(AccountRef),
    /// Nowhere: the account is going.
    Nowhere,
}

/// Finds the mailboxes of an account that has logged in, and makes them if there are none yet.
pub(crate) async fn find(engine: &Engine, at: AccountRef) -> Result<Found, EngineError> {
    if let Some(away) = engine.away(at) {
        return Ok(Found::Elsewhere(away));
    }
    match find_here(engine, at).await {
        // It may have moved meanwhile.
        Err(error) => engine.away(at).map(Found::Elsewhere).ok_or(error),
        found => found,
    }
}

async fn find_here(engine: &Engine, at: AccountRef) -> Result<Found, EngineError> {
    let mut at = engine.fresh(at).await?;
    if read::account(&engine.store, at)?.is_none() {
        let (home, response) = engine.mailbox(at, Action::Ensure, Vec::new()).await?;
        at = home;
        if let Response::Refused(refusal) = response {
            tracing::warn!(%refusal, account = at.account.0, "a login to an account that is going");
            return Ok(Found::Nowhere);
        }
    }
    Ok(Found::Here(at))
}

/// A session that a node has taken.
pub(crate) struct HandedOver {
    /// The largest message that APPEND takes there.
    pub(crate) append_max_bytes: u64,
    pub(crate) elsewhere: Box<Elsewhere>,
}

/// Hands a session to a node that has the shard of its account; `None` when none takes it now. `listener`: the name of that
/// of its client.
pub(crate) async fn hand_over(
    engine: &Engine,
    speech: Speech,
    listener: &'static str,
    peer: Peer,
    at: AccountRef,
) -> Option<HandedOver> {
    let deadline = Instant::now() + ALL_NODES;
    let head = Head {
        version: VERSION,
        speech,
        listener: listener.to_owned(),
        account: at.account.0,
        remote: peer.remote,
        local: peer.local,
    };
    let head = encoded(&head);
    let mut taken = ask_hosts(engine, at, &head, deadline).await;
    if taken.is_none() {
        // The directory here may not know yet that the account has moved.
        let _ = timeout(deadline.saturating_duration_since(Instant::now()), engine.fresh_directory()).await;
        if let Some(now) = engine.away(at).filter(|now| now.shard != at.shard) {
            taken = ask_hosts(engine, now, &head, deadline).await;
        }
    }
    let outcome = if taken.is_some() { "done" } else { "failed" };
    let labels = [("listener", listener), ("outcome", outcome)];
    metrics::counter!("estafette_sessions_handed_over_total", &labels).increment(1);
    let Some((welcome, stream)) = taken else {
        tracing::warn!(account = at.account.0, shard = %at.shard, "no node that has the shard takes the session");
        return None;
    };
    let parting = Box::new(Carried::new(speech, listener));
    let elsewhere = Box::new(Elsewhere { stream: Box::new(stream), parting });
    Some(HandedOver { append_max_bytes: welcome.append_max_bytes, elsewhere })
}

async fn ask_hosts(
    engine: &Engine,
    at: AccountRef,
    head: &Bytes,
    deadline: Instant,
) -> Option<(Welcome, Stream)> {
    for node in engine.cluster.hosts_of(&engine.directory, at.shard) {
        let within = deadline.saturating_duration_since(Instant::now()).min(ONE_NODE);
        if within.is_zero() {
            return None;
        }
        match timeout(within, engine.cluster.stream(node, head.clone())).await {
            Ok(Ok((answer, stream))) => match Welcome::decode(&answer) {
                Some(welcome) => {
                    tracing::debug!(%node, shard = %at.shard, "the session goes on at another node");
                    return Some((welcome, stream));
                }
                None => tracing::warn!(%node, "a node gives an answer of another version to a session"),
            },
            Ok(Err(error)) => tracing::info!(%node, %error, "a session was not handed over"),
            Err(_) => tracing::info!(%node, "a session was not handed over: it took too long"),
        }
    }
    None
}

/// Looks on at what a client is told by another node.
struct Carried {
    /// None where a client expects nothing that it has not asked for.
    boundary: Option<Boundary>,
    relayed: metrics::Gauge,
}

impl Carried {
    fn new(speech: Speech, listener: &'static str) -> Carried {
        let relayed = metrics::gauge!("estafette_sessions_relayed", "listener" => listener);
        relayed.increment(1.0);
        let boundary = match speech {
            Speech::Imap => Some(Boundary::default()),
            Speech::Pop3 => None,
        };
        Carried { boundary, relayed }
    }
}

impl Parting for Carried {
    fn told(&mut self, bytes: &[u8]) {
        if let Some(boundary) = &mut self.boundary {
            boundary.told(bytes);
        }
    }

    fn words(&self, why: Parted) -> Option<Bytes> {
        if !self.boundary.as_ref()?.is_here() {
            return None;
        }
        Some(Bytes::from_static(match why {
            Parted::Lost => {
                b"* BYE [UNAVAILABLE] The server of your mailboxes was lost, please connect again\r\n"
            }
            Parted::Stopping => b"* BYE [UNAVAILABLE] The server is stopping\r\n",
        }))
    }
}

impl Drop for Carried {
    fn drop(&mut self) {
        self.relayed.decrement(1.0);
    }
}
