//! What all commands of a session share: its settings, what it is allowed, what it prints.
//!
//! Invariant: a view exists only after the login. Must not: know of single commands.

use super::ask::{Answer, Ask, Failure};
use super::commands::Open;
use super::config::Config;
use super::flags::{Flags, SystemFlags};
use super::view::View;
use crate::codec::Dialect;
use crate::codec::command::Tag;
use crate::codec::encode::Encoder;
use crate::codec::fault::Fault;
use crate::codec::flag::{Flag, Keyword};
use crate::codec::response::{Code, Condition};
use crate::codec::sequence::NumberSet;
use bytes::Bytes;
use estafette_machine::{Deposit, Now, Tls};
use estafette_types::{ModSeq, Uid, UidSet};
use std::borrow::Cow;
use std::sync::Arc;

/// Between the levels of the names of mailboxes.
pub(crate) const DELIMITER: char = '/';

/// The part of a session that its commands work with.
#[derive(Debug)]
pub(crate) struct Core {
    pub(crate) config: Arc<Config>,
    pub(crate) now: Now,
    /// What was printed in this step.
    pub(crate) encoder: Encoder,
    /// Pieces that stand before what the encoder holds.
    pieces: Vec<Bytes>,
    /// Bytes handed to the driver since it last said that all has left.
    pub(crate) unsent: usize,
    pub(crate) tls: Option<Tls>,
    /// Present after the login.
    pub(crate) account: Option<Account>,
    /// The selected mailbox.
    pub(crate) view: Option<View>,
    pub(crate) enabled: Enabled,
    pub(crate) login_failures: u32,
    pub(crate) bad_commands: u32,
    /// What the engine keeps of the messages of the command that is being read.
    pub(crate) deposits: Vec<Deposit>,
    /// The engine does not keep the part that it was asked to, and this is why.
    pub(crate) part_refused: Option<Fault>,
}

/// Who has logged in.
#[derive(Debug)]
pub(crate) struct Account {
    /// The largest message that APPEND takes.
    pub(crate) append_limit: u64,
}

/// What the client has enabled (RFC 5161), in words or by using it.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Enabled {
    pub(crate) condstore: bool,
    pub(crate) rev2: bool,
    pub(crate) utf8: bool,
}

/// What comes after a step of a command.
#[derive(Debug)]
pub(crate) enum Next {
    /// The command is over; tell the news of the selected mailbox, then say so.
    Finish(Finished),
    /// The news are told: say how the command ended.
    Done(Finished),
    /// A command is over and how was said.
    Over(Condition),
    /// Put a question to the engine.
    Ask(Ask, Open),
    /// Send the challenge and read one line (AUTHENTICATE).
    Challenge(Tag),
    /// Wait for changes and for DONE.
    Idle(Tag),
    /// Go on when all that was printed has left.
    Drain(Open),
    /// Begin the handshake.
    StartTls,
    /// Say BYE, then this, then close.
    Logout(Tag),
    /// Say BYE with this text and close.
    Bye(&'static str),
    /// Close without a word: what was sent last is not whole.
    Abort,
}

/// A command that is over.
#[derive(Debug)]
pub(crate) struct Finished {
    pub(crate) tag: Tag,
    pub(crate) outcome: Outcome,
    /// EXPUNGE may be sent before the end (RFC 9051 §7.5.1).
    pub(crate) expunges: bool,
    /// Whether to ask for changes.
    pub(crate) look: Look,
}

/// When the engine is asked for changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Look {
    /// When some are known of.
    Known,
    /// In any case.
    Here,
    /// In any case, and for those too of which only other nodes have heard: the client asked for news.
    Everywhere,
}

/// How it ended.
#[derive(Debug)]
pub(crate) struct Outcome {
    pub(crate) condition: Condition,
    pub(crate) code: Option<Code>,
    pub(crate) text: Cow<'static, str>,
}

impl Outcome {
    pub(crate) fn ok(text: &'static str) -> Outcome {
        Outcome { condition: Condition::Ok, code: None, text: text.into() }
    }

