//! The protocols' sessions joined to the engine: each file answers the questions of one protocol.

pub(crate) mod elsewhere;
mod imap;
mod pop3;
mod smtp;

pub(crate) use imap::ImapProtocol;
pub(crate) use pop3::Pop3Protocol;
pub(crate) use smtp::SmtpProtocol;
