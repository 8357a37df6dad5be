//! Reads Maildir folders and their subfolders (Maildir++: `.A.B` is `A/B`).
//!
//! Only plain files of `cur` and `new` are read, never links. Flags are the letters after `:2,`; small letters
//! stand for the keywords of a `dovecot-keywords` file. The date is that of the file.

use super::utf7;
use estafette_mailbox::{Keyword, MailboxName};
use std::ffi::OsString;
use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::time::UNIX_EPOCH;

/// The most of a `dovecot-keywords` file that is read.
const KEYWORDS_MAX_BYTES: u64 = 64 * 1024;
/// Bytes read at once.
const PIECE_BYTES: usize = 64 * 1024;

/// A folder of messages.
#[derive(Debug)]
pub(super) struct Folder {
    pub(super) path: PathBuf,
    /// Its name, or why it cannot have one.
    pub(super) mailbox: Result<MailboxName, String>,
}

/// A message's file.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Entry {
    pub(super) path: PathBuf,
    pub(super) flags: Vec<String>,
}

/// What became of a file.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Content {
    /// With CRLF line ends.
    Body {
        body: Vec<u8>,
        date_ms: Option<i64>,
    },
    TooLarge,
    /// A link, a pipe, a folder.
    NoFile,
}

/// True when the path has `cur` or `new` in it.
pub(super) fn is_maildir(path: &Path) -> bool {
    ["cur", "new"].iter().any(|part| path.join(part).is_dir())
}

/// The folder itself and its subfolders, in the order of their names. Below `base`, or else the folder is INBOX and
/// the others stand beside it.
pub(super) fn folders(root: &Path, base: Option<&MailboxName>) -> io::Result<Vec<Folder>> {
    let top = base.cloned().unwrap_or_else(MailboxName::inbox);
    let mut names: Vec<OsString> = Vec::new();
    for entry in fs::read_dir(root)? {
        let entry = entry?;
        let name = entry.file_name();
        let dotted = name.as_encoded_bytes().starts_with(b".");
        if dotted && entry.file_type()?.is_dir() && is_maildir(&entry.path()) {
            names.push(name);
        }
    }
    names.sort();
    let mut folders = vec![Folder { path: root.to_owned(), mailbox: Ok(top) }];
    for name in names {
        let mailbox = mailbox_name(&name, base);
        folders.push(Folder { path: root.join(&name), mailbox });
    }
    Ok(folders)
}

fn mailbox_name(name: &OsString, base: Option<&MailboxName>) -> Result<MailboxName, String> {
    let text = name.to_str().ok_or("its name is not UTF-8")?;
    let text = text.strip_prefix('.').unwrap_or(text);
    // The separator stands between levels; within one it becomes something else.
    let level = |level: &str| utf7::decode(level).unwrap_or_else(|| level.to_owned()).replace('/', "_");
    let levels: Vec<String> = text.split('.').map(level).collect();
    let name = levels.join("/");
    let whole = base.map_or_else(|| name.clone(), |base| format!("{base}/{name}"));
    MailboxName::parse(&whole).map_err(|error| error.to_string())
}

/// The messages of a folder: those of `cur`, then those of `new`, each in the order of their names.
pub(super) fn entries(folder: &Path) -> io::Result<Vec<Entry>> {
    let keywords = keywords(folder)?;
    let mut entries = Vec::new();
    for part in ["cur", "new"] {
        let listed = match fs::read_dir(folder.join(part)) {
            Ok(listed) => listed,
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            Err(error) => return Err(error),
        };
        let mut names: Vec<OsString> = Vec::new();
        for entry in listed {
            let name = entry?.file_name();
            if !name.as_encoded_bytes().starts_with(b".") {
                names.push(name);
            }
        }
        names.sort();
        for name in names {
            let flags = flags(&name.to_string_lossy(), &keywords);
            entries.push(Entry { path: folder.join(part).join(name), flags });
        }
    }
    Ok(entries)
}

/// The letters after `:2,`; some file systems have `;` or `!` in place of the colon.
fn flags(name: &str, keywords: &[(char, Keyword)]) -> Vec<String> {
    let start = [":2,", ";2,", "!2,"].iter().find_map(|mark| name.rfind(mark).map(|at| at + mark.len()));
    let letters = start.and_then(|start| name.get(start..)).unwrap_or_default();
    let mut flags: Vec<String> = Vec::new();
    for letter in letters.chars().take_while(char::is_ascii_alphabetic) {
        let flag = match letter {
            'S' => "\\Seen",
            'R' => "\\Answered",
            'F' => "\\Flagged",
            'T' => "\\Deleted",
            'D' => "\\Draft",
            'P' => "$Forwarded",
            letter => match keywords.iter().find(|(known, _)| *known == letter) {
                Some((_, keyword)) => keyword.as_str(),
                None => continue,
            },
        };
        if !flags.iter().any(|known| known == flag) {
            flags.push(flag.to_owned());
        }
    }
    flags
}

/// Lines `0 $Label1`: the number is the place of the small letter.
fn keywords(folder: &Path) -> io::Result<Vec<(char, Keyword)>> {
    let path = folder.join("dovecot-keywords");
    match fs::symlink_metadata(&path) {
        Ok(metadata) if metadata.is_file() => {}
        _ => return Ok(Vec::new()),
    }
    let mut bytes = Vec::new();
    File::open(path)?.take(KEYWORDS_MAX_BYTES).read_to_end(&mut bytes)?;
    let parse = |line: &str| {
        let (number, name) = line.split_once(' ')?;
        let number: u8 = number.parse().ok().filter(|number| *number < 26)?;
        Some((char::from(b'a' + number), Keyword::parse(name.trim()).ok()?))
    };
    Ok(String::from_utf8_lossy(&bytes).lines().filter_map(parse).collect())
}

/// A message with CRLF line ends, and the date of its file.
pub(super) fn content(path: &Path, limit: usize) -> io::Result<Content> {
    let metadata = fs::symlink_metadata(path)?;
    if !metadata.is_file() {
        return Ok(Content::NoFile);
    }
    let date_ms = metadata.modified().ok().and_then(|modified| match modified.duration_since(UNIX_EPOCH) {
        Ok(since) => i64::try_from(since.as_millis()).ok(),
        Err(before) => i64::try_from(before.duration().as_millis()).ok().map(|ms| -ms),
    });
    let mut file = File::open(path)?;
    let mut piece = vec![0; PIECE_BYTES];
    let mut body = Vec::new();
    loop {
        let read = match file.read(&mut piece) {
            Ok(0) => return Ok(Content::Body { body, date_ms }),
            Ok(read) => read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(error),
        };
        push(&mut body, piece.get(..read).unwrap_or_default());
        if body.len() > limit {
            return Ok(Content::TooLarge);
        }
    }
}

/// Adds bytes; a lone LF becomes CRLF.
fn push(body: &mut Vec<u8>, bytes: &[u8]) {
    for line in bytes.split_inclusive(|byte| *byte == b'\n') {
        match line.strip_suffix(b"\n") {
            Some(text) => {
                body.extend_from_slice(text);
                let end: &[u8] = if body.last() == Some(&b'\r') { b"\n" } else { b"\r\n" };
                body.extend_from_slice(end);
            }
            None => body.extend_from_slice(line),
        }
    }
}
