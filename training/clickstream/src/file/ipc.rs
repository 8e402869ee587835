//! Arrow IPC, message by message: <https://arrow.apache.org/docs/format/Columnar.html>.
//!
//! A stream is a schema message, then dictionary and record batch messages, then an end marker. A
//! file is the same between two magic words, with a footer that says where each message begins.
//! Arrow's own readers trust the lengths within a message (a negative offset panics, a huge length
//! ends the process for want of memory); here every length is checked first, and then Arrow decodes.

use std::{
    collections::HashMap,
    fs::File,
    io::{BufReader, Read, Seek, SeekFrom},
    sync::Arc,
};

use arrow::{
    array::{ArrayRef, RecordBatch},
    buffer::Buffer,
    datatypes::SchemaRef,
    ipc::{
        self, BodyCompression, MessageHeader, convert::try_fb_to_schema, reader::RecordBatchDecoder,
        reader::read_dictionary, root_as_footer, root_as_message,
    },
};

use super::{Fault, MAX_BATCH_BYTES, READ_BUFFER_BYTES, guarded};

/// The most bytes of a message beside its body: thousands of columns need less.
const MAX_METADATA_BYTES: u64 = 64 << 20;

/// The most rows a node of a message may state.
const MAX_ROWS: i64 = i32::MAX as i64;

/// A body is read in steps of this many bytes, so that a false length costs no more than what is there.
const BODY_STEP_BYTES: u64 = 4 << 20;

const CONTINUATION: u32 = u32::MAX;
const MAGIC: &[u8; 6] = b"ARROW1";

/// Reads the record batches of an IPC file or stream.
pub(super) struct IpcReader {
    messages: Messages,
    schema: SchemaRef,
    projection: Vec<usize>,
    dictionaries: HashMap<i64, ArrayRef>,
}

enum Messages {
    /// One after the other, up to the end marker.
    Stream(Box<dyn Read + Send>),
    /// At these offsets: dictionaries, then record batches.
    File { file: BufReader<File>, offsets: std::vec::IntoIter<u64> },
}

struct Message {
    /// A flatbuffer; not verified yet.
    metadata: Vec<u8>,
    body: Buffer,
}

// === impl IpcReader ===

impl IpcReader {
    /// Reads the schema of a stream.
    pub(super) fn stream(mut source: Box<dyn Read + Send>) -> Result<Self, Fault> {
        let message = Message::read(&mut source)?.ok_or_else(|| damaged("the stream holds no schema"))?;
        let header = message.header()?;
        let schema =
            header.header_as_schema().ok_or_else(|| damaged("the stream does not begin with a schema"))?;
        Ok(Self::new(Messages::Stream(source), decode_schema(schema)?))
    }

    /// Reads the footer of a file.
    pub(super) fn file(file: File) -> Result<Self, Fault> {
        let mut file = BufReader::with_capacity(READ_BUFFER_BYTES, file);
        let length = file.seek(SeekFrom::End(0))?;
        let no_footer = || Fault::Truncated("there is no Arrow footer at its end".to_owned());
        // The file: magic, two bytes of padding, messages, footer, its length, magic.
        let (head, tail) = (MAGIC.len() as u64 + 2, MAGIC.len() as u64 + 4);
        if length < head + tail {
            return Err(no_footer());
        }
        let mut end = [0; 10];
        file.seek(SeekFrom::Start(length - tail))?;
        file.read_exact(&mut end)?;
        let (footer_length, magic) = end.split_at(4);
        if magic != MAGIC {
            return Err(no_footer());
        }
        let footer_length = u64::from(le_u32(footer_length));
        if footer_length > length - head - tail || footer_length > MAX_METADATA_BYTES {
            return Err(damaged(format!("it states a length of {footer_length} bytes")));
        }
        let footer_start = length - tail - footer_length;
        file.seek(SeekFrom::Start(footer_start))?;
        let mut bytes = vec![0; footer_length as usize];
        file.read_exact(&mut bytes)?;
        let footer = root_as_footer(&bytes).map_err(damaged)?;
        let schema = decode_schema(footer.schema().ok_or_else(|| damaged("it holds no schema"))?)?;
        let mut offsets = Vec::new();
        for block in
            footer.dictionaries().into_iter().flatten().chain(footer.recordBatches().into_iter().flatten())
        {
            let offset = u64::try_from(block.offset()).ok();
            let within = offset.filter(|offset| (head..footer_start).contains(offset));
            offsets.push(
                within.ok_or_else(|| damaged(format!("it places a message at byte {}", block.offset())))?,
            );
        }
        Ok(Self::new(Messages::File { file, offsets: offsets.into_iter() }, schema))
    }

    fn new(messages: Messages, schema: SchemaRef) -> Self {
        let projection = (0..schema.fields().len()).collect();
        Self { messages, schema, projection, dictionaries: HashMap::new() }
    }

    pub(super) fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    /// Reads these columns only.
    pub(super) fn project(&mut self, columns: Vec<usize>) {
        self.projection = columns;
    }

    /// The next record batch; none after the last one.
    pub(super) fn next_batch(&mut self) -> Result<Option<RecordBatch>, Fault> {
        while let Some(message) = self.next_message()? {
            let header = message.header()?;
            let version = header.version();
            match header.header_type() {
                MessageHeader::RecordBatch => {
                    let batch = header.header_as_record_batch().ok_or_else(|| damaged("it has no header"))?;
                    check_lengths(&batch, &message.body)?;
                    let decode = || {
                        let schema = Arc::clone(&self.schema);
                        RecordBatchDecoder::try_new(
                            &message.body,
                            batch,
                            schema,
                            &self.dictionaries,
                            &version,
                        )?
                        .with_projection(Some(&self.projection))
                        .read_record_batch()
                    };
                    return guarded(decode).map(Some);
                }
                MessageHeader::DictionaryBatch => {
                    let dictionary =
                        header.header_as_dictionary_batch().ok_or_else(|| damaged("it has no header"))?;
                    let batch = dictionary.data().ok_or_else(|| damaged("a dictionary is empty"))?;
                    check_lengths(&batch, &message.body)?;
                    let dictionaries = &mut self.dictionaries;
                    guarded(|| {
                        read_dictionary(&message.body, dictionary, &self.schema, dictionaries, &version)
                    })?;
                }
                other => return Err(damaged(format!("a message of type {other:?} among record batches"))),
            }
        }
        Ok(None)
    }

