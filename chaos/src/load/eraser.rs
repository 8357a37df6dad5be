//! A client that removes messages while others come in, over POP3 (RFC 1939: DELE takes effect at QUIT).
//!
//! It looks at a message before it removes it, so that what is gone is known by its identifier.

use super::{Shared, Target};
use crate::message;
use crate::oracle::{Account, Erased};
use crate::random::Random;
use crate::reader::Pop3;
use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

/// Between two rounds of removing.
const PAUSE: Duration = Duration::from_millis(40);
/// Most messages of one round.
const MESSAGES_MAX: u64 = 12;

pub(super) struct Eraser {
    target: Target,
    shared: Arc<Shared>,
    random: Random,
    history: Vec<Erased>,
}

impl Eraser {
    pub(super) fn new(target: Target, shared: Arc<Shared>, random: Random) -> Eraser {
        Eraser { target, shared, random, history: Vec::new() }
    }

    pub(super) async fn run(mut self) -> Vec<Erased> {
        while !self.shared.stopped() {
            let account = self.random.below(self.target.logins.len());
            let mut removed = Vec::new();
            let result = self.remove(account, &mut removed).await;
            // QUIT was answered: they are gone. It failed before QUIT was sent: none is.
            if let Ok(sure) = result {
                let marked = removed.iter().filter(|erased| sure && erased.after_mark).count() as u64;
                self.shared.removed.fetch_add(marked, Ordering::Relaxed);
                self.history.extend(removed.into_iter().map(|erased| Erased { sure, ..erased }));
            }
            tokio::time::sleep(PAUSE).await;
        }
        self.history
    }

    /// True if the removal was acknowledged; false without an answer.
    async fn remove(&mut self, account: Account, removed: &mut Vec<Erased>) -> io::Result<bool> {
        let after_mark = self.shared.marked();
        let Some(login) = self.target.logins.get(account) else { return Ok(false) };
        let address = &self.target.door(&mut self.random)?.pop3;
        let mut session = Pop3::open(address, login, self.target.patience).await?;
        let names = session.names().await?;
        let count = usize::try_from(self.random.within(1..MESSAGES_MAX + 1)).unwrap_or(1);
        let newest = self.random.one_in(2);
        for back in 0..count {
            let index =
                if newest { names.len().checked_sub(back + 1) } else { Some(self.random.below(names.len())) };
            let Some(name) = index.and_then(|index| names.get(index)) else { break };
            if removed.iter().any(|erased| erased.uid == name.uid) {
                continue;
            }
            let Some((id, _)) = message::recognise(&session.top(name.number).await?) else { continue };
            session.delete(name.number).await?;
            removed.push(Erased { account, uid: name.uid, id, sure: false, after_mark });
        }
        Ok(session.quit().await)
    }
}
