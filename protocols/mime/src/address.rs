//! Lists of addresses as header fields have them (RFC 5322 §3.4 and §4.4), read leniently.
//!
//! What cannot be read is still shown: an address without a local part or a domain gets
//! `MISSING_MAILBOX`, `MISSING_DOMAIN` in its place, a malformed one `SYNTAX_ERROR`, so that a client
//! shows what there is. These are the words that Dovecot uses.

use crate::EnvelopeAddress;
use crate::cursor::{After, Cursor};
use crate::text::{shown, shown_to_people};
use bytes::Bytes;

/// The addresses of an unfolded field value, at most `limit` of them.
pub(crate) fn address_list(value: &[u8], limit: usize) -> Vec<EnvelopeAddress> {
    let mut list = List { cursor: Cursor::new(value), found: Vec::new() };
    if list.cursor.skip_cfws() == After::More {
        list.read(limit);
    }
    list.found.truncate(limit);
    list.found
}

struct List<'a> {
    cursor: Cursor<'a>,
    found: Vec<EnvelopeAddress>,
}

/// An address while it is read.
#[derive(Default)]
struct Draft {
    name: Option<Vec<u8>>,
    route: Option<Vec<u8>>,
    mailbox: Option<Vec<u8>>,
    host: Option<Vec<u8>>,
}

impl Draft {
    fn completed(self) -> EnvelopeAddress {
        let missing = |value: Option<Vec<u8>>, word| value.map_or(Bytes::from_static(word), |v| shown(&v));
        EnvelopeAddress {
            name: self.name.map(|n| shown_to_people(&n)),
            route: self.route.map(|r| shown(&r)),
            mailbox: Some(missing(self.mailbox, b"MISSING_MAILBOX")),
            host: Some(missing(self.host.filter(|h| !h.is_empty()), b"MISSING_DOMAIN")),
        }
    }
}

