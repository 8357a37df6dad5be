//! The nouns of mail, one newtype each, as the standards name them.
//!
//! Values are valid by construction: a `Domain` is a domain name in its canonical form, a `Uid` is
//! never zero. Nothing here does I/O, and nothing here knows a protocol's grammar beyond addresses.
#![forbid(unsafe_code)]

mod address;
mod envelope;
mod ids;
mod network;
mod status;
mod uid_set;

pub use address::{Address, AddressError, DOMAIN_MAX, Domain, LOCAL_PART_MAX, LocalPart};
pub use envelope::{BodyType, DsnNotify, DsnReturn, Envelope, ForwardPath, Recipient, ReversePath};
pub use ids::{
    AccountId, DomainId, EmailId, MailboxId, ModSeq, ShardId, Uid, UidValidity, Username, UsernameError,
};
pub use network::{Network, NetworkError, Networks};
pub use status::{EnhancedStatus, StatusClass};
pub use uid_set::UidSet;