    pub(crate) fn no(code: Option<Code>, text: &'static str) -> Outcome {
        Outcome { condition: Condition::No, code, text: text.into() }
    }

    pub(crate) fn bad(text: &'static str) -> Outcome {
        Outcome { condition: Condition::Bad, code: None, text: text.into() }
    }

    pub(crate) fn with(self, code: Code) -> Outcome {
        Outcome { code: Some(code), ..self }
    }

    /// Ends the command.
    pub(crate) fn of(self, tag: Tag) -> Next {
        Next::Finish(self.finished(tag))
    }

    pub(crate) fn finished(self, tag: Tag) -> Finished {
        Finished { tag, outcome: self, expunges: true, look: Look::Known }
    }
}

impl Finished {
    /// Sequence numbers were in use: no EXPUNGE now.
    pub(crate) fn holding_expunges(self, hold: bool) -> Finished {
        Finished { expunges: !hold, ..self }
    }

    /// The client wants to hear what is new.
    pub(crate) fn looking(self) -> Finished {
        Finished { look: Look::Everywhere, ..self }
    }
}

/// The end of a command whose question was answered with something that is no success.
pub(crate) fn refused(tag: Tag, answer: &Answer) -> Next {
    match answer {
        Answer::Failed(Failure::MailboxGone) => Next::Bye("The selected mailbox has been deleted"),
        Answer::Failed(failure) => failure_outcome(*failure, false).of(tag),
        _ => failure_outcome(Failure::Internal, false).of(tag),
    }
}

/// The same for commands that have a target mailbox, which the client may create (TRYCREATE).
pub(crate) fn refused_target(tag: Tag, answer: &Answer) -> Next {
    match answer {
        Answer::Failed(Failure::NonExistent) => failure_outcome(Failure::NonExistent, true).of(tag),
        other => refused(tag, other),
    }
}

pub(crate) fn failure_outcome(failure: Failure, target: bool) -> Outcome {
    let (code, text) = match failure {
        Failure::NonExistent if target => (Code::TryCreate, "Mailbox does not exist"),
        Failure::NonExistent => (Code::NonExistent, "Mailbox does not exist"),
        Failure::AlreadyExists => (Code::AlreadyExists, "Mailbox exists already"),
        Failure::HasChildren => (Code::HasChildren, "Mailbox has others below it"),
        Failure::Cannot => (Code::Cannot, "That is not possible with this mailbox"),
        Failure::UseAttribute => (Code::UseAttr, "This special use is not possible"),
        Failure::NoPermission => (Code::NoPerm, "Permission denied"),
        Failure::OverQuota => (Code::OverQuota, "Quota exceeded"),
        Failure::TooBig => (Code::TooBig, "Message too big"),
        Failure::Limit => (Code::Limit, "A limit of the server was reached"),
        Failure::MailboxGone => (Code::NonExistent, "Mailbox has been deleted"),
        Failure::Elsewhere => (Code::Unavailable, "Your mailboxes have moved"),
        Failure::Unavailable => (Code::Unavailable, "Not possible now, try again later"),
        Failure::Internal => (Code::ServerBug, "Internal error"),
    };
    Outcome::no(Some(code), text)
}

impl Core {
    pub(crate) fn new(config: Arc<Config>) -> Core {
        Core {
            config,
            now: Now::default(),
            encoder: Encoder::default(),
            pieces: Vec::new(),
            unsent: 0,
            tls: None,
            account: None,
            view: None,
            enabled: Enabled::default(),
            login_failures: 0,
            bad_commands: 0,
            deposits: Vec::new(),
            part_refused: None,
        }
    }

    /// Sends bytes as they are, after what was printed.
    pub(crate) fn send(&mut self, bytes: Bytes) {
        self.pieces.extend(self.encoder.take());
        self.pieces.push(bytes);
    }

    /// All that was printed and sent in this step; what comes next speaks as the client wants.
    pub(crate) fn take_printed(&mut self) -> Vec<Bytes> {
        let fresh = Encoder::new(self.dialect());
        let mut pieces = std::mem::take(&mut self.pieces);
        pieces.extend(std::mem::replace(&mut self.encoder, fresh).into_pieces());
        let count = pieces.iter().map(Bytes::len).sum();
        self.unsent = self.unsent.saturating_add(count);
        pieces
    }

