//! A fit, written down: so that one that was stopped gives the weights that it would have given.
//!
//! One file, replaced by rename:
//!
//! ```text
//! "ENDCAP-FIT-1\n"  length of the header (u64)  header (JSON)  numbers, stretch by stretch  BLAKE3 of all before (32)
//! ```
//!
//! Little-endian. The header says how far the fit has come and of which configuration and data it is; the numbers are
//! weights, moments of the optimisers, and the best epoch's weights, in an order that the fit's shape fixes.

use std::{
    fs, io,
    io::{Read, Write},
    path::{Path, PathBuf},
    time::Duration,
};

use endcap_towers::Weights;
use serde::{Deserialize, Serialize};

use crate::{
    EpochReport, TrainConfig, TrainError, TrainingData,
    fit::{Best, Fit, Place},
};

/// Where a fit is written down, and how often.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CheckpointPlan {
    /// The file. Where it is there already, the fit goes on from it.
    pub path: PathBuf,
    /// After each epoch, and within one as often as this.
    pub every: Duration,
}

/// What makes two fits the same.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Identity {
    /// BLAKE3 of the configuration, but for the number of threads.
    config: String,
    /// BLAKE3 of what the fit reads.
    data: String,
}

#[derive(Debug, Serialize, Deserialize)]
struct Header {
    identity: Identity,
    place: Place,
    epochs: Vec<EpochReport>,
    temperature: f32,
    /// Steps of the dense optimisers and of the temperature's.
    dense_steps: Vec<i32>,
    best: Option<BestHeader>,
}

#[derive(Debug, Serialize, Deserialize)]
struct BestHeader {
    epoch: usize,
    ndcg: f64,
    temperature: f32,
}

const MAGIC: &[u8] = b"ENDCAP-FIT-1\n";
const DIGEST: usize = 32;
/// A header longer than this is none.
const LONGEST_HEADER: u64 = 1 << 26;

impl Identity {
    pub(crate) fn of(data: &TrainingData, config: &TrainConfig) -> Self {
        let config = TrainConfig { threads: 0, ..config.clone() };
        let config = serde_json::to_vec(&config).unwrap_or_default();
        let mut digest = blake3::Hasher::new();
        let interactions = data.sequences().interactions();
        for (interaction, &item) in interactions.iter().zip(data.items()) {
            digest.update(&item.to_le_bytes());
            digest.update(&interaction.time.as_millis().to_le_bytes());
            digest.update(&[interaction.event_type as u8]);
        }
        for visitor in data.visitors() {
            digest.update(&(visitor.end as u64).to_le_bytes());
        }
        for features in data.item_features() {
            digest.update(&features.key.0.to_le_bytes());
            digest.update(&features.id_row.unwrap_or(u32::MAX).to_le_bytes());
            features.words.iter().for_each(|word| _ = digest.update(&word.to_le_bytes()));
            features.vector.iter().for_each(|number| _ = digest.update(&number.to_le_bytes()));
        }
        Self {
            config: blake3::hash(&config).to_hex().to_string(),
            data: digest.finalize().to_hex().to_string(),
        }
    }
}

