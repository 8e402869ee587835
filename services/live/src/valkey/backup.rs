//! Backups of a state that replicas share: its values, read while it is in use, in one file.
//!
//! ```text
//! "ENDCAPVB", version 4 │ entry … │ end            entry: length 4, XXH3 8 │ postcard
//! partitions, each as of one moment ──► visitors, accounts, sessions, which may be ahead of them
//! ```
//!
//! A partition's counters, window and offset are read in one step. What belongs to visitors is read after that, so it
//! has heard of everything before those offsets; what it has heard beyond, it passes over when the consumer reads on from there.
//!
//! A prefix that is being filled says so in its mark, and no service uses it: filled halfway, it is cleared and filled anew.

use std::{
    collections::BTreeMap,
    fs::{self, File},
    io::{self, BufReader, BufWriter, Read as _, Write as _},
    path::Path,
    sync::LazyLock,
};

use endcap_features::ItemCounters;
use endcap_proto::EventTime;
use redis::{Cmd, Script};
use serde::{Deserialize, Serialize};
use twox_hash::XxHash3_64;

use super::{
    Shared, ValkeyConfig, ValkeyConfigError, ValkeyStore, ValkeyWriter,
    commit::At,
    connection::Call,
    keys,
    values::{Account, Shopper},
};
use crate::{
    Backup, PartitionOffset, StoreConfig, StoreError,
    store::{BackupOf, part_of_digest},
};

const MAGIC: &[u8; 8] = b"ENDCAPVB";
const VERSION: u32 = 1;
/// The file of values, beside `backup.json`.
const VALUES: &str = "values";
/// How often a partition is read again whose window has turned over meanwhile.
const TRIES: usize = 20;

/// Commands of one question.
const COMMANDS: usize = 256;

/// KEYS: at, counters, both windows. All of one moment.
const READ: &str = "
return {redis.call('HMGET', KEYS[1], 'at', 'n'), redis.call('HGETALL', KEYS[2]), redis.call('GET', KEYS[3]),
  redis.call('GET', KEYS[4])}";
static READ_SCRIPT: LazyLock<Script> = LazyLock::new(|| Script::new(READ));

/// What a backup holds, one after the other.
#[derive(Debug, Serialize, Deserialize)]
enum Entry {
    Partition(Partition),
    /// A visitor, session, account or copy: key behind the prefix, value.
    Value(Vec<u8>, Vec<u8>),
    /// A set: key behind the prefix, members.
    Members(Vec<u8>, Vec<Vec<u8>>),
    /// So many came before.
    End(u64),
}

#[derive(Debug, Serialize, Deserialize)]
struct Partition {
    number: i32,
    at: Vec<u8>,
    flushes: u64,
    counters: Vec<(Vec<u8>, Vec<u8>)>,
    windows: Vec<(u64, Vec<u8>)>,
}

/// What the entries say together.
#[derive(Default)]
struct Tally {
    digest: u64,
    shoppers: usize,
    watermark: EventTime,
    offsets: Vec<PartitionOffset>,
    sums: BTreeMap<u64, ItemCounters>,
}

// === impl ValkeyStore ===

impl ValkeyStore {
    /// What is kept of a topic, without following it: for looking, and for copies. Belongs into a tokio runtime.
    ///
    /// # Errors
    /// When the configuration or a secret cannot be used.
    pub fn at_rest(config: &ValkeyConfig, topic: &str) -> Result<Self, ValkeyConfigError> {
        Ok(Self { shared: Shared::open(config, topic, false)?, _polls: None })
    }

