//! The sessions of other nodes, whose mailboxes this node has.
//!
//! A session is made before its node is answered, so who hears that it is taken has it. Its client was let in there: what is
//! asked here is whether the account is, and whether there is a place.

use super::{Found, Head, Speech, VERSION, Welcome, encoded, find, pump};
use crate::cluster::Doorway;
use crate::engine::Engine;
use crate::services::{ImapProtocol, Pop3Protocol};
use bytes::Bytes;
use estafette_mailbox::AccountRef;
use estafette_mesh::{BoxFuture, Taken};
use estafette_raft::NodeId;
use estafette_reactor::{Adopter, Error};
use estafette_types::AccountId;
use std::os::unix::net::UnixStream;
use std::sync::Arc;

/// Takes sessions of other nodes.
pub(crate) struct Doorman {
    pub(crate) engine: Arc<Engine>,
    /// One for each listener that such a session may have begun at.
    pub(crate) imap: Vec<Arc<Adopter<ImapProtocol>>>,
    /// Likewise.
    pub(crate) pop3: Vec<Arc<Adopter<Pop3Protocol>>>,
}

impl Doorway for Doorman {
    fn take(self: Arc<Self>, from: NodeId, head: Bytes) -> BoxFuture<'static, Result<Taken, String>> {
        Box::pin(async move {
            let head = Head::decode(&head).ok_or("the session is of another version of the program")?;
            let session = self.admit(&head).await?;
            tracing::debug!(node = %from, peer = %head.remote, account = head.account, "a session comes from another node");
            let welcome =
                Welcome { version: VERSION, append_max_bytes: self.engine.config.imap.append_max_bytes };
            let hold = move |stream| -> BoxFuture<'static, ()> { Box::pin(pump::carry(session, stream)) };
            Ok(Taken { answer: encoded(&welcome), hold: Box::new(hold) })
        })
    }
}

impl Doorman {
    /// Begins a session, and gives the end at which it is spoken to; or says in words why not.
    async fn admit(&self, head: &Head) -> Result<tokio::net::UnixStream, String> {
        let at = self.home(AccountId(head.account)).await?;
        let (ours, theirs) = UnixStream::pair().map_err(|error| error.to_string())?;
        let ends = (head.remote, head.local);
        let begun = match head.speech {
            Speech::Imap => {
                let adopter = named(&self.imap, &head.listener, |adopter| adopter.name())?;
                let protocol = Arc::clone(&adopter);
                adopter.adopt(theirs, ends, move |peer| protocol.protocol().admitted(peer, at)).await
            }
            Speech::Pop3 => {
                let adopter = named(&self.pop3, &head.listener, |adopter| adopter.name())?;
                let (protocol, account) = (Arc::clone(&adopter), at.account);
                adopter.adopt(theirs, ends, move |peer| protocol.protocol().admitted(peer, account)).await
            }
        };
        begun.map_err(|error| match error {
            Error::Full | Error::Stopping => error.to_string(),
            error => {
                tracing::warn!(%error, "a session of another node cannot be taken over");
                error.to_string()
            }
        })?;
        ours.set_nonblocking(true)
            .and_then(|()| tokio::net::UnixStream::from_std(ours))
            .map_err(|error| error.to_string())
    }

    /// The mailboxes of an account, which are to be here.
    async fn home(&self, account: AccountId) -> Result<AccountRef, String> {
        let engine = &self.engine;
        let mut home = engine.account_ref(account);
        if home.is_none_or(|home| engine.away(home).is_some()) {
            // The other node may know more.
            engine.fresh_directory().await.map_err(|error| error.to_string())?;
            home = engine.account_ref(account);
        }
        let home = home.ok_or("the account is not known here")?;
        match find(engine, home).await {
            Ok(Found::Here(at)) => Ok(at),
            Ok(Found::Elsewhere(at)) => Err(format!("this node does not have shard {}", at.shard)),
            Ok(Found::Nowhere) => Err("the account is going".to_owned()),
            Err(error) => Err(format!("the mailboxes cannot be used now: {error}")),
        }
    }
}

fn named<T>(all: &[Arc<T>], name: &str, of: impl Fn(&T) -> &'static str) -> Result<Arc<T>, String> {
    let found = all.iter().find(|one| of(one) == name);
    found.cloned().ok_or_else(|| format!("this node knows no listener '{name}'"))
}
