//! How a source writes time, read into [`EventTime`].

use std::{fmt, str::FromStr};

use endcap_proto::EventTime;
use jiff::{Timestamp, civil::DateTime, fmt::strtime, tz::Offset};
use serde::{Deserialize, Serialize};

use super::importer::BadRow;

/// How a source writes time.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum TimeFormat {
    /// `auto`: a number is seconds, milliseconds or microseconds since 1970 by its size (below 10¹¹,
    /// below 10¹⁴, above); text is RFC 3339, or a date with or without a time of day.
    #[default]
    Auto,
    /// `s`: seconds since 1970.
    Seconds,
    /// `ms`: milliseconds since 1970.
    Milliseconds,
    /// `us`: microseconds since 1970.
    Microseconds,
    /// `rfc3339`: `2026-11-24T09:30:00Z`.
    Rfc3339,
    /// `%d.%m.%Y %H:%M`: a pattern of strptime.
    Pattern(String),
}

/// What has to be added to UTC to get the times of a source that does not say its zone: `+01:00`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct UtcOffset {
    minutes: i32,
}

/// Text that is neither a name of a format, nor a pattern, nor an offset.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no {1}")]
pub struct UnknownTimeFormat(String, &'static str);

// === impl TimeFormat ===

impl FromStr for TimeFormat {
    type Err = UnknownTimeFormat;

    fn from_str(text: &str) -> Result<Self, UnknownTimeFormat> {
        Ok(match text {
            "auto" => Self::Auto,
            "s" => Self::Seconds,
            "ms" => Self::Milliseconds,
            "us" => Self::Microseconds,
            "rfc3339" => Self::Rfc3339,
            pattern if pattern.contains('%') => Self::Pattern(pattern.to_owned()),
            _ => {
                let wanted =
                    "time format: it is auto, s, ms, us, rfc3339 or a pattern such as %Y-%m-%d %H:%M:%S";
                return Err(UnknownTimeFormat(text.to_owned(), wanted));
            }
        })
    }
}

impl fmt::Display for TimeFormat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Auto => "auto",
            Self::Seconds => "s",
            Self::Milliseconds => "ms",
            Self::Microseconds => "us",
            Self::Rfc3339 => "rfc3339",
            Self::Pattern(pattern) => pattern,
        })
    }
}

impl TimeFormat {
    /// Reads a time; `offset` is the zone of text that does not say its own.
    pub(super) fn read(&self, field: &str, text: &str, offset: UtcOffset) -> Result<EventTime, BadRow> {
        let text = text.trim();
        let micros = match self {
            Self::Seconds => epoch(text, 1_000_000),
            Self::Milliseconds => epoch(text, 1000),
            Self::Microseconds => epoch(text, 1),
            Self::Rfc3339 => instant(text),
            Self::Pattern(pattern) => matched(pattern, text, offset),
            Self::Auto => match text.parse::<f64>() {
                Ok(number) if number.abs() < 1e11 => epoch(text, 1_000_000),
                Ok(number) if number.abs() < 1e14 => epoch(text, 1000),
                Ok(_) => epoch(text, 1),
                Err(_) => instant(text).or_else(|| civil(text, offset)),
            },
        };
        let micros = micros.ok_or_else(|| BadRow(format!("{field}: must be a time ({self})")))?;
        EventTime::from_millis(micros.div_euclid(1000))
            .ok_or_else(|| BadRow::new(field, "must lie within the years 1970 to 9999"))
    }
}

/// Microseconds of a number, whole or not, of units of `micros` each.
fn epoch(text: &str, micros: i64) -> Option<i64> {
    match text.parse::<i64>() {
        Ok(number) => number.checked_mul(micros),
        Err(_) => {
            let number = text.parse::<f64>().ok()? * micros as f64;
            (number.abs() < 9e18).then_some(number.round() as i64)
        }
    }
}

fn instant(text: &str) -> Option<i64> {
    text.parse::<Timestamp>().ok().map(Timestamp::as_microsecond)
}

fn civil(text: &str, offset: UtcOffset) -> Option<i64> {
    at_offset(text.parse().ok()?, offset)
}

fn matched(pattern: &str, text: &str, offset: UtcOffset) -> Option<i64> {
    let parts = strtime::parse(pattern, text).ok()?;
    match parts.to_timestamp() {
        Ok(timestamp) => Some(timestamp.as_microsecond()),
        Err(_) => {
            let time = parts.to_time().unwrap_or_default();
            at_offset(DateTime::from_parts(parts.to_date().ok()?, time), offset)
        }
    }
}

fn at_offset(datetime: DateTime, offset: UtcOffset) -> Option<i64> {
    let offset = Offset::from_seconds(offset.minutes * 60).ok()?;
    offset.to_timestamp(datetime).ok().map(Timestamp::as_microsecond)
}

// === impl UtcOffset ===

impl FromStr for UtcOffset {
    type Err = UnknownTimeFormat;

