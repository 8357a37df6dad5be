//! Patterns of LIST and LSUB (RFC 9051 §6.3.9): `*` stands for any text, `%` for any text without the
//! delimiter.
//!
//! Time is bounded by the length of the pattern times that of the name, whatever the pattern.

/// A pattern, reference included.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pattern {
    tokens: Vec<Token>,
    delimiter: char,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Token {
    Char(char),
    /// `%`
    Level,
    /// `*`
    Any,
}

impl Pattern {
    /// Joins the reference and the pattern. A start of the pattern that is `INBOX` in any case, as a
    /// whole level, stands for `INBOX`.
    pub fn new(reference: &str, pattern: &str, delimiter: char) -> Pattern {
        let mut tokens: Vec<Token> = Vec::with_capacity(reference.len() + pattern.len());
        for c in reference.chars().chain(pattern.chars()) {
            match (c, tokens.last()) {
                // Wildcards side by side are one; `*` is the stronger.
                ('*', Some(Token::Any | Token::Level)) => _ = tokens.pop(),
                ('%', Some(Token::Any | Token::Level)) => continue,
                _ => {}
            }
            tokens.push(match c {
                '*' => Token::Any,
                '%' => Token::Level,
                c => Token::Char(c),
            });
        }
        let mut pattern = Pattern { tokens, delimiter };
        pattern.fold_inbox();
        pattern
    }

    fn fold_inbox(&mut self) {
        let ends = matches!(self.tokens.get(5), None | Some(Token::Any | Token::Level))
            || self.tokens.get(5) == Some(&Token::Char(self.delimiter));
        let Some(head) = self.tokens.get_mut(..5).filter(|_| ends) else { return };
        let same = |(token, c): (&Token, char)| matches!(token, Token::Char(t) if t.eq_ignore_ascii_case(&c));
        if head.iter().zip("INBOX".chars()).all(same) {
            head.iter_mut().zip("INBOX".chars()).for_each(|(token, c)| *token = Token::Char(c));
        }
    }

    /// Whether the pattern stands for this name.
    pub fn matches(&self, name: &str) -> bool {
        // Position i of `states` tells whether the first i tokens stand for what was read so far. A
        // wildcard may stand for nothing, so it hands its predecessor's state on.
        let mut states = vec![false; self.tokens.len() + 1];
        if let Some(first) = states.first_mut() {
            *first = true;
        }
        self.pass_wildcards(&mut states);
        for c in name.chars() {
            let mut before = false;
            for (i, state) in states.iter_mut().enumerate() {
                let token = i.checked_sub(1).and_then(|i| self.tokens.get(i));
                let now = match token {
                    None => false,
                    Some(Token::Char(t)) => before && *t == c,
                    Some(Token::Any) => *state,
                    Some(Token::Level) => *state && c != self.delimiter,
                };
                before = std::mem::replace(state, now);
            }
            self.pass_wildcards(&mut states);
            if !states.contains(&true) {
                return false;
            }
        }
        states.last().copied().unwrap_or(false)
    }

    fn pass_wildcards(&self, states: &mut [bool]) {
        let mut before = states.first().copied().unwrap_or(false);
        for (token, state) in self.tokens.iter().zip(states.iter_mut().skip(1)) {
            *state |= before && !matches!(token, Token::Char(_));
            before = *state;
        }
    }

    /// The text before the first wildcard: every name that matches begins with it.
    pub fn prefix(&self) -> String {
        let chars = self.tokens.iter().map_while(|token| match token {
            Token::Char(c) => Some(*c),
            Token::Any | Token::Level => None,
        });
        chars.collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn matches(pattern: &str, name: &str) -> bool {
        Pattern::new("", pattern, '/').matches(name)
    }

    #[test]
    fn wildcards_mean_what_they_should() {
        for (pattern, name, expected) in [
            ("*", "", true),
            ("*", "a/b/c", true),
            ("%", "a", true),
            ("%", "a/b", false),
            ("%/%", "a/b", true),
            ("a/%", "a/b/c", false),
            ("a/*", "a/b/c", true),
            ("a*c", "a/b/c", true),
            ("a%c", "a/c", false),
            ("a%c", "abbc", true),
            ("%b*", "ab/c", true),
            ("inbox", "INBOX", true),
            ("InBoX/%", "INBOX/a", true),
            ("inboxes", "INBOXes", false),
            ("Inbox%", "INBOX", true),
            ("foo", "Foo", false),
            ("", "", true),
            ("", "a", false),
            ("%*%", "a/b", true),
            ("日*", "日本/語", true),
        ] {
            assert_eq!(matches(pattern, name), expected, "{pattern} {name}");
        }
        assert!(Pattern::new("Archive/", "%", '/').matches("Archive/2024"));
        assert_eq!(Pattern::new("a/", "b%c", '/').prefix(), "a/b");
    }

    #[test]
    fn hostile_patterns_take_no_exponential_time() {
        let pattern = "a*".repeat(300);
        let name = "a".repeat(1000);
        assert!(matches(&pattern, &name));
        assert!(!matches(&format!("{pattern}b"), &name));
        assert!(!matches(&format!("{}b", "%*a".repeat(300)), &name));
    }

    /// The definition, word for word.
    fn slow(pattern: &[char], name: &[char]) -> bool {
        match pattern.split_first() {
            None => name.is_empty(),
            Some((wild @ ('*' | '%'), rest)) => {
                let stop = if *wild == '%' { name.iter().position(|c| *c == '/') } else { None };
                (0..=stop.unwrap_or(name.len())).any(|i| slow(rest, &name[i..]))
            }
            Some((c, rest)) => name.first() == Some(c) && slow(rest, &name[1..]),
        }
    }

    proptest! {
        #[test]
        fn agrees_with_the_definition(pattern in "[ab/%*]{0,8}", name in "[ab/]{0,8}") {
            let (p, n): (Vec<char>, Vec<char>) = (pattern.chars().collect(), name.chars().collect());
            prop_assert_eq!(matches(&pattern, &name), slow(&p, &n));
        }
    }
}
