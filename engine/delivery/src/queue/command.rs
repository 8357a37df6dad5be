//! What goes through the log for the queue of a shard, and what is answered.

use super::{Item, ItemId, LastReply, NoticeKind, State};
use crate::Error;
use serde::{Deserialize, Serialize};
use std::collections::HashMap;

const COMMAND_VERSION: u8 = 1;
const ANSWER_VERSION: u8 = 1;
/// Bytes of one command about an attempt. Commands up to 16 KiB are taken although the disk is nearly
/// full, and what was sent must always be written down.
const ATTEMPT_BYTES_MAX: usize = 12 * 1024;
/// Bytes of one result, at most.
const RESULT_BYTES: usize = 11;

/// A command.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Command {
    /// Adds an item, once. Its times are those of the log. → `Added`, `Known`.
    Enqueue { id: ItemId, item: Box<Item> },
    /// What an attempt has led to, for some of the recipients. → `Changed`, `Gone`.
    Attempted {
        id: ItemId,
        /// The number of the attempt, from 1.
        attempt: u32,
        next_ms: u64,
        replies: Vec<LastReply>,
        results: Vec<AttemptResult>,
    },
    /// The sender was told of these recipients. → `Changed`, `Gone`.
    Told { id: ItemId, kind: NoticeKind, places: Vec<u32> },
    /// Tries it at once. → `Changed`, `Gone`.
    RetryNow { id: ItemId },
    /// Gives it up; with a notice to the sender, or without. → `Changed`, `Gone`.
    Remove { id: ItemId, notice: bool },
    /// Takes items for a node to work on, each over the claim of this index if there is one. Those that are its own
    /// by the same token are renewed. → `Changed`; the rows tell which it has now.
    Claim { node: u64, token: u64, items: Vec<(ItemId, Option<u64>)> },
    /// `Attempted` by the holder of a claim, which may end with it. When the claim is another's by now, only what was
    /// delivered counts. → `Changed`, `Gone`.
    Reported {
        id: ItemId,
        /// Whose attempt it is.
        token: u64,
        /// The attempt is over.
        ends: bool,
        attempt: u32,
        next_ms: u64,
        replies: Vec<LastReply>,
        results: Vec<AttemptResult>,
    },
    /// Gives back items on which nothing was begun, each by the token of its claim. → `Changed`.
    Release { items: Vec<(ItemId, u64)> },
}

/// What became of a recipient.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct AttemptResult {
    /// The recipient.
    pub(crate) place: u32,
    /// Its state now.
    pub(crate) state: State,
    /// Its reply among those of the command.
    pub(crate) reply: u32,
}

/// The answer to a command.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Answer {
    /// The item was added.
    Added,
    /// It is here, or was here, already.
    Known,
    /// Done.
    Changed,
    /// There is no such item.
    Gone,
    /// An item with nothing left to be done, or whose body did not come with it: the proposer's fault.
    Refused,
}

impl Command {
    pub(crate) fn encode(&self) -> Vec<u8> {
        super::encode(COMMAND_VERSION, self)
    }

    pub(crate) fn decode(bytes: &[u8]) -> Result<Command, Error> {
        super::decode(COMMAND_VERSION, bytes).ok_or(Error::Queue { what: "a command" })
    }

    /// The same by the holder of a claim.
    pub(crate) fn by(self, token: u64, ends: bool) -> Command {
        match self {
            Command::Attempted { id, attempt, next_ms, replies, results } => {
                Command::Reported { id, token, ends, attempt, next_ms, replies, results }
            }
            other => other,
        }
    }

    /// The results of an attempt, in as many commands as they need.
    pub(crate) fn attempted(
        id: ItemId,
        attempt: u32,
        next_ms: u64,
        results: Vec<(u32, State, LastReply)>,
    ) -> Vec<Command> {
        let mut commands = Vec::new();
        let mut part = Part::default();
        for (place, state, reply) in results {
            if part.bytes + part.cost(&reply) > ATTEMPT_BYTES_MAX {
                commands.push(std::mem::take(&mut part).command(id, attempt, next_ms));
            }
            part.add(place, state, reply);
        }
        commands.push(part.command(id, attempt, next_ms));
        commands
    }
}

/// Results that go into one command; equal replies are said once.
#[derive(Default)]
struct Part {
    places: HashMap<LastReply, u32>,
    replies: Vec<LastReply>,
    results: Vec<AttemptResult>,
    bytes: usize,
}

impl Part {
    fn cost(&self, reply: &LastReply) -> usize {
        let said = self.places.contains_key(reply);
        RESULT_BYTES + if said { 0 } else { reply.server.len() + reply.text.len() + 20 }
    }

    fn add(&mut self, place: u32, state: State, reply: LastReply) {
        self.bytes += self.cost(&reply);
        let next = u32::try_from(self.replies.len()).unwrap_or(u32::MAX);
        let number = *self.places.entry(reply.clone()).or_insert(next);
        if number == next {
            self.replies.push(reply);
        }
        self.results.push(AttemptResult { place, state, reply: number });
    }

    fn command(self, id: ItemId, attempt: u32, next_ms: u64) -> Command {
        Command::Attempted { id, attempt, next_ms, replies: self.replies, results: self.results }
    }
}

impl Answer {
    pub(crate) fn encode(self) -> Vec<u8> {
        super::encode(ANSWER_VERSION, &self)
    }

    pub(crate) fn decode(bytes: &[u8]) -> Result<Answer, Error> {
        super::decode(ANSWER_VERSION, bytes).ok_or(Error::Queue { what: "an answer" })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn results_are_split_so_that_a_full_disk_takes_them() {
        let reply = |text: String| LastReply::own(550, (5, 1, 1), &text);
        let same: Vec<_> = (0..1000).map(|place| (place, State::Failed, reply("no".into()))).collect();
        assert_eq!(Command::attempted(ItemId([1; 16]), 1, 5, same).len(), 1);
        let other: Vec<_> = (0..1000)
            .map(|place| (place, State::Failed, reply(format!("{place}{}", "x".repeat(600)))))
            .collect();
        let commands = Command::attempted(ItemId([1; 16]), 1, 5, other);
        let mut places = Vec::new();
        for command in &commands {
            assert!(command.encode().len() <= 16 * 1024);
            assert_eq!(Command::decode(&command.encode()).unwrap(), *command);
            let Command::Attempted { results, replies, .. } = command else { panic!() };
            assert!(results.iter().all(|result| replies.get(result.reply as usize).is_some()));
            places.extend(results.iter().map(|result| result.place));
        }
        assert_eq!(places, (0..1000).collect::<Vec<u32>>());
    }

    #[test]
    fn what_is_not_known_is_refused() {
        assert!(Command::decode(&[]).is_err() && Command::decode(&[9, 0]).is_err());
        assert!(Answer::decode(&[1]).is_err() && Answer::decode(&[1, 99]).is_err());
        let mut long = Command::RetryNow { id: ItemId([0; 16]) }.encode();
        long.push(0);
        assert!(Command::decode(&long).is_err(), "bytes left over");
    }
}
