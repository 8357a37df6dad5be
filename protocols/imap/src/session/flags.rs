//! The flags of a message (RFC 9051 §2.3.2).

use crate::codec::flag::{Flag, Keyword};

/// A set of system flags.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
pub struct SystemFlags(u8);

impl SystemFlags {
    /// None.
    pub const NONE: SystemFlags = SystemFlags(0);
    /// `\Answered`
    pub const ANSWERED: SystemFlags = SystemFlags(1);
    /// `\Flagged`
    pub const FLAGGED: SystemFlags = SystemFlags(2);
    /// `\Deleted`
    pub const DELETED: SystemFlags = SystemFlags(4);
    /// `\Seen`
    pub const SEEN: SystemFlags = SystemFlags(8);
    /// `\Draft`
    pub const DRAFT: SystemFlags = SystemFlags(16);
    /// All of them.
    pub const ALL: SystemFlags = SystemFlags(31);
    /// Each with its name, in the order in which RFC 9051 lists them.
    const NAMED: [(SystemFlags, Flag); 5] = [
        (SystemFlags::ANSWERED, Flag::Answered),
        (SystemFlags::FLAGGED, Flag::Flagged),
        (SystemFlags::DELETED, Flag::Deleted),
        (SystemFlags::SEEN, Flag::Seen),
        (SystemFlags::DRAFT, Flag::Draft),
    ];

    /// True when it has all of the other's.
    pub fn has(self, other: SystemFlags) -> bool {
        self.0 & other.0 == other.0
    }

    /// With those of the other.
    pub fn with(self, other: SystemFlags) -> SystemFlags {
        SystemFlags(self.0 | other.0)
    }

    /// Without those of the other.
    pub fn without(self, other: SystemFlags) -> SystemFlags {
        SystemFlags(self.0 & !other.0)
    }

    /// The set as bits: 1 answered, 2 flagged, 4 deleted, 8 seen, 16 draft.
    pub fn bits(self) -> u8 {
        self.0
    }

    /// From bits; those without a meaning are dropped.
    pub fn from_bits(bits: u8) -> SystemFlags {
        SystemFlags(bits & SystemFlags::ALL.0)
    }
}

/// The flags of a message: system flags and keywords.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Flags {
    /// Those that begin with a backslash.
    pub system: SystemFlags,
    /// The others, as first written in this mailbox; each once, whatever its case.
    pub keywords: Vec<Keyword>,
}

impl Flags {
    /// System flags only.
    pub fn system(system: SystemFlags) -> Flags {
        Flags { system, keywords: Vec::new() }
    }

    /// From a list of a client.
    pub fn from_list(list: impl IntoIterator<Item = Flag>) -> Flags {
        let mut flags = Flags::default();
        for flag in list {
            match flag {
                Flag::Keyword(keyword) => flags.add_keyword(keyword),
                system => {
                    let named = SystemFlags::NAMED.iter().find(|(_, flag)| *flag == system);
                    flags.system = flags.system.with(named.map_or(SystemFlags::NONE, |(bit, _)| *bit));
                }
            }
        }
        flags
    }

    /// As a list to be told: the system flags first.
    pub fn to_list(&self) -> Vec<Flag> {
        let system = SystemFlags::NAMED.iter().filter(|(bit, _)| self.system.has(*bit));
        let system = system.map(|(_, flag)| flag.clone());
        system.chain(self.keywords.iter().cloned().map(Flag::Keyword)).collect()
    }

    /// As they are told: the system flags first.
    pub(crate) fn names(&self) -> impl Iterator<Item = &str> {
        let system = SystemFlags::NAMED.iter().filter(|(bit, _)| self.system.has(*bit));
        system.map(|(_, flag)| flag.as_str()).chain(self.keywords.iter().map(Keyword::as_str))
    }

    /// Adds a keyword unless it is there.
    pub fn add_keyword(&mut self, keyword: Keyword) {
        if !self.keywords.contains(&keyword) {
            self.keywords.push(keyword);
        }
    }
}
