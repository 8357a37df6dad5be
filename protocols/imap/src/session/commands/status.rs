//! STATUS (RFC 9051 §6.3.11) with SIZE (RFC 8438), HIGHESTMODSEQ, APPENDLIMIT, MAILBOXID.

use super::super::ask::{Answer, Ask, Counts};
use super::super::core::{Core, Next, Outcome, refused};
use super::{Open, list};
use crate::codec::command::{Mailbox, Tag};
use crate::codec::mailbox::StatusItem;
use crate::codec::response::StatusValue;
use estafette_types::MailboxId;

/// The engine counts.
#[derive(Debug)]
pub(crate) struct Reading {
    tag: Tag,
    mailbox: Mailbox,
    items: Vec<StatusItem>,
}

pub(super) fn start(core: &mut Core, tag: Tag, mailbox: Mailbox, items: Vec<StatusItem>) -> Next {
    // Asking for it is using CONDSTORE (RFC 7162 §3.1.2).
    if items.contains(&StatusItem::HighestModSeq) {
        core.enable_condstore();
    }
    let deleted_bytes = items.contains(&StatusItem::DeletedStorage);
    Next::Ask(
        Ask::Status { name: mailbox.clone(), deleted_bytes },
        Open::Status(Reading { tag, mailbox, items }),
    )
}

impl Reading {
    pub(super) fn answered(self, core: &mut Core, answer: Answer) -> Next {
        match answer {
            Answer::Status(id, counts) => {
                tell(core, &self.mailbox, &self.items, id, &counts);
                Outcome::ok("STATUS completed").of(self.tag)
            }
            other => refused(self.tag, &other),
        }
    }
}

/// `* STATUS mailbox (…)`
pub(super) fn tell(core: &mut Core, mailbox: &Mailbox, items: &[StatusItem], id: MailboxId, counts: &Counts) {
    let value = |item: StatusItem| match item {
        StatusItem::Messages => StatusValue::Number(counts.messages.into()),
        StatusItem::Recent => StatusValue::Number(0),
        StatusItem::UidNext => StatusValue::Number(counts.uid_next.value().into()),
        StatusItem::UidValidity => StatusValue::Number(counts.uid_validity.0.get().into()),
        StatusItem::Unseen => StatusValue::Number(counts.unseen.into()),
        StatusItem::Deleted => StatusValue::Number(counts.deleted.into()),
        StatusItem::DeletedStorage => StatusValue::Number(counts.deleted_bytes),
        StatusItem::Size => StatusValue::Number(counts.size_bytes),
        StatusItem::HighestModSeq => StatusValue::Number(counts.highest_modseq.0.max(1)),
        StatusItem::AppendLimit => StatusValue::Number(core.append_limit()),
        StatusItem::MailboxId => StatusValue::Id(list::mailbox_id(id)),
    };
    let values: Vec<(StatusItem, StatusValue)> = items.iter().map(|item| (*item, value(*item))).collect();
    core.encoder.status(mailbox, &values);
}
