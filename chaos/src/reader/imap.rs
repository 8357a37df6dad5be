//! Reads an INBOX by IMAP (RFC 9051): the list of UIDs and sizes first, then messages by UID.
//!
//! A message that gives an error does not hide the others: what a large FETCH did not bring is asked for
//! one by one.

use super::{Login, content, unexpected};
use crate::oracle::{Account, Content, Flags, Found, Outcome, Reading, State};
use crate::wire::Connection;
use std::collections::BTreeMap;
use std::io;
use std::time::Duration;

/// Messages of one FETCH.
const FETCH_MESSAGES: usize = 500;

/// A session after its login.
pub(crate) struct Imap {
    connection: Connection,
}

/// An untagged answer: its text, with the literals apart.
pub(crate) struct Answer {
    pub(crate) text: String,
    pub(crate) literals: Vec<Vec<u8>>,
}

/// What was opened.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Opened {
    pub(crate) uid_validity: u32,
    pub(crate) uid_next: u32,
    pub(crate) highest_modseq: u64,
    pub(crate) exists: usize,
}

/// A message as it is listed.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Listed {
    pub(crate) uid: u32,
    pub(crate) size: usize,
    pub(crate) state: State,
}

/// Reads the INBOX: all UIDs, and the bytes of messages whose UIDs are wanted.
pub(super) async fn read(
    address: &str,
    login: &Login,
    patience: Duration,
    account: Account,
    wanted: &(dyn Fn(u32) -> bool + Send + Sync),
) -> io::Result<Outcome> {
    let mut session = Imap::open(address, login, patience).await?;
    let opened = session.select("EXAMINE").await?;
    let listed = session.list(opened.exists).await?;
    let uids: Vec<u32> = listed.iter().map(|listed| listed.uid).filter(|uid| wanted(*uid)).collect();
    let sizes: BTreeMap<u32, usize> = listed.iter().map(|listed| (listed.uid, listed.size)).collect();
    let mut contents = BTreeMap::new();
    let mut usable = Some(session);
    for some in uids.chunks(FETCH_MESSAGES) {
        let Some(session) = &mut usable else { break };
        if session.fetch(some, &sizes, &mut contents).await.is_err() {
            usable = None;
        }
    }
    for uid in uids.iter().filter(|uid| !contents.contains_key(*uid)).copied().collect::<Vec<_>>() {
        let mut session = match usable.take() {
            Some(session) => session,
            None => {
                let mut session = Imap::open(address, login, patience).await?;
                session.select("EXAMINE").await?;
                session
            }
        };
        if session.fetch(&[uid], &sizes, &mut contents).await.is_ok() {
            usable = Some(session);
        }
        contents.entry(uid).or_insert(Content::Unreadable);
    }
    if let Some(mut session) = usable {
        let _ = session.connection.send(b"z LOGOUT\r\n").await;
    }
    let found = |listed: &Listed| Found {
        uid: listed.uid,
        content: contents.remove(&listed.uid).unwrap_or(Content::Listed),
        state: Some(listed.state),
    };
    let found = listed.iter().map(found).collect();
    let (uid_next, highest_modseq) = (Some(opened.uid_next), Some(opened.highest_modseq));
    let uid_validity = opened.uid_validity;
    Ok(Outcome::Read(Reading { account, uid_validity, uid_next, highest_modseq, found }))
}

impl Imap {
    pub(crate) async fn open(address: &str, login: &Login, patience: Duration) -> io::Result<Imap> {
        let mut session = Imap { connection: Connection::open_with(address, patience).await? };
        session.connection.line().await?;
        session.command(&format!("LOGIN {} \"{}\"", login.username, login.password), |_| ()).await?;
        Ok(session)
    }

    /// Opens the INBOX, by SELECT or EXAMINE.
    pub(crate) async fn select(&mut self, command: &str) -> io::Result<Opened> {
        let mut opened = Opened::default();
        self.command(&format!("{command} INBOX"), |answer| {
            let text = answer.text.as_str();
            opened.uid_validity = number_after(text, "[UIDVALIDITY ").unwrap_or(opened.uid_validity);
            opened.uid_next = number_after(text, "[UIDNEXT ").unwrap_or(opened.uid_next);
            opened.highest_modseq = number_after(text, "[HIGHESTMODSEQ ").unwrap_or(opened.highest_modseq);
            if let Some(count) = text.strip_prefix("* ").and_then(|rest| rest.strip_suffix(" EXISTS")) {
                opened.exists = count.parse().unwrap_or(0);
            }
        })
        .await?;
        Ok(opened)
    }

