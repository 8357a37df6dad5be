//! What every text on the wire must be.

/// Every CR has its LF and every LF its CR; the last line may lack both.
pub fn assert_line_ends(said: &[u8]) {
    let mut last = 0;
    for (at, byte) in said.iter().enumerate() {
        let near = || String::from_utf8_lossy(&said[at.saturating_sub(80)..at + 1]).into_owned();
        assert!(*byte != b'\n' || last == b'\r', "LF without CR: {:?}", near());
        assert!(last != b'\r' || *byte == b'\n', "CR without LF: {:?}", near());
        last = *byte;
    }
    assert!(last != b'\r', "CR at the end");
}

/// The responses of an IMAP server, literals replaced by `{}`. Checks their form on the way: line ends,
/// no NUL, quotes and parentheses in pairs.
pub fn imap_responses(said: &[u8]) -> Vec<String> {
    let mut found = Vec::new();
    let mut rest = said;
    let mut response = String::new();
    while !rest.is_empty() {
        let end = rest.iter().position(|byte| *byte == b'\n').expect("a response has no end");
        let (line, after) = rest.split_at(end + 1);
        let line = line.strip_suffix(b"\r\n").expect("LF without CR in a response");
        assert!(!line.iter().any(|byte| matches!(byte, 0 | b'\r')), "a response has NUL or CR");
        let line = String::from_utf8_lossy(line);
        match literal(&line) {
            Some((before, size)) => {
                response.push_str(before);
                response.push_str("{}");
                rest = after.get(size..).expect("a literal is cut short");
            }
            None => {
                response.push_str(&line);
                rest = after;
                assert_paired(&response);
                found.push(std::mem::take(&mut response));
            }
        }
    }
    assert!(response.is_empty(), "a response ends in a literal");
    found
}

/// The text before `{n}` or `~{n}` at the end of a line, and n.
fn literal(line: &str) -> Option<(&str, usize)> {
    let (before, size) = line.strip_suffix('}')?.rsplit_once('{')?;
    Some((before, size.parse().ok()?))
}

fn assert_paired(response: &str) {
    let data = ["FETCH (", "LIST (", "LSUB (", "STATUS ", "ID (", "ESEARCH ", "NAMESPACE "];
    let Some(text) = response.strip_prefix("* ") else { return };
    let text = text.trim_start_matches(|c: char| c.is_ascii_digit() || c == ' ');
    if !data.iter().any(|name| text.starts_with(name)) {
        return;
    }
    let (mut depth, mut quoted, mut escaped) = (0, false, false);
    for c in text.chars() {
        match c {
            _ if escaped => {
                assert!(matches!(c, '"' | '\\'), "a bad escape in {response:?}");
                escaped = false;
            }
            '\\' if quoted => escaped = true,
            '"' => quoted = !quoted,
            '(' if !quoted => depth += 1,
            ')' if !quoted => depth -= 1,
            _ => {}
        }
        assert!(depth >= 0, "too many ')' in {response:?}");
    }
    assert!(depth == 0 && !quoted, "not closed: {response:?}");
}

/// The last line is complete.
pub fn assert_ends(said: &[u8]) {
    assert!(said.is_empty() || said.ends_with(b"\r\n"), "the last line has no end");
}
