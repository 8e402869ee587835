//! What every log promises, whoever implements it: one suite for the log in memory, the broker in
//! this process and, in `kafka.rs`, a real one.

mod suite;
mod world;

use std::sync::Arc;

use endcap_live::{KafkaSink, KafkaSource, MemoryLog, MockBroker};

#[test]
fn the_log_in_memory_keeps_the_contract() {
    let log = MemoryLog::new(&[("events", 4)]);
    suite::contract(Arc::new(log.clone()), &mut || Box::new(log.source("events")), "events");
}

#[test]
fn the_broker_in_this_process_keeps_the_contract() {
    let broker = MockBroker::start(4).unwrap();
    let sink = KafkaSink::prompt(broker.config()).unwrap();
    let source = || KafkaSource::new(broker.config(), "events").unwrap();
    suite::contract(Arc::new(sink), &mut || Box::new(source()), "events");
}
