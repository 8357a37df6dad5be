//! Patterns of LIST against another way to match, and their prefixes.
#![no_main]

use estafette_fuzz::head;
use estafette_imap::codec::pattern::Pattern;
use libfuzzer_sys::fuzz_target;

/// Whether each start of the pattern stands for the name read so far, row by row.
fn matches(pattern: &[char], name: &[char]) -> bool {
    // `rows[i][j]`: the pattern from i stands for the name from j.
    let mut rows = vec![vec![false; name.len() + 1]; pattern.len() + 1];
    rows[pattern.len()][name.len()] = true;
    for i in (0..pattern.len()).rev() {
        for j in (0..=name.len()).rev() {
            let goes_on = j < name.len();
            rows[i][j] = match pattern[i] {
                '*' => rows[i + 1][j] || (goes_on && rows[i][j + 1]),
                '%' => rows[i + 1][j] || (goes_on && name[j] != '/' && rows[i][j + 1]),
                c => goes_on && name[j] == c && rows[i + 1][j + 1],
            };
        }
    }
    rows[0][0]
}

/// INBOX in any case is INBOX where it is a whole level.
fn fold_inbox(pattern: &mut [char]) {
    if pattern.len() >= 5
        && pattern[..5].iter().zip("INBOX".chars()).all(|(a, b)| a.eq_ignore_ascii_case(&b))
        && matches!(pattern.get(5), None | Some('*' | '%' | '/'))
    {
        pattern[..5].iter_mut().for_each(|c| *c = c.to_ascii_uppercase());
    }
}

fuzz_target!(|data: &[u8]| {
    let (_, _, input) = head(data);
    let text = String::from_utf8_lossy(input);
    let mut parts = text.splitn(3, '\n');
    let mut next = || parts.next().unwrap_or_default();
    let (name, reference, pattern) = (next(), next(), next());
    let mut chars: Vec<char> = reference.chars().chain(pattern.chars()).collect();
    if chars.len() * name.len() > 100_000 {
        return;
    }
    fold_inbox(&mut chars);
    let ours = Pattern::new(reference, pattern, '/');
    let found = ours.matches(name);
    assert_eq!(found, matches(&chars, &name.chars().collect::<Vec<_>>()), "{chars:?} {name:?}");
    assert!(!found || name.starts_with(&ours.prefix()));
    let plain = chars.iter().position(|c| matches!(c, '*' | '%')).unwrap_or(chars.len());
    assert_eq!(ours.prefix(), chars[..plain].iter().collect::<String>());
});