    /// A prefix to be filled, by [`Self::fill`] or by the writer, and then [`Self::filled`]: no service uses it before.
    /// What an attempt before has left halfway is taken away.
    ///
    /// # Errors
    /// When there is a state under the prefix, or the servers cannot be asked.
    pub async fn to_fill(
        config: &ValkeyConfig,
        topic: &str,
        store: &StoreConfig,
    ) -> Result<(Self, ValkeyWriter), StoreError> {
        let place = format!("{}, prefix {}", config.addresses, config.prefix);
        let shared = Shared::open(config, topic, true)
            .map_err(|error| StoreError::Unavailable { place, reason: error.to_string() })?;
        let opened = Self { shared: shared.clone(), _polls: None };
        let mark: Option<String> = shared.value(shared.one(keys::get(&shared.keys.mark())).await?)?;
        let used = !shared.partitions().await?.is_empty();
        match mark {
            Some(mark) if mark == shared.mark => shared.clear().await?,
            Some(found) if used || found != Shared::mark(topic, false) => {
                let expected = "a prefix under which nothing is kept yet".to_owned();
                return Err(StoreError::ForeignKeys { place: shared.place.clone(), found, expected });
            }
            _ => {}
        }
        shared.one(redis::cmd("SET").arg(shared.keys.mark()).arg(&shared.mark).to_owned()).await?;
        let writer = ValkeyWriter::new(opened.clone(), store);
        Ok((opened, writer))
    }

    /// A prefix that was filled may be used from now on.
    ///
    /// # Errors
    /// When the servers cannot be asked.
    pub async fn filled(&self) -> Result<(), StoreError> {
        let mark = Shared::mark(&self.shared.topic, false);
        self.shared.one(redis::cmd("SET").arg(self.shared.keys.mark()).arg(mark).to_owned()).await.map(drop)
    }

    /// What is kept: shoppers, watermark, offsets, digest. Walks all keys, and holds the servers up while it does.
    ///
    /// # Errors
    /// When the servers cannot be asked.
    pub async fn describe(&self) -> Result<Backup, StoreError> {
        self.shared.claim_prefix().await?;
        let mut tally = Tally::default();
        self.shared.entries(&mut |entry| tally.add(&self.shared, &entry)).await?;
        Ok(tally.backup(&self.shared.topic, 0))
    }

    /// Copies what is kept, which may be in use, into the folder `to`, which must not be there, and reads it back.
    /// Walks all keys, and holds the servers up while it does.
    ///
    /// # Errors
    /// When the servers cannot be asked, or the folder cannot be written.
    pub async fn backup(&self, to: &Path) -> Result<Backup, StoreError> {
        crate::store::refuse_existing(to)?;
        self.shared.claim_prefix().await?;
        let storage = |action| move |source| StoreError::Storage { path: to.to_owned(), action, source };
        let unfinished = crate::store::beside(to);
        crate::store::clear(&unfinished).map_err(storage("remove an unfinished backup"))?;
        fs::create_dir_all(&unfinished).map_err(storage("make the folder"))?;
        let path = unfinished.join(VALUES);
        let mut file = BufWriter::new(File::create(&path).map_err(storage("write the backup"))?);
        let mut head = MAGIC.to_vec();
        head.extend(VERSION.to_le_bytes());
        file.write_all(&head).map_err(storage("write the backup"))?;
        let mut entries = 0;
        self.shared
            .entries(&mut |entry| {
                entries += 1;
                write_entry(&mut file, &entry).map_err(storage("write the backup"))
            })
            .await?;
        write_entry(&mut file, &Entry::End(entries)).map_err(storage("write the backup"))?;
        let file = file.into_inner().map_err(io::IntoInnerError::into_error);
        file.and_then(|file| file.sync_all()).map_err(storage("write the backup"))?;
        let bytes = fs::metadata(&path).map_err(storage("read the backup back"))?.len();
        let (mut tally, mut entries) = (Tally::default(), Entries::open(&path)?);
        while let Some(entry) = entries.next()? {
            tally.add(&self.shared, &entry)?;
        }
        let backup = tally.backup(&self.shared.topic, bytes);
        backup.write(&unfinished).map_err(storage("write the backup"))?;
        crate::store::finish(&unfinished, to).map_err(storage("finish the backup"))?;
        Ok(backup)
    }