    pub(crate) fn dialect(&self) -> Dialect {
        if self.enabled.rev2 || self.enabled.utf8 { Dialect::Utf8 } else { Dialect::Ascii }
    }

    /// True when passwords may be sent.
    pub(crate) fn may_log_in(&self) -> bool {
        self.tls.is_some() || self.config.login_without_tls
    }

    pub(crate) fn can_start_tls(&self) -> bool {
        self.tls.is_none() && self.config.starttls && self.account.is_none()
    }

    /// From now on, MODSEQ is told (RFC 7162 §3.1). False when it was so already.
    pub(crate) fn enable_condstore(&mut self) -> bool {
        let first = !std::mem::replace(&mut self.enabled.condstore, true);
        if let (true, Some(view)) = (first, &self.view) {
            let code = Code::HighestModSeq(view.told().max(ModSeq(1)));
            self.encoder.untagged(Condition::Ok, Some(&code), "Highest modification sequence");
        }
        first
    }

    /// The present in seconds since 1970-01-01 UTC.
    pub(crate) fn unix_seconds(&self) -> i64 {
        i64::try_from(self.now.unix_ms / 1000).unwrap_or(i64::MAX)
    }

    /// The largest message that APPEND takes, in bytes.
    pub(crate) fn append_limit(&self) -> u64 {
        let own = self.config.limits.append;
        self.account.as_ref().map_or(own, |account| account.append_limit.min(own))
    }

    /// The flags that messages of the view may have, and that they keep.
    pub(crate) fn say_flags(&mut self) {
        let Some(view) = &self.view else { return };
        let mut all = Flags::system(SystemFlags::ALL);
        all.keywords.clone_from(&view.keywords);
        let all = all.to_list();
        self.encoder.flags(&all);
        let kept: Vec<Flag> = if view.read_only { Vec::new() } else { all };
        let new_keywords = view.keywords_grow && !view.read_only;
        let code = Code::PermanentFlags { flags: kept, new_keywords };
        let text = if view.read_only { "Read-only mailbox" } else { "Flags that are kept" };
        self.encoder.untagged(Condition::Ok, Some(&code), text);
    }

    /// Says the flags of the mailbox again when these have a keyword that was not among them.
    pub(crate) fn learn_keywords(&mut self, keywords: &[Keyword]) {
        let Some(view) = &mut self.view else { return };
        let known = view.keywords.len();
        for keyword in keywords {
            if !view.keywords.contains(keyword) {
                view.keywords.push(keyword.clone());
            }
        }
        if view.keywords.len() > known {
            self.say_flags();
        }
    }

    /// `* n FETCH (UID … FLAGS … MODSEQ …)`: tells of flags.
    pub(crate) fn say_changed(&mut self, changed: &super::ask::Changed, uid: bool, flags: bool) {
        if flags {
            self.learn_keywords(&changed.flags.keywords);
        }
        let Some(number) = self.view.as_ref().and_then(|view| view.uids().sequence_of(changed.uid)) else {
            return;
        };
        let mut line = self.encoder.fetch(number);
        if uid {
            line.uid(changed.uid);
        }
        if flags {
            line.flags(changed.flags.names(), false);
        }
        if self.enabled.condstore {
            line.mod_seq(changed.modseq);
        }
        line.finish();
    }
}

/// UIDs as the codec prints them.
pub(crate) fn uid_numbers(uids: &UidSet) -> NumberSet {
    NumberSet::from_ranges(uids.runs().map(|(first, last)| (first.value(), last.value())).collect())
}

/// The sequence numbers of UIDs, all of which are in the view.
pub(crate) fn sequence_numbers(view: &View, uids: &UidSet) -> NumberSet {
    let place = |uid: Uid| view.uids().sequence_of(uid);
    let runs = uids.runs().filter_map(|(first, last)| Some((place(first)?, place(last)?)));
    NumberSet::from_ranges(runs.collect())
}
