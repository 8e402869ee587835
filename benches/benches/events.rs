//! What one event and one request cost before any model runs: decoding, state, features.

use std::hint::black_box;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use endcap_benches::events::{Events, encode};
use endcap_features::{UserState, features_at};
use endcap_proto::{Event, EventTime, v1};
use prost::Message;

fn decode(criterion: &mut Criterion) {
    let messages: Vec<Vec<u8>> = Events::new(1, 100_000, 10_000).take(2_000).map(encode).collect();
    let mut group = criterion.benchmark_group("event");
    group.throughput(Throughput::Elements(1));
    let mut i = 0;
    group.bench_function("decode and validate", |bencher| {
        bencher.iter(|| {
            i += 1;
            let event = v1::Event::decode(&*messages[i % messages.len()]).ok()?;
            Event::try_from(event).ok()
        });
    });
    let events: Vec<Event> = Events::new(2, 500, 10_000).take(20_000).collect();
    let mut state = UserState::default();
    group.bench_function("apply to a state", |bencher| {
        bencher.iter(|| {
            i += 1;
            state.apply(&events[i % events.len()])
        });
    });
}

fn state(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("state");
    for length in [50, 200] {
        let mut state = UserState::default();
        Events::new(3, 1, 10_000).filter(|event| event.event_type.is_interest()).take(length).for_each(
            |event| {
                state.apply(&event);
            },
        );
        let bytes = state.encode();
        group.bench_function(format!("encode {length}"), |bencher| bencher.iter(|| state.encode()));
        group
            .bench_function(format!("decode {length}"), |bencher| bencher.iter(|| UserState::decode(&bytes)));
        let now = EventTime::clamped(1_900_000_000_000);
        group.bench_function(format!("features of {length}"), |bencher| {
            bencher.iter(|| features_at(black_box(&state), now, 50));
        });
    }
}

criterion_group!(benches, decode, state);
criterion_main!(benches);
