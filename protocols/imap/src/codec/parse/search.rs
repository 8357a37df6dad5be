//! SEARCH and its keys (RFC 9051 §6.4.4).

use super::cursor::{Cursor, Parsed};
use super::message::sequence_set;
use crate::codec::date::Date;
use crate::codec::fault::Fault;
use crate::codec::flag::Keyword;
use crate::codec::search::{
    EnvelopeField, SEARCH_DEPTH_MAX, SEARCH_KEYS_MAX, Search, SearchFlag, SearchKey, SearchReturn, When,
};

/// `[SP "RETURN" SP "(" options ")"] SP ["CHARSET" SP charset SP] search-key *(SP search-key)`
pub(super) fn search(cursor: &mut Cursor<'_>) -> Parsed<Search> {
    let mut returns = None;
    if cursor.eat_text(" RETURN ") {
        returns = Some(return_options(cursor)?);
    }
    cursor.space()?;
    let has_charset = cursor.eat_text("CHARSET ");
    if has_charset {
        let charset = cursor.astring()?;
        let known = charset.eq_ignore_ascii_case(b"US-ASCII") || charset.eq_ignore_ascii_case(b"UTF-8");
        if !known {
            return Err(Fault::Charset);
        }
        cursor.space()?;
    }
    let mut keys = Keys { cursor, count: 0 };
    let mut all = vec![keys.key(0)?];
    while keys.cursor.more() {
        keys.cursor.space()?;
        all.push(keys.key(0)?);
    }
    Ok(Search { returns, charset: has_charset, key: joined(all) })
}

fn joined(mut keys: Vec<SearchKey>) -> SearchKey {
    match (keys.pop(), keys.is_empty()) {
        (Some(only), true) => only,
        (last, _) => {
            keys.extend(last);
            SearchKey::And(keys)
        }
    }
}

fn return_options(cursor: &mut Cursor<'_>) -> Parsed<SearchReturn> {
    let mut returns = SearchReturn::default();
    let options = cursor.list(20, "options", true, |cursor| {
        match cursor.atom("an option")?.to_ascii_uppercase().as_str() {
            "MIN" => returns.min = true,
            "MAX" => returns.max = true,
            "ALL" => returns.all = true,
            "COUNT" => returns.count = true,
            "SAVE" => returns.save = true,
            _ => return Err(Fault::Expected("a return option of SEARCH")),
        }
        Ok(())
    })?;
    returns.all |= options.is_empty();
    Ok(returns)
}

struct Keys<'c, 'a> {
    cursor: &'c mut Cursor<'a>,
    count: usize,
}

impl Keys<'_, '_> {
    fn key(&mut self, depth: usize) -> Parsed<SearchKey> {
        if depth > SEARCH_DEPTH_MAX {
            return Err(Fault::TooMany("levels of search keys"));
        }
        let mut negated = false;
        while self.operator("NOT ")? {
            negated = !negated;
        }
        let key = if self.cursor.eat(b'(') {
            self.list(depth)?
        } else if self.operator("OR ")? {
            self.or(depth)?
        } else {
            self.count()?;
            self.simple()?
        };
        Ok(if negated { SearchKey::Not(Box::new(key)) } else { key })
    }

    fn operator(&mut self, text: &str) -> Parsed<bool> {
        if self.cursor.eat_text(text) { self.count().map(|()| true) } else { Ok(false) }
    }

    fn count(&mut self) -> Parsed<()> {
        self.count += 1;
        if self.count > SEARCH_KEYS_MAX { Err(Fault::TooMany("search keys")) } else { Ok(()) }
    }

    fn list(&mut self, depth: usize) -> Parsed<SearchKey> {
        let mut keys = vec![self.key(depth + 1)?];
        while !self.cursor.eat(b')') {
            self.cursor.space()?;
            keys.push(self.key(depth + 1)?);
        }
        Ok(joined(keys))
    }

    /// After the first `OR`. Each OR among the operands asks for one operand more, on whichever side
    /// it nests, so that a chain of them needs no recursion.
    fn or(&mut self, depth: usize) -> Parsed<SearchKey> {
        let mut keys = Vec::new();
        let mut wanted = 2usize;
        loop {
            if self.operator("OR ")? {
                wanted += 1;
                continue;
            }
            keys.push(self.key(depth + 1)?);
            if keys.len() == wanted {
                return Ok(SearchKey::Or(keys));
            }
            self.cursor.space()?;
        }
    }

    fn simple(&mut self) -> Parsed<SearchKey> {
        if self.cursor.peek().is_some_and(|b| b.is_ascii_digit() || matches!(b, b'*' | b'$')) {
            return sequence_set(self.cursor).map(SearchKey::Sequence);
        }
        let name = self.cursor.atom("a search key")?.to_ascii_uppercase();
        if let Some(key) = without_argument(&name) {
            return Ok(key);
        }
        self.with_argument(&name)
    }

