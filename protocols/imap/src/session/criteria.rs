//! What SEARCH looks for, free of the state of a session, and the judge of one message.
//!
//! Duty: [`Criterion`] is a search key with every set of messages resolved to UIDs and every text
//! folded; [`Criterion::matches`] is a pure function of it and a [`SearchSubject`], which the engine
//! implements over its rows. What is cheap is looked at first, so that a body is only read when
//! nothing else has decided. Must not: know sequence numbers, read anything itself.

use super::flags::{Flags, SystemFlags};
use crate::codec::date::{Date, DateTime};
use crate::codec::flag::Keyword;
use crate::codec::search::When;
use estafette_types::{EmailId, ModSeq, Uid, UidSet};
use std::borrow::Cow;
use unicode_normalization::UnicodeNormalization;

/// Texts up to this length are looked for byte by byte; longer ones in time that does not grow with them.
const PLAIN_MAX_BYTES: usize = 64;

/// What must hold of a message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Criterion {
    /// Nothing.
    Anything,
    /// It never holds.
    Never,
    /// All of them.
    And(Vec<Criterion>),
    /// At least one of them.
    Or(Vec<Criterion>),
    /// It does not hold.
    Not(Box<Criterion>),
    /// It is one of these.
    Uids(UidSet),
    /// It has all of these flags.
    Flags(SystemFlags),
    /// It has this keyword, in any case.
    Keyword(Keyword),
    /// A field of its header has this text; with an empty text: there is such a field.
    Header {
        /// The field's name.
        name: String,
        /// What its decoded value must hold.
        text: Folded,
    },
    /// The decoded text of its body has this.
    Body(Folded),
    /// Its header or the decoded text of its body has this.
    Text(Folded),
    /// Its INTERNALDATE, in the zone it is told in.
    Internal(When, Date),
    /// The day of its Date field, as written.
    Sent(When, Date),
    /// The day of its SAVEDATE, in UTC.
    Saved(When, Date),
    /// It has more bytes.
    LargerThan(u64),
    /// It has fewer bytes.
    SmallerThan(u64),
    /// Its INTERNALDATE is at or before this moment, in seconds since 1970-01-01 UTC.
    At {
        /// The moment.
        unix_seconds: i64,
        /// True for at or after it instead.
        or_later: bool,
    },
    /// Its MODSEQ is at least this.
    ModSeqFrom(ModSeq),
    /// Its EMAILID is this.
    EmailId(EmailId),
}

/// Text made ready to be compared without case: decomposed (NFKD) and lower case, as near to
/// `i;unicode-casemap` (RFC 5051) as searching needs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Folded(String);

impl Folded {
    /// Folds a text.
    pub fn new(text: &str) -> Folded {
        Folded(fold(text).into_owned())
    }

    /// The folded text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// True when a text, not folded yet, holds this one. The empty text is in every one.
    pub fn is_in(&self, text: &str) -> bool {
        if text.is_ascii() && self.0.len() <= PLAIN_MAX_BYTES {
            return self.is_in_ascii(text.as_bytes());
        }
        self.0.is_empty() || fold(text).contains(&self.0)
    }

    /// The same without a copy of the text: most of it is ASCII. Takes as many steps as both lengths multiplied.
    fn is_in_ascii(&self, text: &[u8]) -> bool {
        let wanted = self.0.as_bytes();
        let Some(first) = wanted.first() else { return true };
        let Some(last_start) = text.len().checked_sub(wanted.len()) else { return false };
        let starts = text.get(..=last_start).unwrap_or_default();
        memchr::memchr2_iter(*first, first.to_ascii_uppercase(), starts).any(|at| {
            text.get(at..at.saturating_add(wanted.len()))
                .is_some_and(|part| part.eq_ignore_ascii_case(wanted))
        })
    }
}

/// The folded form of a text.
pub fn fold(text: &str) -> Cow<'_, str> {
    if !text.is_ascii() {
        return text.nfkd().flat_map(char::to_lowercase).collect::<String>().into();
    }
    if text.bytes().any(|byte| byte.is_ascii_uppercase()) {
        text.to_ascii_lowercase().into()
    } else {
        text.into()
    }
}

