//! The encoding of a [`Structure`] for a cache: a version byte, then numbers of variable length and
//! strings with their lengths before them. Strings of a decoded structure are slices of the input.
//!
//! A version once written is read for ever; see the fixture in the tests.

use crate::part::Printed;
use crate::{
    Disposition, Envelope, EnvelopeAddress, HeaderBlock, Kind, NESTING_MAX, PARTS_MAX, Parameter, Part,
    Structure,
};
use bytes::{Buf, BufMut, Bytes, BytesMut};

/// The version that is written.
const VERSION: u8 = 1;
/// Up to so many things of a list have their room at once.
const USUAL_COUNT: usize = 32;

/// Why bytes are no encoded structure: the store is at fault, never a peer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// Written by a newer program, or no structure at all.
    #[error("structure in version {0}, which is not known")]
    Version(u8),
    /// Fewer bytes than it says.
    #[error("structure is cut short")]
    Short,
    /// A number that cannot be.
    #[error("structure is damaged")]
    Damaged,
}

impl Structure {
    /// As bytes for a cache.
    pub fn encode(&self) -> Bytes {
        let mut out = BytesMut::with_capacity(512);
        out.put_u8(VERSION);
        match &self.header {
            HeaderBlock::Kept(block) => put_string(&mut out, Some(block)),
            HeaderBlock::InMessage => put_string(&mut out, None),
        }
        put_length(&mut out, self.parts.len());
        for part in &self.parts {
            put_part(&mut out, part);
        }
        out.freeze()
    }

    /// From the bytes of [`Structure::encode`], of this version or one before.
    pub fn decode(bytes: Bytes) -> Result<Structure, DecodeError> {
        let mut input = Input(bytes);
        match input.byte()? {
            VERSION => {}
            other => return Err(DecodeError::Version(other)),
        }
        let header = match input.string()? {
            Some(block) => HeaderBlock::Kept(block),
            None => HeaderBlock::InMessage,
        };
        let count = input.length()?;
        if count == 0 || count > PARTS_MAX {
            return Err(DecodeError::Damaged);
        }
        let parts = input.many(count, Input::part)?;
        if input.0.has_remaining() || !is_tree(&parts) {
            return Err(DecodeError::Damaged);
        }
        Ok(Structure { parts, header, printed: Printed::default() })
    }
}

fn put_number(out: &mut BytesMut, mut number: u64) {
    while number >= 0x80 {
        let [low, ..] = number.to_le_bytes();
        out.put_u8(low | 0x80);
        number >>= 7;
    }
    let [low, ..] = number.to_le_bytes();
    out.put_u8(low);
}

fn put_length(out: &mut BytesMut, length: usize) {
    put_number(out, u64::try_from(length).unwrap_or(u64::MAX));
}

/// `None` is 0, a string its length and one.
fn put_string(out: &mut BytesMut, string: Option<&Bytes>) {
    match string {
        None => put_number(out, 0),
        Some(string) => {
            put_length(out, string.len().saturating_add(1));
            out.put_slice(string);
        }
    }
}

fn put_parameters(out: &mut BytesMut, parameters: &[Parameter]) {
    put_length(out, parameters.len());
    for parameter in parameters {
        put_string(out, Some(&parameter.name));
        put_string(out, Some(&parameter.value));
    }
}

fn put_part(out: &mut BytesMut, part: &Part) {
    out.put_u8(match part.kind {
        Kind::Single => 0,
        Kind::Multipart => 1,
        Kind::Message => 2,
    });
    put_number(out, part.parent.map_or(0, |parent| u64::from(parent).saturating_add(1)));
    put_number(out, u64::from(part.subtree_end));
    put_number(out, part.header_start);
    put_number(out, part.body_start.saturating_sub(part.header_start));
    put_number(out, part.octets());
    put_number(out, part.lines);
    put_string(out, Some(&part.media_type));
    put_string(out, Some(&part.subtype));
    put_parameters(out, &part.parameters);
    for string in [&part.id, &part.description, &part.encoding, &part.md5, &part.location] {
        put_string(out, string.as_ref());
    }
    put_string(out, part.disposition.as_ref().map(|d| &d.kind));
    if let Some(disposition) = &part.disposition {
        put_parameters(out, &disposition.parameters);
    }
    put_length(out, part.language.len());
    for tag in &part.language {
        put_string(out, Some(tag));
    }
    out.put_u8(u8::from(part.envelope.is_some()));
    if let Some(envelope) = &part.envelope {
        put_envelope(out, envelope);
    }
}

