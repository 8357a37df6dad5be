//! One session of the load, over SMTP or LMTP (RFC 5321, RFC 2033), with DATA or BDAT (RFC 3030).
//!
//! What is written down errs to the side of the node only where the sender cannot know: a message whose
//! last byte was handed to the kernel may have arrived, one whose last byte was not cannot.

use super::{Shared, Target};
use crate::message::{self, Digest, MessageId};
use crate::oracle::{Account, Sent, Told};
use crate::random::Random;
use crate::wire::Connection;
use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

/// Before a new connection is tried, and after a message was put off.
const PAUSE: Duration = Duration::from_millis(10);
/// One message in so many goes to several accounts, up to the second.
const SEVERAL_ONE_IN: u64 = 4;
const RECIPIENTS_MAX: u64 = 5;
/// One message in so many is sent by BDAT; one in so many is broken off by its sender.
const BDAT_ONE_IN: u64 = 4;
const BROKEN_ONE_IN: u64 = 40;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Protocol {
    Smtp,
    Lmtp,
}

pub(super) struct Session {
    protocol: Protocol,
    target: Target,
    shared: Arc<Shared>,
    random: Random,
    history: Vec<Sent>,
}

impl Session {
    pub(super) fn new(protocol: Protocol, target: Target, shared: Arc<Shared>, random: Random) -> Session {
        Session { protocol, target, shared, random, history: Vec::new() }
    }

    /// Delivers until it is stopped; new connections replace those that break.
    pub(super) async fn run(mut self) -> Vec<Sent> {
        while !self.shared.stopped() {
            if let Ok(mut connection) = self.connect().await {
                while !self.shared.stopped() {
                    if self.message(&mut connection).await.is_err() {
                        break;
                    }
                }
            }
            tokio::time::sleep(PAUSE).await;
        }
        self.history
    }

    async fn connect(&mut self) -> io::Result<Connection> {
        let door = self.target.door(&mut self.random)?;
        let (address, hello) = match self.protocol {
            Protocol::Smtp => (&door.smtp, "EHLO load.test\r\n"),
            Protocol::Lmtp => (&door.lmtp, "LHLO load.test\r\n"),
        };
        let mut connection = Connection::open_with(address, self.target.patience).await?;
        connection.reply().await?;
        connection.send(hello.as_bytes()).await?;
        connection.reply().await?;
        Ok(connection)
    }

    /// Sends one message and writes down what came of it. An error ends the connection.
    async fn message(&mut self, connection: &mut Connection) -> io::Result<()> {
        let id = MessageId(self.target.next_id.fetch_add(1, Ordering::Relaxed));
        let bytes = message::size(&mut self.random);
        let text = message::make(id, bytes, &mut self.random);
        let after_mark = self.shared.marked();
        let told = self.recipients().into_iter().map(|account| (account, Told::Unfinished)).collect();
        let mut sent = Sent { id, digest: Digest::of(&text), after_mark, told };
        let result = self.transaction(connection, &text, &mut sent.told).await;
        let acknowledged = sent.told.iter().filter(|(_, told)| told.must_be_there()).count();
        self.shared.acknowledged.fetch_add(acknowledged as u64, Ordering::Relaxed);
        if acknowledged == 0 {
            tokio::time::sleep(PAUSE).await;
        }
        self.history.push(sent);
        result
    }

    fn recipients(&mut self) -> Vec<Account> {
        let wanted =
            if self.random.one_in(SEVERAL_ONE_IN) { self.random.within(2..RECIPIENTS_MAX + 1) } else { 1 };
        let mut chosen: Vec<Account> = Vec::new();
        for _ in 0..wanted {
            let account = self.random.below(self.target.recipients.len());
            if !chosen.contains(&account) {
                chosen.push(account);
            }
        }
        chosen
    }

    async fn transaction(
        &mut self,
        connection: &mut Connection,
        text: &[u8],
        told: &mut [(Account, Told)],
    ) -> io::Result<()> {
        if !self.envelope(connection, text.len(), told).await? {
            return Ok(());
        }
        let broken = self.random.one_in(BROKEN_ONE_IN);
        let sent = if self.random.one_in(BDAT_ONE_IN) {
            self.bdat(connection, text, told, broken).await?
        } else {
            data(connection, text, told, broken).await?
        };
        if !sent {
            return reset(connection).await;
        }
        let mut one_for_all = None;
        for (_, told) in told.iter_mut().filter(|(_, told)| *told == Told::Unanswered) {
            let code = match (self.protocol, one_for_all) {
                (Protocol::Smtp, Some(code)) => code,
                _ => connection.reply().await?.0,
            };
            one_for_all = Some(code);
            *told = match code {
                200..300 => Told::Acknowledged,
                500..600 => Told::Refused(code),
                _ => Told::PutOff(code),
            };
        }
        Ok(())
    }