/// What of a message must be read to judge it; each includes those before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Reach {
    /// What stands in its row: UID, flags, dates, size.
    Row,
    /// Its header.
    Header,
    /// Its body.
    Body,
}

/// A message to be judged. Each method is called only when it is needed.
pub trait SearchSubject {
    /// Why it cannot be read.
    type Error;
    /// UID
    fn uid(&self) -> Uid;
    /// FLAGS
    fn flags(&self) -> &Flags;
    /// MODSEQ
    fn modseq(&self) -> ModSeq;
    /// INTERNALDATE
    fn internal_date(&self) -> DateTime;
    /// SAVEDATE, in seconds since 1970-01-01 UTC.
    fn save_date(&self) -> Option<i64>;
    /// RFC822.SIZE in bytes.
    fn size_bytes(&self) -> u64;
    /// EMAILID
    fn email_id(&self) -> EmailId;
    /// The day of the Date field as written, in days since 1970-01-01; `None` without a usable one.
    fn sent_day(&mut self) -> Result<Option<i64>, Self::Error>;
    /// Gives the decoded value of each field of this name (in any case) to `found`, until that says
    /// true; says whether it did.
    fn header(&mut self, name: &str, found: &mut dyn FnMut(&str) -> bool) -> Result<bool, Self::Error>;
    /// Gives every field of every header as decoded text to `found`, until that says true.
    fn headers(&mut self, found: &mut dyn FnMut(&str) -> bool) -> Result<bool, Self::Error>;
    /// Gives the decoded text of each text part to `found`, until that says true.
    fn body(&mut self, found: &mut dyn FnMut(&str) -> bool) -> Result<bool, Self::Error>;
}

impl Criterion {
    /// All of these, the cheap ones first.
    pub fn all_of(mut criteria: Vec<Criterion>) -> Criterion {
        criteria.sort_by_key(Criterion::reach);
        Criterion::And(criteria)
    }

    /// One of these, the cheap ones first.
    pub fn any_of(mut criteria: Vec<Criterion>) -> Criterion {
        criteria.sort_by_key(Criterion::reach);
        Criterion::Or(criteria)
    }

    /// Its opposite.
    pub fn negated(self) -> Criterion {
        match self {
            Criterion::Anything => Criterion::Never,
            Criterion::Never => Criterion::Anything,
            other => Criterion::Not(Box::new(other)),
        }
    }

    /// How much of a message may have to be read.
    pub fn reach(&self) -> Reach {
        match self {
            Criterion::And(all) | Criterion::Or(all) => {
                all.iter().map(Criterion::reach).max().unwrap_or(Reach::Row)
            }
            Criterion::Not(one) => one.reach(),
            Criterion::Header { .. } | Criterion::Sent(..) => Reach::Header,
            Criterion::Body(_) | Criterion::Text(_) => Reach::Body,
            _ => Reach::Row,
        }
    }

    /// How many of its keys look at more than the row.
    pub fn looks(&self) -> usize {
        match self {
            Criterion::And(all) | Criterion::Or(all) => all.iter().map(Criterion::looks).sum(),
            Criterion::Not(one) => one.looks(),
            one => usize::from(one.reach() > Reach::Row),
        }
    }

    /// The UIDs outside of which nothing can match; `None` when there is no such bound. Lets an
    /// engine pass over rows without reading them.
    pub fn bound(&self) -> Option<UidSet> {
        match self {
            Criterion::Uids(uids) => Some(uids.clone()),
            Criterion::Never => Some(UidSet::new()),
            Criterion::And(all) => all.iter().filter_map(Criterion::bound).reduce(|a, b| a.intersection(&b)),
            _ => None,
        }
    }

