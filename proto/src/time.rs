//! Event time: milliseconds since the Unix epoch, UTC.

use std::fmt;

use pbjson_types::Timestamp;
use serde::{Deserialize, Serialize};

use crate::FieldError;

/// An instant, in milliseconds since 1970-01-01T00:00:00Z; within the years 1970 to 9999.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, Default)]
#[serde(transparent)]
pub struct EventTime(i64);

impl EventTime {
    /// 1970-01-01T00:00:00Z.
    pub const MIN: Self = Self(0);
    /// 9999-12-31T23:59:59.999Z.
    pub const MAX: Self = Self(253_402_300_799_999);

    /// From milliseconds since the epoch, where they lie within [`Self::MIN`] and [`Self::MAX`].
    pub fn from_millis(millis: i64) -> Option<Self> {
        (Self::MIN.0..=Self::MAX.0).contains(&millis).then_some(Self(millis))
    }

    /// From milliseconds since the epoch, held within [`Self::MIN`] and [`Self::MAX`].
    pub fn clamped(millis: i64) -> Self {
        Self(millis.clamp(Self::MIN.0, Self::MAX.0))
    }

    /// Milliseconds since the epoch.
    pub fn as_millis(self) -> i64 {
        self.0
    }

    /// Milliseconds from `earlier` to here; negative when `earlier` is later.
    pub fn millis_since(self, earlier: Self) -> i64 {
        self.0 - earlier.0
    }

    /// This instant moved by `millis`, held within the valid range.
    pub fn plus_millis(self, millis: i64) -> Self {
        Self::clamped(self.0.saturating_add(millis))
    }

    /// Reads a protobuf timestamp; finer than milliseconds is cut off.
    ///
    /// # Errors
    /// When it lies outside the years 1970 to 9999 or its nanos are not within a second.
    pub fn from_proto(field: &str, timestamp: &Timestamp) -> Result<Self, FieldError> {
        if !(0..1_000_000_000).contains(&timestamp.nanos) {
            return Err(FieldError::new(field, format!("nanos must lie in 0..1e9, are {}", timestamp.nanos)));
        }
        timestamp
            .seconds
            .checked_mul(1000)
            .and_then(|millis| millis.checked_add(i64::from(timestamp.nanos) / 1_000_000))
            .and_then(Self::from_millis)
            .ok_or_else(|| {
                FieldError::new(
                    field,
                    format!("must lie within the years 1970 to 9999, is {} s since 1970", timestamp.seconds),
                )
            })
    }

    /// As a protobuf timestamp.
    pub fn to_proto(self) -> Timestamp {
        Timestamp { seconds: self.0 / 1000, nanos: (self.0 % 1000) as i32 * 1_000_000 }
    }
}

impl fmt::Display for EventTime {
    /// RFC 3339 in UTC with milliseconds.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (days, millis) = (self.0.div_euclid(86_400_000), self.0.rem_euclid(86_400_000));
        // Civil date from days: Howard Hinnant, "chrono-Compatible Low-Level Date Algorithms".
        let z = days + 719_468;
        let era = z.div_euclid(146_097);
        let day_of_era = z.rem_euclid(146_097);
        let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
        let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
        let shifted_month = (5 * day_of_year + 2) / 153;
        let day = day_of_year - (153 * shifted_month + 2) / 5 + 1;
        let month = if shifted_month < 10 { shifted_month + 3 } else { shifted_month - 9 };
        let year = year_of_era + era * 400 + i64::from(month <= 2);
        let (seconds, millis) = (millis / 1000, millis % 1000);
        write!(
            f,
            "{year:04}-{month:02}-{day:02}T{:02}:{:02}:{:02}.{millis:03}Z",
            seconds / 3600,
            seconds / 60 % 60,
            seconds % 60
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prints_as_rfc_3339() {
        assert_eq!(EventTime::MIN.to_string(), "1970-01-01T00:00:00.000Z");
        assert_eq!(EventTime::MAX.to_string(), "9999-12-31T23:59:59.999Z");
        assert_eq!(EventTime::clamped(951_827_696_789).to_string(), "2000-02-29T12:34:56.789Z");
    }

    #[test]
    fn proto_timestamps_out_of_range_are_refused() {
        for (seconds, nanos) in [(-1, 0), (i64::MAX, 0), (253_402_300_800, 0), (0, -1), (0, 1_000_000_000)] {
            assert!(EventTime::from_proto("event_time", &Timestamp { seconds, nanos }).is_err());
        }
        let time = EventTime::clamped(951_827_696_789);
        assert_eq!(EventTime::from_proto("t", &time.to_proto()), Ok(time));
    }
}