fn put_envelope(out: &mut BytesMut, envelope: &Envelope) {
    for string in [&envelope.date, &envelope.subject, &envelope.in_reply_to, &envelope.message_id] {
        put_string(out, string.as_ref());
    }
    let e = envelope;
    for list in [&e.from, &e.sender, &e.reply_to, &e.to, &e.cc, &e.bcc] {
        put_length(out, list.len());
        for address in list {
            for string in [&address.name, &address.route, &address.mailbox, &address.host] {
                put_string(out, string.as_ref());
            }
        }
    }
}

/// Whether parts are a tree in order and no deeper than a scan makes it: whoever walks it by
/// recursion counts on that.
fn is_tree(parts: &[Part]) -> bool {
    let mut path: Vec<(u32, u32)> = Vec::new();
    for (part, index) in parts.iter().zip(0u32..) {
        while path.last().is_some_and(|(_, end)| *end <= index) {
            path.pop();
        }
        let (parent, end) = match path.last() {
            Some((parent, end)) => (Some(*parent), *end),
            None if index == 0 => (None, u32::try_from(parts.len()).unwrap_or(u32::MAX)),
            None => return false,
        };
        let within = part.subtree_end > index && part.subtree_end <= end;
        if part.parent != parent || !within || path.len() > NESTING_MAX {
            return false;
        }
        path.push((index, part.subtree_end));
    }
    true
}

struct Input(Bytes);

impl Input {
    fn byte(&mut self) -> Result<u8, DecodeError> {
        self.0.try_get_u8().map_err(|_| DecodeError::Short)
    }

    fn number(&mut self) -> Result<u64, DecodeError> {
        let mut number = 0u64;
        for shift in (0..64).step_by(7) {
            let byte = self.byte()?;
            let bits = u64::from(byte & 0x7f);
            if (bits << shift) >> shift != bits {
                return Err(DecodeError::Damaged);
            }
            number |= bits << shift;
            if byte < 0x80 {
                return Ok(number);
            }
        }
        Err(DecodeError::Damaged)
    }

    /// The number of things that follow, each of one byte at least.
    fn length(&mut self) -> Result<usize, DecodeError> {
        let length = usize::try_from(self.number()?).map_err(|_| DecodeError::Damaged)?;
        if length > self.0.remaining() { Err(DecodeError::Short) } else { Ok(length) }
    }

    fn string(&mut self) -> Result<Option<Bytes>, DecodeError> {
        let Some(length) = self.number()?.checked_sub(1) else { return Ok(None) };
        let length = usize::try_from(length).map_err(|_| DecodeError::Damaged)?;
        if length > self.0.remaining() {
            return Err(DecodeError::Short);
        }
        Ok(Some(self.0.split_to(length)))
    }

    fn present(&mut self) -> Result<Bytes, DecodeError> {
        self.string()?.ok_or(DecodeError::Damaged)
    }

    fn list<T>(&mut self, one: impl Fn(&mut Input) -> Result<T, DecodeError>) -> Result<Vec<T>, DecodeError> {
        let count = self.length()?;
        self.many(count, one)
    }

    /// Holds no more than it needs: structures are kept in memory for long.
    fn many<T>(
        &mut self,
        count: usize,
        one: impl Fn(&mut Input) -> Result<T, DecodeError>,
    ) -> Result<Vec<T>, DecodeError> {
        // A count that is damaged takes no memory beforehand.
        let mut found = Vec::with_capacity(count.min(USUAL_COUNT));
        for _ in 0..count {
            found.push(one(self)?);
        }
        found.shrink_to_fit();
        Ok(found)
    }

    fn parameters(&mut self) -> Result<Vec<Parameter>, DecodeError> {
        self.list(|input| Ok(Parameter { name: input.present()?, value: input.present()? }))
    }

    fn part(&mut self) -> Result<Part, DecodeError> {
        let kind = match self.byte()? {
            0 => Kind::Single,
            1 => Kind::Multipart,
            2 => Kind::Message,
            _ => return Err(DecodeError::Damaged),
        };
        let narrow = |n: u64| u32::try_from(n).map_err(|_| DecodeError::Damaged);
        let parent = self.number()?.checked_sub(1).map(narrow).transpose()?;
        let subtree_end = narrow(self.number()?)?;
        let header_start = self.number()?;
        let body_start = header_start.checked_add(self.number()?).ok_or(DecodeError::Damaged)?;
        let body_end = body_start.checked_add(self.number()?).ok_or(DecodeError::Damaged)?;
        Ok(Part {
            kind,
            parent,
            subtree_end,
            header_start,
            body_start,
            body_end,
            lines: self.number()?,
            media_type: self.present()?,
            subtype: self.present()?,
            parameters: self.parameters()?,
            id: self.string()?,
            description: self.string()?,
            encoding: self.string()?,
            md5: self.string()?,
            location: self.string()?,
            disposition: match self.string()? {
                Some(kind) => Some(Disposition { kind, parameters: self.parameters()? }),
                None => None,
            },
            language: self.list(Input::present)?,
            envelope: match self.byte()? {
                0 => None,
                1 => Some(Box::new(self.envelope()?)),
                _ => return Err(DecodeError::Damaged),
            },
        })
    }

