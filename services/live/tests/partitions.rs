//! A topic that grows, in memory; `kafka.rs` has the same against a real broker.

mod suite;
mod world;

use std::sync::Arc;

use endcap_live::{MemoryLog, Topics};

#[tokio::test(flavor = "multi_thread")]
async fn partitions_that_a_topic_gains_are_read_and_archived() {
    let topics = Topics::prefixed("");
    let log = MemoryLog::new(&[("events", 2), ("impressions", 1), ("items", 1), ("dead-letters", 1)]);
    let growing = async || log.add_partitions("events", 2);
    let source = |topic: &str| Box::new(log.source(topic)) as Box<dyn endcap_live::EventSource>;
    suite::partitions::what_a_topic_gains_is_read(&topics, Arc::new(log.clone()), source, growing).await;
}
