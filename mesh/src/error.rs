//! Everything that can go wrong in this crate, by who has to act.

use crate::NodeName;
use std::sync::Arc;

/// Who has to act on an [`Error`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Class {
    /// The caller asked for what cannot be, or the other side said no; the same call will fail again.
    Caller,
    /// It passes: the same call may succeed later.
    Passing,
    /// This node cannot speak to others; an operator is needed.
    Fatal,
}

/// What goes wrong between nodes.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// The request never left this node.
    #[error("{to} was not asked: {why}")]
    NotSent {
        /// Who was to be asked.
        to: NodeName,
        /// Why it was not, in words.
        why: Arc<str>,
    },
    /// The request may have left, and no answer came: it may have had its effect or not.
    #[error("{to} did not answer: {why}")]
    NoAnswer {
        /// Who was asked.
        to: NodeName,
        /// Why there is no answer, in words; of the other side, if it said some.
        why: Arc<str>,
    },
    /// The request is larger than a frame of its lane may be. Nothing was sent.
    #[error("a request of {bytes} bytes is larger than the limit of {limit}")]
    TooLarge {
        /// Its size.
        bytes: usize,
        /// What both sides allow.
        limit: usize,
    },
    /// Nobody who could be believed answered at an address.
    #[error("{address} cannot be asked: {why}")]
    Unreached {
        /// The address.
        address: String,
        /// Why not, in words.
        why: Arc<str>,
    },
    /// A node of the cluster said no.
    #[error("{address} refused: {why}")]
    Refused {
        /// Its address.
        address: String,
        /// Its words.
        why: Arc<str>,
    },
    /// A key or certificate cannot be made or used.
    #[error("the node's key or certificate cannot be used: {0}")]
    Identity(String),
}

impl Error {
    /// Who has to act.
    #[must_use]
    pub fn class(&self) -> Class {
        match self {
            Self::TooLarge { .. } | Self::Refused { .. } => Class::Caller,
            Self::NotSent { .. } | Self::NoAnswer { .. } | Self::Unreached { .. } => Class::Passing,
            Self::Identity(_) => Class::Fatal,
        }
    }

    /// Whether the request surely had no effect elsewhere.
    #[must_use]
    pub fn never_left(&self) -> bool {
        !matches!(self, Self::NoAnswer { .. })
    }
}

impl From<rcgen::Error> for Error {
    fn from(error: rcgen::Error) -> Error {
        Error::Identity(error.to_string())
    }
}
