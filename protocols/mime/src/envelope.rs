//! The envelope of a message (RFC 9051 §7.5.2), from its header fields.

use bytes::Bytes;

/// What ENVELOPE shows. Strings are raw: unfolded, encoded words left as they are, any byte but CR
/// and LF possible. `None` is NIL: the field is missing.
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
