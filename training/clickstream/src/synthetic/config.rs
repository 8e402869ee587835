//! The size, period and habits of a synthetic shop.

use endcap_proto::{EventTime, FieldError};
use serde::{Deserialize, Serialize};

use super::words;

/// How large the shop is, over which period it is seen, and how it chooses what to show.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ShopConfig {
    /// Decides everything that is left to chance: the same seed, the same bytes.
    pub seed: u64,
    /// Items of the catalogue, variants counted one by one. At least 100.
    pub items: usize,
    /// Shoppers. A shopper's taste and visits do not depend on how many others there are.
    pub shoppers: usize,
    /// Days of the period, of 24 hours each. At most 3650.
    pub days: u32,
    /// End of the period, in milliseconds since 1970; no event happens at or after it. A shop that
    /// goes on live ends its period at that moment.
    pub end: EventTime,
    /// Visits of a shopper a day, on average over shoppers; the most active ones come a hundred
    /// times as often as the least. At most 10.
    pub visits_per_day: f64,
    /// Places of a slate that the logging policy fills. At least 1, at most an eighth of `items`.
    pub slate_size: usize,
    /// η of the position bias: a place is looked at with probability 1/(1 + position)^η. At 0 every
    /// place is; at most 5.
    pub position_bias: f64,
    /// What fills the slates of the written period.
    pub policy: LoggingPolicyConfig,
    /// Whether a picture of each item is written.
    pub images: bool,
}

/// The logging policy: each place of a slate is drawn from a mixture of three sources. Shares are
/// not negative and add up to 1.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct LoggingPolicyConfig {
    /// In proportion to how well an item sells this week.
    pub popular: f64,
    /// The same within the categories that this shopper looked at last.
    pub personal: f64,
    /// Every item alike. Above 0, so that every item on sale may be shown.
    pub random: f64,
}

impl Default for ShopConfig {
    fn default() -> Self {
        Self {
            seed: 17,
            items: 3000,
            shoppers: 2000,
            days: 28,
            // 2025-09-01T00:00:00Z, a Monday.
            end: EventTime::clamped(1_756_684_800_000),
            visits_per_day: 0.33,
            slate_size: 20,
            position_bias: 0.6,
            policy: LoggingPolicyConfig::default(),
            images: true,
        }
    }
}

impl Default for LoggingPolicyConfig {
    fn default() -> Self {
        Self { popular: 0.4, personal: 0.4, random: 0.2 }
    }
}

// === impl ShopConfig ===

pub(super) const DAY_MS: i64 = 86_400_000;

impl ShopConfig {
    /// Start of the period.
    pub fn start(&self) -> EventTime {
        self.end.plus_millis(-i64::from(self.days) * DAY_MS)
    }

    /// Checks every field.
    ///
    /// # Errors
    /// Names the first field that breaks its rule.
    pub fn check(&self) -> Result<(), FieldError> {
        let most = 64 * words::MOST_CATEGORIES * usize::from(u16::MAX);
        let LoggingPolicyConfig { popular, personal, random } = self.policy;
        let rules = [
            ("items", (100..=most).contains(&self.items), format!("must lie in 100..={most}")),
            ("shoppers", (1..=100_000_000).contains(&self.shoppers), "must lie in 1..=100000000".into()),
            ("days", (1..=3650).contains(&self.days), "must lie in 1..=3650".into()),
            (
                "end",
                self.end.as_millis() > i64::from(self.days) * DAY_MS,
                "must lie more than `days` after 1970-01-01".into(),
            ),
            (
                "visits_per_day",
                self.visits_per_day > 0.0 && self.visits_per_day <= 10.0,
                "must be above 0 and at most 10".into(),
            ),
            (
                "slate_size",
                (1..=self.items / 8).contains(&self.slate_size),
                format!("must lie in 1..={} (an eighth of `items`)", self.items / 8),
            ),
            ("position_bias", (0.0..=5.0).contains(&self.position_bias), "must lie in 0..=5".into()),
            ("policy.popular", (0.0..=1.0).contains(&popular), "must lie in 0..=1".into()),
            ("policy.personal", (0.0..=1.0).contains(&personal), "must lie in 0..=1".into()),
            ("policy.random", random > 0.0 && random <= 1.0, "must be above 0 and at most 1".into()),
            ("policy", (popular + personal + random - 1.0).abs() < 1e-9, "shares must add up to 1".into()),
        ];
        match rules.into_iter().find(|(_, holds, _)| !holds) {
            Some((field, _, rule)) => Err(FieldError::new(field, rule)),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_broken_rule_names_its_field() {
        let field = |edit: fn(&mut ShopConfig)| {
            let mut config = ShopConfig::default();
            edit(&mut config);
            config.check().unwrap_err().field
        };
        assert_eq!(ShopConfig::default().check(), Ok(()));
        assert_eq!(field(|c| c.items = 99), "items");
        assert_eq!(field(|c| c.shoppers = 0), "shoppers");
        assert_eq!(field(|c| c.days = 0), "days");
        assert_eq!(field(|c| c.end = EventTime::clamped(5)), "end");
        assert_eq!(field(|c| c.visits_per_day = f64::NAN), "visits_per_day");
        assert_eq!(field(|c| c.slate_size = c.items / 8 + 1), "slate_size");
        assert_eq!(field(|c| c.position_bias = f64::NAN), "position_bias");
        assert_eq!(field(|c| c.policy.random = 0.0), "policy.random");
        assert_eq!(field(|c| c.policy.popular = 0.1), "policy");
    }

    #[test]
    fn unknown_keys_are_refused() {
        let error = serde_json::from_str::<ShopConfig>(r#"{"shopers": 5}"#).unwrap_err().to_string();
        assert!(error.contains("shopers"), "{error}");
        let config: ShopConfig = serde_json::from_str(r#"{"shoppers": 5}"#).unwrap();
        assert_eq!(config, ShopConfig { shoppers: 5, ..ShopConfig::default() });
    }
}
