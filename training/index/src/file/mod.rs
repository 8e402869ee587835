//! The file of an index: little-endian, versioned, checksummed, and laid out as it lies in memory, so that reading it is
//! mapping it.
//!
//! ```text
//! header, 64 bytes    magic "ENDCAPIX" · version u32 · 0 u32 · length of the description u64 · length of the file u64 ·
//!                     BLAKE3 of everything but these 32 bytes
//! description         JSON: dimension, items, configuration, calibration, and where each section lies
//! sections            each from a multiple of 64 bytes on: labels, vectors, 8-bit blocks, the same by row, places of
//!                     labels; centres, spreads and starts of partitions; rows and links of the graph's layers
//! ```
//!
//! Reading goes header → length → checksum of the whole → description → sections, each checked against what it must be:
//! no byte is believed before the checksum is, nothing is allocated that the file does not fill, and whatever is wrong
//! comes back as an [`IndexError`]. Files of the version before are read too, by [`version_1`].
//!
//! The file must not change while it is mapped: it is written under another name and moved into its place, and a bundle
//! that was published is never written to again.

// One mapping; the block says why it is sound.
#![allow(unsafe_code)]

mod version_1;

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{Read, Seek, SeekFrom, Write};
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;

use bytemuck::Pod;
use memmap2::{Mmap, MmapOptions};
use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use crate::buffer::Buffer;
use crate::build::next_generation;
use crate::graph::{Graph, Layer};
use crate::kernels::Kernels;
use crate::partitions::Partitions;
use crate::places::Places;
use crate::rows::{BLOCK, Blocks, MAX_DIM, Rows, unfit, width};
use crate::snapshot::Base;
use crate::{Calibration, IndexConfig, IndexError, Plan};

/// The name of the file that [`Index::save`](crate::Index::save) writes into its directory.
pub const FILE_NAME: &str = "index.bin";

const MAGIC: &[u8; 8] = b"ENDCAPIX";
const VERSION: u32 = 2;
const HEADER: usize = 64;
/// Where the checksum lies.
const DIGEST: Range<usize> = 32..64;
/// Sections begin at multiples of this: a cache line, and what the widest load wants.
const ALIGN: usize = 64;
/// More than enough for any description.
const MAX_DESCRIPTION: u64 = 64 << 20;

// Sections are used where they lie.
const _: () =
    assert!(cfg!(target_endian = "little"), "the index's file is little-endian, and so must the machine be");

/// What a file says of itself.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Description {
    dim: usize,
    items: usize,
    /// Largest norms of a row and of what quantisation took from one.
    norm: f32,
    error: f32,
    config: IndexConfig,
    graph_refused: Option<String>,
    calibration: Option<Calibration>,
    partitions: Option<PartitionsDescription>,
    graph: Option<GraphDescription>,
    sections: BTreeMap<String, Section>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct PartitionsDescription {
    count: usize,
    trained_on: usize,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct GraphDescription {
    entry: u32,
    /// Numbers a row of each layer takes, and how many rows the layer has (0: all), the lowest first.
    layers: Vec<(usize, usize)>,
}

/// Where a section lies, in bytes after the description's end rounded up to [`ALIGN`].
#[derive(Clone, Copy, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Section {
    offset: usize,
    bytes: usize,
}

/// What is wrong with a file.
enum Fault {
    Io(std::io::Error),
    Corrupt(String),
    Index(IndexError),
}

// === writing ===

/// # Errors
/// [`IndexError::Io`].
pub(crate) fn write(dir: &Path, base: &Base, plan: &Plan) -> Result<(), IndexError> {
    let path = dir.join(FILE_NAME);
    let partial = dir.join(format!("{FILE_NAME}.partial"));
    let written = fs::create_dir_all(dir).and_then(|()| write_file(&partial, base, plan));
    written.and_then(|()| fs::rename(&partial, &path)).map_err(|source| IndexError::Io { path, source })
}

