//! The contract of `EventSource` and `EventSink`, and the whole loop; both against any broker.
#![allow(dead_code)] // each test file uses its own part

pub(crate) mod backpressure;
pub(crate) mod group;
pub(crate) mod kill;
pub(crate) mod outage;
pub(crate) mod partitions;
pub(crate) mod poison;
pub(crate) mod security;
pub(crate) mod snapshot;
pub(crate) mod whole_loop;

use std::{
    collections::BTreeMap,
    sync::{Arc, mpsc},
    time::{Duration, Instant},
};

use endcap_live::{EventSink, EventSource, Message, PartitionBounds, PartitionOffset, Place};

const PATIENCE: Duration = Duration::from_secs(30);

/// Sends and waits.
pub(crate) fn send(sink: &dyn EventSink, messages: impl IntoIterator<Item = Message>) -> Vec<Place> {
    let (tell, told) = mpsc::channel();
    let mut sent = 0;
    for message in messages {
        let tell = tell.clone();
        sink.send(message, Box::new(move |result| drop(tell.send((sent, result)))));
        sent += 1;
    }
    let mut places: Vec<_> = (0..sent).map(|_| told.recv_timeout(PATIENCE).unwrap()).collect();
    places.sort_by_key(|(number, _)| *number);
    places.into_iter().map(|(_, result)| result.unwrap()).collect()
}

type Seen = (i32, i64, Option<Vec<u8>>, Option<Vec<u8>>, Vec<(String, Vec<u8>)>);

/// Polls until `count` records have come.
pub(crate) fn take(source: &mut dyn EventSource, count: usize) -> Vec<Seen> {
    let (began, mut seen) = (Instant::now(), Vec::new());
    while seen.len() < count {
        assert!(began.elapsed() < PATIENCE, "{} of {count} records came; {:?}", seen.len(), source.trouble());
        let before = seen.len();
        let limit = 7.min(count - seen.len());
        let taken = source
            .poll(limit, Duration::from_millis(100), &mut |record| {
                let headers = record.headers.iter().map(|(name, value)| ((*name).to_owned(), value.to_vec()));
                seen.push((
                    record.partition,
                    record.offset,
                    record.key.map(<[u8]>::to_vec),
                    record.value.map(<[u8]>::to_vec),
                    headers.collect(),
                ));
            })
            .unwrap();
        assert_eq!(taken, seen.len() - before);
        assert!(taken <= limit, "no more than asked for");
    }
    seen
}

/// The bounds of a topic. One that was made a moment ago has no leaders yet: that is waited for.
pub(crate) fn bounds(source: &mut dyn EventSource) -> Vec<PartitionBounds> {
    let start = std::time::Instant::now();
    loop {
        match source.bounds() {
            Ok(bounds) => return bounds,
            Err(error) if start.elapsed().as_secs() > 30 => panic!("{error}"),
            Err(_) => std::thread::sleep(std::time::Duration::from_millis(100)),
        }
    }
}

/// A source and a sink of one topic with four partitions and nothing in it.
pub(crate) fn contract(
    sink: Arc<dyn EventSink>,
    open: &mut dyn FnMut() -> Box<dyn EventSource>,
    topic: &str,
) {
    let mut source = open();
    let bounds = self::bounds(&mut *source);
    assert_eq!(bounds.iter().map(|at| at.partition).collect::<Vec<_>>(), [0, 1, 2, 3]);
    assert!(bounds.iter().all(|at| (at.first, at.end) == (0, 0)));
    let all: Vec<_> =
        bounds.iter().map(|at| PartitionOffset { partition: at.partition, offset: 0 }).collect();
    source.assign(&all).unwrap();

    // What is sent arrives once, with key, value and headers, at the place that the sink was told.
    let sent: Vec<_> = (0..100)
        .map(|i| Message::new(topic, format!("key-{}", i % 10), format!("{i}")).header("n", format!("{i}")))
        .chain([Message::tombstone(topic, "key-3")])
        .collect();
    let places = send(&*sink, sent.clone());
    let seen = take(&mut *source, sent.len());
    let by_place: BTreeMap<_, _> = seen.iter().map(|record| ((record.0, record.1), record)).collect();
    assert_eq!(by_place.len(), sent.len());
    for (message, place) in sent.iter().zip(&places) {
        let (_, _, key, value, headers) = by_place[&(place.partition, place.offset)];
        assert_eq!((key.as_ref(), value, headers), (Some(&message.key), &message.value, &message.headers));
    }
    // One key, one partition; within it the order of sending is the order of reading.
    let mut next = BTreeMap::<i32, i64>::new();
    for (partition, offset, ..) in &seen {
        assert_eq!(offset, next.entry(*partition).or_default(), "offsets rise one by one");
        *next.get_mut(partition).unwrap() += 1;
    }
    for key in 0..10 {
        let places: Vec<_> = places[..100].iter().skip(key).step_by(10).collect();
        assert!(
            places
                .windows(2)
                .all(|pair| pair[0].partition == pair[1].partition && pair[0].offset < pair[1].offset)
        );
    }

    // The end is seen, and lost again when more comes.
    let began = Instant::now();
    while !source.at_end() {
        assert!(began.elapsed() < PATIENCE, "the end is never seen");
        assert_eq!(source.poll(10, Duration::from_millis(20), &mut |_| ()).unwrap(), 0);
    }
    send(&*sink, [Message::new(topic, "key-3", "more")]);
    assert_eq!(take(&mut *source, 1)[0].3.as_deref(), Some(b"more".as_slice()));
    let end: i64 = source.bounds().unwrap().iter().map(|at| at.end).sum();
    assert_eq!(end, 102);
    assert_eq!(source.ends().iter().map(|at| at.offset).sum::<i64>(), 102);

    // Another reader begins where it is told to, and reads no other partition.
    let (partition, count) = next.into_iter().max_by_key(|&(_, count)| count).unwrap();
    let mut other = open();
    other.assign(&[PartitionOffset { partition, offset: count / 2 }]).unwrap();
    let again = take(&mut *other, (count - count / 2) as usize);
    assert!(again.iter().all(|record| record.0 == partition && record.1 >= count / 2));

    // Nothing to read is no error, and waits no longer than asked.
    let began = Instant::now();
    while other.poll(10, Duration::from_millis(50), &mut |_| ()).unwrap() > 0 {}
    assert!(began.elapsed() < PATIENCE);
    sink.flush(PATIENCE).unwrap();
}
