//! A broker that is away while slates are served: every impression is there in the end.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use endcap_live::{
    ImpressionProducer, KafkaSink, KafkaSource, MockBroker, decode_impression, impressions, read_to_end,
};
use endcap_proto::v1;
use endcap_recommend::ImpressionSink as _;
use tokio_util::sync::CancellationToken;

/// The broker goes away for so long, and the service stops and starts again meanwhile.
pub(crate) async fn no_impression_is_lost(away: Duration) {
    let broker = MockBroker::start(1).unwrap();
    let dir = tempfile::tempdir().unwrap();
    let start = || {
        let (service, sink) = impressions::Service::new(impressions::Options {
            sink: Arc::new(KafkaSink::patient(broker.config()).unwrap()),
            topic: "impressions".into(),
            config: impressions::ImpressionConfig {
                queue: 64,
                drain_timeout_ms: 200,
                spill_path: dir.path().join("spill"),
                spill_bytes: 64 << 20,
            },
        });
        let ends = CancellationToken::new();
        (tokio::spawn(service.run(ends.clone())), sink, ends)
    };
    let (running, sink, ends) = start();
    offer(&sink, 0..100).await;
    let began = Instant::now();
    while sink.status().delivered < 100 {
        assert!(began.elapsed() < Duration::from_secs(30), "{sink:?}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    broker.take_down().unwrap();
    offer(&sink, 100..1000).await;
    ends.cancel();
    running.await.unwrap().unwrap();
    let status = sink.status();
    assert!(status.spilled >= 800 && status.spill_bytes > 0, "{status:?}");

    // Another run goes on with what is there, behind which its own impressions queue up.
    let (running, sink, ends) = start();
    offer(&sink, 1000..1500).await;
    tokio::time::sleep(away).await;
    broker.bring_up().unwrap();
    let began = Instant::now();
    while sink.status().spill_bytes > 0 || sink.status().delivered < 1400 {
        assert!(began.elapsed() < Duration::from_secs(60), "{sink:?}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    ends.cancel();
    running.await.unwrap().unwrap();
    assert!(std::fs::read_dir(dir.path().join("spill")).unwrap().count() == 1, "only the lock stays");

    let mut source = KafkaSource::new(broker.config(), "impressions").unwrap();
    let mut seen: Vec<usize> = Vec::new();
    tokio::task::block_in_place(|| {
        read_to_end(&mut source, &mut |record| {
            let slate = decode_impression(record).unwrap();
            let number = slate.slate_id.parse().unwrap();
            // One may come twice, around the stop; its id tells.
            if !seen.contains(&number) {
                seen.push(number);
            }
        })
    })
    .unwrap();
    assert!(seen.is_sorted(), "in their order");
    assert_eq!(seen, (0..1500).collect::<Vec<_>>(), "all of them");
}

async fn offer(sink: &ImpressionProducer, range: std::ops::Range<usize>) {
    for i in range {
        while sink.offer(slate(i), None).is_err() {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }
}

fn slate(i: usize) -> v1::Impression {
    v1::Impression { slate_id: i.to_string(), visitor_id: "v".to_owned(), ..Default::default() }
}