    /// Puts a backup under a prefix that is to be filled; what it says of itself must hold of what is kept then.
    ///
    /// # Errors
    /// When it is no backup of a shared state or not whole, or the servers cannot be asked.
    pub async fn fill(&self, from: &Path) -> Result<Backup, StoreError> {
        let said = Backup::read(from, BackupOf::Valkey)?;
        let shared = &self.shared;
        let (mut commands, mut entries) = (Vec::new(), Entries::open(&from.join(VALUES))?);
        while let Some(entry) = entries.next()? {
            shared.put(&entry, &mut commands);
            if commands.len() >= COMMANDS {
                shared.all(std::mem::take(&mut commands)).await?;
            }
        }
        if !commands.is_empty() {
            shared.all(commands).await?;
        }
        let mut tally = Tally::default();
        shared.entries(&mut |entry| tally.add(shared, &entry)).await?;
        let found = tally.backup(&shared.topic, said.bytes);
        if (&found.digest, &found.offsets) != (&said.digest, &said.offsets) {
            let reason = format!(
                "the digest is {}, the backup says {}: take another backup",
                found.digest, said.digest
            );
            let (path, what) = (from.to_owned(), VALUES.to_owned());
            return Err(StoreError::Corrupt { path, what, reason });
        }
        Ok(said)
    }
}

// === impl Shared ===

impl Shared {
    /// Hands everything that is kept to `each`: partitions first.
    async fn entries(
        &self,
        each: &mut (dyn FnMut(Entry) -> Result<(), StoreError> + Send),
    ) -> Result<(), StoreError> {
        for number in self.partitions().await? {
            if let Some(partition) = self.read_partition(number).await? {
                each(Entry::Partition(partition))?;
            }
        }
        for pattern in [self.keys.all_of_visitors(), self.keys.all_of_users()] {
            let keys = redis::cmd("KEYS").arg(pattern).to_owned();
            let keys: Vec<Vec<u8>> = self.value(self.one(keys).await?)?;
            let (sets, values): (Vec<_>, Vec<_>) = keys.into_iter().partition(|key| self.keys.is_set(key));
            for chunk in values.chunks(512) {
                let answers = self.values(chunk.to_vec()).await?;
                for (key, value) in chunk.iter().zip(answers) {
                    if let Some(value) = value {
                        each(Entry::Value(self.keys.behind(key), value))?;
                    }
                }
            }
            for chunk in sets.chunks(512) {
                let asked = chunk.iter().map(|key| redis::cmd("SMEMBERS").arg(key).to_owned());
                for (key, answer) in chunk.iter().zip(self.all(asked.collect()).await?) {
                    let mut members: Vec<Vec<u8>> = self.value(answer)?;
                    members.sort_unstable();
                    if !members.is_empty() {
                        each(Entry::Members(self.keys.behind(key), members))?;
                    }
                }
            }
        }
        Ok(())
    }

    /// A partition as of one moment; none where nothing of it was flushed.
    async fn read_partition(&self, number: i32) -> Result<Option<Partition>, StoreError> {
        let (at, counters) = (self.keys.at(number), self.keys.counters(number));
        let mut generation = 0;
        for _ in 0..TRIES {
            let generations = [u64::wrapping_sub(generation, 1), generation];
            let windows = generations.map(|generation| self.keys.window(number, generation));
            let call = Call {
                script: &READ_SCRIPT,
                body: READ,
                keys: [vec![at.clone(), counters.clone()], windows.to_vec()].concat(),
                arguments: Vec::new(),
            };
            let answer = self.run(&[call]).await?.into_iter().next().unwrap_or_default();
            type Answer =
                ((Option<Vec<u8>>, Option<u64>), Vec<(Vec<u8>, Vec<u8>)>, Option<Vec<u8>>, Option<Vec<u8>>);
            let ((bytes, flushes), mut counters, older, younger): Answer = self.value(answer)?;
            let Some(bytes) = bytes else { return Ok(None) };
            let read = self.at(number, &bytes)?;
            if read.generation() != generation {
                generation = read.generation();
                continue;
            }
            counters.sort_unstable();
            let windows = generations.into_iter().zip([older, younger]);
            let windows = windows.filter_map(|(generation, ids)| Some((generation, ids?))).collect();
            let flushes = flushes.unwrap_or_default();
            return Ok(Some(Partition { number, at: bytes, flushes, counters, windows }));
        }
        Err(self.contended())
    }

