//! Tells the client what has changed in the selected mailbox, at the end of a command or in IDLE.
//!
//! Flags first, then EXPUNGE from the highest number down, then EXISTS: so every number is right at
//! the moment it is read. Long news go out in batches that wait for the peer.

use super::ask::{Answer, Ask, Failure};
use super::commands::Open;
use super::core::{Core, Finished, Look, Next, failure_outcome};
use crate::codec::command::Tag;

/// News being told.
#[derive(Debug)]
pub(crate) struct Sync {
    then: Then,
    expunges: bool,
    /// The next question is also for what only other nodes have heard of.
    fresh: bool,
}

/// What comes after the news.
#[derive(Debug)]
pub(crate) enum Then {
    /// The end of a command.
    Finish(Finished),
    /// IDLE goes on.
    Idle(Tag),
}

/// Tells the news when there are any, or when `look` says to ask for them; then goes on.
pub(crate) fn begin(core: &mut Core, then: Then, expunges: bool, look: Look) -> Result<Next, Then> {
    let Some(view) = &core.view else { return Err(then) };
    let sync = |then| Sync { then, expunges, fresh: look == Look::Everywhere };
    if look != Look::Known || view.behind() {
        return Ok(sync(then).ask(core));
    }
    if expunges && view.has_gone() {
        return Ok(sync(then).tell_gone(core));
    }
    Err(then)
}

impl Sync {
    fn ask(mut self, core: &Core) -> Next {
        let Some(view) = &core.view else { return self.over() };
        let (mailbox, since, known) = (view.id, view.told(), view.uids().clone());
        let (limit, fresh) = (core.config.changes_batch, self.fresh);
        self.fresh = false;
        Next::Ask(Ask::Changes { mailbox, since, known, limit, fresh }, Open::Sync(self, fresh))
    }

    /// `fresh`: that was asked for.
    pub(crate) fn answered(mut self, core: &mut Core, answer: Answer, fresh: bool) -> Next {
        let changes = match answer {
            Answer::Changed(changes) => changes,
            Answer::Failed(Failure::MailboxGone) => {
                return Next::Bye("The selected mailbox has been deleted");
            }
            Answer::Failed(failure) if fresh => {
                // There may be news of which nobody knows here: a client that asked for them must not believe otherwise.
                if let Then::Finish(finished) = &mut self.then {
                    finished.outcome = failure_outcome(failure, false);
                }
                return self.over();
            }
            // The news must wait; the command itself is over.
            _ => return self.over(),
        };
        let Some(view) = &mut core.view else { return self.over() };
        // An engine that tells nothing of more is not asked again in this command.
        let more = changes.more && changes.through > view.told();
        let changed = view.take_in(changes);
        let uid = core.enabled.condstore || core.enabled.rev2;
        for one in &changed {
            core.say_changed(one, uid, true);
        }
        if more { Next::Drain(Open::Sync(self, false)) } else { self.tell_gone(core) }
    }

    pub(crate) fn drained(self, core: &mut Core) -> Next {
        if core.view.as_ref().is_some_and(|view| view.behind()) {
            self.ask(core)
        } else {
            self.tell_gone(core)
        }
    }

    fn tell_gone(self, core: &mut Core) -> Next {
        let limit = core.config.changes_batch.max(1);
        let Some(view) = &mut core.view else { return self.over() };
        if self.expunges && view.has_gone() {
            view.take_gone(limit).into_iter().for_each(|number| core.encoder.expunge(number));
            if view.has_gone() {
                return Next::Drain(Open::Sync(self, false));
            }
        }
        if let Some(count) = view.take_exists() {
            core.encoder.exists(count);
        }
        self.over()
    }

    fn over(self) -> Next {
        match self.then {
            Then::Finish(finished) => Next::Done(finished),
            Then::Idle(tag) => Next::Idle(tag),
        }
    }
}
