//! What commands print: tables and lines for people, JSON for programs.
//!
//! Texts may come from strangers, so control characters never reach the terminal.

use super::CliError;
use super::size;
use serde_json::Value;
use std::io::Write;
use time::OffsetDateTime;
use time::macros::format_description;

/// Where it goes, and in which form.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Output {
    json: bool,
}

/// A column: its head, and the text of an entry.
pub(crate) type Column<'a> = (&'a str, fn(&Value) -> String);

impl Output {
    pub(crate) fn new(json: bool) -> Output {
        Output { json }
    }

    pub(crate) fn is_json(self) -> bool {
        self.json
    }

    /// A list: a table for people.
    pub(crate) fn list(self, items: &[Value], columns: &[Column<'_>]) -> Result<(), CliError> {
        if self.json {
            return self.raw(&Value::from(items.to_vec()));
        }
        let head: Vec<String> = columns.iter().map(|(name, _)| (*name).to_owned()).collect();
        let rows = items.iter().map(|item| columns.iter().map(|(_, text)| clean(&text(item))).collect());
        let all: Vec<Vec<String>> = std::iter::once(head).chain(rows).collect();
        let mut out = std::io::stdout().lock();
        for line in aligned(&all) {
            writeln!(out, "{line}")?;
        }
        Ok(())
    }

    /// One entry: a line for each field.
    pub(crate) fn fields(self, value: &Value, fields: &[Column<'_>]) -> Result<(), CliError> {
        if self.json {
            return self.raw(value);
        }
        let rows: Vec<Vec<String>> = fields
            .iter()
            .map(|(name, text)| (*name, text(value)))
            .filter(|(_, text)| !text.is_empty())
            .map(|(name, text)| vec![name.to_owned(), clean(&text)])
            .collect();
        let mut out = std::io::stdout().lock();
        for line in aligned(&rows) {
            writeln!(out, "{line}")?;
        }
        Ok(())
    }

    /// What was done: a sentence for people.
    pub(crate) fn done(self, value: &Value, sentence: &str) -> Result<(), CliError> {
        if self.json {
            return self.raw(value);
        }
        writeln!(std::io::stdout(), "{}", clean(sentence))?;
        Ok(())
    }

    /// A further line for people.
    pub(crate) fn line(self, text: &str) -> Result<(), CliError> {
        if !self.json {
            writeln!(std::io::stdout(), "{}", clean(text))?;
        }
        Ok(())
    }

    fn raw(self, value: &Value) -> Result<(), CliError> {
        let mut out = std::io::stdout().lock();
        serde_json::to_writer_pretty(&mut out, value).map_err(std::io::Error::from)?;
        writeln!(out)?;
        Ok(())
    }
}

/// Columns as wide as their widest text, two spaces between.
fn aligned(rows: &[Vec<String>]) -> Vec<String> {
    let columns = rows.iter().map(Vec::len).max().unwrap_or(0);
    let width = |column: usize| {
        rows.iter().filter_map(|row| row.get(column)).map(|text| text.chars().count()).max().unwrap_or(0)
    };
    let widths: Vec<usize> = (0..columns).map(width).collect();
    let line = |row: &Vec<String>| {
        let cells: Vec<String> =
            row.iter().zip(&widths).map(|(text, width)| format!("{text:<width$}")).collect();
        cells.join("  ").trim_end().to_owned()
    };
    rows.iter().map(line).collect()
}

/// Without control characters, and without those that turn the direction of writing.
fn clean(text: &str) -> String {
    let bad = |c: char| {
        c.is_control()
            || matches!(c, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
    };
    text.chars().map(|c| if bad(c) { '\u{fffd}' } else { c }).collect()
}

/// A field as text; nothing when it is null or missing.
pub(crate) fn text(value: &Value, key: &str) -> String {
    match value.get(key) {
        None | Some(Value::Null) => String::new(),
        Some(Value::String(text)) => text.clone(),
        Some(Value::Bool(true)) => "yes".to_owned(),
        Some(Value::Bool(false)) => "no".to_owned(),
        Some(Value::Array(items)) => items.iter().map(plain).collect::<Vec<_>>().join(", "),
        Some(other) => other.to_string(),
    }
}

fn plain(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

/// A field that is a list; an empty one when it is null or missing.
pub(crate) fn list_of(value: &Value, key: &str) -> Vec<Value> {
    value.get(key).and_then(Value::as_array).cloned().unwrap_or_default()
}

/// A field of bytes; null is unlimited.
pub(crate) fn bytes(value: &Value, key: &str) -> String {
    match value.get(key) {
        None => String::new(),
        Some(Value::Null) => "unlimited".to_owned(),
        Some(number) => number.as_u64().map_or_else(|| number.to_string(), size::bytes),
    }
}

/// A field that is a limit; null is unlimited.
pub(crate) fn limit(value: &Value, key: &str) -> String {
    match value.get(key) {
        Some(Value::Null) => "unlimited".to_owned(),
        _ => text(value, key),
    }
}

/// A field of milliseconds since 1970, in UTC.
pub(crate) fn moment(value: &Value, key: &str) -> String {
    let Some(ms) = value.get(key).and_then(Value::as_i64).filter(|ms| *ms > 0) else { return String::new() };
    let format = format_description!("[year]-[month]-[day] [hour]:[minute]:[second]");
    let moment = OffsetDateTime::from_unix_timestamp(ms / 1000).ok();
    moment.and_then(|moment| moment.format(format).ok()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_aligned_and_texts_are_clean() {
        let rows = vec![vec!["NAME".to_owned(), "X".to_owned()], vec!["a".to_owned(), "ü".to_owned()]];
        assert_eq!(aligned(&rows), ["NAME  X", "a     ü"]);
        assert_eq!(clean("a\x1b[31m\u{202e}b\n"), "a\u{fffd}[31m\u{fffd}b\u{fffd}");
    }

    #[test]
    fn fields_become_texts() {
        let value = serde_json::json!({ "n": null, "b": true, "l": ["x", 1], "t": 0, "ms": 86_400_000 });
        assert_eq!(text(&value, "l"), "x, 1");
        assert_eq!(text(&value, "n"), "");
        assert_eq!(bytes(&value, "n"), "unlimited");
        assert_eq!(moment(&value, "t"), "");
        assert_eq!(moment(&value, "ms"), "1970-01-02 00:00:00");
    }
}
