//! LSUB (RFC 3501 §6.3.9): the names that are subscribed.

use super::super::ask::{Answer, Ask};
use super::super::core::{Core, DELIMITER, Next, Outcome, refused};
use super::super::names::Names;
use super::Open;
use crate::codec::command::{Mailbox, Tag};
use crate::codec::pattern::Pattern;
use crate::codec::response::{ListEntry, MailboxAttribute};

/// The engine lists the mailboxes.
#[derive(Debug)]
pub(crate) struct Listing {
    tag: Tag,
    pattern: Pattern,
    /// It ends with `%`.
    levels: bool,
}

pub(super) fn start(core: &mut Core, tag: Tag, reference: &str, pattern: &str) -> Next {
    if pattern.is_empty() {
        core.encoder.list_delimiter("LSUB", DELIMITER);
        return Outcome::ok("LSUB completed").of(tag);
    }
    let levels = pattern.ends_with('%');
    let pattern = Pattern::new(reference, pattern, DELIMITER);
    Next::Ask(
        Ask::Mailboxes { counts: false, deleted_bytes: false },
        Open::Lsub(Listing { tag, pattern, levels }),
    )
}

impl Listing {
    pub(super) fn answered(self, core: &mut Core, answer: Answer) -> Next {
        let mailboxes = match answer {
            Answer::Mailboxes(mailboxes) => mailboxes,
            other => return refused(self.tag, &other),
        };
        let names = Names::new(&mailboxes, |info| info.subscribed);
        // With `%` at the end, a name is told too of which only one below it is subscribed.
        for (name, node) in names.matching(std::slice::from_ref(&self.pattern)) {
            if !(node.chosen || self.levels && node.chosen_below) {
                continue;
            }
            let selectable =
                node.chosen && node.info.is_some_and(|info| info.id.is_some() && !info.no_select);
            let attributes = if selectable { Vec::new() } else { vec![MailboxAttribute::NoSelect] };
            let Some(mailbox) = Mailbox::new(name) else { continue };
            core.encoder.lsub(&ListEntry {
                attributes,
                delimiter: DELIMITER,
                mailbox,
                child_info: false,
                old_name: None,
            });
        }
        Outcome::ok("LSUB completed").of(self.tag)
    }
}