    /// True when all of it holds of the message. Recursion is as deep as the parser lets keys nest.
    pub fn matches<S: SearchSubject + ?Sized>(&self, of: &mut S) -> Result<bool, S::Error> {
        Ok(match self {
            Criterion::Anything => true,
            Criterion::Never => false,
            Criterion::And(all) => {
                for one in all {
                    if !one.matches(of)? {
                        return Ok(false);
                    }
                }
                true
            }
            Criterion::Or(some) => {
                for one in some {
                    if one.matches(of)? {
                        return Ok(true);
                    }
                }
                false
            }
            Criterion::Not(one) => !one.matches(of)?,
            Criterion::Header { name, text } => of.header(name, &mut |value| text.is_in(value))?,
            Criterion::Sent(when, date) => of.sent_day()?.is_some_and(|day| when.holds(day, *date)),
            Criterion::Body(text) => of.body(&mut |part| text.is_in(part))?,
            Criterion::Text(text) => {
                of.headers(&mut |field| text.is_in(field))? || of.body(&mut |part| text.is_in(part))?
            }
            row => row.matches_row(of),
        })
    }

    /// Those that need nothing but the row.
    fn matches_row<S: SearchSubject + ?Sized>(&self, of: &S) -> bool {
        match self {
            Criterion::Uids(uids) => uids.contains(of.uid()),
            Criterion::Flags(flags) => of.flags().system.has(*flags),
            Criterion::Keyword(keyword) => of.flags().keywords.contains(keyword),
            Criterion::Internal(when, date) => {
                when.holds(of.internal_date().date().days_since_epoch(), *date)
            }
            Criterion::Saved(when, date) => of
                .save_date()
                .is_some_and(|at| when.holds(DateTime::utc(at).date().days_since_epoch(), *date)),
            Criterion::LargerThan(bytes) => of.size_bytes() > *bytes,
            Criterion::SmallerThan(bytes) => of.size_bytes() < *bytes,
            Criterion::At { unix_seconds, or_later: false } => {
                of.internal_date().unix_seconds <= *unix_seconds
            }
            Criterion::At { unix_seconds, or_later: true } => {
                of.internal_date().unix_seconds >= *unix_seconds
            }
            Criterion::ModSeqFrom(modseq) => of.modseq() >= *modseq,
            Criterion::EmailId(id) => of.email_id() == *id,
            _ => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::convert::Infallible;

    struct Mail {
        flags: Flags,
        subject: Option<&'static str>,
        body: &'static str,
        body_reads: u32,
    }

    impl SearchSubject for Mail {
        type Error = Infallible;
        fn uid(&self) -> Uid {
            Uid::new(7).unwrap()
        }
        fn flags(&self) -> &Flags {
            &self.flags
        }
        fn modseq(&self) -> ModSeq {
            ModSeq(9)
        }
        fn internal_date(&self) -> DateTime {
            // 1 January 1970, 23:30 in UTC, and already the 2nd where it was told.
            DateTime { unix_seconds: 84_600, zone_minutes: 60 }
        }
        fn save_date(&self) -> Option<i64> {
            Some(84_600)
        }
        fn size_bytes(&self) -> u64 {
            100
        }
        fn email_id(&self) -> EmailId {
            EmailId(3)
        }
        fn sent_day(&mut self) -> Result<Option<i64>, Infallible> {
            Ok(Some(-1))
        }
        fn header(&mut self, name: &str, found: &mut dyn FnMut(&str) -> bool) -> Result<bool, Infallible> {
            Ok(name.eq_ignore_ascii_case("subject") && self.subject.is_some_and(found))
        }
        fn headers(&mut self, found: &mut dyn FnMut(&str) -> bool) -> Result<bool, Infallible> {
            Ok(self.subject.is_some_and(found))
        }
        fn body(&mut self, found: &mut dyn FnMut(&str) -> bool) -> Result<bool, Infallible> {
            self.body_reads += 1;
            Ok(found(self.body))
        }
    }

    fn mail() -> Mail {
        let mut flags = Flags::system(SystemFlags::SEEN.with(SystemFlags::DRAFT));
        flags.add_keyword(Keyword::new("$Forwarded").unwrap());
        Mail { flags, subject: Some("Grüße aus KÖLN"), body: "Dear Sir,\r\nhello", body_reads: 0 }
    }

    fn holds(criterion: &Criterion) -> bool {
        criterion.matches(&mut mail()).unwrap()
    }

    fn header(text: &str) -> Criterion {
        Criterion::Header { name: "Subject".to_owned(), text: Folded::new(text) }
    }

    #[test]
    fn texts_match_without_case_and_form() {
        for text in ["", "GRÜSSE".replace("SS", "ß").as_str(), "köln", "ko\u{308}ln", "AUS"] {
            assert!(holds(&header(text)), "{text}");
        }
        assert!(!holds(&header("bonn")));
        assert!(!holds(&Criterion::Header { name: "Cc".to_owned(), text: Folded::new("") }));
        assert!(holds(&Criterion::Text(Folded::new("köln"))));
        assert!(holds(&Criterion::Text(Folded::new("HELLO"))));
        assert!(!holds(&Criterion::Body(Folded::new("köln"))));
    }

    #[test]
    fn ascii_is_searched_where_it_stands() {
        for (wanted, text, expected) in [
            ("", "", true),
            ("a", "", false),
            ("ab", "xaAB", true),
            ("AAB", "aaab", true),
            ("abc", "ababab", false),
            ("b-1", "A B-1", true),
            ("@", "`", false),
            ("ä", "a", false),
            (&"ab".repeat(40), &"AB".repeat(50), true),
            (&"ab".repeat(40), &"ab".repeat(39), false),
            ("K", "\u{212a}", true),
        ] {
            let folded = Folded::new(wanted);
            assert_eq!(folded.is_in(text), expected, "{wanted} in {text}");
            assert_eq!(folded.is_in(text), fold(text).contains(folded.as_str()), "{wanted} in {text}");
        }
    }

    #[test]
    fn rows_are_judged() {
        let day = |n| Date::from_days(n);
        let uids = UidSet::range(Uid::new(5).unwrap(), Uid::new(7).unwrap());
        let true_ones = [
            Criterion::Uids(uids),
            Criterion::Flags(SystemFlags::SEEN),
            Criterion::Keyword(Keyword::new("$forwarded").unwrap()),
            Criterion::Internal(When::On, day(1)),
            Criterion::Saved(When::On, day(0)),
            Criterion::Sent(When::Before, day(0)),
            Criterion::LargerThan(99),
            Criterion::SmallerThan(101),
            Criterion::At { unix_seconds: 84_600, or_later: true },
            Criterion::At { unix_seconds: 84_600, or_later: false },
            Criterion::ModSeqFrom(ModSeq(9)),
            Criterion::EmailId(EmailId(3)),
        ];
        let false_ones = [
            Criterion::Flags(SystemFlags::SEEN.with(SystemFlags::DELETED)),
            Criterion::Keyword(Keyword::new("$junk").unwrap()),
            Criterion::Internal(When::On, day(0)),
            Criterion::LargerThan(100),
            Criterion::SmallerThan(100),
            Criterion::ModSeqFrom(ModSeq(10)),
            Criterion::At { unix_seconds: 84_601, or_later: true },
        ];
        assert!(true_ones.iter().all(holds));
        assert!(!false_ones.iter().any(holds));
        assert!(holds(&Criterion::all_of(true_ones.to_vec())));
        assert!(!holds(&Criterion::any_of(false_ones.to_vec())));
        assert!(holds(&Criterion::any_of(false_ones.to_vec()).negated()));
    }

    #[test]
    fn a_body_is_read_last() {
        let both =
            Criterion::all_of(vec![Criterion::Body(Folded::new("hello")), Criterion::LargerThan(1000)]);
        let mut subject = mail();
        assert_eq!(both.matches(&mut subject), Ok(false));
        assert_eq!(subject.body_reads, 0);
        assert_eq!(both.reach(), Reach::Body);
    }

    #[test]
    fn bounds_narrow() {
        let of = |a, b| Criterion::Uids(UidSet::range(Uid::new(a).unwrap(), Uid::new(b).unwrap()));
        let and = Criterion::all_of(vec![of(1, 5), Criterion::Anything, of(4, 9)]);
        assert_eq!(and.bound().unwrap().to_string(), "4:5");
        assert_eq!(Criterion::any_of(vec![of(1, 2), of(4, 4)]).bound(), None);
    }
}
