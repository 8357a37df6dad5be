//! Prints ENVELOPE, BODY and BODYSTRUCTURE (RFC 9051 §7.5.2) from the structure of a message.
//!
//! Recursion is bounded by [`estafette_mime::NESTING_MAX`]. Where the grammar leaves a choice, what
//! is printed is what Dovecot prints: `charset us-ascii` for text without a charset, `7bit` for a
//! part without an encoding, one empty `text/plain` in a multipart without parts.

use super::encode::Encoder;
use super::fetch_encode::FetchWriter;
use bytes::Bytes;
use estafette_mime::{Envelope, EnvelopeAddress, Kind, Parameter, PartRef, Structure};

impl FetchWriter<'_> {
    /// `ENVELOPE (…)`. Printed once for all who share the structure, where it is the same in every dialect.
    pub fn envelope(&mut self, structure: &Structure) {
        let Some(envelope) = structure.envelope() else { return };
        let encoder = self.item("ENVELOPE ");
        if let Some(text) = structure.printed() {
            return encoder.out.copy(text);
        }
        let start = encoder.out.place();
        encoder.envelope(envelope);
        if let Some(text) = encoder.out.since(start).filter(|text| text.is_ascii()) {
            structure.keep_printed(text);
        }
    }

    /// `BODY (…)`: the structure without extension data.
    pub fn body(&mut self, structure: &Structure) {
        let encoder = self.item("BODY ");
        if let Some(root) = structure.root() {
            encoder.part(root, false);
        }
    }

    /// `BODYSTRUCTURE (…)`
    pub fn body_structure(&mut self, structure: &Structure) {
        let encoder = self.item("BODYSTRUCTURE ");
        if let Some(root) = structure.root() {
            encoder.part(root, true);
        }
    }
}

impl Encoder {
    /// `envelope = "(" env-date SP env-subject SP env-from SP env-sender SP env-reply-to SP env-to SP
    /// env-cc SP env-bcc SP env-in-reply-to SP env-message-id ")"`
    fn envelope(&mut self, envelope: &Envelope) {
        self.raw("(");
        self.nstring(envelope.date.as_deref());
        self.raw(" ");
        self.nstring(envelope.subject.as_deref());
        self.raw(" ");
        let start = self.out.place();
        self.addresses(&envelope.from);
        let from = start..self.out.place();
        for list in [envelope.sender_or_from(), envelope.reply_to_or_from()] {
            self.raw(" ");
            // Most messages have no other sender than their author.
            if !(std::ptr::eq(list, envelope.from.as_slice()) && self.out.repeat(from.clone())) {
                self.addresses(list);
            }
        }
        for list in [&envelope.to, &envelope.cc, &envelope.bcc] {
            self.raw(" ");
            self.addresses(list);
        }
        self.raw(" ");
        self.nstring(envelope.in_reply_to.as_deref());
        self.raw(" ");
        self.nstring(envelope.message_id.as_deref());
        self.raw(")");
    }

    /// `"(" 1*address ")" / nil`, `address = "(" addr-name SP addr-adl SP addr-mailbox SP addr-host ")"`
    fn addresses(&mut self, list: &[EnvelopeAddress]) {
        self.raw(if list.is_empty() { "NIL" } else { "(" });
        for address in list {
            let fields = [&address.name, &address.route, &address.mailbox, &address.host];
            for (i, field) in fields.into_iter().enumerate() {
                self.raw(if i == 0 { "(" } else { " " });
                self.nstring(field.as_deref());
            }
            self.raw(")");
        }
        self.raw(if list.is_empty() { "" } else { ")" });
    }

    /// `body = "(" (body-type-1part / body-type-mpart) ")"`
    fn part(&mut self, part: PartRef<'_>, extended: bool) {
        self.raw("(");
        if part.kind == Kind::Multipart {
            self.multipart(part, extended);
        } else {
            self.single(part, extended);
        }
        self.raw(")");
    }

