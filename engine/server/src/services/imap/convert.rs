//! Between the session's words and the engine's: flags, keywords, uses, dates, rows.

use estafette_imap::codec::command::{Mailbox, StoreAction};
use estafette_imap::codec::date::DateTime;
use estafette_imap::codec::flag::{Keyword, SpecialUse};
use estafette_imap::session::ask::{BodyKey, Changed, Failure, Message};
use estafette_imap::session::{Flags, SystemFlags};
use estafette_mailbox::read::Message as Row;
use estafette_mailbox::{FlagChange, KeywordTable, MailboxName};

/// The system flags of the engine and of the session.
const FLAGS: [(estafette_mailbox::SystemFlags, SystemFlags); 5] = [
    (estafette_mailbox::SystemFlags::ANSWERED, SystemFlags::ANSWERED),
    (estafette_mailbox::SystemFlags::FLAGGED, SystemFlags::FLAGGED),
    (estafette_mailbox::SystemFlags::DELETED, SystemFlags::DELETED),
    (estafette_mailbox::SystemFlags::SEEN, SystemFlags::SEEN),
    (estafette_mailbox::SystemFlags::DRAFT, SystemFlags::DRAFT),
];

/// The uses that a mailbox can have in the engine.
const USES: [(estafette_mailbox::SpecialUse, SpecialUse); 5] = [
    (estafette_mailbox::SpecialUse::Drafts, SpecialUse::Drafts),
    (estafette_mailbox::SpecialUse::Sent, SpecialUse::Sent),
    (estafette_mailbox::SpecialUse::Junk, SpecialUse::Junk),
    (estafette_mailbox::SpecialUse::Trash, SpecialUse::Trash),
    (estafette_mailbox::SpecialUse::Archive, SpecialUse::Archive),
];

/// The keywords of a mailbox in the session's form, by their numbers.
#[derive(Debug, Default)]
pub(super) struct Keywords {
    names: Vec<Option<Keyword>>,
}

impl Keywords {
    pub(super) fn new(table: &KeywordTable) -> Keywords {
        Keywords { names: table.all().iter().map(|keyword| Keyword::new(keyword.as_str())).collect() }
    }

    /// All of them.
    pub(super) fn all(&self) -> Vec<Keyword> {
        self.names.iter().flatten().cloned().collect()
    }

    /// True when it has a name for every keyword of a message.
    pub(super) fn names_all(&self, row: &Row) -> bool {
        row.row.keywords.ids().all(|id| usize::from(id) < self.names.len())
    }

    /// The flags of a message.
    pub(super) fn flags(&self, row: &Row) -> Flags {
        let name = |id: u8| self.names.get(usize::from(id)).cloned().flatten();
        Flags { system: system(row.row.flags), keywords: row.row.keywords.ids().filter_map(name).collect() }
    }

    /// The flags of a message and when they became so.
    pub(super) fn changed(&self, row: &Row) -> Changed {
        Changed { uid: row.uid, flags: self.flags(row), modseq: row.row.modseq }
    }

    /// A message without its content.
    pub(super) fn message(&self, row: &Row) -> Message {
        Message {
            uid: row.uid,
            flags: self.flags(row),
            modseq: row.row.modseq,
            internal_date: date(row.row.internal_date_ms),
            size_bytes: row.row.size,
            email_id: row.row.email,
            save_date: Some(seconds(row.row.save_date_ms)),
            structure: None,
            body_key: BodyKey(row.row.body.0),
            body: None,
        }
    }
}

fn system(flags: estafette_mailbox::SystemFlags) -> SystemFlags {
    let set = FLAGS.iter().filter(|(engine, _)| flags.has(*engine));
    set.fold(SystemFlags::NONE, |all, (_, session)| all.with(*session))
}