fn write_file(path: &Path, base: &Base, plan: &Plan) -> std::io::Result<()> {
    let sections = sections(base);
    let mut offset = 0;
    let mut places = BTreeMap::new();
    for (name, bytes) in &sections {
        places.insert(name.clone(), Section { offset, bytes: bytes.len() });
        offset += bytes.len().next_multiple_of(ALIGN);
    }
    let description = serde_json::to_vec(&Description {
        dim: base.rows.dim,
        items: base.rows.len(),
        norm: base.rows.blocks.norm,
        error: base.rows.blocks.error,
        config: IndexConfig { simd: None, ..IndexConfig::clone(&base.config) },
        graph_refused: plan.graph_refused.clone(),
        calibration: plan.calibration.as_deref().cloned(),
        partitions: base
            .partitions
            .as_ref()
            .map(|p| PartitionsDescription { count: p.len(), trained_on: p.trained_on }),
        graph: base.graph.as_ref().map(|graph| GraphDescription {
            entry: graph.entry,
            layers: layers(graph).map(|layer| (layer.stride, layer.rows.len())).collect(),
        }),
        sections: places,
    })?;
    let first = (HEADER + description.len()).next_multiple_of(ALIGN);

    let mut header = [0; HEADER];
    header[..8].copy_from_slice(MAGIC);
    header[8..12].copy_from_slice(&VERSION.to_le_bytes());
    header[16..24].copy_from_slice(&(description.len() as u64).to_le_bytes());
    header[24..32].copy_from_slice(&((first + offset) as u64).to_le_bytes());
    let mut hasher = blake3::Hasher::new();
    hasher.update(&header[..DIGEST.start]);
    let mut file = File::create(path)?;
    file.write_all(&header)?;
    let parts = std::iter::once(&description[..]).chain(sections.iter().map(|(_, bytes)| *bytes));
    let mut at = HEADER;
    for part in parts {
        let padding = &[0; ALIGN][..(at + part.len()).next_multiple_of(ALIGN) - at - part.len()];
        at += part.len() + padding.len();
        for bytes in [part, padding] {
            hasher.update_rayon(bytes);
            file.write_all(bytes)?;
        }
    }
    file.seek(SeekFrom::Start(DIGEST.start as u64))?;
    file.write_all(hasher.finalize().as_bytes())?;
    file.sync_all()
}

fn layers(graph: &Graph) -> impl Iterator<Item = &Layer> {
    std::iter::once(&graph.lowest).chain(&graph.upper)
}

/// The bytes of every section, by name, in the order of the file.
fn sections(base: &Base) -> Vec<(String, &[u8])> {
    let rows = &base.rows;
    let mut sections: Vec<(String, &[u8])> = vec![
        ("labels".into(), bytemuck::cast_slice(&rows.labels)),
        ("vectors".into(), bytemuck::cast_slice(&rows.vectors)),
        ("blocks".into(), &rows.blocks.codes),
        ("scales".into(), bytemuck::cast_slice(&rows.blocks.scales)),
        ("codes".into(), &base.codes),
        ("places".into(), bytemuck::cast_slice(&base.places.table)),
    ];
    if let Some(partitions) = &base.partitions {
        sections.push(("centres".into(), bytemuck::cast_slice(&partitions.centres.vectors)));
        sections.push(("spreads".into(), bytemuck::cast_slice(&partitions.spreads)));
        sections.push(("starts".into(), bytemuck::cast_slice(&partitions.starts)));
    }
    for (level, layer) in base.graph.iter().flat_map(layers).enumerate() {
        sections.push((format!("layer.{level}.rows"), bytemuck::cast_slice(&layer.rows)));
        sections.push((format!("layer.{level}.links"), bytemuck::cast_slice(&layer.links)));
    }
    sections
}

// === reading ===

/// # Errors
/// [`IndexError::Io`] or [`IndexError::Corrupt`].
pub(crate) fn read(dir: &Path) -> Result<(Base, Plan), IndexError> {
    let path = dir.join(FILE_NAME);
    read_file(&path).map_err(|fault| match fault {
        Fault::Io(source) => IndexError::Io { path, source },
        Fault::Corrupt(reason) => IndexError::Corrupt { path, reason },
        Fault::Index(error) => IndexError::Corrupt { path, reason: error.to_string() },
    })
}

fn read_file(path: &Path) -> Result<(Base, Plan), Fault> {
    let mut file = File::open(path)?;
    let length = file.metadata()?.len();
    if length < HEADER as u64 {
        return Err(format!("{length} bytes are too few for an index: publish the bundle again").into());
    }
    let mut header = [0; HEADER];
    file.read_exact(&mut header)?;
    if !header.starts_with(MAGIC) {
        return Err("not an index of Endcap: check the path".to_string().into());
    }
    let number = |at: usize| u64::from_le_bytes(std::array::from_fn(|byte| header[at + byte]));
    match number(8) as u32 {
        VERSION => {}
        version_1::VERSION => {
            file.seek(SeekFrom::Start(0))?;
            return version_1::read(file, length);
        }
        version => {
            return Err(format!(
                "written in version {version} of the format, this program reads {} and {VERSION}: use the program \
                 that wrote it, or publish the bundle again",
                version_1::VERSION
            )
            .into());
        }
    }
    let (described, whole) = (number(16), number(24));
    if whole != length || described > MAX_DESCRIPTION.min(length - HEADER as u64) {
        return Err("the file was cut short or added to: publish the bundle again".to_string().into());
    }
    // SAFETY: the file is private to this program's bundles, which are moved into their place whole and not written to
    // afterwards; whoever changes one in place all the same changes numbers, which are checked where they are used.
    let map = Arc::new(unsafe { MmapOptions::new().populate().map(&file)? });
    if map.len() as u64 != length {
        return Err("the file was cut short or added to: publish the bundle again".to_string().into());
    }
    let mut hasher = blake3::Hasher::new();
    hasher.update(&map[..DIGEST.start]).update_rayon(&map[DIGEST.end..]);
    if hasher.finalize().as_bytes() != &map[DIGEST] {
        return Err("the content does not match its checksum: publish the bundle again".to_string().into());
    }
    let end = HEADER + described as usize;
    let description: Description =
        serde_json::from_slice(&map[HEADER..end]).map_err(|error| format!("its description: {error}"))?;
    Reader { map, first: end.next_multiple_of(ALIGN), sections: &description.sections }.base(&description)
}

