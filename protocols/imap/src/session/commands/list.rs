//! LIST (RFC 9051 §6.3.9) with CHILDREN, LIST-EXTENDED (RFC 5258), LIST-STATUS (RFC 5819),
//! SPECIAL-USE (RFC 6154).

use super::super::ask::{Answer, Ask};
use super::super::core::{Core, DELIMITER, Next, Outcome, refused};
use super::super::names::{Named, Names};
use super::{Open, status};
use crate::codec::command::{Mailbox, Tag};
use crate::codec::mailbox::{List, ListSelection, StatusItem};
use crate::codec::pattern::Pattern;
use crate::codec::response::{ListEntry, MailboxAttribute};
use estafette_types::MailboxId;

/// The engine lists the mailboxes.
#[derive(Debug)]
pub(crate) struct Listing {
    tag: Tag,
    what: List,
}

/// The identifier of a mailbox as it is told (MAILBOXID, RFC 8474 §4).
pub(super) fn mailbox_id(id: MailboxId) -> String {
    format!("F{id}")
}

/// Tells the name that a mailbox has when that is not the one that the client gave.
pub(super) fn tell_normalized(core: &mut Core, name: Mailbox, what: &[MailboxAttribute], given: &Mailbox) {
    if name != *given {
        tell_old_name(core, name, what, given);
    }
}

/// `* LIST (…) "/" name ("OLDNAME" (old))` for those who speak IMAP4rev2 (RFC 9051 §6.3.9.7).
pub(super) fn tell_old_name(core: &mut Core, mailbox: Mailbox, what: &[MailboxAttribute], old: &Mailbox) {
    if core.enabled.rev2 {
        let (attributes, old_name) = (what.to_vec(), Some(old.clone()));
        core.encoder.list(&ListEntry {
            attributes,
            delimiter: DELIMITER,
            mailbox,
            child_info: false,
            old_name,
        });
    }
}

pub(super) fn start(core: &mut Core, tag: Tag, what: List) -> Next {
    if !what.extended && what.patterns.iter().all(String::is_empty) {
        core.encoder.list_delimiter("LIST", DELIMITER);
        return Outcome::ok("LIST completed").of(tag);
    }
    if what.returns.status.iter().flatten().any(|item| *item == StatusItem::HighestModSeq) {
        core.enable_condstore();
    }
    let counts = what.returns.status.is_some();
    let deleted_bytes = what.returns.status.iter().flatten().any(|item| *item == StatusItem::DeletedStorage);
    Next::Ask(Ask::Mailboxes { counts, deleted_bytes }, Open::List(Box::new(Listing { tag, what })))
}

impl Listing {
    pub(super) fn answered(self, core: &mut Core, answer: Answer) -> Next {
        let mailboxes = match answer {
            Answer::Mailboxes(mailboxes) => mailboxes,
            other => return refused(self.tag, &other),
        };
        let selection = self.what.selection;
        let names = Names::new(&mailboxes, |info| {
            (!selection.subscribed || info.subscribed)
                && (!selection.special_use || !info.special_use.is_empty())
                && (info.id.is_some() || selection.subscribed)
        });
        let pattern = |pattern: &String| Pattern::new(&self.what.reference, pattern, DELIMITER);
        let patterns: Vec<Pattern> = self.what.patterns.iter().map(pattern).collect();
        for (name, node) in names.matching(&patterns) {
            let own = selected(selection, node);
            let below = selection.recursive_match && node.chosen_below;
            if own || below {
                self.tell(core, name, node, below);
            }
        }
        Outcome::ok("LIST completed").of(self.tag)
    }

    fn tell(&self, core: &mut Core, name: &str, node: &Named<'_>, child_info: bool) {
        let Some(mailbox) = Mailbox::new(name) else { return };
        let plain = !self.what.extended && !core.enabled.rev2;
        let told_subscribed = self.what.returns.subscribed || self.what.selection.subscribed;
        let mut attributes = Vec::new();
        match node.info {
            Some(info) if info.id.is_some() && !info.no_select => {}
            Some(info) if info.id.is_some() => attributes.push(MailboxAttribute::NoSelect),
            _ if plain => attributes.push(MailboxAttribute::NoSelect),
            _ => attributes.push(MailboxAttribute::NonExistent),
        }
        attributes.push(if node.has_children {
            MailboxAttribute::HasChildren
        } else {
            MailboxAttribute::HasNoChildren
        });
        if told_subscribed && node.info.is_some_and(|info| info.subscribed) {
            attributes.push(MailboxAttribute::Subscribed);
        }
        attributes.extend(
            node.info.iter().flat_map(|info| info.special_use.iter().copied().map(MailboxAttribute::Use)),
        );
        let entry = ListEntry { attributes, delimiter: DELIMITER, mailbox, child_info, old_name: None };
        core.encoder.list(&entry);
        let (Some(items), Some(info)) = (&self.what.returns.status, node.info) else { return };
        if let (Some(id), Some(counts)) = (info.id, &info.counts) {
            status::tell(core, &entry.mailbox, items, id, counts);
        }
    }
}

/// True when the name itself, and not only one below it, is what was asked for.
fn selected(selection: ListSelection, node: &Named<'_>) -> bool {
    let anything = !selection.subscribed && !selection.special_use;
    node.chosen || (anything && node.has_children)
}
