//! Vectors to search, queries, filters, and the true answers: drawn once, written as raw files that the peers read too.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::Context;
use clap::ValueEnum;
use endcap_bundle::{Bundle, BundleStore};
use endcap_clickstream::Dataset;
use endcap_clickstream::synthetic::{Shop, ShopConfig};
use endcap_features::UserState;
use endcap_index::{Allowed, Index, IndexConfig, Retriever, Selection, Way};
use endcap_recommend::Model;
use endcap_trainer::{PipelineConfig, publish};

use super::{DIM, K, QUERIES, SEED, short};
use crate::vectors::{Generator, Vectors};

/// Items of the shop whose bundle is searched.
pub(super) const BUNDLE_ITEMS: usize = 50_000;
/// Shoppers that the bundle's index is measured with.
const USERS: usize = 256;
/// Shares of the items that the filters keep.
pub(super) const SHARES: [f64; 4] = [0.5, 0.1, 0.01, 0.001];

/// Whose vectors.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Source {
    /// The generator with many tight clusters.
    Hard,
    /// The generator with few directions that matter.
    Easy,
    /// The items of a bundle trained on the synthetic shop, searched with the vectors of its shoppers.
    Bundle,
}

/// Vectors to search. The label of an item is its row.
pub(super) struct DataSet {
    /// `hard 100k`.
    pub(super) name: String,
    pub(super) source: Source,
    pub(super) vectors: Vectors,
    /// Vectors of users that are none of the queries, row-major: what an index of a bundle is measured with when it is
    /// published. The generators have none.
    pub(super) users: Vec<f32>,
    /// `items.f32`, `queries.f32`, and what is made of them.
    pub(super) dir: PathBuf,
}

/// A filter that keeps a share of the items, drawn by their rows.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Keeps(pub(super) f64);

/// The true answers, a row of [`K`] for each query, the best first; −1 where there are fewer.
pub(super) struct Truth {
    pub(super) rows: Vec<i32>,
    pub(super) path: PathBuf,
}

impl DataSet {
    pub(super) fn open(source: Source, items: usize, dir: &Path) -> anyhow::Result<Self> {
        let kind = match source {
            Source::Hard => "hard",
            Source::Easy => "easy",
            Source::Bundle => "bundle",
        };
        let dir = dir.join("vectors").join(format!("{kind}-{items}"));
        fs::create_dir_all(&dir).with_context(|| dir.display().to_string())?;
        let (mut vectors, users) = match source {
            Source::Hard => (Generator::Hard.draw(SEED, items, QUERIES, DIM), Vec::new()),
            Source::Easy => (Generator::Easy.draw(SEED, items, QUERIES, DIM), Vec::new()),
            Source::Bundle => bundle(items, &dir)?,
        };
        vectors.labels = (0..items as u64).collect();
        let data = Self { name: format!("{kind} {}", short(items)), source, vectors, users, dir };
        let same = write(&data.items_file(), &bytes(&data.vectors.items))?
            & write(&data.queries_file(), &bytes(&data.vectors.queries))?;
        if !same {
            // Answers to other questions.
            for share in [None].into_iter().chain(SHARES.map(Some)) {
                fs::remove_file(data.truth_file(share.map(Keeps))).ok();
            }
        }
        Ok(data)
    }

    pub(super) fn len(&self) -> usize {
        self.vectors.labels.len()
    }

    pub(super) fn queries(&self) -> usize {
        self.vectors.queries.len() / DIM
    }

    pub(super) fn items_file(&self) -> PathBuf {
        self.dir.join("items.f32")
    }

    pub(super) fn queries_file(&self) -> PathBuf {
        self.dir.join("queries.f32")
    }

    fn truth_file(&self, keeps: Option<Keeps>) -> PathBuf {
        self.dir.join(match keeps {
            None => "truth.i32".to_owned(),
            Some(Keeps(share)) => format!("truth-{share}.i32"),
        })
    }

    /// One byte an item, 1 where it is kept.
    pub(super) fn allowed_file(&self, keeps: Keeps) -> anyhow::Result<PathBuf> {
        let path = self.dir.join(format!("allowed-{}.u8", keeps.0));
        let bytes: Vec<u8> = (0..self.len() as u64).map(|row| u8::from(keeps.keeps(row))).collect();
        write(&path, &bytes)?;
        Ok(path)
    }

    /// The true answers, from the file or by scoring every vector.
    pub(super) fn truth(&self, keeps: Option<Keeps>) -> anyhow::Result<Truth> {
        let path = self.truth_file(keeps);
        if let Ok(bytes) = fs::read(&path)
            && bytes.len() == self.queries() * K * 4
        {
            let rows = bytes.as_chunks::<4>().0.iter().map(|&bytes| i32::from_le_bytes(bytes)).collect();
            return Ok(Truth { rows, path });
        }
        let config = IndexConfig { scan_below: usize::MAX, ..IndexConfig::default() };
        let snapshot = Index::build(&self.vectors.labels, &self.vectors.items, DIM, &config)?.snapshot();
        let selection = keeps.map(|keeps| Selection::new(&snapshot, move |row| keeps.keeps(row)));
        let allowed = match &selection {
            None => Allowed::All,
            Some(selection) => Allowed::Selected { selection, except: &[] },
        };
        let answers = snapshot.by(Way::Exhaustive).retrieve_batch(&self.vectors.queries, K, &allowed)?;
        let rows: Vec<i32> = answers
            .iter()
            .flat_map(|hits| {
                let found = hits.iter().map(|hit| hit.label as i32);
                found.chain(std::iter::repeat(-1)).take(K)
            })
            .collect();
        let bytes: Vec<u8> = rows.iter().flat_map(|row| row.to_le_bytes()).collect();
        write(&path, &bytes)?;
        Ok(Truth { rows, path })
    }
}

