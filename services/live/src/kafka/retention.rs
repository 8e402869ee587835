//! How long topics keep what is written to them, as their configuration says.

use std::time::Duration;

use rdkafka::{
    admin::{AdminClient, AdminOptions, ConfigResource, ResourceSpecifier},
    client::DefaultClientContext,
};
use serde::{Deserialize, Serialize};

use crate::KafkaConfig;

/// When a topic has forgotten what is written to it now.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Retention {
    /// Which topic.
    pub topic: String,
    /// After so many milliseconds at the latest; none where it never does, or where that is not known.
    pub forgets_within_ms: Option<u64>,
    /// Why it never does, or why that is not known; what decides it where it is.
    pub because: String,
}

/// How long the brokers may take.
const ASK: Duration = Duration::from_secs(10);
/// How long a broker takes to look for old segments (`log.retention.check.interval.ms`) and to remove them
/// (`file.delete.delay.ms`), by default.
const SWEEP_MS: u64 = 6 * 60_000;

/// Asks the brokers how long each of these topics keeps a record. What they do not say is not known, and why is said.
pub async fn retention(config: &KafkaConfig, topics: &[&str]) -> Vec<Retention> {
    let unknown = |reason: &str| {
        let of = |topic: &&str| Retention {
            topic: (*topic).to_owned(),
            forgets_within_ms: None,
            because: format!(
                "not known: {reason}; ask who runs the brokers for its retention.ms and segment.ms"
            ),
        };
        topics.iter().map(of).collect()
    };
    if config.oauth.is_some() {
        return unknown("the client that asks has no way to be given a token");
    }
    let admin: AdminClient<DefaultClientContext> = match config.client() {
        Ok(client) => match client.create() {
            Ok(admin) => admin,
            Err(error) => return unknown(&error.to_string()),
        },
        Err(error) => return unknown(&error.to_string()),
    };
    let asked: Vec<_> = topics.iter().map(|topic| ResourceSpecifier::Topic(topic)).collect();
    let options = AdminOptions::new().request_timeout(Some(ASK)).operation_timeout(Some(ASK));
    match admin.describe_configs(&asked, &options).await {
        Ok(answers) => topics
            .iter()
            .zip(answers)
            .map(|(topic, answer)| match answer {
                Ok(resource) => of(topic, &resource),
                Err(code) => Retention {
                    topic: (*topic).to_owned(),
                    forgets_within_ms: None,
                    because: format!("not known: {code}"),
                },
            })
            .collect(),
        Err(error) => unknown(&error.to_string()),
    }
}

/// A record goes with its segment, when the newest one of that is older than `retention.ms`; a segment is at most
/// `segment.ms` long.
fn of(topic: &str, resource: &ConfigResource) -> Retention {
    let text = |name: &str| resource.get(name).and_then(|entry| entry.value.as_deref()).unwrap_or_default();
    says(topic, text("cleanup.policy"), text("retention.ms"), text("segment.ms"))
}

fn says(topic: &str, policy: &str, retention: &str, segment: &str) -> Retention {
    let never = |because: String| Retention { topic: topic.to_owned(), forgets_within_ms: None, because };
    if !policy.is_empty() && !policy.split(',').any(|part| part.trim() == "delete") {
        return never(format!("never: its cleanup.policy is {policy}"));
    }
    match (retention.parse::<i64>(), segment.parse::<u64>()) {
        (Ok(..0), _) => never("never: its retention.ms is -1; set it to a time".to_owned()),
        (Ok(keeps), Ok(segment)) => Retention {
            topic: topic.to_owned(),
            forgets_within_ms: Some(keeps.unsigned_abs().saturating_add(segment).saturating_add(SWEEP_MS)),
            because: format!("retention.ms {keeps}, segment.ms {segment}"),
        },
        _ => never(format!("not known: its retention.ms is {retention:?}, its segment.ms {segment:?}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_goes_with_its_segment_and_never_where_nothing_goes() {
        let week = 604_800_000;
        let kept = says("events", "delete", "604800000", "604800000");
        assert_eq!(kept.forgets_within_ms, Some(2 * week + 360_000));
        assert_eq!(says("events", "compact, delete", "1000", "2000").forgets_within_ms, Some(363_000));
        for (policy, retention, word) in [
            ("compact", "1000", "compact"),
            ("delete", "-1", "retention.ms is -1"),
            ("delete", "", "not known"),
        ] {
            let kept = says("events", policy, retention, "1000");
            assert!(kept.forgets_within_ms.is_none() && kept.because.contains(word), "{kept:?}");
        }
    }
}
