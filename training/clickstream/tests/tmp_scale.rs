use endcap_clickstream::synthetic::{Shop, ShopConfig};
fn hwm() -> String { std::fs::read_to_string("/proc/self/status").unwrap().lines().filter(|l| l.starts_with("VmHWM") || l.starts_with("VmRSS")).collect::<Vec<_>>().join(" ") }
#[test]
fn scale() {
    for (items, shoppers, days, write) in [(3000, 2000, 28, true), (50_000, 42_000, 60, false), (50_000, 42_000, 60, true)] {
        let t = std::time::Instant::now();
        let shop = Shop::new(&ShopConfig { items, shoppers, days, images: items < 10_000, ..ShopConfig::default() }).unwrap();
        println!("build {:?} {}", t.elapsed(), hwm());
        if write {
            let dir = tempfile::tempdir().unwrap();
            let s = shop.write(dir.path().join("x")).unwrap();
            let out = std::process::Command::new("du").arg("-sh").arg(dir.path()).output().unwrap();
            println!("{s:?} {:?} {} {}", t.elapsed(), hwm(), String::from_utf8_lossy(&out.stdout));
        } else {
            let (mut n, mut ni, mut most) = (0, 0, 0);
            for d in shop.days() { n += d.events.len(); most = most.max(d.events.len()); ni += d.events.iter().filter(|e| e.event_type.is_interest()).count(); }
            println!("events {n} interest {ni} most a day {most} {:?} {}", t.elapsed(), hwm());
        }
    }
}
