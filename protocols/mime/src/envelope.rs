//! The envelope of a message (RFC 9051 §7.5.2), from its header fields.

use crate::address::address_list;
use crate::text::{shown, shown_to_people};
use bytes::Bytes;

/// What ENVELOPE shows. Strings are unfolded, encoded words left as they are; any byte but CR, LF and
/// NUL (shown as U+FFFD) is possible. `None` is NIL: the field is missing. In the subject and in
/// names, white space is one space. Of fields that are there twice, the last text counts, and the
/// addresses of all.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Envelope {
    /// `Date`.
    pub date: Option<Bytes>,
    /// `Subject`.
    pub subject: Option<Bytes>,
    /// `From`; empty is NIL, as in all the lists below.
    pub from: Vec<EnvelopeAddress>,
    /// `Sender` as it stands; IMAP shows [`Envelope::sender_or_from`].
    pub sender: Vec<EnvelopeAddress>,
    /// `Reply-To` as it stands; IMAP shows [`Envelope::reply_to_or_from`].
    pub reply_to: Vec<EnvelopeAddress>,
    /// `To`.
    pub to: Vec<EnvelopeAddress>,
    /// `Cc`.
    pub cc: Vec<EnvelopeAddress>,
    /// `Bcc`.
    pub bcc: Vec<EnvelopeAddress>,
    /// `In-Reply-To`.
    pub in_reply_to: Option<Bytes>,
    /// `Message-ID`.
    pub message_id: Option<Bytes>,
}

/// One address of an envelope, to be printed as `(name route mailbox host)`, `None` as NIL.
///
/// A group (RFC 5322 §3.4) begins with an address without host whose mailbox is its name, and ends
/// with one that has neither (RFC 9051 §7.5.2).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct EnvelopeAddress {
    /// The display name, unquoted, encoded words left.
    pub name: Option<Bytes>,
    /// The source route (`@a,@b`), obsolete.
    pub route: Option<Bytes>,
    /// The local part, or the name of a group.
    pub mailbox: Option<Bytes>,
    /// The domain.
    pub host: Option<Bytes>,
}

impl Envelope {
    /// The senders that IMAP shows: those of `From` when there is no `Sender`.
    pub fn sender_or_from(&self) -> &[EnvelopeAddress] {
        if self.sender.is_empty() { &self.from } else { &self.sender }
    }

    /// Where answers go, as IMAP shows it: to `From` when there is no `Reply-To`.
    pub fn reply_to_or_from(&self) -> &[EnvelopeAddress] {
        if self.reply_to.is_empty() { &self.from } else { &self.reply_to }
    }
}

impl Envelope {
    /// Whether a field of this name goes into an envelope.
    pub(crate) fn wants(name: &[u8]) -> bool {
        const NAMES: [&[u8]; 10] = [
            b"date",
            b"subject",
            b"from",
            b"sender",
            b"reply-to",
            b"to",
            b"cc",
            b"bcc",
            b"in-reply-to",
            b"message-id",
        ];
        NAMES.iter().any(|known| name.eq_ignore_ascii_case(known))
    }

    /// Takes a field up; `limit` bounds its addresses. Other fields are passed over.
    pub(crate) fn take(&mut self, name: &[u8], value: &[u8], limit: usize) {
        fn add(list: &mut Vec<EnvelopeAddress>, value: &[u8], limit: usize) {
            list.append(&mut address_list(value, limit.saturating_sub(list.len())));
        }
        match name.to_ascii_lowercase().as_slice() {
            b"date" => self.date = Some(shown(value)),
            b"subject" => self.subject = Some(shown_to_people(value)),
            b"from" => add(&mut self.from, value, limit),
            b"sender" => add(&mut self.sender, value, limit),
            b"reply-to" => add(&mut self.reply_to, value, limit),
            b"to" => add(&mut self.to, value, limit),
            b"cc" => add(&mut self.cc, value, limit),
            b"bcc" => add(&mut self.bcc, value, limit),
            b"in-reply-to" => self.in_reply_to = Some(shown(value)),
            b"message-id" => self.message_id = Some(shown(value)),
            _ => {}
        }
    }
}
