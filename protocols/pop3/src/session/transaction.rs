//! The TRANSACTION state: STAT, LIST, UIDL, RETR, TOP, DELE, RSET, NOOP.

use super::sending::{Kind, Listing, Reading};
use super::{Out, Session, State};
use crate::command::Command;
use crate::maildrop::{Message, NoMessage};

impl Session {
    pub(super) fn transaction(&mut self, command: Command, out: &mut Out) {
        let State::Transaction(maildrop) = &mut self.state else { return };
        match command {
            Command::Noop => self.say("+OK", out),
            Command::Stat => {
                let response = format!("+OK {} {}", maildrop.count(), maildrop.octets());
                self.say(&response, out);
            }
            Command::Rset => {
                maildrop.reset();
                let response = format!("+OK {} messages ({} octets)", maildrop.count(), maildrop.octets());
                self.say(&response, out);
            }
            Command::Dele(number) => match maildrop.mark(number) {
                Ok(()) => self.say(&format!("+OK message {number} deleted"), out),
                Err(why) => self.no_message(why, out),
            },
            Command::List(None) => {
                let response = format!("+OK {} messages ({} octets)", maildrop.count(), maildrop.octets());
                self.say(&response, out);
                self.go_on_listing(Listing::new(Kind::Size), out);
            }
            Command::Uidl(None) => {
                self.say("+OK", out);
                self.go_on_listing(Listing::new(Kind::UniqueId), out);
            }
            Command::List(Some(number)) => self.list_one(number, Kind::Size, out),
            Command::Uidl(Some(number)) => self.list_one(number, Kind::UniqueId, out),
            Command::Retr(number) => self.read(number, None, out),
            Command::Top(number, lines) => self.read(number, Some(lines), out),
            Command::Utf8 => self.say("-ERR UTF8 comes before the login", out),
            _ => self.say("-ERR you are logged in already", out),
        }
    }

    pub(super) fn message(&self, number: u32) -> Result<Message, NoMessage> {
        match &self.state {
            State::Transaction(maildrop) => maildrop.message(number),
            _ => Err(NoMessage::Unknown),
        }
    }

    fn list_one(&mut self, number: u32, kind: Kind, out: &mut Out) {
        match (self.message(number), &self.state) {
            (Ok(message), State::Transaction(maildrop)) => {
                let response = format!("+OK {}", kind.line(&message, maildrop.uid_validity));
                self.say(&response, out);
            }
            (Err(why), _) => self.no_message(why, out),
            _ => {}
        }
    }

    fn read(&mut self, number: u32, top: Option<u64>, out: &mut Out) {
        match self.message(number) {
            Ok(message) => self.read_on(Reading::new(message, top), out),
            Err(why) => self.no_message(why, out),
        }
    }

    fn no_message(&mut self, why: NoMessage, out: &mut Out) {
        let response = match why {
            NoMessage::Unknown => "-ERR no such message",
            NoMessage::Marked => "-ERR the message is marked as deleted",
        };
        self.say(response, out);
    }
}
