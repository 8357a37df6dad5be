//! Accounts where they are, also while they move from one shard to another.
//!
//! The directory decides in which shard an account is; what the shards know of a move follows from that. Here whoever
//! meets an account that is not (any more, or not yet) where he looked for it finds it: waits while it is on its way, and
//! makes what follows from an ended move so, if nobody else has ([`Homes::settle`]).
//!
//! - A command is carried out in one shard alone: a shard that refuses it as moved has changed nothing, and its name goes
//!   with it to the next.
//! - What [`Homes::fresh`] says is where all that was told to anybody before can be read on this node.
//! - A row of a shard is read first and the directory asked afterwards: a move is in the directory before it is in a row.

use crate::reach::Wait;
use crate::{Error, Reach, Shards};
use estafette_directory::{Move, View};
use estafette_mailbox::{AccountRef, AccountState, Action, MoveId, Refusal, Response, read};
use estafette_raft::NewBody;
use estafette_storage::Store;
use estafette_types::AccountId;
use std::time::Duration;
use tokio::time::sleep;

/// Between two looks at whether a move has ended; doubled each time.
const PAUSE: Duration = Duration::from_millis(10);
/// The longest such pause.
const PAUSE_MAX: Duration = Duration::from_millis(160);

/// What was left of an account stays for so long once it is known here to be elsewhere, so that reads which are under way
/// find it.
const CLEAR_AFTER: Duration = Duration::from_secs(3);

/// The name in shards of a move of the directory.
pub fn move_id(moving: &Move) -> MoveId {
    MoveId(moving.begun_ms)
}

/// Where the mailboxes of an account are, as the directory here knows it; `None` for an operator without any.
pub fn home(directory: &View, account: AccountId) -> Option<AccountRef> {
    let shard = directory.read().account(account)?.shard?;
    Some(AccountRef { shard, account })
}

/// See the head of this module. A cheap handle.
#[derive(Clone)]
pub struct Homes {
    store: Store,
    directory: View,
    control: Reach,
    shards: Shards,
}

/// What has to be done in a shard for what the directory has decided.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Due {
    /// Nothing, or a move is under way.
    Nothing,
    /// One command.
    Do(Action),
    /// A command, and then its removals to the end.
    Remove(Action),
    /// The same after [`CLEAR_AFTER`]: who looked before may still read there.
    RemoveLater(Action),
}

impl Homes {
    /// Of a node. `control`: the group of the directory.
    pub fn new(store: Store, directory: View, control: Reach, shards: Shards) -> Homes {
        Homes { store, directory, control, shards }
    }

    pub(crate) fn store(&self) -> &Store {
        &self.store
    }

    pub(crate) fn directory(&self) -> &View {
        &self.directory
    }

    pub(crate) fn shards(&self) -> &Shards {
        &self.shards
    }

    /// As [`home`].
    pub fn of(&self, account: AccountId) -> Option<AccountRef> {
        home(&self.directory, account)
    }

    /// True when the directory here knows the account in another shard.
    fn has_moved(&self, at: AccountRef) -> bool {
        self.of(at.account).is_some_and(|home| home != at)
    }

    /// Where the account is, once the rows here hold all that was told to anybody when it was called.
    ///
    /// # Errors
    /// When a group cannot be asked, or the account is on its way for too long.
    pub async fn fresh(&self, at: AccountRef) -> Result<AccountRef, Error> {
        let (wait, mut pause) = (self.shards.wait(), PAUSE);
        let mut at = self.of(at.account).unwrap_or(at);
        loop {
            self.shards.fresh(at.shard).await?;
            if self.is_here(at).await? {
                return Ok(at);
            }
            at = self.follow(at, &mut pause, wait).await?;
        }
    }

    /// Whether the rows of a shard, which are fresh, are all that there is of an account.
    async fn is_here(&self, at: AccountRef) -> Result<bool, Error> {
        match read::state(&self.store, at)?.map(|(state, _)| state) {
            Some(state) if state.is_elsewhere() => Ok(false),
            // Nothing changes in either, as long as the directory has it here.
            Some(AccountState::Sealed | AccountState::Ready) => {
                self.control.fresh().await?;
                Ok(!self.has_moved(at))
            }
            _ => Ok(true),
        }
    }

    /// Where an account is that is not where it was looked for; waits a moment if that is not known.
    async fn follow(&self, at: AccountRef, pause: &mut Duration, wait: Wait) -> Result<AccountRef, Error> {
        let asked = self.control.fresh().await;
        if self.has_moved(at) {
            return Ok(self.of(at.account).unwrap_or(at));
        }
        if wait.is_up() {
            asked?;
            return Err(Error::Moving(at.account));
        }
        // Who carries out the move does it, unless he is gone.
        if *pause >= PAUSE_MAX
            && let Err(error) = Box::pin(self.settle_home(at)).await
        {
            tracing::debug!(account = at.account.0, %error, "an account on its way cannot be settled now");
        }
        sleep(*pause).await;
        *pause = (*pause * 2).min(PAUSE_MAX);
        Ok(self.of(at.account).unwrap_or(at))
    }

