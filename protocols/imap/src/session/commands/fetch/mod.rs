//! FETCH (RFC 9051 §6.4.5) with CHANGEDSINCE (RFC 7162 §3.1.4), BINARY (RFC 3516), OBJECTID
//! (RFC 8474), SAVEDATE (RFC 8514).
//!
//! Messages come from the engine in batches, bounded by count and bytes. Of a body only those bytes
//! are read that are asked for; what is larger than a batch is sent piece by piece as the peer takes
//! it. `\Seen` is set batch by batch, before the batch is told.

mod render;
mod source;

use self::render::Piece;
use self::source::Source;
use super::super::ask::{Answer, Ask, BodyKey, Changed, Message, Want};
use super::super::core::{Core, Next, Outcome, refused};
use super::super::flags::{Flags, SystemFlags};
use super::Open;
use crate::codec::command::{Fetch, StoreAction, Tag};
use crate::codec::fetch::FetchAttribute;
use crate::codec::response::Code;
use bytes::Bytes;
use estafette_types::{EmailId, Uid, UidSet};
use std::collections::{HashMap, VecDeque};
use std::ops::Range;

/// The identifier of a message as it is told (EMAILID, RFC 8474 §5.1).
fn email_id(id: EmailId) -> String {
    format!("M{id}")
}

/// Reads what [`email_id`] writes.
pub(super) fn parse_email_id(text: &str) -> Option<EmailId> {
    text.strip_prefix('M')?.parse().ok().map(EmailId)
}

/// What a client wants of each message.
#[derive(Debug)]
struct Plan {
    by_uid: bool,
    attributes: Vec<FetchAttribute>,
    want: Want,
    marks_seen: bool,
    budget_bytes: u64,
    decode_bytes_max: u64,
}

/// A message to be told.
#[derive(Debug)]
struct Ready {
    message: Message,
    /// This FETCH has set `\Seen`: its flags are told too.
    newly_seen: bool,
}

/// A FETCH under way.
#[derive(Debug)]
pub(crate) struct Fetching {
    tag: Tag,
    plan: Plan,
    /// What the engine has not been asked for.
    rest: UidSet,
    /// Messages that the engine has told of and the client not yet.
    ready: VecDeque<Ready>,
    /// The response that is being sent in pieces.
    stream: VecDeque<Piece>,
    question: Question,
    /// Some messages were not there any more.
    missing: bool,
    /// A part could not be decoded.
    undecodable: bool,
}

/// What the open question is about.
#[derive(Debug)]
enum Question {
    Nothing,
    /// These messages.
    Messages(UidSet),
    /// `\Seen` for some of these.
    Seen(Vec<Message>),
    /// Bytes of these, which are told next.
    Parts(Vec<(Ready, Vec<Range<u64>>)>),
    /// The next bytes of the stream.
    Stream,
}

pub(super) fn start(core: &mut Core, tag: Tag, what: Fetch) -> Next {
    let Some(view) = &core.view else { return Outcome::bad("No mailbox selected").of(tag) };
    if what.vanished {
        return Outcome::bad("QRESYNC is not enabled").of(tag);
    }
    if what.attributes.iter().any(|one| matches!(one, FetchAttribute::Preview { .. })) {
        return Outcome::bad("PREVIEW is not offered").of(tag);
    }
    let Ok(rest) = view.resolve(&what.set, what.uid) else {
        return Outcome::bad("There is no message of this number").of(tag);
    };
    let mut attributes = what.attributes;
    if what.changed_since.is_some() && !attributes.contains(&FetchAttribute::ModSeq) {
        attributes.push(FetchAttribute::ModSeq);
    }
    let plan = Plan {
        by_uid: what.uid,
        want: Want {
            structure: attributes.iter().any(source::needs_structure),
            body: attributes.iter().any(source::needs_body),
            changed_since: what.changed_since,
        },
        marks_seen: !view.read_only && attributes.iter().any(FetchAttribute::marks_seen),
        budget_bytes: core.config.fetch_budget_bytes.max(1),
        decode_bytes_max: core.config.decode_bytes_max,
        attributes,
    };
    if plan.attributes.contains(&FetchAttribute::ModSeq) {
        core.enable_condstore();
    }
    let fetching = Fetching {
        tag,
        plan,
        rest,
        ready: VecDeque::new(),
        stream: VecDeque::new(),
        question: Question::Nothing,
        missing: false,
        undecodable: false,
    };
    Box::new(fetching).go_on(core)
}

