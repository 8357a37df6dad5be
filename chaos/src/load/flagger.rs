//! A client that gives messages flags over IMAP while others come in, and looks for them by another session, at
//! another node where there is one.
//!
//! It alone changes flags in the accounts of its own, so that it knows what they have to be.

use super::{Shared, Target};
use crate::oracle::{Account, Flags, Stored, Violation};
use crate::random::Random;
use crate::reader::{Imap, Login, listed};
use std::io;
use std::sync::Arc;
use std::time::Duration;

/// Between two rounds, and after a failure.
const PAUSE: Duration = Duration::from_millis(60);
/// Most messages of one round.
const MESSAGES_MAX: u64 = 4;

/// What was stored, in order, and what another session should have seen.
#[derive(Debug, Default)]
pub(super) struct Flagged {
    pub(super) stored: Vec<Stored>,
    pub(super) unseen: Vec<Violation>,
}

pub(super) struct Flagger {
    target: Target,
    shared: Arc<Shared>,
    random: Random,
    history: Flagged,
}

impl Flagger {
    pub(super) fn new(target: Target, shared: Arc<Shared>, random: Random) -> Flagger {
        Flagger { target, shared, random, history: Flagged::default() }
    }

    pub(super) async fn run(mut self) -> Flagged {
        while !self.shared.stopped() {
            let account = self.random.below(self.target.logins.len());
            // What failed is written down where it matters.
            let _ = self.round(account).await;
            tokio::time::sleep(PAUSE).await;
        }
        self.history
    }

    async fn round(&mut self, account: Account) -> io::Result<()> {
        let Some(login) = self.target.logins.get(account).cloned() else { return Ok(()) };
        let (told, door) = self.target.numbered_door(&mut self.random)?;
        let mut session = Imap::open(&door.imap, &login, self.target.patience).await?;
        let opened = session.select("SELECT").await?;
        let present = session.list(opened.exists).await?;
        for _ in 0..self.random.within(1..MESSAGES_MAX + 1) {
            let Some(uid) = self.random.pick(&present).map(|listed| listed.uid) else { return Ok(()) };
            let flags = Flags::from_bits(self.random.next());
            let stored = Stored { account, uid, flags, sure: true };
            let result = session.command(&format!("UID STORE {uid} FLAGS.SILENT ({flags})"), |_| ()).await;
            if let Err(error) = result {
                self.history.stored.push(Stored { sure: false, ..stored });
                return Err(error);
            }
            self.history.stored.push(stored);
            self.look(&login, stored, told).await?;
        }
        Ok(())
    }

    /// Another session has to see what was stored, unless the message is gone.
    async fn look(&mut self, login: &Login, stored: Stored, told: usize) -> io::Result<()> {
        let (asked, door) = self.target.numbered_door(&mut self.random)?;
        let mut session = Imap::open(&door.imap, login, self.target.patience).await?;
        session.select("EXAMINE").await?;
        let Stored { account, uid, flags, .. } = stored;
        let mut now = None;
        let fetch = format!("UID FETCH {uid} (UID RFC822.SIZE FLAGS MODSEQ)");
        session.command(&fetch, |answer| now = listed(&answer.text).or(now)).await?;
        let Some(now) = now.map(|listed| listed.state.flags) else { return Ok(()) };
        // One without an answer before may take effect late.
        let unsure = self.history.stored.iter().filter(|other| !other.sure && other.uid == uid);
        if now == flags || unsure.filter(|other| other.account == account).any(|other| other.flags == now) {
            return Ok(());
        }
        let (flags, now) = (flags.to_string(), now.to_string());
        self.history.unseen.push(Violation::FlagsUnseen { account, uid, told, asked, flags, now });
        Ok(())
    }
}
