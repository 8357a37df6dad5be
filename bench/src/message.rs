//! Messages of a given size, each different from every other.

use std::time::{SystemTime, UNIX_EPOCH};

/// Words of which bodies are made; a text that compresses as mail does.
const WORDS: [&str; 24] = [
    "mail", "the", "of", "a", "server", "message", "and", "letter", "to", "is", "for", "that", "reads",
    "with", "queue", "on", "writes", "from", "road", "horse", "relay", "bag", "rider", "station",
];

/// A source of different messages; equal seeds give equal texts but for the run's own mark.
pub(crate) struct Messages {
    state: u64,
    run: u128,
    number: u64,
    worker: usize,
}

impl Messages {
    /// For one session of a load.
    pub(crate) fn new(worker: usize) -> Messages {
        let run = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_nanos());
        Messages { state: 0x9e37_79b9_7f4a_7c15 ^ (worker as u64 + 1), run, number: 0, worker }
    }

    fn next(&mut self) -> u64 {
        self.state ^= self.state << 13;
        self.state ^= self.state >> 7;
        self.state ^= self.state << 17;
        self.state
    }

    /// A message of exactly `bytes` bytes (at least a few hundred), ready for DATA but for the final dot.
    pub(crate) fn message(&mut self, bytes: usize) -> Vec<u8> {
        self.number += 1;
        let mut text = format!(
            "From: A Sender <sender@load.test>\r\nTo: A Reader <reader@load.test>\r\n\
             Subject: Message {} of session {}\r\nMessage-ID: <{}.{}.{}@load.test>\r\n\
             Date: Sat, 21 Nov 2026 12:00:00 +0000\r\nMIME-Version: 1.0\r\n\
             Content-Type: text/plain; charset=utf-8\r\n\r\n",
            self.number, self.worker, self.run, self.worker, self.number
        );
        let mut column = 0;
        while text.len() + 2 < bytes {
            let index = usize::try_from(self.next() % WORDS.len() as u64).unwrap_or_default();
            let word = WORDS.get(index).copied().unwrap_or("mail");
            let room = bytes - text.len() - 2;
            let word = word.get(..word.len().min(room)).unwrap_or_default();
            text.push_str(word);
            column += word.len() + 1;
            if text.len() + 4 < bytes {
                if column > 70 {
                    text.push_str("\r\n");
                    column = 0;
                } else {
                    text.push(' ');
                }
            }
        }
        text.truncate(bytes.saturating_sub(2));
        text.push_str("\r\n");
        text.into_bytes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_have_their_size_and_differ() {
        let mut messages = Messages::new(3);
        for size in [512, 4096, 65_536] {
            let one = messages.message(size);
            let two = messages.message(size);
            assert_eq!(one.len(), size);
            assert_ne!(one, two);
            assert!(one.ends_with(b"\r\n"));
            assert!(!one.windows(3).any(|w| w == b"\n.\r"), "nothing to stuff");
        }
    }
}