    /// `body-type-mpart = 1*body SP media-subtype [SP body-ext-mpart]`
    fn multipart(&mut self, part: PartRef<'_>, extended: bool) {
        let mut childless = true;
        for child in part.children() {
            childless = false;
            self.part(child, extended);
        }
        if childless {
            let extension = if extended { " NIL NIL NIL NIL" } else { "" };
            self.print(format_args!(
                "(\"text\" \"plain\" (\"charset\" \"us-ascii\") NIL NIL \"7bit\" 0 0{extension})"
            ));
        }
        self.raw(" ");
        self.string(&part.subtype);
        if extended {
            self.raw(" ");
            self.parameters(&part.parameters, false);
            self.common_extension(part);
        }
    }

    /// `body-type-1part = (body-type-basic / body-type-msg / body-type-text) [SP body-ext-1part]`
    fn single(&mut self, part: PartRef<'_>, extended: bool) {
        let text = part.media_type.eq_ignore_ascii_case(b"text");
        self.string(&part.media_type);
        self.raw(" ");
        self.string(&part.subtype);
        self.raw(" ");
        self.parameters(&part.parameters, text);
        for field in [&part.id, &part.description] {
            self.raw(" ");
            self.nstring(field.as_deref());
        }
        self.raw(" ");
        self.string(part.encoding.as_deref().unwrap_or(b"7bit"));
        self.print(format_args!(" {}", part.octets()));
        if let Some(message) = part.message() {
            self.raw(" ");
            let empty = Envelope::default();
            self.envelope(message.envelope.as_deref().unwrap_or(&empty));
            self.raw(" ");
            self.part(message, extended);
        }
        if text || part.kind == Kind::Message {
            self.print(format_args!(" {}", part.lines));
        }
        if extended {
            self.raw(" ");
            self.nstring(part.md5.as_deref());
            self.common_extension(part);
        }
    }

    /// `SP body-fld-dsp SP body-fld-lang SP body-fld-loc`
    fn common_extension(&mut self, part: PartRef<'_>) {
        match &part.disposition {
            None => self.raw(" NIL "),
            Some(disposition) => {
                self.raw(" (");
                self.string(&disposition.kind);
                self.raw(" ");
                self.parameters(&disposition.parameters, false);
                self.raw(") ");
            }
        }
        self.raw(if part.language.is_empty() { "NIL" } else { "" });
        for (i, tag) in part.language.iter().enumerate() {
            self.raw(if i == 0 { "(" } else { " " });
            self.string(tag);
        }
        self.raw(if part.language.is_empty() { " " } else { ") " });
        self.nstring(part.location.as_deref());
    }

