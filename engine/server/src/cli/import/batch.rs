//! Messages that go to the server together, and the identifiers that they go under.

use bytes::{BufMut, Bytes, BytesMut};
use estafette_mailbox::MailboxName;
use serde_json::json;
use std::collections::HashMap;
use std::fmt::Write;

/// What the identifiers are made for; a change of how they are made needs another text here.
const ID_CONTEXT: &str = "estafette import of messages, 1";

/// A message of the source, made ready.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Message {
    /// With CRLF line ends.
    pub(super) body: Vec<u8>,
    pub(super) flags: Vec<String>,
    pub(super) date_ms: Option<i64>,
    /// Where in the source it is, for people.
    pub(super) place: String,
}

/// A message as it is sent.
pub(super) struct Part {
    line: String,
    body: Vec<u8>,
    pub(super) place: String,
}

impl Part {
    pub(super) fn new(message: Message, id: &str) -> Part {
        let line = json!({
            "id": id,
            "flags": message.flags,
            "date_ms": message.date_ms,
            "size": message.body.len(),
        });
        Part { line: line.to_string(), body: message.body, place: message.place }
    }

    /// Bytes that it takes in a request.
    pub(super) fn bytes(&self) -> usize {
        self.line.len() + 1 + self.body.len()
    }
}

/// Messages for one mailbox.
pub(super) struct Batch {
    pub(super) mailbox: MailboxName,
    pub(super) parts: Vec<Part>,
}

/// The body of a request: before each message a line of JSON that says its size.
pub(super) fn encode(parts: &[Part]) -> Bytes {
    let mut body = BytesMut::with_capacity(parts.iter().map(Part::bytes).sum());
    for part in parts {
        body.put_slice(part.line.as_bytes());
        body.put_u8(b'\n');
        body.put_slice(&part.body);
    }
    body.freeze()
}

/// Gives out identifiers. Keeps some 32 bytes for each different message.
#[derive(Default)]
pub(super) struct Ids {
    seen: HashMap<[u8; 16], u64>,
}

impl Ids {
    /// The identifier of the next message of the source: 32 hexadecimal digits.
    pub(super) fn next(&mut self, mailbox: &MailboxName, body: &[u8]) -> String {
        let mut hasher = blake3::Hasher::new_derive_key(ID_CONTEXT);
        hasher.update(&(mailbox.as_str().len() as u64).to_le_bytes());
        hasher.update(mailbox.as_str().as_bytes());
        hasher.update(blake3::hash(body).as_bytes());
        let mut key = [0; 16];
        hasher.finalize_xof().fill(&mut key);
        let ordinal = self.seen.entry(key).or_insert(0);
        hasher.update(&ordinal.to_le_bytes());
        *ordinal += 1;
        let mut id = [0; 16];
        hasher.finalize_xof().fill(&mut id);
        id.iter().fold(String::with_capacity(32), |mut text, byte| {
            let _ = write!(text, "{byte:02x}");
            text
        })
    }
}