impl Fetching {
    pub(super) fn mid_response(&self) -> bool {
        !self.stream.is_empty()
    }

    /// Tells what can be told, then asks for more, or ends.
    pub(super) fn go_on(mut self: Box<Self>, core: &mut Core) -> Next {
        while let Some(piece) = self.stream.pop_front() {
            match piece {
                Piece::Ready(bytes) => core.send(bytes),
                Piece::Raw(body, range) => return self.ask_stream(body, range),
            }
        }
        if !self.ready.is_empty() {
            return self.ask_parts(core);
        }
        let asked = self.rest.split_off_first(core.config.fetch_batch_messages.max(1));
        let Some(view) = core.view.as_ref().filter(|_| !asked.is_empty()) else { return self.over() };
        let ask = Ask::Fetch {
            mailbox: view.id,
            uids: asked.clone(),
            want: self.plan.want,
            budget_bytes: self.plan.budget_bytes,
        };
        self.question = Question::Messages(asked);
        Next::Ask(ask, Open::Fetch(self))
    }

    pub(super) fn answered(mut self: Box<Self>, core: &mut Core, answer: Answer) -> Next {
        match (std::mem::replace(&mut self.question, Question::Nothing), answer) {
            (Question::Messages(asked), Answer::Fetched { messages, through, modseq }) => {
                let unhandled = asked.after(through);
                if unhandled.len() == asked.len() {
                    return refused(self.tag, &Answer::Done);
                }
                if let Some(view) = &mut core.view {
                    view.note(modseq);
                }
                let found = u32::try_from(messages.len()).unwrap_or(u32::MAX);
                let handled = asked.len() - unhandled.len();
                self.missing |= self.plan.want.changed_since.is_none() && found < handled;
                self.rest = unhandled.union(&self.rest);
                self.mark_seen(core, messages)
            }
            (Question::Seen(messages), answer) => self.marked(core, messages, answer),
            (Question::Parts(messages), Answer::Read(parts)) => self.tell_parts(core, messages, parts),
            (Question::Stream, Answer::Read(parts)) => {
                parts.into_iter().flatten().for_each(|bytes| core.send(bytes));
                Next::Drain(Open::Fetch(self))
            }
            // The length of what follows has been promised and cannot be kept.
            (Question::Stream, _) => Next::Abort,
            (_, other) => refused(self.tag, &other),
        }
    }

    fn mark_seen(mut self: Box<Self>, core: &mut Core, messages: Vec<Message>) -> Next {
        let unseen: UidSet = messages
            .iter()
            .filter(|message| self.plan.marks_seen && !message.flags.system.has(SystemFlags::SEEN))
            .map(|message| message.uid)
            .collect();
        let Some(view) = core.view.as_ref().filter(|_| !unseen.is_empty()) else {
            self.ready = messages.into_iter().map(|message| Ready { message, newly_seen: false }).collect();
            return self.go_on(core);
        };
        let ask = Ask::Store {
            mailbox: view.id,
            uids: unseen,
            how: StoreAction::Add,
            flags: Flags::system(SystemFlags::SEEN),
            unchanged_since: None,
        };
        self.question = Question::Seen(messages);
        Next::Ask(ask, Open::Fetch(self))
    }

