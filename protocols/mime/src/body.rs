//! The body of a part as text: transfer encoding and charset taken off, chunk by chunk, bounded.

use crate::Part;
use crate::words::{encoding_of, hex, plain};
use encoding_rs::{CoderResult, Decoder, Encoding};

/// Text of a body.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Decoded {
    /// As UTF-8; what is no text is U+FFFD.
    pub text: String,
    /// There is more of it, past the limit.
    pub cut: bool,
}

/// The bytes of a part with its transfer encoding taken off (RFC 2045 §6), at most `limit` of them. An
/// encoding that is not known leaves them as they are. Never fails: malformed input is read as far
/// as it can be.
pub fn decode_body<C: AsRef<[u8]>>(
    encoding: Option<&[u8]>,
    chunks: impl IntoIterator<Item = C>,
    limit: usize,
) -> Vec<u8> {
    let mut transfer = Transfer::of(encoding);
    let mut out = Vec::new();
    for chunk in chunks {
        for piece in chunk.as_ref().chunks(PIECE_BYTES) {
            transfer.decode(piece, &mut out);
            if out.len() >= limit {
                out.truncate(limit);
                return out;
            }
        }
    }
    transfer.end(&mut out);
    out.truncate(limit);
    out
}

/// The text of a part from the raw bytes of its body, at most `limit` bytes of it. The charset is that
/// of its type; when none is known, UTF-8 or else Windows-1252.
pub fn decode_text<C: AsRef<[u8]>>(
    part: &Part,
    chunks: impl IntoIterator<Item = C>,
    limit: usize,
) -> Decoded {
    let charset = part.parameter("charset").and_then(|label| encoding_of(label.trim_ascii()));
    let mut transfer = Transfer::of(part.encoding.as_deref());
    let mut text = Text { charset: Charset::of(charset), out: String::new(), limit };
    let mut bytes = Vec::new();
    for chunk in chunks {
        for piece in chunk.as_ref().chunks(PIECE_BYTES) {
            bytes.clear();
            transfer.decode(piece, &mut bytes);
            if !text.push(&bytes, false) {
                return Decoded { text: text.out, cut: true };
            }
        }
    }
    bytes.clear();
    transfer.end(&mut bytes);
    let whole = text.push(&bytes, true);
    Decoded { text: text.out, cut: !whole }
}

/// How much is decoded at once, so that the limit is passed by no more than this.
const PIECE_BYTES: usize = 16 * 1024;

/// Cuts a text to `limit` bytes at a boundary of characters.
pub(crate) fn cut(text: &mut String, limit: usize) {
    text.truncate(text.floor_char_boundary(limit));
}

enum Transfer {
    None,
    Base64(Base64),
    QuotedPrintable(QuotedPrintable),
}

impl Transfer {
    fn of(encoding: Option<&[u8]>) -> Transfer {
        let is = |name: &str| encoding.is_some_and(|e| e.trim_ascii().eq_ignore_ascii_case(name.as_bytes()));
        if is("base64") {
            Transfer::Base64(Base64::default())
        } else if is("quoted-printable") {
            Transfer::QuotedPrintable(QuotedPrintable::default())
        } else {
            Transfer::None
        }
    }

    fn decode(&mut self, input: &[u8], out: &mut Vec<u8>) {
        match self {
            Transfer::None => out.extend_from_slice(input),
            Transfer::Base64(state) => state.decode(input, out),
            Transfer::QuotedPrintable(state) => state.decode(input, out),
        }
    }

    fn end(&mut self, out: &mut Vec<u8>) {
        if let Transfer::QuotedPrintable(state) = self {
            state.end(out);
        }
    }
}

/// Base64 (RFC 2045 §6.8): characters outside of the alphabet are passed over.
#[derive(Default)]
pub(crate) struct Base64 {
    bits: u32,
    count: u32,
}

impl Base64 {
    pub(crate) fn decode(&mut self, input: &[u8], out: &mut Vec<u8>) {
        for &byte in input {
            let value = match byte {
                b'A'..=b'Z' => byte - b'A',
                b'a'..=b'z' => byte - b'a' + 26,
                b'0'..=b'9' => byte - b'0' + 52,
                b'+' => 62,
                b'/' => 63,
                b'=' => {
                    // Padding ends a group; another may follow where texts were joined.
                    (self.bits, self.count) = (0, 0);
                    continue;
                }
                _ => continue,
            };
            self.bits = (self.bits << 6 | u32::from(value)) & 0x00ff_ffff;
            self.count += 6;
            if self.count >= 8 {
                self.count -= 8;
                let [.., low] = (self.bits >> self.count).to_be_bytes();
                out.push(low);
            }
        }
    }
}

/// Quoted-printable (RFC 2045 §6.7): what is malformed stays as it is.
#[derive(Default)]
struct QuotedPrintable {
    /// What followed an `=` so far, with it; at most `=`, a digit, or `=` and a CR.
    pending: Vec<u8>,
    /// White space at the end of a line is not part of the text.
    spaces: Vec<u8>,
}

/// White space at the end of a line that is held back; more is taken as text.
const SPACES_MAX_BYTES: usize = 1024;

impl QuotedPrintable {
    fn decode(&mut self, input: &[u8], out: &mut Vec<u8>) {
        for &byte in input {
            match (self.pending.as_slice(), byte) {
                ([], b'=') => {
                    self.end_spaces(out);
                    self.pending.push(byte);
                }
                ([], _) => self.plain(byte, out),
                ([_], b'\r' | b' ' | b'\t') => self.pending = vec![b'=', b'\r'],
                ([_, b'\r'], b'\r' | b' ' | b'\t') => {}
                ([_] | [_, b'\r'], b'\n') => self.pending.clear(),
                ([_], _) if hex(byte).is_some() => self.pending.push(byte),
                ([_, high], _) if let (Some(high), Some(low)) = (hex(*high), hex(byte)) => {
                    out.push(high << 4 | low);
                    self.pending.clear();
                }
                _ => {
                    self.end(out);
                    match byte {
                        b'=' => self.pending.push(byte),
                        _ => self.plain(byte, out),
                    }
                }
            }
        }
    }