impl List<'_> {
    fn read(&mut self, limit: usize) {
        while self.found.len() < limit {
            if self.address() == After::End || self.cursor.peek() != Some(b',') {
                return;
            }
            self.cursor.advance();
            match self.cursor.skip_cfws() {
                After::More => {}
                After::End => return,
                After::Broken => return self.found.push(Draft::default().completed()),
            }
        }
    }

    /// `address = mailbox / group`. A group is known by the colon after its name; when there is none,
    /// the same words are read again as a mailbox.
    fn address(&mut self) -> After {
        let start = self.cursor.position();
        let mut name = Vec::new();
        if self.cursor.phrase(&mut name) == After::More && self.cursor.peek() == Some(b':') {
            return self.group(&name);
        }
        self.cursor.return_to(start);
        self.mailbox()
    }

    /// The rest of a group after its name; never [`After::Broken`], as its end is always written.
    fn group(&mut self, name: &[u8]) -> After {
        self.cursor.advance();
        let mut after = self.cursor.skip_cfws();
        self.found.push(EnvelopeAddress { mailbox: Some(shown(name)), ..EnvelopeAddress::default() });
        while after == After::More && self.cursor.peek() != Some(b';') {
            self.mailbox();
            if self.cursor.peek() != Some(b',') {
                break;
            }
            self.cursor.advance();
            if self.cursor.skip_cfws() != After::More {
                after = After::Broken;
            }
        }
        if after != After::Broken && self.cursor.peek() == Some(b';') {
            self.cursor.advance();
            after = self.cursor.skip_cfws();
        } else if after != After::End {
            after = After::Broken;
        }
        self.found.push(EnvelopeAddress::default());
        if after == After::End { After::End } else { After::More }
    }

    /// `mailbox = name-addr / addr-spec`.
    fn mailbox(&mut self) -> After {
        let start = self.cursor.position();
        let mut draft = Draft::default();
        let mut name = Vec::new();
        let after = if self.cursor.phrase(&mut name) == After::More && self.cursor.peek() == Some(b'<') {
            draft.name = Some(name).filter(|n| !n.is_empty());
            if self.angle_addr(&mut draft) == After::Broken {
                draft.host = Some(b"SYNTAX_ERROR".to_vec());
            }
            if self.cursor.peek().is_some() { After::More } else { After::End }
        } else {
            self.cursor.return_to(start);
            self.addr_spec(&mut draft)
        };
        self.found.push(draft.completed());
        after
    }

    /// `angle-addr`, with a route (obs-route).
    fn angle_addr(&mut self, draft: &mut Draft) -> After {
        self.cursor.advance();
        if self.cursor.skip_cfws() != After::More {
            return After::Broken;
        }
        if self.cursor.peek() == Some(b'@') {
            match self.route() {
                Some(route) if self.cursor.peek() == Some(b':') => {
                    draft.route = Some(route);
                    self.cursor.advance();
                }
                _ => draft.route = Some(b"INVALID_ROUTE".to_vec()),
            }
            if self.cursor.skip_cfws() != After::More {
                return After::Broken;
            }
        }
        if self.cursor.peek() != Some(b'>') {
            if self.local_part(draft) != After::More {
                return After::Broken;
            }
            if self.cursor.peek() == Some(b'@') && self.domain(draft) != After::More {
                return After::Broken;
            }
        }
        if self.cursor.peek() != Some(b'>') {
            return After::Broken;
        }
        self.cursor.advance();
        self.cursor.skip_cfws()
    }

    /// `obs-domain-list`; `None` when a domain of it is malformed or nothing comes after it.
    fn route(&mut self) -> Option<Vec<u8>> {
        let mut route = Vec::new();
        while self.cursor.peek()? == b'@' {
            if !route.is_empty() {
                route.push(b',');
            }
            route.push(b'@');
            if self.cursor.domain(&mut route) != After::More {
                return None;
            }
            while self.cursor.skip_cfws() == After::More && self.cursor.peek() == Some(b',') {
                self.cursor.advance();
            }
        }
        Some(route)
    }

    fn local_part(&mut self, draft: &mut Draft) -> After {
        let mut text = Vec::new();
        let after = if self.cursor.peek() == Some(b'"') {
            self.cursor.quoted_string(&mut text)
        } else {
            self.cursor.dotted_words(&mut text)
        };
        if after != After::Broken {
            draft.mailbox = Some(text);
        }
        after
    }

    fn domain(&mut self, draft: &mut Draft) -> After {
        let mut text = Vec::new();
        let after = self.cursor.domain(&mut text);
        if after != After::Broken {
            draft.host = Some(text);
        }
        after
    }

    /// `addr-spec`; a comment beside it is the name (`a@b (Name)`). Words without an `@` are a name.
    fn addr_spec(&mut self, draft: &mut Draft) -> After {
        self.cursor.comment.clear();
        let quoted = self.cursor.peek() == Some(b'"');
        let mut after = self.local_part(draft);
        let has_domain = after != After::End && self.cursor.peek() == Some(b'@');
        if has_domain {
            match self.domain(draft) {
                After::More => {}
                ended => after = ended,
            }
        }
        if !self.cursor.comment.is_empty() {
            draft.name = Some(std::mem::take(&mut self.cursor.comment));
        } else if !has_domain {
            after = After::Broken;
            let mut words = draft.mailbox.clone().unwrap_or_default();
            let (_, before) = (words.push(b' '), words.len());
            let _ = self.cursor.phrase(&mut words);
            if words.len() > before {
                draft.mailbox = None;
                draft.name = Some(words);
            } else if quoted {
                draft.name = draft.mailbox.take();
            }
        }
        after
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(value: &str) -> Vec<String> {
        let part = |value: &Option<Bytes>| {
            value.as_ref().map_or_else(|| "NIL".to_owned(), |v| String::from_utf8_lossy(v).into_owned())
        };
        let line = |a: &EnvelopeAddress| [&a.name, &a.route, &a.mailbox, &a.host].map(part).join("|");
        address_list(value.as_bytes(), 100).iter().map(line).collect()
    }

    #[test]
    fn forms_of_rfc_5322() {
        assert_eq!(read("John Doe <jdoe@machine.example>"), ["John Doe|NIL|jdoe|machine.example"]);
        assert_eq!(
            read("\"Joe Q. Public\" <john.q.public@example.com>, jdoe@one.test (Jane) ,"),
            ["Joe Q. Public|NIL|john.q.public|example.com", "Jane|NIL|jdoe|one.test"]
        );
        assert_eq!(
            read("Pete(A nice \\) chap) <pete(his account)@silly.test(his host)>"),
            ["Pete|NIL|pete|silly.test"]
        );
        assert_eq!(
            read("A Group:Ed Jones <c@a.test>,joe@where.test;, x@example.org"),
            [
                "NIL|NIL|A Group|NIL",
                "Ed Jones|NIL|c|a.test",
                "NIL|NIL|joe|where.test",
                "NIL|NIL|NIL|NIL",
                "NIL|NIL|x|example.org"
            ]
        );
        assert_eq!(
            read("Undisclosed recipients:;"),
            ["NIL|NIL|Undisclosed recipients|NIL", "NIL|NIL|NIL|NIL"]
        );
        assert_eq!(
            read("Mary <@node.test,@other.test:mary@example.net>"),
            ["Mary|@node.test,@other.test|mary|example.net"]
        );
        assert_eq!(read("\"a b\"@[127.0.0.1]"), ["NIL|NIL|a b|[127.0.0.1]"]);
        assert_eq!(
            read("=?utf-8?q?J=C3=BCrgen?= <j@example.org>"),
            ["=?utf-8?q?J=C3=BCrgen?=|NIL|j|example.org"]
        );
    }

    #[test]
    fn what_is_missing_is_named() {
        assert_eq!(read("user"), ["NIL|NIL|user|MISSING_DOMAIN"]);
        assert_eq!(read("Some One"), ["Some One|NIL|MISSING_MAILBOX|MISSING_DOMAIN"]);
        assert_eq!(read("<>"), ["NIL|NIL|MISSING_MAILBOX|MISSING_DOMAIN"]);
        assert_eq!(read("@example.org"), ["NIL|NIL|MISSING_MAILBOX|example.org"]);
        assert_eq!(read("A <a b@example.org>"), ["A|NIL|a|SYNTAX_ERROR"]);
        assert_eq!(read(""), Vec::<String>::new());
        assert_eq!(read("  (only a comment)"), Vec::<String>::new());
        assert_eq!(read(".a..b.@c, d@e."), ["NIL|NIL|.a..b.|c", "NIL|NIL|d|MISSING_DOMAIN"]);
    }

    #[test]
    fn hostile_lists_are_bounded() {
        let many = "a@b,".repeat(200_000);
        assert_eq!(address_list(many.as_bytes(), 50).len(), 50);
        for piece in ["(", "\"", "<", "a:", "<@", "[", "\\", ",", ";", "@", "a ", ".", "(\\"] {
            let text = piece.repeat(300_000);
            let _ = address_list(text.as_bytes(), 1000);
        }
    }
}
