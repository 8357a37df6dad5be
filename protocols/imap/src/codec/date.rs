//! Dates and times of IMAP (RFC 9051 §9 `date`, `date-time`). No clock and no zone data: a zone is
//! the offset that was written.

use std::fmt;

const MONTHS: [&str; 12] =
    ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
const SECONDS_OF_DAY: i64 = 86_400;

/// `date-text = date-day "-" date-month "-" date-year`: a day that exists, of the years 0 to 9999.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Date {
    year: u16,
    month: u8,
    day: u8,
}

impl Date {
    /// `None` when there is no such day.
    pub fn new(year: u16, month: u8, day: u8) -> Option<Date> {
        let leap = year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400));
        let length = match month {
            1 | 3 | 5 | 7 | 8 | 10 | 12 => 31,
            4 | 6 | 9 | 11 => 30,
            2 if leap => 29,
            2 => 28,
            _ => return None,
        };
        ((1..=length).contains(&day) && year <= 9999).then_some(Date { year, month, day })
    }

    /// Reads `1-Feb-1994` or `01-Feb-1994`.
    pub fn parse(text: &str) -> Option<Date> {
        let mut parts = text.split('-');
        let (day, month, year) = (parts.next()?, parts.next()?, parts.next()?);
        let whole = parts.next().is_none() && matches!(day.len(), 1 | 2) && year.len() == 4;
        if !whole {
            return None;
        }
        let index = MONTHS.iter().position(|name| name.eq_ignore_ascii_case(month))?;
        Date::new(digits(year)?, u8::try_from(index + 1).ok()?, u8::try_from(digits(day)?).ok()?)
    }

    /// Days since 1970-01-01; negative before.
    pub fn days_since_epoch(self) -> i64 {
        // Years begin in March, so that the leap day is the last of its year.
        let early = i64::from(self.month <= 2);
        let year = i64::from(self.year) - early;
        let era = year.div_euclid(400);
        let year_of_era = year.rem_euclid(400);
        let month = i64::from(self.month) + 12 * early - 3;
        let day_of_year = (153 * month + 2) / 5 + i64::from(self.day) - 1;
        let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
        era * 146_097 + day_of_era - 719_468
    }

    /// The day that is so many days after 1970-01-01, held within the years 0 to 9999.
    pub fn from_days(days: i64) -> Date {
        let days = days.clamp(-719_528, 2_932_896) + 719_468;
        let era = days.div_euclid(146_097);
        let day_of_era = days.rem_euclid(146_097);
        let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
        let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
        let march_month = (5 * day_of_year + 2) / 153;
        let day = day_of_year - (153 * march_month + 2) / 5 + 1;
        let month = if march_month < 10 { march_month + 3 } else { march_month - 9 };
        let year = year_of_era + era * 400 + i64::from(month <= 2);
        let small = |n: i64| u8::try_from(n).unwrap_or(1);
        Date { year: u16::try_from(year).unwrap_or(0), month: small(month), day: small(day) }
    }

    fn month_name(self) -> &'static str {
        MONTHS.get(usize::from(self.month).wrapping_sub(1)).copied().unwrap_or("Jan")
    }
}

impl fmt::Display for Date {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}-{:04}", self.day, self.month_name(), self.year)
    }
}

/// `date-time = DQUOTE date-day-fixed "-" date-month "-" date-year SP time SP zone DQUOTE`
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct DateTime {
    /// Seconds since 1970-01-01 UTC.
    pub unix_seconds: i64,
    /// Minutes that local time is ahead of UTC.
    pub zone_minutes: i16,
}

impl DateTime {
    /// A time in UTC.
    pub const fn utc(unix_seconds: i64) -> DateTime {
        DateTime { unix_seconds, zone_minutes: 0 }
    }

    /// Reads the text between the quotes: `17-Jul-1996 02:44:25 -0700`, the day with a space or a
    /// zero before it when it has one digit. A leap second is the second before it.
    pub fn parse(text: &str) -> Option<DateTime> {
        let mut words = text.trim_start_matches(' ').split(' ');
        let (date, clock, zone) = (words.next()?, words.next()?, words.next()?);
        if words.next().is_some() || !matches!(text.len(), 25 | 26) {
            return None;
        }
        let date = Date::parse(date)?;
        let mut parts = clock.split(':');
        let mut part =
            |max: u16| parts.next().filter(|p| p.len() == 2).and_then(digits).filter(|n| *n <= max);
        let (hour, minute, second) = (part(23)?, part(59)?, part(60)?);
        let zone_minutes = zone_minutes(zone)?;
        if parts.next().is_some() {
            return None;
        }
        let local = i64::from(hour) * 3600 + i64::from(minute) * 60 + i64::from(second.min(59));
        let unix_seconds = date.days_since_epoch() * SECONDS_OF_DAY + local - i64::from(zone_minutes) * 60;
        Some(DateTime { unix_seconds, zone_minutes })
    }

