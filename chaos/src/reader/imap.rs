//! Reads an INBOX by IMAP (RFC 9051): the list of UIDs and sizes first, then messages by UID.
//!
//! A message that gives an error does not hide the others: what a large FETCH did not bring is asked for
//! one by one.

use super::{Login, content, unexpected, whole};
use crate::oracle::{Account, Content, Found, Outcome};
use crate::wire::Connection;
use std::collections::BTreeMap;
use std::io;

/// Messages of one FETCH.
const FETCH_MESSAGES: usize = 500;

/// An untagged answer: its text, with the literals apart.
struct Answer {
    text: String,
    literals: Vec<Vec<u8>>,
}

/// What was opened.
#[derive(Default)]
struct Opened {
    uid_validity: u32,
    uid_next: Option<u32>,
    exists: usize,
}

pub(super) async fn read(
    address: &str,
    login: &Login,
    account: Account,
    wanted: &(dyn Fn(u32) -> bool + Send + Sync),
) -> io::Result<Outcome> {
    let (mut connection, opened) = open(address, login).await?;
    let sizes = list(&mut connection, opened.exists).await?;
    let uids: Vec<u32> = sizes.iter().map(|(uid, _)| *uid).filter(|uid| wanted(*uid)).collect();
    let mut contents = BTreeMap::new();
    let mut usable = Some(connection);
    for some in uids.chunks(FETCH_MESSAGES) {
        let Some(connection) = &mut usable else { break };
        if fetch(connection, some, &sizes, &mut contents).await.is_err() {
            usable = None;
        }
    }
    for uid in uids.iter().filter(|uid| !contents.contains_key(*uid)).copied().collect::<Vec<_>>() {
        let mut connection = match usable.take() {
            Some(connection) => connection,
            None => open(address, login).await?.0,
        };
        if fetch(&mut connection, &[uid], &sizes, &mut contents).await.is_ok() {
            usable = Some(connection);
        }
        contents.entry(uid).or_insert(Content::Unreadable);
    }
    if let Some(mut connection) = usable {
        let _ = connection.send(b"z LOGOUT\r\n").await;
    }
    let found = |(uid, _): &(u32, usize)| Found {
        uid: *uid,
        content: contents.remove(uid).unwrap_or(Content::Listed),
    };
    let found = sizes.iter().map(found).collect();
    Ok(whole(account, opened.uid_validity, opened.uid_next, found))
}

async fn open(address: &str, login: &Login) -> io::Result<(Connection, Opened)> {
    let mut connection = Connection::open(address).await?;
    connection.line().await?;
    command(&mut connection, &format!("LOGIN {} \"{}\"", login.username, login.password), |_| ()).await?;
    let mut opened = Opened::default();
    command(&mut connection, "EXAMINE INBOX", |answer| {
        let text = answer.text.as_str();
        if let Some(number) = number_after(text, "[UIDVALIDITY ") {
            opened.uid_validity = number;
        }
        if let Some(number) = number_after(text, "[UIDNEXT ") {
            opened.uid_next = Some(number);
        }
        if let Some(count) = text.strip_prefix("* ").and_then(|rest| rest.strip_suffix(" EXISTS")) {
            opened.exists = count.parse().unwrap_or(0);
        }
    })
    .await?;
    Ok((connection, opened))
}

/// UIDs and sizes, in the order of the mailbox.
async fn list(connection: &mut Connection, exists: usize) -> io::Result<Vec<(u32, usize)>> {
    if exists == 0 {
        return Ok(Vec::new());
    }
    let mut sizes = Vec::new();
    command(connection, "UID FETCH 1:* (UID RFC822.SIZE)", |answer| {
        if let (Some(uid), Some(size)) =
            (number_after(&answer.text, "UID "), number_after(&answer.text, "RFC822.SIZE "))
        {
            sizes.push((uid, usize::try_from(size).unwrap_or(usize::MAX)));
        }
    })
    .await?;
    if sizes.len() < exists {
        return Err(unexpected(format!("{exists} messages exist, {} were listed", sizes.len())));
    }
    Ok(sizes)
}

async fn fetch(
    connection: &mut Connection,
    uids: &[u32],
    sizes: &[(u32, usize)],
    contents: &mut BTreeMap<u32, Content>,
) -> io::Result<()> {
    let set = uids.iter().map(u32::to_string).collect::<Vec<_>>().join(",");
    command(connection, &format!("UID FETCH {set} (UID RFC822.SIZE BODY.PEEK[])"), |answer| {
        let uid = number_after(&answer.text, "UID ").filter(|uid| uids.contains(uid));
        if let (Some(uid), Some(stored)) = (uid, answer.literals.first()) {
            let listed = sizes.iter().find(|(known, _)| *known == uid).map(|(_, size)| *size);
            contents.insert(uid, content(stored, listed));
        }
    })
    .await
}

/// Sends a command and takes its untagged answers until it is completed. Anything but OK is an error.
async fn command(connection: &mut Connection, text: &str, mut take: impl FnMut(Answer)) -> io::Result<()> {
    connection.send(format!("a {text}\r\n").as_bytes()).await?;
    loop {
        let answer = answer(connection).await?;
        match answer.text.strip_prefix("a ") {
            Some(done) if done.starts_with("OK") => return Ok(()),
            Some(done) => return Err(unexpected(done)),
            None if answer.text.starts_with("* BYE") => return Err(unexpected(answer.text)),
            None => take(answer),
        }
    }
}

async fn answer(connection: &mut Connection) -> io::Result<Answer> {
    let mut answer = Answer { text: String::new(), literals: Vec::new() };
    loop {
        let line = connection.line().await?;
        let literal = line.strip_suffix('}').and_then(|rest| rest.rsplit_once('{'));
        let Some((before, size)) = literal.and_then(|(before, size)| Some((before, size.parse().ok()?)))
        else {
            answer.text.push_str(&line);
            return Ok(answer);
        };
        answer.text.push_str(before);
        answer.literals.push(connection.exactly(size).await?);
    }
}

fn number_after(text: &str, word: &str) -> Option<u32> {
    let (_, rest) = text.split_once(word)?;
    rest.split(|c: char| !c.is_ascii_digit()).next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::number_after;

    #[test]
    fn numbers_are_found_after_their_word() {
        let text = "* 3 FETCH (UID 17 RFC822.SIZE 204 BODY[] )";
        assert_eq!(number_after(text, "UID "), Some(17));
        assert_eq!(number_after(text, "RFC822.SIZE "), Some(204));
        assert_eq!(number_after("* OK [UIDNEXT 9] ok", "[UIDNEXT "), Some(9));
        assert_eq!(number_after(text, "MODSEQ "), None);
    }
}