    /// MAIL and all RCPT in one go. True if a recipient was accepted; the others are written down.
    async fn envelope(
        &mut self,
        connection: &mut Connection,
        bytes: usize,
        told: &mut [(Account, Told)],
    ) -> io::Result<bool> {
        let mut commands = format!("MAIL FROM:<a@load.test> SIZE={bytes}\r\n");
        for (account, _) in told.iter() {
            let address = self.target.recipients.get(*account).map_or("", String::as_str);
            commands.push_str(&format!("RCPT TO:<{address}>\r\n"));
        }
        connection.send(commands.as_bytes()).await?;
        let (mail, _) = connection.reply().await?;
        let mut accepted = false;
        for (_, told) in told.iter_mut() {
            let (rcpt, _) = connection.reply().await?;
            match (mail, rcpt) {
                (250, 250..252) => accepted = true,
                (250, code) => *told = Told::Refused(code),
                (code, _) => *told = Told::Refused(code),
            }
        }
        if !accepted && mail == 250 {
            reset(connection).await?;
        }
        Ok(accepted)
    }

    /// Chunks of random sizes. True if all was sent.
    async fn bdat(
        &mut self,
        connection: &mut Connection,
        text: &[u8],
        told: &mut [(Account, Told)],
        broken: bool,
    ) -> io::Result<bool> {
        let mut rest = text;
        loop {
            let wanted = self.random.within(1..text.len() as u64 + 1);
            let count = usize::try_from(wanted).unwrap_or(rest.len()).min(rest.len());
            let (chunk, after) = rest.split_at(count);
            let last = after.is_empty();
            if broken && last {
                return Err(io::ErrorKind::Interrupted.into());
            }
            let command = format!("BDAT {}{}\r\n", chunk.len(), if last { " LAST" } else { "" });
            connection.send(&[command.as_bytes(), chunk].concat()).await?;
            if last {
                all_sent(told);
                return Ok(true);
            }
            let (code, _) = connection.reply().await?;
            if code != 250 {
                refused(told, code);
                return Err(io::ErrorKind::Interrupted.into());
            }
            rest = after;
        }
    }
}

async fn reset(connection: &mut Connection) -> io::Result<()> {
    connection.send(b"RSET\r\n").await?;
    connection.reply().await.map(|_| ())
}

/// DATA with the dots doubled. True if all was sent; an error when it was broken off.
async fn data(
    connection: &mut Connection,
    text: &[u8],
    told: &mut [(Account, Told)],
    broken: bool,
) -> io::Result<bool> {
    connection.send(b"DATA\r\n").await?;
    let (code, _) = connection.reply().await?;
    if code != 354 {
        refused(told, code);
        return Ok(false);
    }
    let stuffed = stuff(text);
    if broken {
        connection.send(stuffed.get(..stuffed.len() / 2).unwrap_or_default()).await?;
        return Err(io::ErrorKind::Interrupted.into());
    }
    connection.send(&stuffed).await?;
    connection.send(b".\r\n").await?;
    all_sent(told);
    Ok(true)
}

fn all_sent(told: &mut [(Account, Told)]) {
    for (_, told) in told.iter_mut().filter(|(_, told)| *told == Told::Unfinished) {
        *told = Told::Unanswered;
    }
}

fn refused(told: &mut [(Account, Told)], code: u16) {
    for (_, told) in told.iter_mut().filter(|(_, told)| *told == Told::Unfinished) {
        *told = Told::Refused(code);
    }
}

/// Doubles dots at the beginning of lines (RFC 5321 §4.5.2).
fn stuff(text: &[u8]) -> Vec<u8> {
    let mut stuffed = Vec::with_capacity(text.len() + text.len() / 50);
    for line in text.split_inclusive(|byte| *byte == b'\n') {
        if line.first() == Some(&b'.') {
            stuffed.push(b'.');
        }
        stuffed.extend_from_slice(line);
    }
    stuffed
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dots_are_doubled_at_the_beginning_of_lines_only() {
        assert_eq!(stuff(b".a\r\n..\r\nb.\r\n.\r\n"), b"..a\r\n...\r\nb.\r\n..\r\n");
    }

    #[test]
    fn only_what_was_wholly_sent_may_arrive() {
        let mut told = [(0, Told::Unfinished), (1, Told::Refused(550))];
        all_sent(&mut told);
        assert_eq!(told, [(0, Told::Unanswered), (1, Told::Refused(550))]);
        let mut told = [(0, Told::Unfinished)];
        refused(&mut told, 452);
        assert_eq!(told, [(0, Told::Refused(452))]);
    }
}
