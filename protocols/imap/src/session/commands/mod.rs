//! The commands, one file each; who may use which, and who is answered.
//!
//! A command is a function `start` that prints, asks or ends ([`Next`]), and, when it asks, a value
//! that holds what it needs until the answer comes. Each file begins with the section that it obeys.

mod append;
mod authenticate;
pub(super) mod capability;
mod check;
mod close;
mod copy;
mod create;
mod delete;
mod enable;
mod expunge;
mod fetch;
mod id;
pub(super) mod idle;
mod list;
mod login;
mod logout;
mod lsub;
mod namespace;
mod noop;
mod quota;
mod rename;
mod search;
mod select;
mod starttls;
mod status;
mod store;
mod subscribe;

use super::ask::Answer;
use super::core::{Core, Finished, Next, Outcome, refused};
use super::sync::Sync;
use crate::codec::command::{Command, CommandBody, Tag};

/// The states in which a command is allowed (RFC 9051 §3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    Any,
    NotAuthenticated,
    Authenticated,
    Selected,
}

/// The table of states.
fn stage(body: &CommandBody) -> Stage {
    use CommandBody as C;
    match body {
        C::Capability | C::Noop | C::Logout | C::Id(_) => Stage::Any,
        C::StartTls | C::Authenticate(_) | C::Login { .. } => Stage::NotAuthenticated,
        C::Enable(_) | C::Select(_) | C::Examine(_) | C::Create(_) | C::Delete(_) => Stage::Authenticated,
        C::Rename { .. } | C::Subscribe(_) | C::Unsubscribe(_) | C::List(_) => Stage::Authenticated,
        C::Lsub { .. } | C::Namespace | C::Status { .. } | C::Append(_) => Stage::Authenticated,
        C::Idle | C::GetQuota(_) | C::GetQuotaRoot(_) | C::SetQuota { .. } => Stage::Authenticated,
        C::Check | C::Close | C::Unselect | C::Expunge(_) | C::Search { .. } => Stage::Selected,
        C::Fetch(_) | C::Store(_) | C::Copy { .. } | C::Move { .. } => Stage::Selected,
    }
}

/// Begins a command.
pub(super) fn start(core: &mut Core, command: Command) -> Next {
    let Command { tag, body } = command;
    let (logged_in, selected) = (core.account.is_some(), core.view.is_some());
    let wrong = match stage(&body) {
        Stage::NotAuthenticated if logged_in => Some("Already logged in"),
        Stage::Authenticated | Stage::Selected if !logged_in => Some("Log in first"),
        Stage::Selected if !selected => Some("No mailbox selected"),
        _ => None,
    };
    if let Some(text) = wrong {
        return Outcome::bad(text).of(tag);
    }
    match body {
        CommandBody::Capability => capability::start(core, tag),
        CommandBody::Noop => noop::start(tag),
        CommandBody::Logout => logout::start(tag),
        CommandBody::Id(_) => id::start(core, tag),
        CommandBody::StartTls => starttls::start(core, tag),
        CommandBody::Authenticate(what) => authenticate::start(core, tag, what),
        CommandBody::Login { username, password } => login::start(core, tag, &username, password),
        CommandBody::Idle => idle::start(core, tag),
        other => start_authenticated(core, tag, other),
    }
}

