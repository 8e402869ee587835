use endcap_features::*;
use endcap_neighbours::*;
use endcap_proto::*;
use std::time::Instant;
fn step(item: &str, time: i64) -> Interaction {
    Interaction { item: ItemKey::of(item), time: EventTime::clamped(time), event_type: EventType::View, starts_session: time == 0 }
}
struct F { key: u64, visitor: u64, time: i64, item: u64, t: EventType }
impl EventFacts for F {
    fn key(&self) -> EventKey { EventKey(self.key.wrapping_mul(0x9e3779b97f4a7c15)) }
    fn event_type(&self) -> EventType { self.t }
    fn time(&self) -> EventTime { EventTime::clamped(self.time) }
    fn visitor(&self) -> VisitorKey { VisitorKey(self.visitor.wrapping_mul(0x9e3779b97f4a7c15)) }
    fn user(&self) -> Option<UserKey> { None }
    fn session(&self) -> Option<SessionTag> { None }
    fn items(&self) -> impl Iterator<Item = ItemKey> { [ItemKey(self.item.wrapping_mul(0x9e3779b97f4a7c15))].into_iter() }
}
fn eval<M: CountingModel>(name: &str, m: &M, cases: &[(ItemKey, Vec<ItemKey>)], k: usize, mask: bool) {
    let t = Instant::now();
    let (mut hit, mut mrr, mut ndcg) = (0.0, 0.0, 0.0);
    for (target, h) in cases {
        let extra = if mask { h.len() } else { 0 };
        let mut s = m.score(h, k + extra);
        if mask { s.retain(|(i, _)| !h.contains(i)); }
        s.truncate(k);
        if let Some(p) = s.iter().position(|(i, _)| i == target) {
            hit += 1.0; mrr += 1.0 / (p + 1) as f64; ndcg += 1.0 / ((p + 2) as f64).log2();
        }
    }
    let n = cases.len() as f64;
    println!("{name}: n {} HR {:.2} MRR {:.2} NDCG {:.2}  {:.1} us/case", cases.len(), 100.0 * hit / n, 100.0 * mrr / n, 100.0 * ndcg / n, t.elapsed().as_secs_f64() * 1e6 / n);
}
fn main() {
    let arg = std::env::args().nth(1).unwrap_or_default();
    if arg == "speed" {
        let n = 4_000_000u64;
        let mut r = 88172645463325252u64;
        let mut rnd = move || { r ^= r << 13; r ^= r >> 7; r ^= r << 17; r };
        let facts: Vec<F> = (0..n).map(|i| F { key: i, visitor: rnd() % 40_000, time: 1_700_000_000_000 + i as i64 * 400 + (rnd() % 2000) as i64, item: (rnd() % 50_000) * (rnd() % 50_000) / 50_000,
            t: if rnd() % 10 == 0 { EventType::AddToCart } else if rnd() % 20 == 0 { EventType::Purchase } else { EventType::View } }).collect();
        let t = Instant::now();
        let mut states = vec![UserState::default(); 40_000];
        for f in &facts { states[f.visitor as usize].apply(f); }
        let s = t.elapsed().as_secs_f64();
        println!("UserState::apply {:.2} M events/s", n as f64 / s / 1e6);
        let t = Instant::now();
        let bytes: Vec<Vec<u8>> = states.iter().map(|s| s.encode()).collect();
        let total: usize = bytes.iter().map(Vec::len).sum();
        let entries: usize = states.iter().map(|s| s.history().len()).sum();
        println!("encode {:.2} us/state of {:.1} entries; {:.1} bytes/state, {:.2}/entry", t.elapsed().as_secs_f64() * 1e6 / 4e4, entries as f64 / 4e4, total as f64 / 4e4, total as f64 / entries as f64);
        let t = Instant::now();
        let c = bytes.iter().filter_map(|b| UserState::decode(b).ok()).count();
        println!("decode {:.2} us/state ({c})", t.elapsed().as_secs_f64() * 1e6 / 4e4);
        let mut states = vec![UserState::default(); 40_000];
        for f in facts.iter().take(40_000 * 50) { states[f.visitor as usize].apply(f); }
        let b: usize = states.iter().map(|s| s.encode().len()).sum();
        let e: usize = states.iter().map(|s| s.history().len()).sum();
        println!("about 50 events: {:.1} entries {:.1} bytes/state", e as f64 / 4e4, b as f64 / 4e4);
        let t = Instant::now();
        let x: usize = states.iter().map(|s| features_at(s, EventTime::clamped(1_800_000_000_000), 50).history.len()).sum();
        println!("features_at(50) {:.2} us ({x})", t.elapsed().as_secs_f64() * 1e6 / 4e4);
        let t = Instant::now();
        let mut counters = vec![ItemCounters::default(); 50_000];
        for f in &facts { counters[f.item as usize].apply(f.t, f.time()); }
        println!("ItemCounters::apply {:.2} M events/s", n as f64 / t.elapsed().as_secs_f64() / 1e6);
        let b: usize = counters.iter().map(|s| s.encode().len()).sum();
        let t = Instant::now();
        let x: f32 = counters.iter().map(|s| s.read(EventTime::clamped(1_700_000_000_000 + 4_000_000 * 400)).views.week).sum();
        println!("counters read {:.2} us, {:.1} bytes ({x})", t.elapsed().as_secs_f64() * 1e6 / 5e4, b as f64 / 5e4);
        let taste_items: Vec<ItemAttributes> = (0..50_000u64).map(|i| { let mut a = ItemAttributes::bare(ItemKey(i.wrapping_mul(0x9e3779b97f4a7c15))); a.categories = vec![i % 30, i % 300].into(); a.roots = vec![i % 30].into(); a.brand = Some(i % 100); a.log_price = Some((i % 100) as f32 / 20.0); a }).collect();
        let map: KeyMap<ItemKey, &ItemAttributes> = taste_items.iter().map(|a| (a.key, a)).collect();
        let us: Vec<UserFeatures> = states.iter().take(4000).map(|s| features_at(s, EventTime::clamped(1_800_000_000_000), 50)).collect();
        let t = Instant::now();
        let tastes: Vec<Taste> = us.iter().map(|u| Taste::of(u, |k| map.get(&k).copied())).collect();
        println!("Taste::of {:.2} us", t.elapsed().as_secs_f64() * 1e6 / 4e3);
        let mut out = vec![0.0; RANK_FEATURES_LEN];
        let cf = counters[5].read(EventTime::clamped(1_700_000_000_000 + 4_000_000 * 400));
        let t = Instant::now();
        let mut acc = 0.0;
        for (u, ta) in us.iter().zip(&tastes) { for a in taste_items.iter().take(200) { rank_features(u, ta, &CandidateSignals::default(), a, &cf, &mut out); acc += out[15]; } }
        println!("rank_features {:.3} us/candidate ({acc})", t.elapsed().as_secs_f64() * 1e6 / 8e5);
        // fits: 1M interactions over 50k items
        let t = Instant::now();
        let mut b = SequencesBuilder::new();
        for f in facts.iter().take(1_000_000) { b.push(f); }
        let seq = b.finish();
        println!("sequences of 1M {:.2} s, {} visitors", t.elapsed().as_secs_f64(), seq.len());
        let until = EventTime::MAX;
        for threads in [1, 2] {
            rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap().install(|| {
                let t = Instant::now();
                let m = NextItemRules::fit(seq.iter().map(|(_, s)| s), until, &RulesConfig::default()).unwrap();
                println!("rules fit {threads} threads {:.2} s", t.elapsed().as_secs_f64());
                let t = Instant::now();
                m.save("/tmp/d/rules.safetensors").unwrap();
                println!("save {:.2} s", t.elapsed().as_secs_f64());
                let t = Instant::now();
                NextItemRules::load("/tmp/d/rules.safetensors").unwrap();
                println!("load {:.2} s, {} bytes", t.elapsed().as_secs_f64(), std::fs::metadata("/tmp/d/rules.safetensors").unwrap().len());
                let t = Instant::now();
                ItemKnn::fit(seq.iter().map(|(_, s)| s), until, &KnnConfig::default()).unwrap();
                println!("knn fit {threads} threads {:.2} s", t.elapsed().as_secs_f64());
                let t = Instant::now();
                CountingModels::fit(seq.iter().map(|(_, s)| s), until, &CountingConfig::default()).unwrap();
                println!("all {threads} threads {:.2} s", t.elapsed().as_secs_f64());
            });
        }
        return;
    }
    let until = EventTime::MAX;
    if arg == "digi" {
        let text = std::fs::read_to_string("/tmp/d/digi_train.txt").unwrap();
        let seqs: Vec<Vec<Interaction>> = text.lines().map(|l| l.split(' ').zip(0..).map(|(i, t)| step(i, t)).collect()).collect();
        let text = std::fs::read_to_string("/tmp/d/digi_test.tsv").unwrap();
        let cases: Vec<_> = text.lines().map(|l| { let (t, h) = l.split_once('\t').unwrap(); (ItemKey::of(t), h.split(' ').map(ItemKey::of).collect::<Vec<_>>()) }).collect();
        for (rep, decay, len) in [(false, 0.0, 1), (true, 0.0, 1), (false, 0.5, 10), (true, 0.5, 10), (true, 0.8, 20), (false, 0.8, 20)] {
            let t = Instant::now();
            let m = NextItemRules::fit(&seqs, until, &RulesConfig { repeats: rep, history_decay: decay, history_length: len, ..Default::default() }).unwrap();
            eval(&format!("rules repeats {rep} decay {decay} fit {:.2}s", t.elapsed().as_secs_f64()), &m, &cases, 20, false);
        }
        for (shr, decay, len) in [(0.0, 0.0, 1), (10.0, 0.0, 1), (10.0, 0.5, 10), (10.0, 0.8, 20), (0.0, 0.8, 20), (30.0, 0.8, 20)] {
            let t = Instant::now();
            let m = ItemKnn::fit(&seqs, until, &KnnConfig { shrinkage: shr, history_decay: decay, history_length: len, ..Default::default() }).unwrap();
            eval(&format!("knn shrink {shr} decay {decay} fit {:.2}s", t.elapsed().as_secs_f64()), &m, &cases, 20, false);
        }
    } else {
        let text = std::fs::read_to_string(format!("/tmp/d/{arg}.txt")).unwrap();
        let mut by: std::collections::BTreeMap<&str, Vec<&str>> = Default::default();
        for l in text.lines() { let mut w = l.split(' '); let u = w.next().unwrap(); by.entry(u).or_default().extend(w); }
        let seqs: Vec<Vec<Interaction>> = by.values().map(|v| v[..v.len() - 2].iter().zip(0..).map(|(i, t)| step(i, t)).collect()).collect();
        let cases: Vec<_> = by.values().map(|v| (ItemKey::of(v[v.len() - 1]), v[..v.len() - 1].iter().map(|i| ItemKey::of(i)).collect::<Vec<_>>())).collect();
        eval("popularity", &Popularity::fit(&seqs, until).unwrap(), &cases, 10, true);
        for (succ, decay, len, steps) in [(100, 0.0, 1, 10), (300, 0.0, 1, 10), (100, 0.5, 10, 10), (100, 0.8, 20, 10), (100, 0.8, 20, 5), (300, 0.5, 10, 10),(300, 0.8, 20, 3)] {
            let t = Instant::now();
            let m = NextItemRules::fit(&seqs, until, &RulesConfig { successors: succ, max_steps: steps, history_decay: decay, history_length: len, ..Default::default() }).unwrap();
            eval(&format!("rules n {succ} steps {steps} decay {decay} fit {:.2}s", t.elapsed().as_secs_f64()), &m, &cases, 10, true);
        }
        for (shr, decay, len) in [(0.0, 0.0, 1), (10.0, 0.0, 1), (10.0, 0.5, 10), (10.0, 0.8, 20), (0.0, 0.8, 20), (30.0, 0.8, 20)] {
            let t = Instant::now();
            let m = ItemKnn::fit(&seqs, until, &KnnConfig { shrinkage: shr, history_decay: decay, history_length: len, ..Default::default() }).unwrap();
            eval(&format!("knn shrink {shr} decay {decay} fit {:.2}s", t.elapsed().as_secs_f64()), &m, &cases, 10, true);
        }
    }
}
