//! t
use endcap_clickstream::import::*;
fn main() {
    let a: Vec<String> = std::env::args().collect();
    let out = tempfile::tempdir().unwrap();
    let options = ImportOptions { year: Some(2012), ..Default::default() };
    let t = std::time::Instant::now();
    let r = import(a[1].parse().unwrap(), &options, a[2].as_ref(), out.path()).unwrap();
    let s = t.elapsed().as_secs_f64();
    println!("{r}");
    let size: u64 = std::process::Command::new("du").arg("-sb").arg(out.path()).output().ok().and_then(|o| String::from_utf8(o.stdout).ok()?.split_whitespace().next()?.parse().ok()).unwrap_or(0);
    let m = std::fs::read_to_string("/proc/self/status").unwrap(); let m = m.lines().find(|l| l.starts_with("VmHWM")).unwrap().to_owned();
    println!("TIME {} {:.2} s, {:.0} events/s, {:.1} bytes an event, {m}", a[1], s, r.events as f64 / s, size as f64 / r.events as f64);
    if let Some(to) = a.get(3) { let _ = std::fs::remove_dir_all(to); std::process::Command::new("cp").args(["-r", out.path().to_str().unwrap(), to]).status().unwrap(); }
}
