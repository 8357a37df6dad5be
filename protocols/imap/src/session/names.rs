//! The names of an account's mailboxes as a tree, for LIST and LSUB.
//!
//! Every level of every name is there, also one that is no mailbox itself; names come in order, so
//! that a parent is before its children.

use super::ask::MailboxInfo;
use super::core::DELIMITER;
use crate::codec::pattern::Pattern;
use std::collections::BTreeMap;

/// A name, or a level of one.
#[derive(Debug, Default)]
pub(crate) struct Named<'a> {
    /// The mailbox of this name, or the subscription to it.
    pub(crate) info: Option<&'a MailboxInfo>,
    /// There are mailboxes below it.
    pub(crate) has_children: bool,
    /// It is what was asked for.
    pub(crate) chosen: bool,
    /// One below it is.
    pub(crate) chosen_below: bool,
}

/// All names.
#[derive(Debug)]
pub(crate) struct Names<'a> {
    nodes: BTreeMap<&'a str, Named<'a>>,
}

impl<'a> Names<'a> {
    /// The tree, in which `choose` marks those that are asked for.
    pub(crate) fn new(mailboxes: &'a [MailboxInfo], choose: impl Fn(&MailboxInfo) -> bool) -> Names<'a> {
        let mut nodes: BTreeMap<&str, Named<'_>> = BTreeMap::new();
        for info in mailboxes {
            let name = info.name.as_str();
            let chosen = choose(info);
            let node = nodes.entry(name).or_default();
            node.info = Some(info);
            node.chosen = chosen;
            for (end, _) in name.match_indices(DELIMITER).filter(|(end, _)| *end > 0) {
                let Some(level) = name.get(..end) else { continue };
                let above = nodes.entry(level).or_default();
                above.has_children |= info.id.is_some();
                above.chosen_below |= chosen;
            }
        }
        Names { nodes }
    }

    /// Those that one of the patterns matches, each once.
    pub(crate) fn matching<'s>(
        &'s self,
        patterns: &'s [Pattern],
    ) -> impl Iterator<Item = (&'a str, &'s Named<'a>)> + 's {
        let hit = |name: &str| patterns.iter().any(|one| one.matches(name));
        self.nodes.iter().filter(move |(name, _)| hit(name)).map(|(name, node)| (*name, node))
    }
}
