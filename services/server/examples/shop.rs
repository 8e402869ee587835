#[path = "../../recommend/tests/shop/mod.rs"]
mod shop;
use std::sync::Arc;
use endcap_server::{Options, ServerConfig};
#[tokio::main]
async fn main() {
    let items: usize = std::env::args().nth(1).unwrap().parse().unwrap();
    let shop = shop::Shop::new(items);
    for shopper in 0..1000 {
        shop.views(&format!("visitor-{shopper}"), (0..50).map(|i| (shopper * 7_919 + i * 31) % items));
    }
    let options = Options { config: ServerConfig { address: "127.0.0.1:8511".parse().unwrap(), ..Default::default() },
        recommender: Arc::clone(&shop.recommender), events: None, items: None, bundles: None, stream: None, clock: shop.clock.clone() };
    let (service, _) = options.bind().await.unwrap();
    let imp = shop.impressions.clone();
    tokio::spawn(async move { loop { tokio::time::sleep(std::time::Duration::from_millis(200)).await; imp.taken.lock().unwrap().clear(); } });
    service.run(Default::default()).await.unwrap();
}
