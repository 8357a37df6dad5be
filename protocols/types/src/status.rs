//! Enhanced mail system status codes (RFC 3463).

use serde::{Deserialize, Serialize};
use std::fmt;

/// The first digit: how final an answer is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum StatusClass {
    /// 2.X.X
    Success,
    /// 4.X.X: trying again may help.
    Transient,
    /// 5.X.X: trying again will not help.
    Permanent,
}

/// An enhanced status code: class, subject, detail (RFC 3463 §2).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct EnhancedStatus {
    /// The first number.
    pub class: StatusClass,
    /// The second number, 0 to 999.
    pub subject: u16,
    /// The third number, 0 to 999.
    pub detail: u16,
}

impl EnhancedStatus {
    /// A code from its three numbers; a class other than 2 or 4 is permanent.
    pub const fn new(class: u8, subject: u16, detail: u16) -> EnhancedStatus {
        let class = match class {
            2 => StatusClass::Success,
            4 => StatusClass::Transient,
            _ => StatusClass::Permanent,
        };
        EnhancedStatus { class, subject, detail }
    }

    /// Reads `5.1.1`; `None` when it is not such a code.
    pub fn parse(text: &str) -> Option<EnhancedStatus> {
        let mut parts = text.split('.');
        let class = match parts.next()? {
            "2" => StatusClass::Success,
            "4" => StatusClass::Transient,
            "5" => StatusClass::Permanent,
            _ => return None,
        };
        let mut number = || {
            let part = parts.next()?;
            let digits = !part.is_empty() && part.len() <= 3 && part.bytes().all(|b| b.is_ascii_digit());
            if digits { part.parse::<u16>().ok() } else { None }
        };
        let status = EnhancedStatus { class, subject: number()?, detail: number()? };
        if parts.next().is_some() { None } else { Some(status) }
    }
}

impl fmt::Display for EnhancedStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let class = match self.class {
            StatusClass::Success => 2,
            StatusClass::Transient => 4,
            StatusClass::Permanent => 5,
        };
        write!(f, "{class}.{}.{}", self.subject, self.detail)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_round_trip_and_bad_ones_are_refused() {
        for text in ["2.0.0", "4.2.2", "5.7.999"] {
            assert_eq!(EnhancedStatus::parse(text).unwrap().to_string(), text);
        }
        for text in ["", "3.0.0", "5.1", "5.1.1.1", "5.1000.1", "5.-1.1", "5..1"] {
            assert_eq!(EnhancedStatus::parse(text), None, "{text}");
        }
    }
}