/// Flags for the engine, and whether it has room for all of these keywords: its own are shorter.
pub(super) fn flags(flags: &Flags) -> (estafette_mailbox::Flags, bool) {
    let set = FLAGS.iter().filter(|(_, session)| flags.system.has(*session));
    let system = set.fold(estafette_mailbox::SystemFlags::NONE, |all, (engine, _)| all.with(*engine));
    let parse = |keyword: &Keyword| estafette_mailbox::Keyword::parse(keyword.as_str()).ok();
    let keywords: Vec<_> = flags.keywords.iter().filter_map(parse).collect();
    let whole = keywords.len() == flags.keywords.len();
    (estafette_mailbox::Flags { system, keywords }, whole)
}

/// How STORE changes flags.
pub(super) fn flag_change(how: StoreAction) -> FlagChange {
    match how {
        StoreAction::Add => FlagChange::Add,
        StoreAction::Remove => FlagChange::Remove,
        StoreAction::Replace => FlagChange::Replace,
    }
}

/// The use as the session calls it.
pub(super) fn special_use(of: estafette_mailbox::SpecialUse) -> Option<SpecialUse> {
    USES.iter().find(|(engine, _)| *engine == of).map(|(_, session)| *session)
}

/// The one use that a client wants for a new mailbox, if any.
pub(super) fn wanted_use(wanted: &[SpecialUse]) -> Result<Option<estafette_mailbox::SpecialUse>, Failure> {
    let known = |wanted: &SpecialUse| USES.iter().find(|(_, session)| session == wanted);
    match wanted {
        [] => Ok(None),
        [one] => known(one).map(|(engine, _)| Some(*engine)).ok_or(Failure::UseAttribute),
        _ => Err(Failure::UseAttribute),
    }
}

/// A name as the session calls it; `None` for one that is too long to be told.
pub(super) fn name(name: &MailboxName) -> Option<Mailbox> {
    Mailbox::new(name.as_str())
}

/// A date from ms since 1970, told in UTC.
pub(super) fn date(unix_ms: i64) -> DateTime {
    DateTime::utc(unix_ms.div_euclid(1000))
}

/// A date in ms since 1970.
pub(super) fn date_ms(date: DateTime) -> i64 {
    date.unix_seconds.saturating_mul(1000)
}

/// Seconds since 1970 from ms.
fn seconds(unix_ms: u64) -> i64 {
    i64::try_from(unix_ms / 1000).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flags_go_both_ways() {
        for bits in 0..32 {
            let session = Flags::system(SystemFlags::from_bits(bits));
            let (engine, whole) = flags(&session);
            assert!(whole);
            assert_eq!(system(engine.system), session.system);
        }
        let mut long = Flags::default();
        long.add_keyword(Keyword::new("$Forwarded").unwrap());
        long.add_keyword(Keyword::new(&"k".repeat(101)).unwrap());
        let (engine, whole) = flags(&long);
        assert_eq!((engine.keywords.len(), whole), (1, false));
    }

    #[test]
    fn every_keyword_of_the_engine_can_be_told() {
        for byte in 0..=255u8 {
            let text = format!("a{}", char::from(byte));
            if estafette_mailbox::Keyword::parse(&text).is_ok() {
                assert!(Keyword::new(&text).is_some(), "{text:?}");
            }
        }
    }

    #[test]
    fn dates_before_1970_keep_their_second() {
        assert_eq!(date(-1), DateTime::utc(-1));
        assert_eq!(date(date_ms(DateTime { unix_seconds: -5, zone_minutes: 90 })), DateTime::utc(-5));
        assert_eq!(date_ms(DateTime::utc(i64::MAX)), i64::MAX);
    }

    #[test]
    fn uses_that_there_are_none_of_are_refused() {
        assert_eq!(wanted_use(&[]), Ok(None));
        assert_eq!(wanted_use(&[SpecialUse::Junk]), Ok(Some(estafette_mailbox::SpecialUse::Junk)));
        assert_eq!(wanted_use(&[SpecialUse::Flagged]), Err(Failure::UseAttribute));
        assert_eq!(wanted_use(&[SpecialUse::Junk, SpecialUse::Sent]), Err(Failure::UseAttribute));
        for one in estafette_mailbox::SpecialUse::ALL {
            assert_eq!(special_use(one).map(SpecialUse::as_str), Some(one.attribute()));
        }
    }
}
