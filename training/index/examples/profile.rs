use endcap_index::*;
fn main() {
    let n: usize = std::env::args().nth(1).unwrap().parse().unwrap();
    let which = std::env::args().nth(2).unwrap();
    let mut s = 1u64;
    let mut r = || { s ^= s << 13; s ^= s >> 7; s ^= s << 17; (s >> 40) as f32 / 8388608.0 - 1.0 };
    let mut v: Vec<f32> = (0..n * 64).map(|_| r()).collect();
    for v in v.chunks_mut(64) { let l = v.iter().map(|x| x * x).sum::<f32>().sqrt(); v.iter_mut().for_each(|x| *x /= l); }
    let labels: Vec<u64> = (0..n as u64).collect();
    let t = std::time::Instant::now();
    let index = Index::build(&labels, &v, 64, &IndexConfig { scan_below: usize::MAX, ..Default::default() }).unwrap();
    println!("build {:?}", t.elapsed());
    let snap = index.snapshot();
    let way = snap.by(if which == "scan" { Way::Scan } else { Way::Exhaustive });
    let t = std::time::Instant::now();
    let m = if which == "scan" { 20000 } else { 2000 };
    for i in 0..m { std::hint::black_box(way.retrieve(&v[i % 1000 * 64..][..64], 100, &Allowed::All).unwrap()); }
    println!("{:.0} q/s", m as f64 / t.elapsed().as_secs_f64());
}