    fn plain(&mut self, byte: u8, out: &mut Vec<u8>) {
        match byte {
            b' ' | b'\t' if self.spaces.len() < SPACES_MAX_BYTES => self.spaces.push(byte),
            b'\r' | b'\n' => {
                self.spaces.clear();
                out.push(byte);
            }
            _ => {
                self.end_spaces(out);
                out.push(byte);
            }
        }
    }

    fn end_spaces(&mut self, out: &mut Vec<u8>) {
        out.append(&mut self.spaces);
    }

    fn end(&mut self, out: &mut Vec<u8>) {
        self.end_spaces(out);
        out.append(&mut self.pending);
    }
}

enum Charset {
    Known(Box<Decoder>),
    /// Not named: all bytes are gathered to see what they are.
    Unknown(Vec<u8>),
}

impl Charset {
    fn of(encoding: Option<&'static Encoding>) -> Charset {
        match encoding {
            Some(encoding) => Charset::Known(Box::new(encoding.new_decoder_with_bom_removal())),
            None => Charset::Unknown(Vec::new()),
        }
    }
}

struct Text {
    charset: Charset,
    out: String,
    limit: usize,
}

impl Text {
    /// False when the limit is reached and there is more.
    fn push(&mut self, bytes: &[u8], last: bool) -> bool {
        match &mut self.charset {
            Charset::Known(decoder) => {
                let mut rest = bytes;
                loop {
                    self.out.reserve(rest.len().saturating_add(64));
                    let (result, read, _) = decoder.decode_to_string(rest, &mut self.out, last);
                    rest = rest.get(read..).unwrap_or_default();
                    if self.out.len() > self.limit {
                        cut(&mut self.out, self.limit);
                        return false;
                    }
                    if result == CoderResult::InputEmpty {
                        return true;
                    }
                }
            }
            Charset::Unknown(gathered) => {
                gathered.extend_from_slice(bytes);
                let over = gathered.len() > self.limit;
                if over || last {
                    // A character cut at the limit must not make the whole be no UTF-8.
                    if over {
                        gathered.truncate(self.limit);
                        if let Err(error) = std::str::from_utf8(gathered)
                            && error.error_len().is_none()
                        {
                            gathered.truncate(error.valid_up_to());
                        }
                    }
                    self.out.push_str(&plain(gathered));
                    cut(&mut self.out, self.limit);
                }
                !over
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Structure;
    use proptest::prelude::*;

    fn text_of(header: &str, body: &[u8], limit: usize) -> Decoded {
        let structure = Structure::of([format!("{header}\r\n\r\n").as_bytes()]);
        let part = structure.root().map(|p| p.part().clone()).unwrap();
        let whole = decode_text(&part, [body], limit);
        assert_eq!(decode_text(&part, body.chunks(1), limit), whole, "in pieces of one byte");
        whole
    }

    #[test]
    fn transfer_encodings() {
        let decode = |encoding: &str, body: &[u8]| decode_body(Some(encoding.as_bytes()), [body], 1000);
        assert_eq!(decode("base64", b"aGVs\r\nbG8=\r\n"), b"hello");
        assert_eq!(decode("BASE64", b"aGV!sbG8"), b"hello");
        assert_eq!(decode("base64", b"YQ==YQ=="), b"aa");
        assert_eq!(decode("quoted-printable", b"a=3Db=\r\nc  \r\nd=zz=4=\n=e"), b"a=bc\r\nd=zz=4=e");
        assert_eq!(decode("quoted-printable", b"=E4=e4 =  \r\n."), b"\xe4\xe4 .");
        assert_eq!(decode("x-uuencode", b"a=3D"), b"a=3D");
        assert_eq!(decode_body(None, [b"abc"], 2), b"ab");
    }

    #[test]
    fn charsets() {
        let latin =
            "Content-Type: text/plain; charset=iso-8859-1\r\nContent-Transfer-Encoding: quoted-printable";
        assert_eq!(text_of(latin, b"J=FCrgen", 100).text, "Jürgen");
        let utf8 = "Content-Type: text/plain; charset=\"UTF-8\"\r\nContent-Transfer-Encoding: base64";
        assert_eq!(text_of(utf8, b"4oKs4oKs", 100).text, "€€");
        assert_eq!(text_of(utf8, b"4oKs4oKs", 4), Decoded { text: "€".into(), cut: true });
        assert_eq!(text_of("X: y", "Jürgen".as_bytes(), 100).text, "Jürgen");
        assert_eq!(text_of("X: y", b"J\xfcrgen", 100).text, "Jürgen");
        assert_eq!(text_of("X: y", "Jü".as_bytes(), 2), Decoded { text: "J".into(), cut: true });
        let kanji = "Content-Type: text/plain; charset=iso-2022-jp";
        assert_eq!(text_of(kanji, b"\x1b$BF|K\\\x1b(B", 100).text, "日本");
    }

    proptest! {
        #[test]
        fn pieces_make_no_difference(body in proptest::collection::vec(any::<u8>(), 0..200), size in 1usize..9) {
            for encoding in ["base64", "quoted-printable", "8bit"] {
                let whole = decode_body(Some(encoding.as_bytes()), [&body], usize::MAX);
                let pieces = decode_body(Some(encoding.as_bytes()), body.chunks(size), usize::MAX);
                prop_assert_eq!(whole, pieces);
            }
        }
    }
}