    /// Carries out a command where the account is; says where that was. As [`Shards::mailbox`].
    ///
    /// # Errors
    /// As [`Shards::mailbox`]; [`Error::Moving`]: nothing was done.
    pub async fn mailbox(
        &self,
        at: AccountRef,
        action: Action,
        bodies: Vec<NewBody>,
    ) -> Result<(AccountRef, Response), Error> {
        let home = self.of(at.account).unwrap_or(at);
        self.mailbox_within(home, action, bodies, self.shards.wait_in(home.shard)).await
    }

    /// The same, no longer than `wait` says.
    pub(crate) async fn mailbox_within(
        &self,
        at: AccountRef,
        action: Action,
        bodies: Vec<NewBody>,
        wait: Wait,
    ) -> Result<(AccountRef, Response), Error> {
        let (mut at, mut pause) = (self.of(at.account).unwrap_or(at), PAUSE);
        let command = self.shards.command(at, action)?;
        loop {
            // What is seen to be closed here need not be told so by the log.
            if !self.is_closed(at)? || pause >= PAUSE_MAX {
                let response = self.shards.carry_out(at.shard, &command, bodies.clone(), wait).await?;
                if response != Response::Refused(Refusal::Moved) {
                    return Ok((at, response));
                }
            }
            at = self.follow(at, &mut pause, wait).await?;
        }
    }

    fn is_closed(&self, at: AccountRef) -> Result<bool, Error> {
        let state = read::state(&self.store, at)?.map(|(state, _)| state);
        Ok(state.is_some_and(|state| {
            state.is_elsewhere() || matches!(state, AccountState::Sealed | AccountState::Ready)
        }))
    }

    /// Makes in a shard what follows for an account from what the directory has decided: a move that has ended, or an
    /// account that was deleted. Does nothing while a move is under way. Where the account has left, that takes a while.
    ///
    /// # Errors
    /// When a group cannot be reached.
    pub async fn settle(&self, at: AccountRef) -> Result<(), Error> {
        let mut due = self.due(at).await?;
        if matches!(due, Due::RemoveLater(_)) {
            sleep(CLEAR_AFTER).await;
            due = self.due(at).await?;
        }
        self.make_so(at, due).await
    }

    /// The same for who waits for the account in this shard.
    async fn settle_home(&self, at: AccountRef) -> Result<(), Error> {
        match self.due(at).await? {
            Due::RemoveLater(_) => Ok(()),
            due => self.make_so(at, due).await,
        }
    }

    async fn due(&self, at: AccountRef) -> Result<Due, Error> {
        let Some((state, of)) = read::state(&self.store, at)? else { return Ok(Due::Nothing) };
        self.control.fresh().await?;
        let directory = self.directory.read();
        let home = directory.account(at.account).map(|account| account.shard == Some(at.shard));
        Ok(due(state, of, at, home, directory.move_of(at.account)))
    }

    async fn make_so(&self, at: AccountRef, due: Due) -> Result<(), Error> {
        match due {
            Due::Nothing => Ok(()),
            Due::Do(action) => {
                tracing::info!(
                    account = at.account.0,
                    shard = at.shard.0,
                    ?action,
                    "what an ended move has left"
                );
                self.shards.mailbox(at, action, Vec::new()).await.map(drop)
            }
            Due::Remove(action) | Due::RemoveLater(action) => self.remove(at, action).await,
        }
    }

    /// Follows up a move that the directory has given up, where nothing came after it: the source opens, the target is
    /// emptied, and what is still under way of the move comes too late in both, also where nothing has come yet.
    ///
    /// # Errors
    /// When a group cannot be reached.
    pub async fn stays(&self, moving: &Move) -> Result<(), Error> {
        self.control.fresh().await?;
        let is_over = self.directory.read().move_of(moving.account).is_none();
        let (account, of) = (moving.account, move_id(moving));
        let source = AccountRef { shard: moving.from, account };
        if !is_over || self.of(account) != Some(source) {
            return Ok(());
        }
        // Neither waits for the other.
        let opened = self.shards.mailbox(source, Action::Unseal { of }, Vec::new()).await;
        let cleared = self.remove(AccountRef { shard: moving.to, account }, Action::Clear { of }).await;
        opened?;
        cleared
    }

