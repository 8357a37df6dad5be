//! Messages of a given size, each different from every other.
//!
//! They are cut out of one text that is made once: to make each anew would cost the machine as much as some
//! servers take for a delivery.

use std::io::Write;
use std::sync::OnceLock;
use std::time::{SystemTime, UNIX_EPOCH};

/// Words of which bodies are made; a text that compresses as mail does.
const WORDS: [&str; 24] = [
    "mail", "the", "of", "a", "server", "message", "and", "letter", "to", "is", "for", "that", "reads",
    "with", "queue", "on", "writes", "from", "road", "horse", "relay", "bag", "rider", "station",
];

/// Bytes of a line of the text without its end.
const LINE_BYTES: usize = 72;
/// Lines of the text: about 2 MiB, so that two messages seldom share much.
const LINES: usize = 28_000;

/// The text that bodies are cut out of: lines of one length.
fn text() -> &'static [u8] {
    static TEXT: OnceLock<Vec<u8>> = OnceLock::new();
    TEXT.get_or_init(|| {
        let mut dice = Dice(0x9e37_79b9_7f4a_7c15);
        let mut text = Vec::with_capacity(LINES * (LINE_BYTES + 2));
        for _ in 0..LINES {
            let mut line = String::with_capacity(LINE_BYTES + 10);
            while line.len() < LINE_BYTES {
                line.push_str(WORDS.get(dice.below(WORDS.len())).copied().unwrap_or("mail"));
                line.push(' ');
            }
            line.truncate(LINE_BYTES);
            text.extend_from_slice(line.as_bytes());
            text.extend_from_slice(b"\r\n");
        }
        text
    })
}

/// Numbers by chance, the same in every run.
pub(crate) struct Dice(u64);

impl Dice {
    /// The numbers of this seed.
    pub(crate) fn new(seed: u64) -> Dice {
        // Neighbouring seeds must not give like numbers, and 0 gives none at all.
        Dice((seed + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    /// One of `0..limit`.
    pub(crate) fn below(&mut self, limit: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from((self.0 >> 16) % limit.max(1) as u64).unwrap_or_default()
    }
}

/// A source of different messages; those of equal workers are equal but for the run's own mark.
pub(crate) struct Messages {
    dice: Dice,
    run: u128,
    number: u64,
    worker: usize,
}

impl Messages {
    /// For one session of a load.
    pub(crate) fn new(worker: usize) -> Messages {
        let run = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_nanos());
        Messages { dice: Dice(0x2545_f491_4f6c_dd1d ^ (worker as u64 + 1)), run, number: 0, worker }
    }

    /// Writes a message of exactly `bytes` bytes (at least a few hundred), ready for DATA but for the final
    /// dot, over what is in `out`.
    pub(crate) fn write(&mut self, bytes: usize, out: &mut Vec<u8>) {
        self.number += 1;
        out.clear();
        // Writing to a vector cannot fail.
        let _ = write!(
            out,
            "From: A Sender <sender@load.test>\r\nTo: A Reader <reader@load.test>\r\n\
             Subject: Message {} of session {}\r\nMessage-ID: <{}.{}.{}@load.test>\r\n\
             Date: Sat, 21 Nov 2026 12:00:00 +0000\r\nMIME-Version: 1.0\r\n\
             Content-Type: text/plain; charset=utf-8\r\n\r\n",
            self.number, self.worker, self.run, self.worker, self.number
        );
        let end = bytes.saturating_sub(2);
        while out.len() < end {
            let from = text().get(self.dice.below(LINES) * (LINE_BYTES + 2)..).unwrap_or_default();
            let taken = from.get(..from.len().min(end - out.len())).unwrap_or_default();
            out.extend_from_slice(taken);
        }
        out.truncate(end);
        if let Some(last) = out.last_mut().filter(|last| **last == b'\r') {
            *last = b'x';
        }
        out.extend_from_slice(b"\r\n");
    }

    /// A message of its own.
    pub(crate) fn message(&mut self, bytes: usize) -> Vec<u8> {
        let mut message = Vec::with_capacity(bytes);
        self.write(bytes, &mut message);
        message
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_have_their_size_and_differ() {
        let mut messages = Messages::new(3);
        for size in (512..700).chain([4096, 65_536, 5_000_000]) {
            let one = messages.message(size);
            let two = messages.message(size);
            assert_eq!(one.len(), size);
            assert_ne!(one, two);
            assert!(one.ends_with(b"\r\n"));
            assert!(!one.windows(2).any(|w| w == b"\n."), "nothing to stuff");
            let bare = |w: &[u8]| (w[0] == b'\r') != (w[1] == b'\n');
            assert!(!one.windows(2).any(bare), "every line ends with CR LF");
        }
    }

    #[test]
    fn the_words_that_searches_look_for_are_in_most_messages() {
        let message = Messages::new(1).message(4096);
        assert!(memchr::memmem::find(&message, b"horse").is_some());
    }
}
