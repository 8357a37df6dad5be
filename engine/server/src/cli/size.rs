//! Sizes as people write them: `500M`, `3GiB`, `unlimited`.

use std::str::FromStr;

/// A number of bytes. Units are powers of 1024.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Size(pub(crate) u64);

/// A limit: a value, or none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Limit<T> {
    /// At most this.
    Of(T),
    /// No limit.
    Unlimited,
}

/// A quota as the API takes it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Quota {
    /// Bytes.
    Of(Size),
    /// The domain's default.
    Default,
    /// No limit.
    Unlimited,
}

/// A text is no size.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("'{0}' is no size; write it as 500M, 3G or a number of bytes{1}")]
pub(crate) struct SizeError(String, &'static str);

impl FromStr for Size {
    type Err = SizeError;
    fn from_str(text: &str) -> Result<Size, SizeError> {
        let bad = || SizeError(text.to_owned(), "");
        let end = text.bytes().position(|byte| !byte.is_ascii_digit() && byte != b'.').unwrap_or(text.len());
        let (number, unit) = text.split_at(end);
        let unit = unit.trim().to_ascii_lowercase();
        let power = match unit.as_str() {
            "" | "b" => 0,
            "k" | "kb" | "kib" => 10,
            "m" | "mb" | "mib" => 20,
            "g" | "gb" | "gib" => 30,
            "t" | "tb" | "tib" => 40,
            _ => return Err(bad()),
        };
        let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
        if whole.is_empty()
            || fraction.len() > 6
            || fraction.contains('.')
            || (power == 0 && !fraction.is_empty())
        {
            return Err(bad());
        }
        let whole: u64 = whole.parse().map_err(|_| bad())?;
        let bytes = whole.checked_mul(1 << power).ok_or_else(bad)?;
        let parts: u64 = if fraction.is_empty() { 0 } else { fraction.parse().map_err(|_| bad())? };
        let scale = 10u64.pow(u32::try_from(fraction.len()).unwrap_or(6));
        let more = u128::from(parts) * (1u128 << power) / u128::from(scale);
        bytes.checked_add(u64::try_from(more).unwrap_or(u64::MAX)).map(Size).ok_or_else(bad)
    }
}

impl<T: FromStr> FromStr for Limit<T> {
    type Err = T::Err;
    fn from_str(text: &str) -> Result<Limit<T>, T::Err> {
        if text.eq_ignore_ascii_case("unlimited") {
            Ok(Limit::Unlimited)
        } else {
            text.parse().map(Limit::Of)
        }
    }
}

impl<T> Limit<T> {
    /// As the API takes it: null is unlimited.
    pub(crate) fn value(self) -> Option<T> {
        match self {
            Limit::Of(value) => Some(value),
            Limit::Unlimited => None,
        }
    }
}

impl FromStr for Quota {
    type Err = SizeError;
    fn from_str(text: &str) -> Result<Quota, SizeError> {
        match text.to_ascii_lowercase().as_str() {
            "default" => Ok(Quota::Default),
            "unlimited" => Ok(Quota::Unlimited),
            _ => text
                .parse()
                .map(Quota::Of)
                .map_err(|SizeError(text, _)| SizeError(text, ", or 'default' or 'unlimited'")),
        }
    }
}

impl Quota {
    /// As the API takes it.
    pub(crate) fn value(self) -> serde_json::Value {
        match self {
            Quota::Of(Size(bytes)) => bytes.into(),
            Quota::Default => "default".into(),
            Quota::Unlimited => "unlimited".into(),
        }
    }
}

/// Bytes for people.
pub(crate) fn bytes(bytes: u64) -> String {
    const UNITS: [(&str, u32); 4] = [("TiB", 40), ("GiB", 30), ("MiB", 20), ("KiB", 10)];
    for (unit, power) in UNITS {
        let one = 1u64 << power;
        if bytes >= one {
            let tenths = u128::from(bytes) * 10 / u128::from(one);
            return format!("{}.{} {unit}", tenths / 10, tenths % 10);
        }
    }
    format!("{bytes} B")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_read_as_written() {
        for (text, wanted) in [
            ("0", 0),
            ("17", 17),
            ("1k", 1024),
            ("1.5M", 1_572_864),
            ("3GiB", 3 << 30),
            ("2 tb", 2 << 40),
            ("10B", 10),
        ] {
            assert_eq!(text.parse(), Ok(Size(wanted)), "{text}");
        }
        for text in ["", "G", "-1", "1.5", "1x", "1..5G", "99999999999T", "1.1234567G", "1e9"] {
            assert!(text.parse::<Size>().is_err(), "{text}");
        }
        assert_eq!("Unlimited".parse::<Limit<u32>>().map(Limit::value), Ok(None));
        assert_eq!("default".parse(), Ok(Quota::Default));
    }

    #[test]
    fn bytes_are_shown_in_the_largest_unit() {
        assert_eq!(bytes(1023), "1023 B");
        assert_eq!(bytes(1536), "1.5 KiB");
        assert_eq!(bytes(3 << 30), "3.0 GiB");
    }
}