    fn with_argument(&mut self, name: &str) -> Parsed<SearchKey> {
        if let Some(key) = self.dated(name)? {
            return Ok(key);
        }
        let envelope = match name {
            "BCC" => Some(EnvelopeField::Bcc),
            "CC" => Some(EnvelopeField::Cc),
            "FROM" => Some(EnvelopeField::From),
            "TO" => Some(EnvelopeField::To),
            "SUBJECT" => Some(EnvelopeField::Subject),
            _ => None,
        };
        if let Some(field) = envelope {
            return Ok(SearchKey::Envelope(field, self.text()?));
        }
        Ok(match name {
            "BODY" => SearchKey::Body(self.text()?),
            "TEXT" => SearchKey::Text(self.text()?),
            "HEADER" => SearchKey::Header(self.text()?, self.text()?),
            "KEYWORD" => SearchKey::Keyword(self.keyword()?),
            "UNKEYWORD" => SearchKey::Not(Box::new(SearchKey::Keyword(self.keyword()?))),
            "UID" => {
                self.cursor.space()?;
                SearchKey::Uid(sequence_set(self.cursor)?)
            }
            "LARGER" => SearchKey::Larger(self.number()?),
            "SMALLER" => SearchKey::Smaller(self.number()?),
            "OLDER" => SearchKey::Older(self.interval()?),
            "YOUNGER" => SearchKey::Younger(self.interval()?),
            "MODSEQ" => self.mod_seq()?,
            "EMAILID" => SearchKey::EmailId(self.object_id()?),
            "THREADID" => SearchKey::ThreadId(self.object_id()?),
            _ => return Err(Fault::Expected("a search key")),
        })
    }

    fn dated(&mut self, name: &str) -> Parsed<Option<SearchKey>> {
        let (make, when): (fn(When, Date) -> SearchKey, _) = match name {
            "BEFORE" => (SearchKey::Internal, When::Before),
            "ON" => (SearchKey::Internal, When::On),
            "SINCE" => (SearchKey::Internal, When::Since),
            "SENTBEFORE" => (SearchKey::Sent, When::Before),
            "SENTON" => (SearchKey::Sent, When::On),
            "SENTSINCE" => (SearchKey::Sent, When::Since),
            "SAVEDBEFORE" => (SearchKey::Saved, When::Before),
            "SAVEDON" => (SearchKey::Saved, When::On),
            "SAVEDSINCE" => (SearchKey::Saved, When::Since),
            _ => return Ok(None),
        };
        // `date = date-text / DQUOTE date-text DQUOTE`
        let text = self.text()?;
        Ok(Some(make(when, Date::parse(&text).ok_or(Fault::Expected("a date"))?)))
    }

    /// `SP astring`, in UTF-8.
    fn text(&mut self) -> Parsed<String> {
        self.cursor.space()?;
        self.cursor.text()
    }

    fn keyword(&mut self) -> Parsed<Keyword> {
        Keyword::new(&self.text()?).ok_or(Fault::Expected("a keyword"))
    }

    fn number(&mut self) -> Parsed<u64> {
        self.cursor.space()?;
        self.cursor.number64()
    }

    fn interval(&mut self) -> Parsed<u32> {
        self.cursor.space()?;
        self.cursor.nz_number().map(|seconds| seconds.get())
    }

    /// `["/flags/…" SP ("all" / "priv" / "shared") SP] mod-sequence-valzer`
    fn mod_seq(&mut self) -> Parsed<SearchKey> {
        self.cursor.space()?;
        if self.cursor.peek() == Some(b'"') {
            self.cursor.string()?;
            self.cursor.space()?;
            let kind = self.cursor.atom("all, priv or shared")?;
            if !["all", "priv", "shared"].iter().any(|known| known.eq_ignore_ascii_case(kind)) {
                return Err(Fault::Expected("all, priv or shared"));
            }
            self.cursor.space()?;
        }
        self.cursor.mod_seq().map(SearchKey::ModSeq)
    }

    /// `objectid = 1*255(ALPHA / DIGIT / "_" / "-")` (RFC 8474)
    fn object_id(&mut self) -> Parsed<String> {
        let id = self.text()?;
        let valid = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-');
        let good = (1..=255).contains(&id.len()) && id.bytes().all(valid);
        if good { Ok(id) } else { Err(Fault::Expected("an object identifier")) }
    }
}

fn without_argument(name: &str) -> Option<SearchKey> {
    let not = |flag| SearchKey::Not(Box::new(SearchKey::Flag(flag)));
    Some(match name {
        "ALL" => SearchKey::All,
        "ANSWERED" => SearchKey::Flag(SearchFlag::Answered),
        "DELETED" => SearchKey::Flag(SearchFlag::Deleted),
        "DRAFT" => SearchKey::Flag(SearchFlag::Draft),
        "FLAGGED" => SearchKey::Flag(SearchFlag::Flagged),
        "SEEN" => SearchKey::Flag(SearchFlag::Seen),
        "UNANSWERED" => not(SearchFlag::Answered),
        "UNDELETED" => not(SearchFlag::Deleted),
        "UNDRAFT" => not(SearchFlag::Draft),
        "UNFLAGGED" => not(SearchFlag::Flagged),
        "UNSEEN" => not(SearchFlag::Seen),
        "NEW" => SearchKey::New,
        "OLD" => SearchKey::Old,
        "RECENT" => SearchKey::Recent,
        "SAVEDATESUPPORTED" => SearchKey::SaveDateSupported,
        _ => return None,
    })
}