    /// UIDs, sizes and flags, in the order of the mailbox, which has so many messages at least.
    pub(crate) async fn list(&mut self, exists: usize) -> io::Result<Vec<Listed>> {
        if exists == 0 {
            return Ok(Vec::new());
        }
        let mut found = Vec::new();
        let list = "UID FETCH 1:* (UID RFC822.SIZE FLAGS MODSEQ)";
        self.command(list, |answer| found.extend(listed(&answer.text))).await?;
        if found.len() < exists {
            return Err(unexpected(format!("{exists} messages exist, {} were listed", found.len())));
        }
        Ok(found)
    }

    async fn fetch(
        &mut self,
        uids: &[u32],
        sizes: &BTreeMap<u32, usize>,
        contents: &mut BTreeMap<u32, Content>,
    ) -> io::Result<()> {
        let set = uids.iter().map(u32::to_string).collect::<Vec<_>>().join(",");
        self.command(&format!("UID FETCH {set} (UID BODY.PEEK[])"), |answer| {
            let uid = number_after(&answer.text, "UID ").filter(|uid| uids.contains(uid));
            if let (Some(uid), Some(stored)) = (uid, answer.literals.first()) {
                contents.insert(uid, content(stored, sizes.get(&uid).copied()));
            }
        })
        .await
    }

    /// Sends a command and takes its untagged answers until it is completed. Anything but OK is an error.
    pub(crate) async fn command(&mut self, text: &str, mut take: impl FnMut(Answer)) -> io::Result<()> {
        self.connection.send(format!("a {text}\r\n").as_bytes()).await?;
        loop {
            let answer = self.answer().await?;
            match answer.text.strip_prefix("a ") {
                Some(done) if done.starts_with("OK") => return Ok(()),
                Some(done) => return Err(unexpected(done)),
                None if answer.text.starts_with("* BYE") => return Err(unexpected(answer.text)),
                None => take(answer),
            }
        }
    }

    async fn answer(&mut self) -> io::Result<Answer> {
        let mut answer = Answer { text: String::new(), literals: Vec::new() };
        loop {
            let line = self.connection.line().await?;
            let literal = line.strip_suffix('}').and_then(|rest| rest.rsplit_once('{'));
            let Some((before, size)) = literal.and_then(|(before, size)| Some((before, size.parse().ok()?)))
            else {
                answer.text.push_str(&line);
                return Ok(answer);
            };
            answer.text.push_str(before);
            answer.literals.push(self.connection.exactly(size).await?);
        }
    }
}

/// A line of the list.
pub(crate) fn listed(text: &str) -> Option<Listed> {
    let flags = text.split_once("FLAGS (").and_then(|(_, rest)| rest.split_once(')'));
    let flags = flags.map_or(Flags::default(), |(flags, _)| Flags::parse(flags));
    Some(Listed {
        uid: number_after(text, "UID ")?,
        size: number_after(text, "RFC822.SIZE ")?,
        state: State { flags, modseq: number_after(text, "MODSEQ (")? },
    })
}

/// The number that follows a word.
pub(crate) fn number_after<T: std::str::FromStr>(text: &str, word: &str) -> Option<T> {
    let (_, rest) = text.split_once(word)?;
    rest.split(|c: char| !c.is_ascii_digit()).next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::{listed, number_after};
    use crate::oracle::Flags;

    #[test]
    fn numbers_are_found_after_their_word() {
        let text = "* 3 FETCH (UID 17 RFC822.SIZE 204 BODY[] )";
        assert_eq!(number_after(text, "UID "), Some(17));
        assert_eq!(number_after(text, "RFC822.SIZE "), Some(204));
        assert_eq!(number_after("* OK [UIDNEXT 9] ok", "[UIDNEXT "), Some(9));
        assert_eq!(number_after::<u64>(text, "MODSEQ "), None);
    }

    #[test]
    fn lines_of_the_list_hold_flags_and_modseq() {
        let line = "* 3 FETCH (UID 17 RFC822.SIZE 204 FLAGS (\\Seen \\Recent) MODSEQ (99))";
        let found = listed(line).unwrap();
        assert_eq!((found.uid, found.size, found.state.modseq), (17, 204, 99));
        assert_eq!(found.state.flags, Flags::parse("\\Seen"));
        assert!(listed("* 3 EXISTS").is_none());
    }
}
