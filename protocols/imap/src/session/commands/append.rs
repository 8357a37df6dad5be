//! APPEND (RFC 9051 §6.3.12) with UIDPLUS (RFC 4315) and APPENDLIMIT (RFC 7889); the UTF8 form of
//! RFC 6855 §4. One message at a time.

use super::super::ask::{Answer, Ask, Failure};
use super::super::core::{Core, Finished, Look, Next, Outcome, refused, refused_target, uid_numbers};
use super::super::flags::Flags;
use super::Open;
use crate::codec::command::{Append, AppendMessage, Mailbox, Tag};
use crate::codec::fault::Fault;
use crate::codec::response::{Code, Condition};
use estafette_types::UidSet;

/// The engine stores a message.
#[derive(Debug)]
pub(crate) struct Appending {
    tag: Tag,
    mailbox: Mailbox,
}

pub(super) fn start(core: &mut Core, tag: Tag, what: Append) -> Next {
    let Append { mailbox, mut messages } = what;
    let (Some(message), None) = (messages.pop(), messages.pop()) else {
        return Outcome::bad("One message at a time").of(tag);
    };
    let AppendMessage { flags, date, message, parts, utf8, binary } = message;
    if utf8 && !core.enabled.utf8 {
        return Outcome::bad("Enable UTF8=ACCEPT first").of(tag);
    }
    let nul = || parts.is_some_and(|parts| parts.nul) || message.pieces().any(|piece| piece.contains(&0));
    if binary && nul() {
        return Outcome::no(Some(Code::UnknownCte), "A message with NUL cannot be stored").of(tag);
    }
    let before = parts.map_or(0, |parts| parts.bytes);
    if before == 0 && message.is_empty() {
        return Outcome::no(None, "A message cannot be empty").of(tag);
    }
    if before.saturating_add(message.len() as u64) > core.append_limit() {
        return Outcome::no(Some(Code::TooBig), "Message too big").of(tag);
    }
    // Of the only message, so the only deposit.
    let deposit = core.deposits.pop().filter(|_| before > 0);
    if deposit.is_none() && before > 0 {
        return refused(tag, &Answer::Done);
    }
    let (name, flags, body) = (mailbox.clone(), Flags::from_list(flags), message.into_pieces());
    Next::Ask(Ask::Append { name, flags, date, deposit, body }, Open::Append(Appending { tag, mailbox }))
}

/// The engine keeps a part, or not; the command goes on.
pub(super) fn part_answered(core: &mut Core, answer: Answer) -> Next {
    match answer {
        Answer::Kept(deposit) => core.deposits.push(deposit),
        Answer::Failed(Failure::OverQuota) => core.part_refused = Some(Fault::OverQuota),
        _ => core.part_refused = Some(Fault::Unavailable),
    }
    Next::Over(Condition::No)
}

impl Appending {
    pub(super) fn answered(self, core: &mut Core, answer: Answer) -> Next {
        let Answer::Appended { uid_validity, uid } = answer else {
            return refused_target(self.tag, &answer);
        };
        let code = Code::AppendUid(uid_validity, uid_numbers(&UidSet::one(uid)));
        let finished = Outcome::ok("APPEND completed").with(code).finished(self.tag);
        let here = core.view.as_ref().is_some_and(|view| view.name == self.mailbox);
        Next::Finish(Finished { look: if here { Look::Here } else { Look::Known }, ..finished })
    }
}
