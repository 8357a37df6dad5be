//! The loads of the comparison, by name.

use crate::load::{ConnectKind, ImapProfile, Mailbox, Protocol, Shape};

/// A load.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Work {
    /// IMAP sessions in IDLE; over TLS or not.
    Idle { tls: bool },
    /// Deliveries.
    Ingest { protocol: Protocol, sessions: usize, size: usize },
    /// IMAP commands on mailboxes with messages of one size.
    Imap { profile: ImapProfile, size: usize },
    /// Retrievals.
    Pop3,
    /// Logins.
    Login { protocol: Mailbox, tls: bool },
    /// TLS handshakes.
    Handshake { kind: ConnectKind },
    /// Deliveries that fall on few mailboxes, or on many at once.
    Storm { shape: Shape },
}

/// The size of a usual message.
pub(super) const SMALL_BYTES: usize = 4 * 1024;
/// The size of a larger one.
pub(super) const LARGE_BYTES: usize = 64 * 1024;

impl Work {
    /// It needs a fresh server.
    pub(super) fn is_idle(&self) -> bool {
        matches!(self, Work::Idle { .. })
    }

    /// Its name in tables.
    pub(super) fn label(&self) -> String {
        match self {
            Work::Idle { tls: false } => "idle imap session".to_owned(),
            Work::Idle { tls: true } => "idle imap session over TLS".to_owned(),
            Work::Ingest { protocol, sessions, size } => {
                format!("{} {} KiB in {sessions} sessions", name(protocol), size / 1024)
            }
            Work::Imap { profile, size } => {
                format!("imap {} of {} KiB", name(profile), size / 1024)
            }
            Work::Pop3 => "pop3 retr of 4 KiB".to_owned(),
            Work::Login { protocol, tls } => {
                format!("{} login{}", name(protocol), if *tls { " over TLS" } else { "" })
            }
            Work::Handshake { kind } => format!("tls {}", name(kind)),
            Work::Storm { shape } => format!("storm of {}", name(shape)),
        }
    }
}

/// A value as the command line knows it.
fn name(value: &impl clap::ValueEnum) -> String {
    value.to_possible_value().map(|value| value.get_name().to_owned()).unwrap_or_default()
}

/// The profiles on mailboxes of small messages.
pub(super) const PROFILES: [ImapProfile; 9] = [
    ImapProfile::Fetch,
    ImapProfile::Headers,
    ImapProfile::Search,
    ImapProfile::SearchText,
    ImapProfile::Store,
    ImapProfile::Select,
    ImapProfile::Status,
    ImapProfile::Append,
    ImapProfile::Mixed,
];

/// All loads in their order.
pub(super) fn works() -> Vec<Work> {
    let mut works = vec![Work::Idle { tls: false }, Work::Idle { tls: true }];
    for protocol in [Protocol::Lmtp, Protocol::Smtp] {
        for sessions in [1, 20, 100] {
            works.push(Work::Ingest { protocol, sessions, size: SMALL_BYTES });
            works.push(Work::Ingest { protocol, sessions, size: LARGE_BYTES });
        }
    }
    works.extend(PROFILES.map(|profile| Work::Imap { profile, size: SMALL_BYTES }));
    works.push(Work::Imap { profile: ImapProfile::Fetch, size: LARGE_BYTES });
    works.push(Work::Pop3);
    for protocol in [Mailbox::Imap, Mailbox::Pop3] {
        works.push(Work::Login { protocol, tls: false });
    }
    works.push(Work::Login { protocol: Mailbox::Imap, tls: true });
    works.extend([ConnectKind::Handshake, ConnectKind::Resume].map(|kind| Work::Handshake { kind }));
    works.extend([Shape::ManySenders, Shape::ManyRecipients].map(|shape| Work::Storm { shape }));
    works
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_load_has_a_name_of_its_own() {
        let mut labels: Vec<String> = works().iter().map(Work::label).collect();
        let count = labels.len();
        labels.sort();
        labels.dedup();
        assert_eq!(labels.len(), count);
        assert!(!labels.iter().any(|label| label.contains(',')), "a comma stands between two of them");
        assert!(labels.contains(&"lmtp 4 KiB in 20 sessions".to_owned()));
        assert!(labels.contains(&"imap search-text of 4 KiB".to_owned()));
    }
}
