//! Reads an INBOX by POP3 (RFC 1939). The node's unique identifiers are UIDVALIDITY and UID.

use super::{Login, content, unexpected};
use crate::oracle::{Account, Content, Found, Outcome, Reading};
use crate::wire::{ANSWER_WAIT, Connection};
use std::io;
use std::time::Duration;

/// A session after its login.
pub(crate) struct Pop3 {
    connection: Connection,
}

/// A message as UIDL tells it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Name {
    pub(crate) number: usize,
    pub(crate) uid_validity: u32,
    pub(crate) uid: u32,
}

pub(super) async fn read(
    address: &str,
    login: &Login,
    account: Account,
    wanted: &(dyn Fn(u32) -> bool + Send + Sync),
) -> io::Result<Outcome> {
    let mut session = Pop3::open(address, login, ANSWER_WAIT).await?;
    let sizes: Vec<usize> =
        session.lines("LIST").await?.iter().map(|line| field(line, 1)).collect::<io::Result<_>>()?;
    let names = session.names().await?;
    let mut found = Vec::with_capacity(names.len());
    for (name, size) in names.iter().zip(sizes) {
        let content = match wanted(name.uid) {
            true => session.retrieve(address, login, name.number, size).await?,
            false => Content::Listed,
        };
        found.push(Found { uid: name.uid, content, state: None });
    }
    session.quit().await;
    let uid_validity = names.last().map_or(0, |name| name.uid_validity);
    Ok(Outcome::Read(Reading { account, uid_validity, uid_next: None, highest_modseq: None, found }))
}

impl Pop3 {
    pub(crate) async fn open(address: &str, login: &Login, patience: Duration) -> io::Result<Pop3> {
        let mut session = Pop3 { connection: Connection::open_with(address, patience).await? };
        session.ok().await?;
        session.command(&format!("USER {}", login.username)).await?;
        session.command(&format!("PASS {}", login.password)).await?;
        Ok(session)
    }

    async fn ok(&mut self) -> io::Result<()> {
        let line = self.connection.line().await?;
        if line.starts_with("+OK") { Ok(()) } else { Err(unexpected(line)) }
    }

    async fn command(&mut self, command: &str) -> io::Result<()> {
        self.connection.send(format!("{command}\r\n").as_bytes()).await?;
        self.ok().await
    }

    async fn lines(&mut self, command: &str) -> io::Result<Vec<String>> {
        self.command(command).await?;
        let mut lines = Vec::new();
        loop {
            let line = self.connection.line().await?;
            if line == "." {
                return Ok(lines);
            }
            lines.push(line);
        }
    }

    /// Numbers and UIDs, in order.
    pub(crate) async fn names(&mut self) -> io::Result<Vec<Name>> {
        self.lines("UIDL").await?.iter().map(|line| name(line).ok_or_else(|| unexpected(line))).collect()
    }

    async fn message(&mut self, command: &str) -> io::Result<Vec<u8>> {
        let mut stored = Vec::new();
        for line in self.lines(command).await? {
            stored.extend_from_slice(line.strip_prefix('.').unwrap_or(&line).as_bytes());
            stored.extend_from_slice(b"\r\n");
        }
        Ok(stored)
    }

    /// The header of a message.
    pub(crate) async fn top(&mut self, number: usize) -> io::Result<Vec<u8>> {
        self.message(&format!("TOP {number} 0")).await
    }

    /// One message; after an error the connection is replaced when it is gone.
    async fn retrieve(
        &mut self,
        address: &str,
        login: &Login,
        number: usize,
        size: usize,
    ) -> io::Result<Content> {
        match self.message(&format!("RETR {number}")).await {
            Ok(stored) => Ok(content(&stored, Some(size))),
            Err(error) if error.kind() == io::ErrorKind::InvalidData => Ok(Content::Unreadable),
            Err(_) => {
                *self = Pop3::open(address, login, ANSWER_WAIT).await?;
                Ok(Content::Unreadable)
            }
        }
    }

    pub(crate) async fn delete(&mut self, number: usize) -> io::Result<()> {
        self.command(&format!("DELE {number}")).await
    }

    /// True if it was answered well: what was marked as deleted is gone.
    pub(crate) async fn quit(&mut self) -> bool {
        self.command("QUIT").await.is_ok()
    }
}

fn name(line: &str) -> Option<Name> {
    let (number, name) = line.split_once(' ')?;
    let (uid_validity, uid) = name.split_once('-')?;
    Some(Name {
        number: number.parse().ok()?,
        uid_validity: uid_validity.parse().ok()?,
        uid: uid.parse().ok()?,
    })
}

fn field<T: std::str::FromStr>(line: &str, index: usize) -> io::Result<T> {
    let field = line.split(' ').nth(index).and_then(|field| field.parse().ok());
    field.ok_or_else(|| unexpected(line))
}

#[cfg(test)]
mod tests {
    use super::name;

    #[test]
    fn names_hold_uidvalidity_and_uid() {
        let found = name("3 1795288048-17").unwrap();
        assert_eq!((found.number, found.uid_validity, found.uid), (3, 1_795_288_048, 17));
        assert!(name("3 x").is_none());
    }
}
