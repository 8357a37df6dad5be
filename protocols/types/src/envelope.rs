//! The envelope of a message: who sends it, to whom, and how (RFC 5321 §2.3.1, RFC 3461).

use crate::Address;
use serde::{Deserialize, Serialize};
use std::fmt;

/// The argument of MAIL FROM: an address, or nothing for a notice (RFC 5321 §4.5.5).
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum ReversePath {
    /// `<>`
    Null,
    /// `<local@domain>`
    Address(Address),
}

impl fmt::Display for ReversePath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ReversePath::Null => Ok(()),
            ReversePath::Address(address) => address.fmt(f),
        }
    }
}

/// The argument of RCPT TO.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum ForwardPath {
    /// `<Postmaster>` without a domain (RFC 5321 §4.5.1): the postmaster of the server.
    Postmaster,
    /// `<local@domain>`
    Address(Address),
}

impl fmt::Display for ForwardPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ForwardPath::Postmaster => f.write_str("Postmaster"),
            ForwardPath::Address(address) => address.fmt(f),
        }
    }
}

/// The BODY parameter of MAIL FROM (RFC 6152, RFC 3030).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
pub enum BodyType {
    /// `7BIT`, also when nothing is said.
    #[default]
    SevenBit,
    /// `8BITMIME`
    EightBitMime,
    /// `BINARYMIME`
    BinaryMime,
}

/// The RET parameter: what a failure notice returns (RFC 3461 §4.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum DsnReturn {
    /// `FULL`
    Full,
    /// `HDRS`
    Headers,
}

/// The NOTIFY parameter of a recipient (RFC 3461 §4.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum DsnNotify {
    /// `NEVER`
    Never,
    /// Any of `SUCCESS`, `FAILURE`, `DELAY`.
    On {
        /// Tell when delivered.
        success: bool,
        /// Tell when delivery failed.
        failure: bool,
        /// Tell when delivery takes long.
        delay: bool,
    },
}

/// A recipient as RCPT TO gave it.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Recipient {
    /// Where to.
    pub path: ForwardPath,
    /// NOTIFY, when it was given.
    pub notify: Option<DsnNotify>,
    /// ORCPT, decoded from xtext: address type and address (RFC 3461 §4.2).
    pub original: Option<(String, String)>,
}

/// What MAIL and RCPT said of a message.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Envelope {
    /// MAIL FROM.
    pub reverse_path: ReversePath,
    /// RCPT TO, in order.
    pub recipients: Vec<Recipient>,
    /// SIZE in bytes, when it was given (RFC 1870).
    pub declared_size: Option<u64>,
    /// BODY.
    pub body_type: BodyType,
    /// SMTPUTF8 was given (RFC 6531).
    pub smtputf8: bool,
    /// REQUIRETLS was given (RFC 8689).
    pub require_tls: bool,
    /// RET, when it was given.
    pub dsn_return: Option<DsnReturn>,
    /// ENVID, decoded from xtext (RFC 3461 §4.4).
    pub dsn_envelope_id: Option<String>,
    /// AUTH= of MAIL FROM, decoded from xtext (RFC 4954 §5).
    pub auth: Option<String>,
}

impl Recipient {
    /// As RCPT without parameters says it.
    pub fn new(path: ForwardPath) -> Recipient {
        Recipient { path, notify: None, original: None }
    }
}

impl Envelope {
    /// As MAIL without parameters says it (RFC 5321 §4.1.1.2).
    pub fn new(reverse_path: ReversePath, recipients: Vec<Recipient>) -> Envelope {
        Envelope {
            reverse_path,
            recipients,
            declared_size: None,
            body_type: BodyType::SevenBit,
            smtputf8: false,
            require_tls: false,
            dsn_return: None,
            dsn_envelope_id: None,
            auth: None,
        }
    }
}