/// A stretch of numbers of a fit.
enum Numbers<'a> {
    Floats(&'a mut Vec<f32>),
    Counts(&'a mut Vec<u32>),
}

fn stretches<'a>(fit: &'a mut Fit<'_>) -> Vec<Numbers<'a>> {
    fn of_weights(weights: &mut Weights) -> impl Iterator<Item = &mut Vec<f32>> {
        [&mut weights.items, &mut weights.words].into_iter().chain(&mut weights.dense)
    }
    let optimisers = &mut fit.optimisers;
    let mut all: Vec<Numbers<'a>> = of_weights(&mut fit.weights).map(Numbers::Floats).collect();
    for adam in optimisers.dense.iter_mut().chain([&mut optimisers.scale]) {
        all.extend([&mut adam.means, &mut adam.squares].map(Numbers::Floats));
    }
    for table in [&mut optimisers.items, &mut optimisers.words] {
        all.extend([&mut table.means, &mut table.squares].map(Numbers::Floats));
        all.push(Numbers::Counts(&mut table.steps));
    }
    if let Some(best) = &mut fit.best {
        all.extend(of_weights(&mut best.weights).map(Numbers::Floats));
    }
    all
}

impl Fit<'_> {
    /// Writes the fit down.
    pub(crate) fn write_down(&mut self, plan: &CheckpointPlan) -> Result<(), TrainError> {
        let Some(identity) = self.identity.clone() else { return Ok(()) };
        let adams = self.optimisers.dense.iter().chain([&self.optimisers.scale]);
        let header = Header {
            identity,
            place: self.place,
            epochs: self.epochs.clone(),
            temperature: self.shape.temperature,
            dense_steps: adams.map(|adam| adam.steps).collect(),
            best: self.best.as_ref().map(|best| BestHeader {
                epoch: best.epoch,
                ndcg: best.ndcg,
                temperature: best.temperature,
            }),
        };
        let failed = |error: io::Error| TrainError::Checkpoint {
            path: plan.path.display().to_string(),
            reason: format!("the checkpoint cannot be written: {error}; make room, or train without one"),
        };
        let header = serde_json::to_vec(&header).map_err(|error| failed(error.into()))?;
        let stretches = stretches(self);
        replace(&plan.path, |file| {
            let mut out = Digesting { inner: file, digest: blake3::Hasher::new() };
            out.write_all(MAGIC)?;
            out.write_all(&(header.len() as u64).to_le_bytes())?;
            out.write_all(&header)?;
            let mut bytes = Vec::new();
            for stretch in &stretches {
                let mut write = |words: &mut dyn Iterator<Item = [u8; 4]>| {
                    bytes.clear();
                    words.for_each(|word| bytes.extend(word));
                    out.write_all(&bytes)
                };
                match stretch {
                    Numbers::Floats(numbers) => write(&mut numbers.iter().map(|x| x.to_le_bytes()))?,
                    Numbers::Counts(numbers) => write(&mut numbers.iter().map(|x| x.to_le_bytes()))?,
                }
            }
            let digest = out.digest.finalize();
            out.inner.write_all(digest.as_bytes())
        })
        .map_err(failed)
    }

    /// Goes on from the checkpoint, where there is one.
    pub(crate) fn take_up(&mut self, plan: &CheckpointPlan) -> Result<(), TrainError> {
        let refuse =
            |reason: String| TrainError::Checkpoint { path: plan.path.display().to_string(), reason };
        let file = match fs::File::open(&plan.path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            Err(error) => return Err(refuse(format!("the checkpoint cannot be read: {error}"))),
        };
        let broken =
            |what: &str| refuse(format!("the checkpoint is broken ({what}); delete it to begin again"));
        verify(&file).map_err(|error| broken(&error.to_string()))?;
        let mut input = io::BufReader::new(&file);
        let header = read_header(&mut input).map_err(|error| broken(&error.to_string()))?;
        if self.identity.as_ref() != Some(&header.identity) {
            let same = self.identity.as_ref().is_some_and(|own| own.config == header.identity.config);
            let what = if same { "data" } else { "configuration" };
            return Err(refuse(format!(
                "the checkpoint is of a fit with another {what}; delete it to begin again, or give the {what} it had"
            )));
        }
        self.place = header.place;
        self.epochs = header.epochs;
        self.set_temperature(header.temperature);
        let adams = self.optimisers.dense.iter_mut().chain([&mut self.optimisers.scale]);
        adams.zip(header.dense_steps).for_each(|(adam, steps)| adam.steps = steps);
        self.best = header.best.map(|BestHeader { epoch, ndcg, temperature }| Best {
            epoch,
            ndcg,
            temperature,
            weights: self.weights.clone(),
        });
        let mut read = |numbers: Numbers<'_>| {
            let count = match &numbers {
                Numbers::Floats(numbers) => numbers.len(),
                Numbers::Counts(numbers) => numbers.len(),
            };
            let mut bytes = vec![0; count * 4];
            input.read_exact(&mut bytes)?;
            let words = bytes.chunks_exact(4).map(|b| [b[0], b[1], b[2], b[3]]);
            match numbers {
                Numbers::Floats(out) => {
                    out.iter_mut().zip(words).for_each(|(x, b)| *x = f32::from_le_bytes(b))
                }
                Numbers::Counts(out) => {
                    out.iter_mut().zip(words).for_each(|(x, b)| *x = u32::from_le_bytes(b))
                }
            }
            io::Result::Ok(())
        };
        stretches(self).into_iter().try_for_each(&mut read).map_err(|error| broken(&error.to_string()))
    }
}

/// That the last bytes of a file are the digest of all before.
fn verify(file: &fs::File) -> io::Result<()> {
    let length = file.metadata()?.len();
    let Some(length) = length.checked_sub(DIGEST as u64) else {
        return Err(io::ErrorKind::UnexpectedEof.into());
    };
    let mut input = io::BufReader::with_capacity(1 << 20, file);
    let mut digest = blake3::Hasher::new();
    io::copy(&mut input.by_ref().take(length), &mut digest)?;
    let mut written = [0; DIGEST];
    input.read_exact(&mut written)?;
    if digest.finalize() != blake3::Hash::from(written) {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "its digest is another one"));
    }
    io::Seek::rewind(&mut &*file)
}

fn read_header(input: &mut impl Read) -> io::Result<Header> {
    let invalid = |what: String| io::Error::new(io::ErrorKind::InvalidData, what);
    let mut magic = [0; MAGIC.len()];
    input.read_exact(&mut magic)?;
    if magic != MAGIC {
        return Err(invalid("it is no checkpoint of this version".into()));
    }
    let mut length = [0; 8];
    input.read_exact(&mut length)?;
    let length = u64::from_le_bytes(length);
    if length > LONGEST_HEADER {
        return Err(invalid(format!("a header of {length} bytes")));
    }
    let mut header = vec![0; length as usize];
    input.read_exact(&mut header)?;
    serde_json::from_slice(&header).map_err(|error| invalid(error.to_string()))
}

/// Writes a file beside the one that is there, and puts it in its place when it is whole and on disk.
fn replace(
    path: &Path,
    write: impl FnOnce(&mut io::BufWriter<fs::File>) -> io::Result<()>,
) -> io::Result<()> {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(".partial");
    let partial = path.with_file_name(name);
    let mut file = io::BufWriter::with_capacity(1 << 20, fs::File::create(&partial)?);
    write(&mut file)?;
    file.into_inner().map_err(|error| error.into_error())?.sync_all()?;
    fs::rename(&partial, path)?;
    if let Some(folder) = path.parent().filter(|folder| !folder.as_os_str().is_empty()) {
        fs::File::open(folder)?.sync_all()?;
    }
    Ok(())
}

struct Digesting<W> {
    inner: W,
    digest: blake3::Hasher,
}

impl<W: Write> Write for Digesting<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.inner.write(bytes)?;
        self.digest.update(&bytes[..written]);
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}
