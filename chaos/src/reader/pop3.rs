//! Reads an INBOX by POP3 (RFC 1939). The node's unique identifiers are UIDVALIDITY and UID.

use super::{Login, content, unexpected, whole};
use crate::oracle::{Account, Content, Found, Outcome};
use crate::wire::Connection;
use std::io;

pub(super) async fn read(
    address: &str,
    login: &Login,
    account: Account,
    wanted: &(dyn Fn(u32) -> bool + Send + Sync),
) -> io::Result<Outcome> {
    let mut connection = open(address, login).await?;
    let sizes: Vec<usize> =
        lines(&mut connection, "LIST").await?.iter().map(|line| field(line, 1)).collect::<io::Result<_>>()?;
    let names = lines(&mut connection, "UIDL").await?;
    let mut found = Vec::with_capacity(names.len());
    let mut validity = 0;
    for (line, size) in names.iter().zip(sizes) {
        let number: usize = field(line, 0)?;
        let name: String = field(line, 1)?;
        let (uid_validity, uid) = name.split_once('-').ok_or_else(|| unexpected(name.clone()))?;
        validity = uid_validity.parse().map_err(|_| unexpected(name.clone()))?;
        let uid = uid.parse().map_err(|_| unexpected(name.clone()))?;
        let content = if wanted(uid) {
            retrieve(&mut connection, address, login, number, size).await?
        } else {
            Content::Listed
        };
        found.push(Found { uid, content });
    }
    let _ = connection.send(b"QUIT\r\n").await;
    Ok(whole(account, validity, None, found))
}

async fn open(address: &str, login: &Login) -> io::Result<Connection> {
    let mut connection = Connection::open(address).await?;
    ok(&mut connection).await?;
    connection.send(format!("USER {}\r\n", login.username).as_bytes()).await?;
    ok(&mut connection).await?;
    connection.send(format!("PASS {}\r\n", login.password).as_bytes()).await?;
    ok(&mut connection).await?;
    Ok(connection)
}

async fn ok(connection: &mut Connection) -> io::Result<()> {
    let line = connection.line().await?;
    if line.starts_with("+OK") { Ok(()) } else { Err(unexpected(line)) }
}

async fn lines(connection: &mut Connection, command: &str) -> io::Result<Vec<String>> {
    connection.send(format!("{command}\r\n").as_bytes()).await?;
    ok(connection).await?;
    let mut lines = Vec::new();
    loop {
        let line = connection.line().await?;
        if line == "." {
            return Ok(lines);
        }
        lines.push(line);
    }
}

/// One message; after an error the connection is replaced when it is gone.
async fn retrieve(
    connection: &mut Connection,
    address: &str,
    login: &Login,
    number: usize,
    size: usize,
) -> io::Result<Content> {
    match message(connection, number).await {
        Ok(stored) => Ok(content(&stored, Some(size))),
        Err(error) if error.kind() == io::ErrorKind::InvalidData => Ok(Content::Unreadable),
        Err(_) => {
            *connection = open(address, login).await?;
            Ok(Content::Unreadable)
        }
    }
}

async fn message(connection: &mut Connection, number: usize) -> io::Result<Vec<u8>> {
    let mut stored = Vec::new();
    for line in lines(connection, &format!("RETR {number}")).await? {
        stored.extend_from_slice(line.strip_prefix('.').unwrap_or(&line).as_bytes());
        stored.extend_from_slice(b"\r\n");
    }
    Ok(stored)
}

fn field<T: std::str::FromStr>(line: &str, index: usize) -> io::Result<T> {
    let field = line.split(' ').nth(index).and_then(|field| field.parse().ok());
    field.ok_or_else(|| unexpected(line))
}