    /// The day in the zone that was written.
    pub fn date(self) -> Date {
        Date::from_days(self.local_seconds().div_euclid(SECONDS_OF_DAY))
    }

    fn local_seconds(self) -> i64 {
        self.unix_seconds.saturating_add(i64::from(self.zone_minutes) * 60)
    }
}

/// Without the quotes.
impl fmt::Display for DateTime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let date = self.date();
        let second = self.local_seconds().rem_euclid(SECONDS_OF_DAY);
        let (hour, minute, second) = (second / 3600, second / 60 % 60, second % 60);
        let sign = if self.zone_minutes < 0 { '-' } else { '+' };
        let zone = self.zone_minutes.unsigned_abs();
        write!(f, "{:2}-{}-{:04} ", date.day, date.month_name(), date.year)?;
        write!(f, "{hour:02}:{minute:02}:{second:02} {sign}{:02}{:02}", zone / 60, zone % 60)
    }
}

/// `zone = ("+" / "-") 4DIGIT`
fn zone_minutes(zone: &str) -> Option<i16> {
    let negative = zone.starts_with('-');
    let number = digits(zone.strip_prefix(['+', '-']).filter(|n| n.len() == 4)?)?;
    let minutes = i16::try_from(number / 100 * 60 + number % 100).ok()?;
    (number % 100 < 60).then_some(if negative { -minutes } else { minutes })
}

fn digits(text: &str) -> Option<u16> {
    let only = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    if only { text.parse().ok() } else { None }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_day_of_800_years_round_trips() {
        for days in -150_000..150_000 {
            let date = Date::from_days(days);
            assert_eq!(date.days_since_epoch(), days);
            assert_eq!(Date::new(date.year, date.month, date.day), Some(date));
        }
        assert_eq!(Date::from_days(0), Date::new(1970, 1, 1).unwrap());
        assert_eq!(Date::from_days(19_782), Date::new(2024, 2, 29).unwrap());
        assert_eq!(Date::from_days(i64::MIN).year, 0);
        assert_eq!(Date::from_days(i64::MAX).year, 9999);
    }

    #[test]
    fn times_are_read_and_printed() {
        let time = DateTime::parse("17-Jul-1996 02:44:25 -0700").unwrap();
        assert_eq!(time.unix_seconds, 837_596_665);
        assert_eq!(time.to_string(), "17-Jul-1996 02:44:25 -0700");
        assert_eq!(DateTime::utc(0).to_string(), " 1-Jan-1970 00:00:00 +0000");
        for text in [" 1-Jan-1970 00:00:00 +0000", "01-Jan-1970 00:00:60 +0001", "1-Jan-1970 00:00:00 +0000"]
        {
            assert!(DateTime::parse(text).is_some(), "{text}");
        }
        for text in [
            "",
            "17-Jul-1996 02:44:25",
            "17-Jul-1996 02:44:25 0700x",
            "17-Jul-1996 24:00:00 +0000",
            "31-Feb-1996 00:00:00 +0000",
            "17-Jul-1996 02:44:25 +07:0",
            "17-Jul-1996 +2:44:25 +0700",
            "17-Jul-1996 02:44:25 +0760",
            "00-Jul-1996 02:44:25 +0000",
        ] {
            assert_eq!(DateTime::parse(text), None, "{text}");
        }
    }

    #[test]
    fn dates_that_are_none_are_refused() {
        assert_eq!(Date::parse("1-fEb-1994").unwrap().to_string(), "1-Feb-1994");
        for text in
            ["", "1-Feb", "1-Feb-94", "29-Feb-1994", "001-Feb-1994", "1-Fev-1994", "1-2-1994", "+1-Feb-1994"]
        {
            assert_eq!(Date::parse(text), None, "{text}");
        }
    }
}
