//! The synthetic shop knows the true click probabilities: how many of the best possible clicks do the towers get?

use std::collections::HashSet;

use endcap_bundle::{Bundle, BundleStore};
use endcap_clickstream::{
    Dataset,
    synthetic::{Shop, ShopConfig},
};
use endcap_features::{ItemCounters, KeyMap, UserState};
use endcap_index::Allowed;
use endcap_proto::ItemKey;
use endcap_recommend::{Asked, Funnel, Model, RecommendConfig};
use endcap_trainer::{Beginning, PipelineConfig, publish};

const PLACES: usize = 20;

/// Mean over shoppers of expected clicks on 20 places, by the shop's truth.
#[derive(Debug, Default)]
struct Clicks {
    oracle: f64,
    towers: f64,
    funnel: f64,
    popularity: f64,
    shoppers: usize,
}

#[test]
fn the_towers_top_20_gets_60_percent_of_the_oracles_clicks_and_popularity_far_less() {
    let shop = Shop::new(&ShopConfig { images: false, ..ShopConfig::default() }).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    shop.write(&data).unwrap();
    let store = BundleStore::open(folder.path().join("bundles")).unwrap();
    let mut config = PipelineConfig { refit: false, ..PipelineConfig::default() };
    config.towers.epochs = 3;
    let end = shop.config().end;
    let dataset = Dataset::open(&data).unwrap();
    let published =
        publish(&dataset, None, &config, Vec::new(), &store, end, Beginning::default(), &mut ()).unwrap();
    let model = Model::new(Bundle::load(&store.path(&published.version)).unwrap()).unwrap();

    let sold: HashSet<u64> =
        shop.items().iter().filter(|item| item.is_recommendable(end)).map(|item| item.id.key().0).collect();
    let index_of = |key: u64| shop.items().iter().position(|item| item.id.key().0 == key).unwrap();
    let labels: Vec<u64> = sold.iter().copied().collect();
    let popular: Vec<usize> = model
        .counting()
        .popularity
        .items_by_share()
        .iter()
        .filter(|key| sold.contains(&key.0))
        .take(PLACES)
        .map(|key| index_of(key.0))
        .collect();
    let mut counters: KeyMap<ItemKey, ItemCounters> = KeyMap::default();
    for batch in Dataset::open(&data).unwrap().events().unwrap() {
        for event in batch.unwrap().iter() {
            for item in event.items() {
                counters.entry(ItemKey::of(item.item_id)).or_default().apply(event.event_type, event.time);
            }
        }
    }
    let counted = |item: ItemKey| counters.get(&item).map(|counters| counters.read(end)).unwrap_or_default();
    let funnel = Funnel::new(&RecommendConfig::default());
    let mut clicks = Clicks::default();
    for shopper in (0..shop.shoppers()).step_by(2) {
        let mut state = UserState::default();
        shop.history_of(shopper).0.iter().for_each(|event| {
            state.apply(event);
        });
        if state.history().len() < 20 {
            continue;
        }
        let (_, taste) = shop.shopper_at_end(shopper);
        let view = model.view(&state, end);
        let hits =
            model.index().search_exact(view.vector().unwrap(), PLACES, &Allowed::Labels(&labels)).unwrap();
        let towers: Vec<usize> = hits.iter().map(|hit| index_of(hit.label)).collect();
        let asked = Asked::page(PLACES, Default::default());
        let ranked = funnel.rank(&view, &asked, &counted);
        let ranked: Vec<usize> =
            ranked.rows.iter().take(PLACES).map(|row| index_of(row.entry.attributes.key.0)).collect();
        clicks.oracle += shop.expected_clicks(&taste, &shop.oracle_top(&taste, PLACES));
        clicks.towers += shop.expected_clicks(&taste, &towers);
        clicks.funnel += shop.expected_clicks(&taste, &ranked);
        clicks.popularity += shop.expected_clicks(&taste, &popular);
        clicks.shoppers += 1;
    }
    let share = |of: f64| of / clicks.oracle;
    println!(
        "expected clicks on {PLACES} places, share of the oracle's, {} shoppers: towers {:.3}, funnel {:.3}, popularity {:.3}",
        clicks.shoppers,
        share(clicks.towers),
        share(clicks.funnel),
        share(clicks.popularity)
    );
    assert!(clicks.shoppers > 300, "{clicks:?}");
    assert!(share(clicks.towers) >= 0.6, "{clicks:?}");
    assert!(share(clicks.popularity) < 0.3, "{clicks:?}");
}