    fn envelope(&mut self) -> Result<Envelope, DecodeError> {
        Ok(Envelope {
            date: self.string()?,
            subject: self.string()?,
            in_reply_to: self.string()?,
            message_id: self.string()?,
            from: self.list(Input::address)?,
            sender: self.list(Input::address)?,
            reply_to: self.list(Input::address)?,
            to: self.list(Input::address)?,
            cc: self.list(Input::address)?,
            bcc: self.list(Input::address)?,
        })
    }

    fn address(&mut self) -> Result<EnvelopeAddress, DecodeError> {
        Ok(EnvelopeAddress {
            name: self.string()?,
            route: self.string()?,
            mailbox: self.string()?,
            host: self.string()?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const MESSAGE: &str = "From: A <a@example.org>, g: b@example.net;\r\nSubject: \r\nMIME-Version: 1.0\r\n\
        Content-Type: multipart/mixed; boundary=b\r\nContent-Language: de, en\r\n\r\n--b\r\n\
        Content-Disposition: attachment; filename=x\r\nContent-ID: <1>\r\n\r\na\r\n--b\r\n\
        Content-Type: message/rfc822\r\n\r\nTo: c@example.org\r\n\r\nd\r\n--b--\r\n";

    #[test]
    fn there_and_back() {
        let structure = Structure::of([MESSAGE.as_bytes()]);
        assert_eq!(structure.parts().len(), 4);
        let bytes = structure.encode();
        let decoded = Structure::decode(bytes.clone()).unwrap();
        assert_eq!(decoded, structure);
        for length in 0..bytes.len() {
            assert!(Structure::decode(bytes.slice(..length)).is_err(), "cut to {length}");
        }
        assert_eq!(Structure::decode(Bytes::from_static(b"\x09")), Err(DecodeError::Version(9)));
    }

    /// What is kept in memory has no room to grow, and says what it takes.
    #[test]
    fn lists_have_no_room_to_grow() {
        for addresses in [0, 1, 40] {
            let to = vec!["a@example.org"; addresses].join(", ");
            let text = format!("To: {to}\r\nContent-Type: text/plain; charset=utf-8; format=flowed\r\n\r\n");
            let scanned = Structure::of([text.as_bytes()]);
            let decoded = Structure::decode(scanned.encode()).unwrap();
            assert_eq!(decoded.envelope().unwrap().to.len(), addresses);
            let expected = size_of::<Part>()
                + size_of::<Envelope>()
                + 2 * size_of::<Parameter>()
                + addresses * size_of::<EnvelopeAddress>();
            assert_eq!(decoded.list_bytes(), expected, "{addresses}");
            assert!(scanned.list_bytes() > expected, "{addresses}");
        }
    }

    /// Written by version 1: to be read for ever.
    #[test]
    fn fixture_of_version_1() {
        let fixture: &[u8] = b"\x01\x0fSubject: x\r\n\r\n\x01\0\0\x01\0\x0e\x01\0\x05text\x06plain\0\0\0\0\0\0\0\0\x01\0\x02x\0\0\0\0\0\0\0\0";
        let structure = Structure::of([b"Subject: x\r\n\r\nb"]);
        assert_eq!(structure.encode(), fixture);
        assert_eq!(Structure::decode(Bytes::from_static(fixture)), Ok(structure));
    }

    proptest! {
        #[test]
        fn damage_is_no_panic(at in 0usize..400, value: u8) {
            let mut bytes = Structure::of([MESSAGE.as_bytes()]).encode().to_vec();
            let length = bytes.len();
            bytes[at % length] = value;
            if let Ok(structure) = Structure::decode(Bytes::from(bytes)) {
                let mut open: Vec<_> = structure.root().into_iter().collect();
                let mut seen = 0;
                while let Some(part) = open.pop() {
                    seen += 1;
                    open.extend(part.children());
                }
                prop_assert_eq!(seen, structure.parts().len());
            }
        }
    }
}
