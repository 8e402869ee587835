//! A [`CheckReport`] for people.

use std::fmt;

use super::{CheckReport, Verdict};
use crate::TimeKind;

/// A count with its thousands apart: `1,234,567`.
struct Count(u64);

impl fmt::Display for Count {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let digits = self.0.to_string();
        let mut text = String::with_capacity(digits.len() * 4 / 3);
        for (i, digit) in digits.chars().enumerate() {
            if i > 0 && (digits.len() - i).is_multiple_of(3) {
                text.push(',');
            }
            text.push(digit);
        }
        f.pad(&text)
    }
}

/// A time between two instants: `3.5 days`.
struct Span(i64);

impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let hours = self.0 as f64 / 3_600_000.0;
        if hours < 48.0 { write!(f, "{hours:.1} hours") } else { write!(f, "{:.1} days", hours / 24.0) }
    }
}

impl fmt::Display for CheckReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let row = |f: &mut fmt::Formatter<'_>, name: &str, count: u64, text: &str| {
            writeln!(
                f,
                "{}",
                format_args!("  {name:<12} {:>12}   {text}", Count(count)).to_string().trim_end()
            )
        };
        let Self { events, clock, visitors, items, bots, .. } = self;
        writeln!(f, "{}", self.source)?;

        let types: Vec<_> = events
            .by_type
            .iter()
            .map(|row| format!("{} {:.1} %", row.event_type, 100.0 * row.share))
            .collect();
        row(f, "events", events.total, &types.join(", "))?;
        if let (TimeKind::Real, Some(first), Some(last)) = (self.time, events.first, events.last) {
            writeln!(
                f,
                "  {:<12} {:>12}   {first} to {last}",
                "time",
                Span(last.millis_since(first)).to_string()
            )?;
        }
        for gap in &self.gaps {
            let length = Span(gap.to.millis_since(gap.from)).to_string();
            writeln!(f, "  {:<12} {length:>12}   {} to {}", "  no events", gap.from, gap.to)?;
        }
        let spread = format!(
            "median {} events, 99 % have at most {}, the busiest {}",
            Count(visitors.median_events.into()),
            Count(visitors.p99_events.into()),
            Count(visitors.most_events.into())
        );
        row(f, "visitors", visitors.total, &spread)?;
        row(
            f,
            "  sequences",
            visitors.with_sequence,
            "visitors with two events that show interest, or more",
        )?;
        row(f, "  users", visitors.users, "")?;
        if visitors.sessions > 0 {
            row(f, "  sessions", visitors.sessions, "")?;
        }
        row(f, "products", items.seen, "with events")?;
        if items.catalogue > 0 {
            let lacks = format!(
                "{} without events; {} without title, {} without category, {} without price",
                Count(items.without_events),
                Count(items.without_title),
                Count(items.without_category),
                Count(items.without_price)
            );
            row(f, "  catalogue", items.catalogue, &lacks)?;
            let mentions =
                format!("with events, but not in the catalogue ({} mentions)", Count(items.unknown_mentions));
            row(f, "  unknown", items.unknown, &mentions)?;
        }
        row(f, "repeated ids", events.repeated, "")?;
        let faults = format!(
            "{} from the future, {} from 1970; {} from before 2000, {} behind the visitor's last",
            Count(clock.future),
            Count(clock.in_1970),
            Count(clock.before_2000),
            Count(clock.backwards)
        );
        row(f, "clock faults", clock.future + clock.in_1970, &faults)?;
        let examples = match &*bots.examples {
            [] => String::new(),
            examples => format!("suspected, with {} events: {}", Count(bots.events), examples.join(", ")),
        };
        row(f, "bots", bots.visitors, &examples)?;
        if self.impressions > 0 {
            let attributed = format!("slates served; {} events name theirs", Count(events.attributed));
            row(f, "impressions", self.impressions, &attributed)?;
        }

        let list = |f: &mut fmt::Formatter<'_>, lines: &[String]| {
            lines.iter().try_for_each(|line| writeln!(f, "  - {line}"))
        };
        if !self.remarks.is_empty() {
            writeln!(f, "\nTo mind:")?;
            list(f, &self.remarks)?;
        }
        match self.verdict {
            Verdict::Go => write!(f, "\nGo: sound, and enough to train on."),
            Verdict::NoGo => {
                writeln!(f, "\nNo-go:")?;
                list(f, &self.reasons)?;
                write!(f, "Mend this, then check again.")
            }
        }
    }
}