    /// `body-fld-param = "(" string SP string *(SP string SP string) ")" / nil`
    fn parameters(&mut self, parameters: &[Parameter], text: bool) {
        let charset = |parameter: &Parameter| parameter.name.eq_ignore_ascii_case(b"charset");
        let default =
            Parameter { name: Bytes::from_static(b"charset"), value: Bytes::from_static(b"us-ascii") };
        let added = (text && !parameters.iter().any(charset)).then_some(&default);
        let mut first = true;
        for parameter in parameters.iter().chain(added) {
            self.raw(if std::mem::replace(&mut first, false) { "(" } else { " " });
            self.string(&parameter.name);
            self.raw(" ");
            self.string(&parameter.value);
        }
        self.raw(if first { "NIL" } else { ")" });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codec::Dialect;

    fn printed(message: &[u8], dialect: Dialect, item: fn(&mut FetchWriter<'_>, &Structure)) -> String {
        let structure = Structure::of([message]);
        let mut encoder = Encoder::new(dialect);
        let mut writer = encoder.fetch(1);
        item(&mut writer, &structure);
        writer.finish();
        let line = String::from_utf8(encoder.into_pieces().concat()).unwrap();
        line.strip_prefix("* 1 FETCH (").unwrap().strip_suffix(")\r\n").unwrap().to_owned()
    }

    fn envelope(writer: &mut FetchWriter<'_>, structure: &Structure) {
        writer.envelope(structure);
    }

    /// The message of RFC 9051 §8, in part.
    #[test]
    fn an_envelope() {
        let message =
            b"Date: Wed, 17 Jul 1996 02:23:25 -0700 (PDT)\r\nFrom: Terry Gray <gray@cac.washington.edu>\r\n\
            Subject: IMAP4rev2 WG mtg summary and minutes\r\nTo: imap@cac.washington.edu\r\n\
            cc: minutes@CNRI.Reston.VA.US, John Klensin <KLENSIN@MIT.EDU>\r\n\
            Message-Id: <B27397-0100000@cac.washington.ed>\r\nMIME-Version: 1.0\r\n\r\nx\r\n";
        let from = "((\"Terry Gray\" NIL \"gray\" \"cac.washington.edu\"))";
        let expected = format!(
            "ENVELOPE (\"Wed, 17 Jul 1996 02:23:25 -0700 (PDT)\" \"IMAP4rev2 WG mtg summary and minutes\" \
             {from} {from} {from} ((NIL NIL \"imap\" \"cac.washington.edu\")) \
             ((NIL NIL \"minutes\" \"CNRI.Reston.VA.US\")(\"John Klensin\" NIL \"KLENSIN\" \"MIT.EDU\")) NIL NIL \
             \"<B27397-0100000@cac.washington.ed>\")"
        );
        assert_eq!(printed(message, Dialect::Ascii, envelope), expected);
    }

    #[test]
    fn strings_that_cannot_be_quoted_are_literals() {
        let message = "Subject: Grüße\r\n\r\n";
        let ascii = printed(message.as_bytes(), Dialect::Ascii, envelope);
        assert_eq!(ascii, "ENVELOPE (NIL {7}\r\nGrüße NIL NIL NIL NIL NIL NIL NIL NIL)");
        let utf8 = printed(message.as_bytes(), Dialect::Utf8, envelope);
        assert_eq!(utf8, "ENVELOPE (NIL \"Grüße\" NIL NIL NIL NIL NIL NIL NIL NIL)");
    }

    #[test]
    fn structures() {
        let plain = b"Subject: x\r\n\r\none\r\ntwo\r\n";
        assert_eq!(
            printed(plain, Dialect::Ascii, |w, s| w.body(s)),
            "BODY (\"text\" \"plain\" (\"charset\" \"us-ascii\") NIL NIL \"7bit\" 10 2)"
        );
        let mixed = b"Content-Type: multipart/mixed; boundary=b\r\nContent-Language: de, en\r\n\r\n--b\r\n\
            Content-Type: image/png; name=\"a b\"\r\nContent-Disposition: attachment; filename=x.png\r\n\
            Content-Transfer-Encoding: base64\r\nContent-ID: <i@x>\r\n\r\nAAAA\r\n--b\r\n\
            Content-Type: message/rfc822\r\n\r\nSubject: in\r\n\r\nhi\r\n--b--\r\n";
        assert_eq!(
            printed(mixed, Dialect::Ascii, |w, s| w.body_structure(s)),
            "BODYSTRUCTURE ((\"image\" \"png\" (\"name\" \"a b\") \"<i@x>\" NIL \"base64\" 4 NIL (\"attachment\" \
             (\"filename\" \"x.png\")) NIL NIL)(\"message\" \"rfc822\" NIL NIL NIL \"7bit\" 17 \
             (NIL \"in\" NIL NIL NIL NIL NIL NIL NIL NIL) (\"text\" \"plain\" (\"charset\" \"us-ascii\") NIL NIL \
             \"7bit\" 2 0 NIL NIL NIL NIL) 2 NIL NIL NIL NIL) \"mixed\" (\"boundary\" \"b\") NIL (\"de\" \"en\") NIL)"
        );
        let empty = b"Content-Type: multipart/mixed; boundary=b\r\n\r\nnothing\r\n";
        assert_eq!(
            printed(empty, Dialect::Ascii, |w, s| w.body(s)),
            "BODY ((\"text\" \"plain\" (\"charset\" \"us-ascii\") NIL NIL \"7bit\" 0 0) \"mixed\")"
        );
    }
}
