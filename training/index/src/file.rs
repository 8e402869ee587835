//! The file of an index: little-endian, of one version, under two checksums.
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
//! Reading goes header → its checksum → its numbers against the file's length → body → its checksum → content. So no byte
//! is believed before its checksum is, nothing is allocated that the file does not fill, and whatever is wrong comes
//! back as an [`IndexError`]. The 8-bit codes are made again: that is faster than reading them.

use std::fs::{self, File};
use std::io::{BufWriter, Read, Write};
use std::path::Path;
use std::sync::Arc;

use crate::graph::{Graph, Layer};
use crate::index::check_values;
use crate::kernels::Kernels;
use crate::rows::{MAX_DIM, Rows, pad};
use crate::snapshot::Base;
use crate::{GraphConfig, IndexConfig, IndexError};

/// The name of the file that [`Index::save`](crate::Index::save) writes into its directory.
pub const FILE_NAME: &str = "index.bin";

const MAGIC: &[u8; 8] = b"ENDCAPIX";
const VERSION: u32 = 1;
const HEADER: usize = 128;

/// # Errors
/// [`IndexError::Io`].
pub(crate) fn write(dir: &Path, base: &Base) -> Result<(), IndexError> {
    let path = dir.join(FILE_NAME);
    let partial = dir.join(format!("{FILE_NAME}.partial"));
    let io = |source| IndexError::Io { path: path.clone(), source };
    fs::create_dir_all(dir).map_err(io)?;
    let mut digest = Digest { hash: blake3::Hasher::new(), length: 0 };
    write_body(base, &mut digest).map_err(io)?;
    let mut file = BufWriter::with_capacity(1 << 20, File::create(&partial).map_err(io)?);
    let written = file.write_all(&header(base, &digest)).and_then(|()| write_body(base, &mut file));
    written.and_then(|()| file.flush()).and_then(|()| file.get_ref().sync_all()).map_err(io)?;
    fs::rename(&partial, &path).map_err(io)
}

/// Hashes what is written to it.
struct Digest {
    hash: blake3::Hasher,
    length: u64,
}

impl Write for Digest {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.hash.update(bytes);
        self.length += bytes.len() as u64;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

fn header(base: &Base, body: &Digest) -> Vec<u8> {
    let IndexConfig {
        scan_below,
        graph: GraphConfig { neighbours, construction, search },
        compact_percent,
        ..
    } = *base.config;
    let graph = base.graph.as_ref();
    let mut header = Vec::with_capacity(HEADER);
    header.extend_from_slice(MAGIC);
    for number in [VERSION, base.rows.dim as u32] {
        header.extend_from_slice(&number.to_le_bytes());
    }
    for number in [base.rows.len() as u64, body.length, scan_below as u64] {
        header.extend_from_slice(&number.to_le_bytes());
    }
    let layers = graph.map_or(0, |graph| 1 + graph.upper.len() as u32);
    let entry = graph.map_or(0, |graph| graph.entry);
    for number in [neighbours as u32, construction as u32, search as u32, compact_percent, layers, entry] {
        header.extend_from_slice(&number.to_le_bytes());
    }
    header.extend_from_slice(body.hash.finalize().as_bytes());
    let digest = blake3::hash(&header);
    header.extend_from_slice(digest.as_bytes());
    header
}

fn write_body(base: &Base, out: &mut impl Write) -> std::io::Result<()> {
    let rows = &base.rows;
    write_numbers(out, &rows.labels, |label| label.to_le_bytes())?;
    for row in 0..rows.len() {
        write_numbers(out, rows.vector(row), |x| x.to_le_bytes())?;
    }
    let Some(graph) = &base.graph else { return Ok(()) };
    for layer in std::iter::once(&graph.lowest).chain(&graph.upper) {
        write_numbers(out, &[layer.stride as u32, layer.rows.len() as u32], |number| number.to_le_bytes())?;
        write_numbers(out, &layer.rows, |row| row.to_le_bytes())?;
        write_numbers(out, &layer.links, |link| link.to_le_bytes())?;
    }
    Ok(())
}

fn write_numbers<T: Copy, const N: usize>(
    out: &mut impl Write,
    numbers: &[T],
    bytes: impl Fn(T) -> [u8; N],
) -> std::io::Result<()> {
    let mut buffer = Vec::with_capacity(numbers.len().min(4096) * N);
    for numbers in numbers.chunks(4096) {
        buffer.clear();
        buffer.extend(numbers.iter().flat_map(|&number| bytes(number)));
        out.write_all(&buffer)?;
    }
    Ok(())
}

/// What is wrong with a file.
enum Fault {
    Io(std::io::Error),
    Corrupt(String),
    Index(IndexError),
}

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

/// # Errors
/// [`IndexError::Io`] or [`IndexError::Corrupt`].
pub(crate) fn read(dir: &Path) -> Result<Base, IndexError> {
    let path = dir.join(FILE_NAME);
    read_file(&path).map_err(|fault| match fault {
        Fault::Io(source) => IndexError::Io { path, source },
        Fault::Corrupt(reason) => IndexError::Corrupt { path, reason },
        Fault::Index(error) => IndexError::Corrupt { path, reason: error.to_string() },
    })
}

fn read_file(path: &Path) -> Result<Base, Fault> {
    let mut file = File::open(path)?;
    let length = file.metadata()?.len();
    let Some(body_length) = length.checked_sub(HEADER as u64) else {
        return Err(format!("{length} bytes are too few for an index: publish the bundle again").into());
    };
    let mut header = [0; HEADER];
    file.read_exact(&mut header)?;
    let mut fields = Bytes(&header);
    if fields.take(8)? != MAGIC {
        return Err("not an index of Endcap: check the path".to_string().into());
    }
    if blake3::hash(&header[..HEADER - 32]).as_bytes() != &header[HEADER - 32..] {
        return Err("the header does not match its checksum: publish the bundle again".to_string().into());
    }
    let version = fields.u32()?;
    if version != VERSION {
        return Err(format!(
            "written in version {version} of the format, this program reads {VERSION}: use the program that wrote it, \
             or publish the bundle again"
        )
        .into());
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
    let graph = GraphConfig { neighbours, construction, search };
    let config = IndexConfig { scan_below, graph, compact_percent: fields.u32()?, simd: None };
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
    let rows = Rows::of(dim, labels, pad(vectors.into(), dim));
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
    Ok(Base::of(rows, graph, Arc::new(config), kernels)?)
}

fn read_layer(body: &mut Bytes<'_>, items: usize, lowest: bool) -> Result<Layer, Fault> {
    let (stride, count) = (body.u32()? as usize, body.u32()? as usize);
    if stride == 0 || lowest != (count == 0) {
        return Err(format!("a layer of {count} rows and stride {stride}").into());
    }
    let rows = body.numbers(count, u32::from_le_bytes)?;
    let nodes = if lowest { items } else { count };
    let numbers = nodes.checked_mul(stride).ok_or_else(|| "a layer too large".to_string())?;
    Ok(Layer { rows, stride, links: body.numbers(numbers, u32::from_le_bytes)? })
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