    /// The flags that have changed are told with the messages. When they cannot be changed now, the
    /// messages are told all the same.
    fn marked(mut self: Box<Self>, core: &mut Core, messages: Vec<Message>, answer: Answer) -> Next {
        let mut marked: HashMap<Uid, Changed> = HashMap::new();
        if let Answer::Stored { messages: changed, own_modseq, modseq, .. } = answer {
            if let Some(view) = &mut core.view {
                view.note_own(own_modseq, modseq);
            }
            marked = changed.into_iter().map(|one| (one.uid, one)).collect();
        }
        let ready = messages.into_iter().map(|mut message| {
            let now = marked.remove(&message.uid);
            let newly_seen = now.is_some();
            if let Some(Changed { flags, modseq, .. }) = now {
                (message.flags, message.modseq) = (flags, modseq);
            }
            Ready { message, newly_seen }
        });
        self.ready = ready.collect();
        self.go_on(core)
    }

    /// Takes as many messages as the budget allows, so that no more is printed at once, and asks for
    /// the bytes of them that are not at hand.
    fn ask_parts(mut self: Box<Self>, core: &mut Core) -> Next {
        let mut group = Vec::new();
        let mut ranges = Vec::new();
        let mut bytes = 0;
        while let Some(Ready { message, .. }) = self.ready.front() {
            let needed = source::ranges_to_read(&self.plan, message);
            let read: u64 = needed.iter().map(|range| range.end - range.start).sum();
            let size = read.saturating_add(source::bytes_at_hand(message));
            let first = group.is_empty();
            if !first && size.saturating_add(bytes) > self.plan.budget_bytes {
                break;
            }
            bytes = size.saturating_add(bytes);
            ranges.extend(needed.iter().map(|range| (message.body_key, range.clone())));
            group.extend(self.ready.pop_front().map(|ready| (ready, needed)));
        }
        if ranges.is_empty() {
            return self.tell_parts(core, group, Vec::new());
        }
        self.question = Question::Parts(group);
        Next::Ask(Ask::Read { ranges }, Open::Fetch(self))
    }

    fn tell_parts(
        mut self: Box<Self>,
        core: &mut Core,
        group: Vec<(Ready, Vec<Range<u64>>)>,
        parts: Vec<Vec<Bytes>>,
    ) -> Next {
        let mut parts = parts.into_iter();
        let mut group = group.into_iter();
        for (Ready { message, newly_seen }, ranges) in group.by_ref() {
            let read = ranges.into_iter().zip(parts.by_ref()).collect();
            core.learn_keywords(&message.flags.keywords);
            let source = Source { message: &message, read };
            let rest = render::response(core, &self.plan, &source, newly_seen);
            self.undecodable |= rest.undecodable;
            self.stream = rest.streamed;
            if !self.stream.is_empty() {
                break;
            }
        }
        // A response that is streamed comes first; those after it are told, and read, again.
        let left: Vec<Ready> = group.map(|(ready, _)| ready).collect();
        left.into_iter().rev().for_each(|ready| self.ready.push_front(ready));
        Next::Drain(Open::Fetch(self))
    }

    /// Asks for the next bytes of the stream, no more than the budget.
    fn ask_stream(mut self: Box<Self>, body: BodyKey, range: Range<u64>) -> Next {
        // At the same places whatever the part begins with, so that no piece of the store is read twice.
        let budget = self.plan.budget_bytes;
        let end = range.end.min((range.start / budget).saturating_add(1).saturating_mul(budget));
        if end < range.end {
            self.stream.push_front(Piece::Raw(body, end..range.end));
        }
        self.question = Question::Stream;
        Next::Ask(Ask::Read { ranges: vec![(body, range.start..end)] }, Open::Fetch(self))
    }

    fn over(self) -> Next {
        let outcome = if self.undecodable {
            Outcome::no(Some(Code::UnknownCte), "Some parts cannot be decoded")
        } else if self.missing && !self.plan.by_uid {
            Outcome::no(Some(Code::ExpungeIssued), "Some of the messages no longer exist")
        } else {
            Outcome::ok("FETCH completed")
        };
        Next::Finish(outcome.finished(self.tag).holding_expunges(!self.plan.by_uid))
    }
}