struct Reader<'a> {
    map: Arc<Mmap>,
    /// Where the first section begins.
    first: usize,
    sections: &'a BTreeMap<String, Section>,
}

impl Reader<'_> {
    fn base(&self, description: &Description) -> Result<(Base, Plan), Fault> {
        let &Description { dim, items, norm, error, .. } = description;
        description.config.validate()?;
        if !(1..=MAX_DIM).contains(&dim) || items > self.map.len() {
            return Err(format!("{items} vectors of dimension {dim} cannot be in it").into());
        }
        let (width, places) = (width(dim), items.next_multiple_of(BLOCK));
        let rows = Rows {
            dim,
            width,
            labels: self.section("labels", items)?,
            vectors: self.section("vectors", items * width)?,
            blocks: Blocks {
                codes: self.section("blocks", places * width)?,
                scales: self.section("scales", places)?,
                error,
                norm,
            },
        };
        let wrong =
            rows.vectors.par_chunks(width).enumerate().find_map_any(|(row, v)| Some((row, unfit(v)?)));
        if let Some((row, (position, value))) = wrong {
            return Err(IndexError::Value { label: rows.labels[row], position, value }.into());
        }
        let codes = self.section("codes", items * width)?;
        let table = Places { table: self.section("places", Places::size(items))? };
        table.check(&rows.labels)?;
        let partitions = match &description.partitions {
            None => None,
            Some(described) => Some(self.partitions(described, dim, items)?),
        };
        let graph = match &description.graph {
            None => None,
            Some(described) => Some(self.graph(described, items)?),
        };
        let base = Base {
            generation: next_generation(),
            rows,
            codes,
            places: table,
            partitions,
            graph,
            config: Arc::new(description.config.clone()),
            kernels: Kernels::new(None)?,
        };
        let calibration = description.calibration.clone().map(Arc::new);
        let plan = base.plan(calibration, description.graph_refused.clone());
        Ok((base, plan))
    }

    fn partitions(
        &self,
        described: &PartitionsDescription,
        dim: usize,
        items: usize,
    ) -> Result<Partitions, Fault> {
        let &PartitionsDescription { count, trained_on } = described;
        if count > items {
            return Err(format!("{count} partitions of {items} items").into());
        }
        let vectors: Buffer<f32> = self.section("centres", count * width(dim))?;
        if let Some((position, value)) = unfit(&vectors) {
            return Err(format!("a partition's centre has {value} at position {position}").into());
        }
        let labels = (0..count as u64).collect();
        let partitions = Partitions {
            centres: Rows::of(dim, labels, vectors.to_vec()),
            spreads: self.section("spreads", count)?,
            starts: self.section("starts", count + 1)?,
            trained_on,
        };
        partitions.check(items)?;
        Ok(partitions)
    }

    fn graph(&self, described: &GraphDescription, items: usize) -> Result<Graph, Fault> {
        let mut layers = Vec::new();
        for (level, &(stride, count)) in described.layers.iter().enumerate() {
            let nodes = if level == 0 { items } else { count };
            let numbers = nodes.checked_mul(stride).ok_or_else(|| "a layer too large".to_string())?;
            if (level == 0) != (count == 0) || count > items {
                return Err(format!("layer {level} of the graph has {count} rows").into());
            }
            let rows = self.section(&format!("layer.{level}.rows"), count)?;
            layers.push(Layer {
                rows,
                stride,
                links: self.section(&format!("layer.{level}.links"), numbers)?,
            });
        }
        let mut layers = layers.into_iter();
        let lowest = layers.next().ok_or_else(|| "a graph without layers".to_string())?;
        let graph = Graph { entry: described.entry, lowest, upper: layers.collect() };
        graph.check(items)?;
        Ok(graph)
    }

    /// The numbers of a section, which must be `count`.
    fn section<T: Pod>(&self, name: &str, count: usize) -> Result<Buffer<T>, Fault> {
        let wrong = || format!("section {name} does not hold {count} numbers");
        let &Section { offset, bytes } = self.sections.get(name).ok_or_else(wrong)?;
        if count.checked_mul(size_of::<T>()) != Some(bytes) {
            return Err(wrong().into());
        }
        let start = self.first.checked_add(offset).ok_or_else(wrong)?;
        let end = start.checked_add(bytes).ok_or_else(wrong)?;
        Ok(Buffer::mapped(&self.map, start..end).ok_or_else(wrong)?)
    }
}

// === impl Fault ===

impl From<std::io::Error> for Fault {
    fn from(error: std::io::Error) -> Self {
        Fault::Io(error)
    }
}

impl From<String> for Fault {
    fn from(reason: String) -> Self {
        Fault::Corrupt(reason)
    }
}

impl From<IndexError> for Fault {
    fn from(error: IndexError) -> Self {
        Fault::Index(error)
    }
}