    /// The commands that keep an entry.
    fn put(&self, entry: &Entry, commands: &mut Vec<Cmd>) {
        match entry {
            Entry::Partition(Partition { number, at, flushes, counters, windows }) => {
                commands.push(redis::cmd("SADD").arg(self.keys.partitions()).arg(number).to_owned());
                let key = self.keys.at(*number);
                commands.push(
                    redis::cmd("HSET")
                        .arg(key)
                        .arg("at")
                        .arg(at)
                        .arg("n")
                        .arg(flushes)
                        .arg("epoch")
                        .arg(0)
                        .to_owned(),
                );
                for chunk in counters.chunks(512) {
                    let mut command = redis::cmd("HSET");
                    command.arg(self.keys.counters(*number));
                    for (item, counters) in chunk {
                        command.arg(item).arg(counters);
                    }
                    commands.push(command);
                }
                for (generation, ids) in windows {
                    let key = self.keys.window(*number, *generation);
                    commands.push(redis::cmd("SET").arg(key).arg(ids).to_owned());
                }
            }
            Entry::Value(key, value) => {
                let (key, ttl) = (self.keys.with_prefix(key), self.ttl_of(key));
                commands.push(redis::cmd("SET").arg(key).arg(value).arg("PX").arg(ttl).to_owned());
            }
            Entry::Members(key, members) => {
                let key = self.keys.with_prefix(key);
                commands.push(redis::cmd("SADD").arg(&key).arg(members).to_owned());
                commands.push(redis::cmd("PEXPIRE").arg(&key).arg(self.ttl_ms).to_owned());
            }
            Entry::End(_) => {}
        }
    }

    /// A session ends by itself, 90 minutes after its last event; the other values are kept as long as shoppers are.
    fn ttl_of(&self, behind: &[u8]) -> u64 {
        const SESSION_MS: u64 = 5_400_000;
        match behind.contains(&b'x') {
            true => SESSION_MS,
            false => self.ttl_ms,
        }
    }

    /// Takes away everything under the prefix.
    async fn clear(&self) -> Result<(), StoreError> {
        let all: Vec<Vec<u8>> =
            self.value(self.one(redis::cmd("KEYS").arg(self.keys.everything()).to_owned()).await?)?;
        for chunk in all.chunks(512) {
            self.all(chunk.iter().map(|key| redis::cmd("UNLINK").arg(key).to_owned()).collect()).await?;
        }
        Ok(())
    }
}

// === impl Tally ===

impl Tally {
    fn add(&mut self, shared: &Shared, entry: &Entry) -> Result<(), StoreError> {
        let mut part = |kind, key, bytes: &[u8]| {
            self.digest = self.digest.wrapping_add(part_of_digest(kind, key, bytes));
        };
        match entry {
            Entry::Partition(Partition { number, at, counters, .. }) => {
                let At { next, watermark, .. } = shared.at(*number, at)?;
                self.watermark = self.watermark.max(watermark);
                self.offsets.push(PartitionOffset { partition: *number, offset: next });
                let key = shared.keys.counters(*number);
                for (item, bytes) in counters {
                    let item = item.as_slice().try_into().map(u64::from_le_bytes);
                    let item =
                        item.map_err(|_| shared.corrupt(&key, "an item's key has not 8 bytes".to_owned()))?;
                    let sum = self.sums.entry(item).or_default();
                    *sum = sum.merge(&shared.counters_of(&key, bytes)?);
                }
            }
            Entry::Value(behind, bytes) => {
                let key = shared.keys.with_prefix(behind);
                if shared.keys.is_shopper(&key) {
                    let shopper = shared.decode::<Shopper>(&key, bytes)?.entry;
                    part(0, shared.keys.number(&key), &shopper.state.encode());
                    self.shoppers += 1;
                } else if shared.keys.is_account(&key) {
                    let account = shared.decode::<Account>(&key, bytes)?.entry;
                    part(1, account.user, &account.links.encode());
                }
            }
            Entry::Members(..) | Entry::End(_) => {}
        }
        Ok(())
    }

