//! How commands, responses and records are encoded: a version byte, then postcard.

use crate::command::{Applied, Command, Reply};
use crate::error::Error;
use serde::{Deserialize, Serialize};

const COMMAND_VERSION: u8 = 1;
const APPLIED_VERSION: u8 = 1;

impl Command {
    /// For the log.
    pub fn encode(&self) -> Result<Vec<u8>, Error> {
        encode(COMMAND_VERSION, "a command", self)
    }

    /// From the log.
    pub fn decode(bytes: &[u8]) -> Result<Command, Error> {
        decode(COMMAND_VERSION, "a command", bytes)
    }
}

impl Reply {
    /// The response of a log entry.
    pub fn encode_applied(applied: &Applied) -> Result<Vec<u8>, Error> {
        encode(APPLIED_VERSION, "a response", applied)
    }

    /// The response of a log entry.
    pub fn decode_applied(bytes: &[u8]) -> Result<Applied, Error> {
        decode(APPLIED_VERSION, "a response", bytes)
    }
}

pub(crate) fn encode<T: Serialize>(version: u8, what: &'static str, value: &T) -> Result<Vec<u8>, Error> {
    postcard::to_extend(value, vec![version]).map_err(|source| Error::Encoding { what, source })
}

pub(crate) fn decode<T: for<'a> Deserialize<'a>>(
    known: u8,
    what: &'static str,
    bytes: &[u8],
) -> Result<T, Error> {
    let (version, rest) = bytes
        .split_first()
        .ok_or(Error::Encoding { what, source: postcard::Error::DeserializeUnexpectedEnd })?;
    if *version != known {
        return Err(Error::Version { what, version: *version });
    }
    postcard::from_bytes(rest).map_err(|source| Error::Encoding { what, source })
}
