//! The day of a Date field as it was written (RFC 9051 §6.4.4 SENTON: disregarding time and timezone).

use estafette_imap::codec::date::Date;

const MONTHS: [&str; 12] =
    ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
/// A field that is longer holds no date that anybody wrote.
const FIELD_MAX_BYTES: usize = 1024;

/// Days since 1970-01-01; `None` when the text begins with no date (RFC 5322 §3.3, §4.3).
pub(super) fn day(field: &[u8]) -> Option<i64> {
    let field = field.get(..field.len().min(FIELD_MAX_BYTES))?;
    let text = without_comments(field);
    let mut words = text
        .split(|c: char| c.is_ascii_whitespace() || matches!(c, ',' | '-'))
        .filter(|word| !word.is_empty())
        .skip_while(|word| !word.starts_with(|c: char| c.is_ascii_digit()));
    let (day, month, year) = (words.next()?, words.next()?, words.next()?);
    let day: u8 = day.parse().ok()?;
    let name = month.get(..3)?;
    let month = MONTHS.iter().position(|known| known.eq_ignore_ascii_case(name))?;
    let year: u16 = match (year.len(), year.parse().ok()?) {
        (4, year) => year,
        (2, year @ 0..50) => 2000 + year,
        (2 | 3, year) => 1900 + year,
        _ => return None,
    };
    Some(Date::new(year, u8::try_from(month + 1).ok()?, day)?.days_since_epoch())
}

/// The text without what stands in parentheses; bytes that are no ASCII are no part of a date.
fn without_comments(field: &[u8]) -> String {
    let mut depth = 0_u32;
    let mut text = String::with_capacity(field.len());
    for &byte in field {
        match byte {
            b'(' => depth += 1,
            b')' if depth > 0 => {
                depth -= 1;
                text.push(' ');
            }
            byte if depth == 0 && byte.is_ascii() => text.push(char::from(byte)),
            _ => {}
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn days_are_read_as_written() {
        let fourth = Date::new(2002, 9, 4).map(Date::days_since_epoch);
        for text in [
            " Wed, 04 Sep 2002 23:59:59 -1200",
            "4 Sep 2002 00:00:00 +1400 (a zone)",
            "(so)Wed,(it)4(is)sep(now)02 10:00 GMT",
            "Wednesday, 4-September-2002",
            "Wed, 4 Sep 102 10:00:00 GMT",
        ] {
            assert_eq!(day(text.as_bytes()), fourth, "{text}");
        }
        assert_eq!(day(b"1 Jan 70"), Some(0));
    }

    #[test]
    fn what_is_no_date_has_no_day() {
        for text in [
            "",
            "Wed,",
            "Wed, 31 Feb 2002",
            "4 Sap 2002",
            "4 Sep",
            "4 Sep 20021",
            "99999 Sep 2002",
            "((((",
            "2002-09-04",
        ] {
            assert_eq!(day(text.as_bytes()), None, "{text}");
        }
        assert_eq!(day(&[0xFF; 5000]), None);
        assert_eq!(day(&vec![b'('; 5000]), None);
    }
}