    fn backup(mut self, topic: &str, bytes: u64) -> Backup {
        for (&item, counters) in &self.sums {
            self.digest = self.digest.wrapping_add(part_of_digest(2, item, &counters.encode()));
        }
        self.offsets.sort_unstable_by_key(|at| at.partition);
        Backup::of_valkey(topic, self.digest, self.watermark, self.offsets, self.shoppers, bytes)
    }
}

// === the file ===

fn write_entry(file: &mut impl io::Write, entry: &Entry) -> io::Result<()> {
    let bytes = postcard::to_stdvec(entry).map_err(io::Error::other)?;
    let length = u32::try_from(bytes.len()).map_err(io::Error::other)?;
    file.write_all(&length.to_le_bytes())?;
    file.write_all(&XxHash3_64::oneshot(&bytes).to_le_bytes())?;
    file.write_all(&bytes)
}

/// Reads the entries of a file one after the other; the last must say how many there were.
struct Entries {
    folder: std::path::PathBuf,
    file: BufReader<File>,
    left: u64,
    read: u64,
}

impl Entries {
    fn open(path: &Path) -> Result<Self, StoreError> {
        let folder = path.parent().unwrap_or(path).to_owned();
        let file = File::open(path).and_then(|file| Ok((file.metadata()?.len(), file)));
        let (left, file) = file.map_err(|source| storage(&folder, source))?;
        let mut entries = Self { folder, file: BufReader::new(file), left, read: 0 };
        let head = entries.take(12)?;
        if !head.starts_with(MAGIC) || head[8..] != VERSION.to_le_bytes() {
            return Err(entries.corrupt(format!("it is no file of values, or not of version {VERSION}")));
        }
        Ok(entries)
    }

    fn next(&mut self) -> Result<Option<Entry>, StoreError> {
        let head = self.take(12)?;
        let (length, hash) = head.split_at(4);
        let length = u32::from_le_bytes(length.try_into().unwrap_or_default());
        let bytes = self.take(length.into())?;
        if XxHash3_64::oneshot(&bytes).to_le_bytes() != hash {
            return Err(self.corrupt(format!("entry {} is not what was written", self.read)));
        }
        self.read += 1;
        match postcard::from_bytes(&bytes) {
            Ok(Entry::End(entries)) if entries + 1 == self.read => Ok(None),
            Ok(Entry::End(_)) => Err(self.corrupt("entries are missing".to_owned())),
            Ok(entry) => Ok(Some(entry)),
            Err(error) => Err(self.corrupt(format!("entry {}: {error}", self.read - 1))),
        }
    }

    fn take(&mut self, length: u64) -> Result<Vec<u8>, StoreError> {
        // A length that was damaged must not ask for memory that the file cannot fill.
        self.left = self.left.checked_sub(length).ok_or_else(|| self.corrupt("it is cut off".to_owned()))?;
        let mut bytes = vec![0; usize::try_from(length).unwrap_or_default()];
        self.file.read_exact(&mut bytes).map_err(|source| storage(&self.folder, source))?;
        Ok(bytes)
    }

    fn corrupt(&self, reason: String) -> StoreError {
        StoreError::Corrupt { path: self.folder.clone(), what: VALUES.to_owned(), reason }
    }
}

fn storage(folder: &Path, source: io::Error) -> StoreError {
    StoreError::Storage { path: folder.to_owned(), action: "read the backup", source }
}
