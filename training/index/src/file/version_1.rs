//! The format before: one pass over numbers without padding, under two checksums. It is read, and not written any more.
//!
//! ```text
//! header, 128 bytes   magic "ENDCAPIX" · version u32 · dim u32 · items u64 · body length u64 · scan_below u64 ·
//!                     graph.{neighbours, construction, search} u32 · compact_percent u32 · layers u32 · entry u32 ·
//!                     BLAKE3 of the body (32) · BLAKE3 of the header up to here (32)
//! body                labels u64 × items · vectors f32 × items × dim ·
//!                     for each layer of the graph, the lowest first: stride u32 · rows u32 (0: all) · those rows u32 ·
//!                     nodes u32 × stride: the number of links, the links, padding
//! ```
//!
//! It knows no partitions: such an index scans, or walks its graph, until it is compacted or published again.

use std::fs::File;
use std::io::Read;
use std::sync::Arc;

use super::Fault;
use crate::build::next_generation;
use crate::graph::{Graph, Layer};
use crate::index::check_values;
use crate::kernels::Kernels;
use crate::places::Places;
use crate::rows::{MAX_DIM, Rows, by_row, pad};
use crate::snapshot::Base;
use crate::{GraphConfig, IndexConfig, Plan};

pub(super) const VERSION: u32 = 1;
const HEADER: usize = 128;

pub(super) fn read(mut file: File, length: u64) -> Result<(Base, Plan), Fault> {
    let Some(body_length) = length.checked_sub(HEADER as u64) else {
        return Err(format!("{length} bytes are too few for an index: publish the bundle again").into());
    };
    let mut header = [0; HEADER];
    file.read_exact(&mut header)?;
    let mut fields = Bytes(&header);
    // Magic and version brought the reader here.
    fields.take(12)?;
    if blake3::hash(&header[..HEADER - 32]).as_bytes() != &header[HEADER - 32..] {
        return Err("the header does not match its checksum: publish the bundle again".to_string().into());
    }
    let dim = fields.u32()? as usize;
    let items = fields.u64()?;
    if fields.u64()? != body_length {
        return Err("the file was cut short or added to: publish the bundle again".to_string().into());
    }
    if !(1..=MAX_DIM).contains(&dim)
        || items.checked_mul(8 + 4 * dim as u64).is_none_or(|bytes| bytes > body_length)
    {
        return Err(format!("{items} vectors of dimension {dim} cannot be in {body_length} bytes").into());
    }
    let scan_below = fields.u64()? as usize;
    let [neighbours, construction, search] =
        [fields.u32()?, fields.u32()?, fields.u32()?].map(|n| n as usize);
    // There was one threshold, for the graph.
    let graph = GraphConfig { from_items: scan_below, neighbours, construction, search };
    let scan_below = scan_below.min(IndexConfig::default().scan_below);
    let config = IndexConfig { scan_below, graph, compact_percent: fields.u32()?, ..IndexConfig::default() };
    config.validate()?;
    let (layers, entry) = (fields.u32()?, fields.u32()?);

    let mut body = Vec::with_capacity(body_length as usize);
    file.read_to_end(&mut body)?;
    if body.len() as u64 != body_length || blake3::hash(&body).as_bytes() != fields.take(32)? {
        return Err("the content does not match its checksum: publish the bundle again".to_string().into());
    }
    let mut body = Bytes(&body);
    let items = items as usize;
    let labels = body.numbers(items, u64::from_le_bytes)?;
    let vectors = body.numbers(items * dim, f32::from_le_bytes)?;
    check_values(&labels, &vectors, dim)?;
    let rows = Rows::of(dim, labels, pad(vectors.into(), dim).into_owned());
    let kernels = Kernels::new(None)?;
    let graph = match layers {
        0 => None,
        _ => {
            let lowest = read_layer(&mut body, items, true)?;
            let upper = (1..layers).map(|_| read_layer(&mut body, items, false)).collect::<Result<_, _>>()?;
            let graph = Graph { entry, lowest, upper };
            graph.check(items)?;
            Some(graph)
        }
    };
    if !body.0.is_empty() {
        return Err(format!("{} bytes are left over", body.0.len()).into());
    }
    let base = Base {
        generation: next_generation(),
        codes: by_row(&rows).into(),
        places: Places::of(&rows.labels)?,
        rows,
        partitions: None,
        graph,
        config: Arc::new(config),
        kernels,
    };
    let plan = base.plan(None, None);
    Ok((base, plan))
}

fn read_layer(body: &mut Bytes<'_>, items: usize, lowest: bool) -> Result<Layer, Fault> {
    let (stride, count) = (body.u32()? as usize, body.u32()? as usize);
    if stride == 0 || lowest != (count == 0) {
        return Err(format!("a layer of {count} rows and stride {stride}").into());
    }
    let rows = body.numbers(count, u32::from_le_bytes)?;
    let nodes = if lowest { items } else { count };
    let numbers = nodes.checked_mul(stride).ok_or_else(|| "a layer too large".to_string())?;
    Ok(Layer { rows: rows.into(), stride, links: body.numbers(numbers, u32::from_le_bytes)?.into() })
}

/// What is left to read.
struct Bytes<'a>(&'a [u8]);

impl<'a> Bytes<'a> {
    fn take(&mut self, count: usize) -> Result<&'a [u8], Fault> {
        let (taken, rest) = self
            .0
            .split_at_checked(count)
            .ok_or_else(|| format!("{count} bytes are missing at the end of a section"))?;
        self.0 = rest;
        Ok(taken)
    }

    fn numbers<T, const N: usize>(
        &mut self,
        count: usize,
        number: impl Fn([u8; N]) -> T,
    ) -> Result<Vec<T>, Fault> {
        let bytes = count.checked_mul(N).ok_or_else(|| "a section too large".to_string())?;
        Ok(self.take(bytes)?.as_chunks::<N>().0.iter().map(|&bytes| number(bytes)).collect())
    }

    fn u32(&mut self) -> Result<u32, Fault> {
        Ok(self.numbers(1, u32::from_le_bytes)?[0])
    }

    fn u64(&mut self) -> Result<u64, Fault> {
        Ok(self.numbers(1, u64::from_le_bytes)?[0])
    }
}