    fn from_str(text: &str) -> Result<Self, UnknownTimeFormat> {
        let minutes = || {
            let (sign, digits) = match text.split_at_checked(1)? {
                ("+", digits) => (1, digits),
                ("-", digits) => (-1, digits),
                _ => return None,
            };
            let (hours, minutes) = digits.split_once(':')?;
            if hours.len() != 2 || minutes.len() != 2 {
                return None;
            }
            let (hours, minutes) = (hours.parse::<u8>().ok()?, minutes.parse::<u8>().ok()?);
            (hours < 24 && minutes < 60).then_some(sign * (i32::from(hours) * 60 + i32::from(minutes)))
        };
        let wanted = "offset from UTC: it is written +01:00";
        minutes().map(|minutes| Self { minutes }).ok_or_else(|| UnknownTimeFormat(text.to_owned(), wanted))
    }
}

impl fmt::Display for UtcOffset {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sign = if self.minutes < 0 { '-' } else { '+' };
        write!(f, "{sign}{:02}:{:02}", self.minutes.abs() / 60, self.minutes.abs() % 60)
    }
}

macro_rules! as_text {
    ($($type:ident)*) => {$(
        impl TryFrom<String> for $type {
            type Error = UnknownTimeFormat;

            fn try_from(text: String) -> Result<Self, UnknownTimeFormat> {
                text.parse()
            }
        }

        impl From<$type> for String {
            fn from(value: $type) -> Self {
                value.to_string()
            }
        }
    )*};
}

as_text! { TimeFormat UtcOffset }

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn read(format: &str, text: &str, offset: &str) -> Result<String, String> {
        let format: TimeFormat = format.parse().unwrap();
        let time = format.read("time", text, offset.parse().unwrap());
        time.map(|time| time.to_string()).map_err(|bad| bad.0)
    }

    #[test]
    fn the_same_instant_in_every_format() {
        let want = Ok("2018-03-01T00:00:06.000Z".to_owned());
        for (format, text, offset) in [
            ("auto", "1519862406", "+00:00"),
            ("auto", "1519862406.0", "+00:00"),
            ("auto", "1519862406000", "+00:00"),
            ("auto", "1519862406000000", "+00:00"),
            ("auto", "2018-03-01 00:00:06", "+00:00"),
            ("auto", "2018-03-01T00:00:06Z", "+05:00"),
            ("auto", "2018-03-01 08:00:06", "+08:00"),
            ("auto", "2018-02-28 20:30:06", "-03:30"),
            ("s", " 1519862406 ", "+00:00"),
            ("ms", "1519862406000", "+00:00"),
            ("us", "1519862406000000", "+00:00"),
            ("rfc3339", "2018-03-01T08:00:06+08:00", "+00:00"),
            ("%d.%m.%Y %H:%M:%S", "01.03.2018 00:00:06", "+00:00"),
            ("%d.%m.%Y %H:%M:%S", "01.03.2018 01:00:06", "+01:00"),
            ("%Y/%m/%d %H:%M:%S %z", "2018/03/01 01:00:06 +0100", "+09:00"),
        ] {
            assert_eq!(read(format, text, offset), want, "{format} {text} {offset}");
        }
    }

    #[test]
    fn a_date_is_its_midnight() {
        assert_eq!(read("%m-%d-%Y", "2-29-2012", "+00:00").unwrap(), "2012-02-29T00:00:00.000Z");
        assert_eq!(read("auto", "2012-02-29", "+00:00").unwrap(), "2012-02-29T00:00:00.000Z");
    }

    #[test]
    fn what_is_no_time_is_said_without_the_value() {
        assert_eq!(read("auto", "yesterday", "+00:00").unwrap_err(), "time: must be a time (auto)");
        assert_eq!(read("%m-%d-%Y", "2-30-2012", "+00:00").unwrap_err(), "time: must be a time (%m-%d-%Y)");
        assert_eq!(read("s", "-5", "+00:00").unwrap_err(), "time: must lie within the years 1970 to 9999");
        assert_eq!(read("s", "9223372036854775807", "+00:00").unwrap_err(), "time: must be a time (s)");
        assert_eq!(read("s", "NaN", "+00:00").unwrap_err(), "time: must be a time (s)");
        assert!("soon".parse::<TimeFormat>().is_err());
        assert!("1:00".parse::<UtcOffset>().is_err());
    }

    proptest! {
        #[test]
        fn any_text_reads_or_is_refused(text in "\\PC*", format in "auto|s|ms|us|rfc3339|%Y-%m-%d|%[%a]") {
            let _ = read(&format, &text, "+01:00");
        }

        #[test]
        fn milliseconds_survive(millis in 0..253_402_300_800_000i64) {
            let time = EventTime::clamped(millis);
            let text = time.to_string();
            prop_assert_eq!(TimeFormat::Auto.read("t", &text, UtcOffset::default()), Ok(time));
            prop_assert_eq!(TimeFormat::Milliseconds.read("t", &millis.to_string(), UtcOffset::default()), Ok(time));
        }
    }
}