impl Truth {
    /// Mean share of the true answers that was found.
    pub(super) fn recall(&self, found: &[Vec<i32>]) -> f64 {
        let (mut hits, mut all) = (0, 0);
        for (found, truth) in found.iter().zip(self.rows.chunks(K)) {
            let truth: Vec<i32> = truth.iter().copied().filter(|&row| row >= 0).collect();
            hits += truth.iter().filter(|row| found.contains(row)).count();
            all += truth.len();
        }
        hits as f64 / all.max(1) as f64
    }
}

impl Keeps {
    pub(super) fn keeps(self, row: u64) -> bool {
        let mixed = (row + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ 0x5851_f42d_4c95_7f2d;
        let mixed = (mixed ^ (mixed >> 29)).wrapping_mul(0xff51_afd7_ed55_8ccd);
        ((mixed ^ (mixed >> 32)) as f64) < self.0 * u64::MAX as f64
    }

    /// `50 %`.
    pub(super) fn name(self) -> String {
        format!("{} %", self.0 * 100.0)
    }
}

/// Items and shoppers of a bundle that is trained on the synthetic shop, and [`USERS`] other shoppers; from the files of an
/// earlier run where they are.
fn bundle(items: usize, dir: &Path) -> anyhow::Result<(Vectors, Vec<f32>)> {
    let read = |name: &str| -> Option<Vec<f32>> {
        let bytes = fs::read(dir.join(name)).ok()?;
        Some(bytes.as_chunks::<4>().0.iter().map(|&bytes| f32::from_le_bytes(bytes)).collect())
    };
    if let (Some(found), Some(queries), Some(users)) =
        (read("items.f32"), read("queries.f32"), read("users.f32"))
        && [found.len(), queries.len(), users.len()] == [items, QUERIES, USERS].map(|count| count * DIM)
    {
        return Ok((Vectors { dim: DIM, labels: Vec::new(), items: found, queries }, users));
    }
    eprintln!("training a bundle of {items} items");
    let shop = Shop::new(&ShopConfig { items, shoppers: 6_000, images: false, ..ShopConfig::default() })?;
    let folder = tempfile::tempdir()?;
    let data = folder.path().join("data");
    shop.write(&data)?;
    let store = BundleStore::open(folder.path().join("bundles"))?;
    let mut config = PipelineConfig { refit: false, ..PipelineConfig::default() };
    config.towers.epochs = 2;
    let end = shop.config().end;
    let dataset = Dataset::open(&data)?;
    let published = publish(&dataset, None, &config, Vec::new(), &store, end, Default::default(), &mut ())?;
    let model = Model::new(Bundle::load(&store.path(&published.version))?)?;
    let snapshot = model.index().snapshot();
    anyhow::ensure!(
        (snapshot.len(), snapshot.dim()) == (items, DIM),
        "the bundle holds {} vectors of {} numbers",
        snapshot.len(),
        snapshot.dim()
    );
    let vectors = snapshot.base_labels().iter().filter_map(|&label| snapshot.vector(label));
    let found: Vec<f32> = vectors.flatten().copied().collect();
    let mut vectors = Vec::with_capacity((QUERIES + USERS) * DIM);
    for shopper in 0..shop.shoppers() {
        let mut state = UserState::default();
        for event in &shop.history_of(shopper).0 {
            state.apply(event);
        }
        if state.history().len() >= 3 && vectors.len() < vectors.capacity() {
            vectors.extend_from_slice(model.view(&state, end).vector().map_err(Clone::clone)?);
        }
    }
    anyhow::ensure!(vectors.len() == (QUERIES + USERS) * DIM, "too few shoppers have a history");
    let users = vectors.split_off(QUERIES * DIM);
    write(&dir.join("users.f32"), &bytes(&users))?;
    Ok((Vectors { dim: DIM, labels: Vec::new(), items: found, queries: vectors }, users))
}

fn bytes(numbers: &[f32]) -> Vec<u8> {
    numbers.iter().flat_map(|number| number.to_le_bytes()).collect()
}

/// Writes a file unless it is there; whether it was.
fn write(path: &Path, bytes: &[u8]) -> anyhow::Result<bool> {
    if fs::read(path).is_ok_and(|found| found == bytes) {
        return Ok(true);
    }
    fs::write(path, bytes).with_context(|| path.display().to_string())?;
    Ok(false)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn filters_keep_their_share() {
        for share in SHARES {
            let kept = (0..1_000_000).filter(|&row| Keeps(share).keeps(row)).count() as f64 / 1e6;
            assert!((kept / share - 1.0).abs() < 0.1, "{share}: {kept}");
        }
    }

    #[test]
    fn recall_counts_the_true_answers_that_were_found() {
        let mut rows = vec![-1; 2 * K];
        rows[..4].copy_from_slice(&[1, 2, 3, 4]);
        rows[K..K + 2].copy_from_slice(&[5, 6]);
        let truth = Truth { rows, path: PathBuf::new() };
        assert_eq!(truth.recall(&[vec![4, 9, 1], vec![6, 5, -1]]), 4.0 / 6.0);
    }
}