fn start_authenticated(core: &mut Core, tag: Tag, body: CommandBody) -> Next {
    match body {
        CommandBody::Enable(what) => enable::start(core, tag, &what),
        CommandBody::Select(what) => select::start(core, tag, what, false),
        CommandBody::Examine(what) => select::start(core, tag, what, true),
        CommandBody::Create(what) => create::start(tag, what),
        CommandBody::Delete(name) => delete::start(tag, name),
        CommandBody::Rename { from, to } => rename::start(tag, from, to),
        CommandBody::Subscribe(name) => subscribe::start(tag, name, true),
        CommandBody::Unsubscribe(name) => subscribe::start(tag, name, false),
        CommandBody::List(what) => list::start(core, tag, what),
        CommandBody::Lsub { reference, pattern } => lsub::start(core, tag, &reference, &pattern),
        CommandBody::Namespace => namespace::start(core, tag),
        CommandBody::Status { mailbox, items } => status::start(core, tag, mailbox, items),
        CommandBody::Append(what) => append::start(core, tag, what),
        CommandBody::GetQuota(root) => quota::start(tag, &root),
        CommandBody::GetQuotaRoot(mailbox) => quota::start_root(tag, mailbox),
        CommandBody::SetQuota { .. } => quota::start_set(tag),
        CommandBody::Check => check::start(tag),
        CommandBody::Close => close::start(core, tag),
        CommandBody::Unselect => close::start_unselect(core, tag),
        CommandBody::Expunge(set) => expunge::start(core, tag, set.as_ref()),
        CommandBody::Search { uid, search } => search::start(core, tag, uid, search),
        CommandBody::Fetch(what) => fetch::start(core, tag, what),
        CommandBody::Store(what) => store::start(core, tag, what),
        CommandBody::Copy { uid, set, mailbox } => copy::start(core, tag, uid, &set, mailbox, false),
        CommandBody::Move { uid, set, mailbox } => copy::start(core, tag, uid, &set, mailbox, true),
        // The others are begun by `start`.
        _ => Outcome::bad("Unknown command").of(tag),
    }
}

/// The next line of AUTHENTICATE.
pub(super) fn challenge_answered(core: &mut Core, tag: Tag, line: &[u8]) -> Next {
    authenticate::answered_line(core, tag, line)
}

/// What a command keeps while it waits for the engine or for the peer.
#[derive(Debug)]
pub(crate) enum Open {
    Append(append::Appending),
    Close(close::Closing),
    Copy(copy::Copying),
    Create(create::Creating),
    Delete(delete::Deleting),
    Expunge(Tag),
    Fetch(Box<fetch::Fetching>),
    List(Box<list::Listing>),
    Login(login::LoggingIn),
    Lsub(lsub::Listing),
    /// Part of a message: its command is still being read.
    Part,
    Quota(quota::Reading),
    Rename(rename::Renaming),
    Search(search::Searching),
    Select(select::Selecting),
    Status(status::Reading),
    Store(Box<store::Storing>),
    /// Whether it was asked for what only other nodes have heard of.
    Sync(Sync, bool),
    /// Nothing but the end, when the engine has done it.
    Plain(Finished),
}

impl Open {
    /// The engine has answered.
    pub(crate) fn answered(self, core: &mut Core, answer: Answer) -> Next {
        match self {
            Open::Append(open) => open.answered(core, answer),
            Open::Close(open) => open.answered(answer),
            Open::Copy(open) => open.answered(core, answer),
            Open::Create(open) => open.answered(core, &answer),
            Open::Delete(open) => open.answered(core, &answer),
            Open::Expunge(tag) => expunge::answered(core, tag, answer),
            Open::Fetch(open) => open.answered(core, answer),
            Open::List(open) => open.answered(core, answer),
            Open::Login(open) => open.answered(core, answer),
            Open::Lsub(open) => open.answered(core, answer),
            Open::Part => append::part_answered(core, answer),
            Open::Quota(open) => open.answered(core, answer),
            Open::Rename(open) => open.answered(core, &answer),
            Open::Search(open) => open.answered(core, answer),
            Open::Select(open) => open.answered(core, answer),
            Open::Status(open) => open.answered(core, answer),
            Open::Store(open) => open.answered(core, answer),
            Open::Sync(open, fresh) => open.answered(core, answer, fresh),
            Open::Plain(finished) => match answer {
                Answer::Done => Next::Finish(finished),
                other => refused(finished.tag, &other),
            },
        }
    }

    /// All that was printed has left.
    pub(crate) fn drained(self, core: &mut Core) -> Next {
        match self {
            Open::Fetch(open) => open.go_on(core),
            Open::Store(open) => open.go_on(core),
            Open::Sync(open, _) => open.drained(core),
            // The others never wait for the peer.
            _ => Next::Abort,
        }
    }

    /// True when what was printed last is the beginning of something: nothing else may be printed.
    pub(crate) fn mid_response(&self) -> bool {
        match self {
            Open::Fetch(open) => open.mid_response(),
            _ => false,
        }
    }
}