    fn next_message(&mut self) -> Result<Option<Message>, Fault> {
        match &mut self.messages {
            Messages::Stream(source) => match Message::read(source)? {
                // Whatever wraps the stream must end here too; a second stream behind it would be lost.
                None if source.read(&mut [0])? > 0 => Err(damaged("there is more behind the end marker")),
                message => Ok(message),
            },
            Messages::File { file, offsets } => {
                let Some(offset) = offsets.next() else { return Ok(None) };
                file.seek(SeekFrom::Start(offset))?;
                Message::read(file)?.ok_or_else(|| damaged("the footer points at no message")).map(Some)
            }
        }
    }
}

// === impl Message ===

impl Message {
    /// Reads one message; none at the end marker.
    fn read(source: &mut impl Read) -> Result<Option<Self>, Fault> {
        let mut word = [0; 4];
        source.read_exact(&mut word).map_err(|error| match Fault::from(error) {
            Fault::Truncated(_) => Fault::Truncated("it has no end marker".to_owned()),
            fault => fault,
        })?;
        // Before Arrow 0.15 the length came without the continuation word.
        if le_u32(&word) == CONTINUATION {
            source.read_exact(&mut word)?;
        }
        let length = u64::from(le_u32(&word));
        if length == 0 {
            return Ok(None);
        }
        if length > MAX_METADATA_BYTES {
            return Err(damaged(format!("a message states {length} bytes of metadata")));
        }
        let metadata = read_exactly(source, length)?;
        let body_length = root_as_message(&metadata).map_err(damaged)?.bodyLength();
        let body_length = u64::try_from(body_length).ok().filter(|length| *length <= MAX_BATCH_BYTES);
        let body_length = body_length.ok_or_else(too_large)?;
        let body = Buffer::from_vec(read_exactly(source, body_length)?);
        Ok(Some(Self { metadata, body }))
    }

    fn header(&self) -> Result<ipc::Message<'_>, Fault> {
        root_as_message(&self.metadata).map_err(damaged)
    }
}

fn decode_schema(schema: ipc::Schema<'_>) -> Result<SchemaRef, Fault> {
    if !schema.endianness().equals_to_target_endianness() {
        return Err(damaged("it was written with the other byte order; write it on a little-endian machine"));
    }
    guarded(|| try_fb_to_schema(schema)).map(Arc::new)
}

/// Checks that what a batch says of its buffers fits into its body, and its rows into memory.
fn check_lengths(batch: &ipc::RecordBatch<'_>, body: &Buffer) -> Result<(), Fault> {
    if !(0..=MAX_ROWS).contains(&batch.length()) {
        return Err(damaged(format!("it states {} rows", batch.length())));
    }
    for node in batch.nodes().into_iter().flatten() {
        let (rows, nulls) = (node.length(), node.null_count());
        if !(0..=MAX_ROWS).contains(&rows) || !(0..=rows).contains(&nulls) {
            return Err(damaged(format!("it states a column of {rows} values, {nulls} of them null")));
        }
    }
    let compressed = batch.compression().is_some_and(|compression: BodyCompression<'_>| {
        compression.method() == ipc::BodyCompressionMethod::BUFFER
    });
    let mut bytes = 0u64;
    for buffer in batch.buffers().into_iter().flatten() {
        let (offset, length) = (buffer.offset(), buffer.length());
        let bounds = usize::try_from(offset).ok().zip(usize::try_from(length).ok());
        let slice = bounds.and_then(|(offset, length)| body.get(offset..offset.checked_add(length)?));
        let slice = slice.ok_or_else(|| {
            damaged(format!("it places {length} bytes at {offset} of a body of {} bytes", body.len()))
        })?;
        bytes = bytes.saturating_add(match slice.first_chunk::<8>() {
            // The length once decompressed; -1: not compressed after all.
            Some(prefix) if compressed => match i64::from_le_bytes(*prefix) {
                -1 => slice.len() as u64,
                stated => {
                    u64::try_from(stated).map_err(|_| damaged(format!("a buffer states {stated} bytes")))?
                }
            },
            _ => slice.len() as u64,
        });
    }
    if bytes > MAX_BATCH_BYTES { Err(too_large()) } else { Ok(()) }
}

fn read_exactly(source: &mut impl Read, length: u64) -> Result<Vec<u8>, Fault> {
    let mut bytes = Vec::with_capacity(length.min(BODY_STEP_BYTES) as usize);
    let read = source.take(length).read_to_end(&mut bytes)? as u64;
    if read < length {
        return Err(Fault::Truncated(format!("{} bytes are missing", length - read)));
    }
    Ok(bytes)
}

fn le_u32(bytes: &[u8]) -> u32 {
    bytes.iter().rev().fold(0, |word, &byte| word << 8 | u32::from(byte))
}

fn damaged(detail: impl std::fmt::Display) -> Fault {
    Fault::Damaged(detail.to_string())
}

fn too_large() -> Fault {
    damaged(format!(
        "it states more than {MAX_BATCH_BYTES} bytes; write record batches of a few thousand rows"
    ))
}
