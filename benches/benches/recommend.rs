//! One request without the network, and the models within it, over a shop of 100,000 items and histories of 50.

use criterion::{Criterion, criterion_group, criterion_main};
use endcap_benches::shop::{self, Size};
use endcap_proto::v1::RecommendRequest;
use endcap_recommend::{Query, RecommendConfig};
use endcap_towers::UserInput;

fn pipeline(criterion: &mut Criterion) {
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    let dir = tempfile::tempdir().expect("a folder");
    let size = Size { shoppers: 2_000, ..Size::default() };
    let config = RecommendConfig { seed: Some(7), ..RecommendConfig::default() };
    let recommender = shop::open(7, size, dir.path(), config).expect("the fixture is sound");
    let queries: Vec<Query> = (0..size.shoppers)
        .map(|number| RecommendRequest { visitor_id: shop::shopper(number), ..RecommendRequest::default() })
        .map(|request| Query::try_from(request).expect("the fixture is sound"))
        .collect();
    let mut group = criterion.benchmark_group("recommend");
    let mut i = 0;
    group.bench_function("100k items, history 50", |bencher| {
        bencher.iter(|| {
            i += 1;
            runtime.block_on(recommender.recommend(&queries[i % queries.len()]))
        });
    });
}

fn towers(criterion: &mut Criterion) {
    let parts = shop::parts(7, 10_000).expect("the fixture is sound");
    let (towers, dim) = (parts.towers, parts.index.dim());
    let features: Vec<_> = parts.catalogue.iter().map(|item| parts.vocabulary.item_features(item)).collect();
    let mut group = criterion.benchmark_group("towers");
    group.bench_function("item vectors, 256 at once", |bencher| {
        bencher.iter(|| towers.item_vectors(&features[..256]));
    });
    let vectors = towers.item_vectors(&features[..50]).expect("the fixture is sound");
    let items: Vec<&[f32]> = vectors.chunks(dim).collect();
    let input =
        UserInput { items: &items, event_types: &[endcap_proto::EventType::View; 50], gap_buckets: &[5; 50] };
    for users in [1, 16] {
        group.bench_function(format!("user vectors of 50 events, {users} at once"), |bencher| {
            bencher.iter(|| towers.user_vectors(&vec![input; users]));
        });
    }
}

criterion_group!(benches, pipeline, towers);
criterion_main!(benches);
