//! How sessions of each protocol begin: the greeting, STARTTLS where it is wanted, the login; and how the
//! answers of each protocol are read.

use super::connection::Connection;
use super::ingest::Protocol;
use super::target::Dialer;
use crate::error::BenchError;
use std::io::Write;

/// A name and its password, as `user:password`.
#[derive(Clone, Debug)]
pub(super) struct Login {
    user: String,
    password: String,
}

impl Login {
    /// Those of a session: the logins are taken in turn.
    pub(super) fn of(logins: &[String], worker: usize) -> Login {
        let login = logins.get(worker % logins.len().max(1)).map(String::as_str).unwrap_or_default();
        let (user, password) = login.split_once(':').unwrap_or((login, ""));
        Login { user: user.to_owned(), password: password.to_owned() }
    }
}

impl Connection {
    /// The last line of an SMTP reply with this code.
    pub(super) async fn reply(&mut self, code: &[u8; 3]) -> Result<(), BenchError> {
        loop {
            self.read_line().await?;
            if !self.line().starts_with(code) {
                return Err(self.unexpected());
            }
            if self.line().get(3) != Some(&b'-') {
                return Ok(());
            }
        }
    }

    /// A POP3 response with `+OK`; it is the last line.
    pub(super) async fn pop3_ok(&mut self) -> Result<(), BenchError> {
        self.read_line().await?;
        if self.line().starts_with(b"+OK") { Ok(()) } else { Err(self.unexpected()) }
    }

    /// An IMAP command, without tag, up to its OK; untagged responses are passed over.
    pub(super) async fn imap(&mut self, command: &str) -> Result<(), BenchError> {
        let out = self.command();
        out.extend_from_slice(b"a ");
        out.extend_from_slice(command.as_bytes());
        out.extend_from_slice(b"\r\n");
        self.flush().await?;
        self.imap_done().await
    }

    /// The rest of an IMAP response up to its OK; literals are skipped.
    pub(super) async fn imap_done(&mut self) -> Result<(), BenchError> {
        loop {
            self.read_line().await?;
            let line = self.line();
            if let Some(rest) = line.strip_prefix(b"a ") {
                return if rest.starts_with(b"OK") { Ok(()) } else { Err(self.unexpected()) };
            }
            if let Some(size) = literal(line) {
                self.skip(size).await?;
            }
        }
    }

    /// A continuation of IMAP.
    pub(super) async fn imap_go_on(&mut self) -> Result<(), BenchError> {
        self.read_line().await?;
        if self.line().starts_with(b"+") { Ok(()) } else { Err(self.unexpected()) }
    }

    /// Logs in over IMAP.
    pub(super) async fn imap_login(&mut self, login: &Login) -> Result<(), BenchError> {
        let out = self.command();
        write!(out, "a LOGIN \"{}\" \"{}\"\r\n", login.user, login.password)?;
        self.flush().await?;
        self.imap_done().await
    }

    /// Logs in over POP3.
    pub(super) async fn pop3_login(&mut self, login: &Login) -> Result<(), BenchError> {
        write!(self.command(), "USER {}\r\n", login.user)?;
        self.flush().await?;
        self.pop3_ok().await?;
        write!(self.command(), "PASS {}\r\n", login.password)?;
        self.flush().await?;
        self.pop3_ok().await
    }

    /// Selects INBOX; the number of messages in it.
    pub(super) async fn select(&mut self) -> Result<u64, BenchError> {
        self.send(b"a SELECT INBOX\r\n").await?;
        let mut exists = 0;
        loop {
            self.read_line().await?;
            let line = self.line();
            if let Some(rest) = line.strip_prefix(b"a ") {
                return if rest.starts_with(b"OK") { Ok(exists) } else { Err(self.unexpected()) };
            }
            exists = count_before(line, b" EXISTS").unwrap_or(exists);
        }
    }
}

/// The size of the literal that this line announces.
fn literal(line: &[u8]) -> Option<usize> {
    let line = line.strip_suffix(b"}")?;
    let start = memchr::memrchr(b'{', line)?;
    std::str::from_utf8(line.get(start + 1..)?).ok()?.parse().ok()
}

/// `n` of `* n NAME`.
fn count_before(line: &[u8], name: &[u8]) -> Option<u64> {
    std::str::from_utf8(line.strip_prefix(b"* ")?.strip_suffix(name)?).ok()?.parse().ok()
}

impl Dialer {
    /// An IMAP session before the login.
    pub(super) async fn imap(&self) -> Result<Connection, BenchError> {
        let mut connection = self.open().await?;
        connection.read_line().await?;
        if !connection.line().starts_with(b"* OK") {
            return Err(connection.unexpected());
        }
        if self.starts_tls() {
            connection.imap("STARTTLS").await?;
            self.handshake(&mut connection).await?;
        }
        Ok(connection)
    }

    /// A POP3 session before the login.
    pub(super) async fn pop3(&self) -> Result<Connection, BenchError> {
        let mut connection = self.open().await?;
        connection.pop3_ok().await?;
        if self.starts_tls() {
            connection.send(b"STLS\r\n").await?;
            connection.pop3_ok().await?;
            self.handshake(&mut connection).await?;
        }
        Ok(connection)
    }

    /// An SMTP or LMTP session that has said hello.
    pub(super) async fn mail(&self, protocol: Protocol) -> Result<Connection, BenchError> {
        let hello: &[u8] = match protocol {
            Protocol::Smtp => b"EHLO load.test\r\n",
            Protocol::Lmtp => b"LHLO load.test\r\n",
        };
        let mut connection = self.open().await?;
        connection.reply(b"220").await?;
        connection.send(hello).await?;
        connection.reply(b"250").await?;
        if self.starts_tls() {
            connection.send(b"STARTTLS\r\n").await?;
            connection.reply(b"220").await?;
            self.handshake(&mut connection).await?;
            connection.send(hello).await?;
            connection.reply(b"250").await?;
        }
        Ok(connection)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_of_imap_are_understood() {
        assert_eq!(literal(b"* 1 FETCH (BODY[] {4096}"), Some(4096));
        assert_eq!(literal(b"* 1 FETCH (BINARY[] ~{12}"), Some(12));
        for line in [&b"* 1 FETCH (FLAGS ())"[..], b"x}", b"{}", b"{-1}", b""] {
            assert_eq!(literal(line), None);
        }
        assert_eq!(count_before(b"* 23 EXISTS", b" EXISTS"), Some(23));
        assert_eq!(count_before(b"* 23 RECENT", b" EXISTS"), None);
    }

    #[test]
    fn logins_are_taken_in_turn() {
        let logins = ["a:x:y".to_owned(), "b:z".to_owned()];
        assert_eq!(Login::of(&logins, 2).password, "x:y");
        assert_eq!(Login::of(&logins, 3).user, "b");
        assert_eq!(Login::of(&[], 3).user, "");
    }
}
