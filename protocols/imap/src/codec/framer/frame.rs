//! What the framer takes and gives, as values.

use crate::codec::fault::{CommandError, Fault};
use crate::codec::rope::Rope;
use bytes::Bytes;
use std::fmt;

/// How much a client may send.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of a line, without its end.
    pub line: usize,
    /// Bytes of a command, without messages to append.
    pub command: u64,
    /// Bytes of a literal that is no message to append.
    pub literal: u64,
    /// Bytes of the messages of one APPEND.
    pub append: u64,
    /// Bytes of a message to append from which on it is handed over in parts ([`Framed::Part`]).
    pub part_from: u64,
    /// Bytes of a literal without synchronization: 4096 when LITERAL- is announced, else as many as
    /// there may be.
    pub non_sync: u64,
    /// Literals of one command.
    pub literals: usize,
    /// Bytes of a refused command that are thrown away before the connection is closed.
    pub swallow: u64,
}

impl Limits {
    /// Before the login.
    pub const BEFORE_LOGIN: Limits = Limits {
        line: 8 * 1024,
        command: 64 * 1024,
        literal: 8 * 1024,
        append: 8 * 1024,
        part_from: u64::MAX,
        non_sync: u64::MAX,
        literals: 16,
        swallow: 1024 * 1024,
    };

    /// After the login, with this limit for messages (APPENDLIMIT).
    pub const fn after_login(append: u64) -> Limits {
        Limits {
            line: 64 * 1024,
            command: 1024 * 1024,
            literal: 1024 * 1024,
            append,
            part_from: 1024 * 1024,
            non_sync: u64::MAX,
            literals: 1000,
            swallow: append.saturating_mul(2).saturating_add(1024 * 1024),
        }
    }
}

/// Bytes of a part, about.
pub const PART_BYTES: usize = 256 * 1024;

/// A literal, complete.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Literal {
    /// Its bytes; those that follow its parts, if it has such.
    pub body: Rope,
    /// What was handed over before.
    pub parts: Option<Parts>,
    /// `literal8 = "~{" number64 ["+"] "}" CRLF *OCTET`: NUL is allowed in it.
    pub literal8: bool,
}

/// What was handed over of a literal while it came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Parts {
    /// Bytes of all parts.
    pub bytes: u64,
    /// There is NUL in them.
    pub nul: bool,
}

/// A part of a command.
#[derive(Clone, PartialEq, Eq)]
pub enum Piece {
    /// A line without its end and without the announcement of a literal.
    Line(Bytes),
    /// The literal that it announced.
    Literal(Literal),
}

/// A command, complete: lines and literals in turn, a line first and last.
#[derive(Clone, PartialEq, Eq)]
pub struct Frame {
    pub(in crate::codec) pieces: Vec<Piece>,
}

/// Without the contents, which may be a password.
impl fmt::Debug for Frame {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Frame({} pieces)", self.pieces.len())
    }
}

impl Frame {
    /// The parts.
    pub fn pieces(&self) -> &[Piece] {
        &self.pieces
    }
}

/// What the framer found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Framed {
    /// Nothing before more bytes come.
    Incomplete,
    /// The client waits to be asked for a literal: send a continuation.
    Continue(Announced),
    /// Part of a large message of an APPEND that is still coming, for the engine to keep elsewhere than in memory.
    Part {
        /// It is the first of its literal.
        first: bool,
        /// Bytes of the whole literal.
        size: u64,
        /// The next bytes.
        pieces: Vec<Bytes>,
    },
    /// A command.
    Frame(Frame),
    /// A command that is refused; the next one can be read.
    Refused(CommandError),
    /// The connection must be closed, after saying why.
    Fatal(CommandError),
}

/// A literal that the client wants to send.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Announced {
    /// Its bytes; within the limits.
    pub size: u64,
    /// True for a message of an APPEND.
    pub message: bool,
}

/// A single line ([`super::Framer::line`]).
#[derive(Clone, PartialEq, Eq)]
pub enum Line {
    /// Nothing before more bytes come.
    Incomplete,
    /// A line, without its end.
    Line(Bytes),
    /// A line that is refused; the next one can be read.
    Refused(Fault),
    /// The connection must be closed.
    Fatal(Fault),
}