    /// Goes on with what was deleted in a living account, wherever it is, until nothing is left.
    ///
    /// # Errors
    /// As [`Homes::mailbox`].
    pub async fn purge(&self, at: AccountRef) -> Result<(), Error> {
        let mut at = at;
        while let (home, Response::Purged { more: true }) =
            self.mailbox(at, Action::Purge, Vec::new()).await?
        {
            at = home;
        }
        Ok(())
    }

    /// Removes in this shard until nothing is left.
    ///
    /// # Errors
    /// As [`Shards::mailbox`].
    pub async fn remove(&self, at: AccountRef, first: Action) -> Result<(), Error> {
        let mut action = first;
        while let Response::Purged { more: true } = self.shards.mailbox(at, action, Vec::new()).await? {
            action = Action::Purge;
        }
        Ok(())
    }
}

/// `home`: whether the directory has the account in this shard; `None`: it was deleted.
fn due(state: AccountState, of: MoveId, at: AccountRef, home: Option<bool>, moving: Option<&Move>) -> Due {
    use AccountState::{Arriving, Doomed, Gone, Leaving, Live, Moved, Ready, Sealed};
    let Some(home) = home else {
        return match state {
            Gone | Moved => Due::Nothing,
            _ => Due::Remove(Action::DeleteAccount),
        };
    };
    let leaves = moving.is_some_and(|moving| moving.from == at.shard && move_id(moving) == of);
    let comes = moving.is_some_and(|moving| moving.to == at.shard);
    match state {
        Sealed if leaves => Due::Nothing,
        Arriving | Ready if comes => Due::Nothing,
        Sealed if home => Due::Do(Action::Unseal { of }),
        Ready if home => Due::Do(Action::Adopt { of }),
        Sealed if !home => Due::RemoveLater(Action::Clear { of }),
        Arriving | Ready if !home => Due::Remove(Action::Clear { of }),
        Doomed | Leaving => Due::Remove(Action::Purge),
        Live | Gone | Moved | Sealed | Arriving | Ready => Due::Nothing,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use estafette_types::ShardId;

    const SOURCE: AccountRef = AccountRef { shard: ShardId(1), account: AccountId(7) };
    const TARGET: AccountRef = AccountRef { shard: ShardId(2), account: AccountId(7) };
    const OF: MoveId = MoveId(5);

    fn moving(begun_ms: u64) -> Move {
        Move { account: AccountId(7), from: SOURCE.shard, to: TARGET.shard, begun_ms }
    }

    #[test]
    fn a_move_under_way_is_left_alone() {
        let moving = moving(5);
        assert_eq!(due(AccountState::Sealed, OF, SOURCE, Some(true), Some(&moving)), Due::Nothing);
        assert_eq!(due(AccountState::Arriving, OF, TARGET, Some(false), Some(&moving)), Due::Nothing);
        assert_eq!(due(AccountState::Ready, OF, TARGET, Some(false), Some(&moving)), Due::Nothing);
    }

    #[test]
    fn what_follows_from_the_end_of_a_move() {
        use AccountState::{Arriving, Ready, Sealed};
        let (unseal, adopt) = (Due::Do(Action::Unseal { of: OF }), Due::Do(Action::Adopt { of: OF }));
        let clear = Due::Remove(Action::Clear { of: OF });
        // Finished.
        let later = Due::RemoveLater(Action::Clear { of: OF });
        assert_eq!(due(Sealed, OF, SOURCE, Some(false), None), later);
        // And begun again, back to where it was.
        let back = Move { account: SOURCE.account, from: TARGET.shard, to: SOURCE.shard, begun_ms: 6 };
        assert_eq!(due(Sealed, OF, SOURCE, Some(false), Some(&back)), later);
        assert_eq!(due(Ready, OF, TARGET, Some(true), None), adopt);
        // Abandoned.
        assert_eq!(due(Sealed, OF, SOURCE, Some(true), None), unseal);
        assert_eq!(due(Arriving, OF, TARGET, Some(false), None), clear);
        assert_eq!(due(Ready, OF, TARGET, Some(false), None), clear);
        // Put off: the source opens, and what has come stays for the next.
        let next = moving(6);
        assert_eq!(due(Sealed, OF, SOURCE, Some(true), Some(&next)), unseal);
        assert_eq!(due(Ready, OF, TARGET, Some(false), Some(&next)), Due::Nothing);
        // Deleted.
        let delete = Due::Remove(Action::DeleteAccount);
        for (state, at) in
            [(Sealed, SOURCE), (Arriving, TARGET), (Ready, TARGET), (AccountState::Live, SOURCE)]
        {
            assert_eq!(due(state, OF, at, None, None), delete);
        }
        assert_eq!(due(AccountState::Moved, OF, SOURCE, None, None), Due::Nothing);
    }
}
