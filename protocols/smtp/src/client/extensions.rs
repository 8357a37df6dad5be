//! What a server offers, from its reply to EHLO (RFC 5321 §4.1.1.1).

use crate::Reply;

/// The extensions that matter to us.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Extensions {
    /// PIPELINING
    pub pipelining: bool,
    /// SIZE with its limit; 0 when there is none.
    pub size: Option<u64>,
    /// 8BITMIME
    pub eight_bit_mime: bool,
    /// SMTPUTF8
    pub smtputf8: bool,
    /// DSN
    pub dsn: bool,
    /// CHUNKING
    pub chunking: bool,
    /// BINARYMIME; counts only with CHUNKING.
    pub binary_mime: bool,
    /// STARTTLS
    pub starttls: bool,
    /// REQUIRETLS
    pub requiretls: bool,
    /// AUTH PLAIN
    pub auth_plain: bool,
    /// AUTH LOGIN
    pub auth_login: bool,
    /// LIMITS RCPTMAX (RFC 9422)
    pub recipients_max: Option<usize>,
    /// LIMITS MAILMAX (RFC 9422)
    pub mails_max: Option<u32>,
}

impl Extensions {
    /// Reads the reply to EHLO or LHLO; the first line is the greeting. What is not known is passed over.
    pub fn parse(reply: &Reply) -> Extensions {
        let mut found = Extensions::default();
        for line in reply.text.lines().skip(1) {
            // Some old servers write AUTH=PLAIN.
            let mut words = line.split([' ', '=']).filter(|word| !word.is_empty());
            let keyword = words.next().unwrap_or_default().to_ascii_uppercase();
            match keyword.as_str() {
                "PIPELINING" => found.pipelining = true,
                "SIZE" => found.size = Some(words.next().and_then(|word| word.parse().ok()).unwrap_or(0)),
                "8BITMIME" => found.eight_bit_mime = true,
                "SMTPUTF8" => found.smtputf8 = true,
                "DSN" => found.dsn = true,
                "CHUNKING" => found.chunking = true,
                "BINARYMIME" => found.binary_mime = true,
                "STARTTLS" => found.starttls = true,
                "REQUIRETLS" => found.requiretls = true,
                "AUTH" => words.for_each(|word| found.mechanism(word)),
                "LIMITS" => found.limits(line),
                _ => {}
            }
        }
        found
    }

    fn mechanism(&mut self, name: &str) {
        self.auth_plain |= name.eq_ignore_ascii_case("PLAIN");
        self.auth_login |= name.eq_ignore_ascii_case("LOGIN");
    }

    fn limits(&mut self, line: &str) {
        for (name, value) in line.split(' ').filter_map(|word| word.split_once('=')) {
            if name.eq_ignore_ascii_case("RCPTMAX") {
                self.recipients_max = value.parse().ok().filter(|max| *max > 0);
            } else if name.eq_ignore_ascii_case("MAILMAX") {
                self.mails_max = value.parse().ok().filter(|max| *max > 0);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reply_to_ehlo() {
        let text = "mx PIPELINING\nsize 1000\nAUTH=LOGIN\nAUTH PLAIN X\nLIMITS RCPTMAX=20 MAILMAX=0 FOO\nNEW thing\nBINARYMIME";
        let found = Extensions::parse(&Reply::bare(250, text));
        let want = Extensions {
            size: Some(1000),
            auth_plain: true,
            auth_login: true,
            binary_mime: true,
            recipients_max: Some(20),
            ..Extensions::default()
        };
        assert_eq!(found, want);
        assert_eq!(Extensions::parse(&Reply::bare(250, "x\nSIZE")).size, Some(0));
    }
}
