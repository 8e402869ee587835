//! The writer: decides what an event may do, and keeps it in Valkey.
//!
//! ```text
//! late? ─► repeat? ─► a fact, held until publish ──► accounts ──► copies to their devices ──► visitors, sessions
//!                  └► what it adds to the counters, held until flush (see `commit`)
//! ```
//!
//! Accounts come before visitors: a reader who learns from a visitor whose it is finds the account's devices.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::{Arc, LazyLock, atomic::Ordering::Relaxed},
};

use endcap_clickstream::Shopper as Named;
use endcap_features::{EventFacts, ItemCounters, SESSION_GAP_MS, SessionTag};
use endcap_proto::{EventKey, EventTime, EventType, EventView, ItemKey, UserKey, VisitorKey};
use redis::Script;

use super::{
    Shared, ValkeyStore,
    commit::{self, Claimed, Cut, Flush},
    connection::Call,
    keys,
    values::{self, Account, Device, Session, Shopper, Versioned, digits, next_version},
};
use crate::{
    AppliedOffsets, Before, Outcome, PartitionOffset, Release, StateBackend, StoreConfig, StoreError,
    erasures::{Erasure, Gone},
    store::{Window, session_key},
};

/// Writes the partitions that it was assigned. Dropped without a flush, it loses what was not flushed, which
/// the log still has.
pub struct ValkeyWriter {
    store: ValkeyStore,
    late_after_ms: i64,
    remembered_events: usize,
    most_cached: usize,
    held: BTreeMap<i32, Held>,
    /// Taken in since the last publish.
    facts: Vec<Fact>,
    /// Visitors as this writer last wrote them.
    cache: HashMap<VisitorKey, Versioned<Shopper>>,
    unflushed: u64,
    flush: Option<Flush>,
    /// A flush that failed, to be tried again before another one.
    unsent: Vec<Cut>,
    trouble: Option<String>,
}

/// A partition of this writer's.
pub(super) struct Held {
    pub(super) epoch: i64,
    /// Flushes so far.
    pub(super) flushes: u64,
    pub(super) next: i64,
    pub(super) watermark: EventTime,
    pub(super) window: Window,
    /// The window's generation at the last flush.
    pub(super) flushed_generation: u64,
    /// What was added to items since the last flush.
    pub(super) added: HashMap<u64, ItemCounters>,
    pub(super) changed: bool,
}

/// What an event says, held until it is published.
#[derive(Debug)]
struct Fact {
    partition: i32,
    /// The offset after it.
    next: i64,
    event: EventKey,
    event_type: EventType,
    time: EventTime,
    visitor: VisitorKey,
    user: Option<UserKey>,
    session: Option<SessionTag>,
    /// Of the session that it acts on alone, without consent.
    session_only: Option<u64>,
    items: Vec<ItemKey>,
}

/// A value to be written where it is still what was read.
pub(super) struct Write {
    pub(super) key: Vec<u8>,
    pub(super) expected: Option<u64>,
    /// What it becomes; nothing takes it away.
    pub(super) value: Vec<u8>,
    pub(super) ttl_ms: u64,
}

/// What the devices of an account did in a batch.
#[derive(Default)]
struct AccountEdit {
    devices: BTreeMap<VisitorKey, (Vec<EventTime>, Device)>,
}

/// The place of an entry that one visitor's events change.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
enum Place {
    Shopper(VisitorKey),
    Session(VisitorKey, u64),
}

/// KEYS: values. ARGV, three for each: the version it must have (empty: it must not be there), what it becomes (empty:
/// it goes), how long it is kept in milliseconds. Answers which were not as they must.
const REPLACE: &str = "
local refused = {}
for i, key in ipairs(KEYS) do
  if redis.call('GETRANGE', key, 0, 15) == ARGV[3 * i - 2] then
    if ARGV[3 * i - 1] == '' then redis.call('DEL', key)
    else redis.call('SET', key, ARGV[3 * i - 1], 'PX', ARGV[3 * i]) end
  else
    refused[#refused + 1] = i - 1
  end
end
return refused";

/// KEYS: copies. ARGV, two for each: what it becomes, where that is newer, and how long it is kept.
const RENEW: &str = "
for i, key in ipairs(KEYS) do
  local held = tonumber(redis.call('GETRANGE', key, 0, 15))
  if not held or held < tonumber(string.sub(ARGV[2 * i - 1], 1, 16)) then
    redis.call('SET', key, ARGV[2 * i - 1], 'PX', ARGV[2 * i])
  end
end
return 0";

static REPLACE_SCRIPT: LazyLock<Script> = LazyLock::new(|| Script::new(REPLACE));
static RENEW_SCRIPT: LazyLock<Script> = LazyLock::new(|| Script::new(RENEW));

/// How often values that others change at the same time are read again before the caller is to wait.
pub(super) const ATTEMPTS: usize = 20;
/// Keys of one question.
const KEYS_PER_READ: usize = 512;

/// Shoppers whose state a writer holds at most; others are read again when they come back.
const CACHED_AT_MOST: usize = 1_000_000;

// === impl ValkeyWriter ===

impl ValkeyWriter {
    pub(super) fn new(store: ValkeyStore, config: &StoreConfig) -> Self {
        Self {
            store,
            late_after_ms: config.late_after_ms,
            remembered_events: config.remembered_events,
            most_cached: config.shoppers_at_most.min(CACHED_AT_MOST),
            held: BTreeMap::new(),
            facts: Vec::new(),
            cache: HashMap::new(),
            unflushed: 0,
            flush: None,
            unsent: Vec::new(),
            trouble: None,
        }
    }

    /// The store that this writes.
    pub fn store(&self) -> &ValkeyStore {
        &self.store
    }

    fn shared(&self) -> Arc<Shared> {
        self.store.shared.clone()
    }

    /// Begins to write cuts; see [`StateBackend::begin_flush`].
    fn send(&mut self, cuts: Vec<Cut>, before: Before) {
        self.flush = Some(commit::begin(self.shared(), cuts, before));
    }

    fn settle(&mut self, wait: bool) -> Result<(), StoreError> {
        let Some(flush) = self.flush.take_if(|flush| wait || flush.is_finished()) else { return Ok(()) };
        let done = flush.wait(&self.store.shared)?;
        for (partition, epoch) in done.taken_over {
            // It may have been given up and claimed again by this writer while the flush was under way.
            if self.held.get(&partition).is_none_or(|held| held.epoch != epoch) {
                continue;
            }
            tracing::error!("partition {partition} was taken over by another consumer; its events go there");
            self.forget(&[partition]);
        }
        self.unsent = done.unsent;
        match done.failed {
            Some(error) => self.put_off(error),
            None => Ok(()),
        }
    }

    /// What a server that is away keeps from being done is done later; anything else is the end.
    fn put_off(&mut self, error: StoreError) -> Result<(), StoreError> {
        if !error.is_transient() {
            return Err(error);
        }
        let trouble = error.to_string();
        if self.trouble.as_ref() != Some(&trouble) {
            tracing::warn!("{trouble}; it is tried again");
        }
        self.trouble = Some(trouble);
        Ok(())
    }

    /// Writes what was taken in since the last publish.
    fn write(&mut self) -> Result<(), StoreError> {
        if !self.facts.is_empty() {
            let shared = self.shared();
            let facts = std::mem::take(&mut self.facts);
            let mut cache = std::mem::take(&mut self.cache);
            let written = shared.runtime.block_on(shared.write(&facts, self.late_after_ms, &mut cache));
            if let Err(error) = written {
                // What of it was written will have been seen when it is written again.
                self.facts = facts;
                return self.put_off(error);
            }
            if cache.len() <= self.most_cached {
                self.cache = cache;
            }
        }
        if self.unsent.is_empty() {
            self.trouble = None;
        }
        let held = self.held.iter().filter(|(_, at)| at.next > 0);
        self.store.shared.advance(held.map(|(&partition, at)| (partition, at.next, at.watermark)));
        Ok(())
    }

    fn forget(&mut self, partitions: &[i32]) {
        for partition in partitions {
            self.held.remove(partition);
        }
        self.facts.retain(|fact| !partitions.contains(&fact.partition));
        self.unsent.retain(|cut| !partitions.contains(&cut.partition));
        // Others write these visitors from now on.
        self.cache.clear();
    }
}

impl StateBackend for ValkeyWriter {
    fn acquire(&mut self, partitions: &[i32]) -> Result<Vec<PartitionOffset>, StoreError> {
        let shared = self.shared();
        let claimed = shared.runtime.block_on(commit::claim(&shared, partitions))?;
        let mut begin = Vec::with_capacity(claimed.len());
        for Claimed { partition, held, known } in claimed {
            if known {
                begin.push(PartitionOffset { partition, offset: held.next });
                shared.advance([(partition, held.next, held.watermark)]);
            }
            self.held.insert(partition, held);
        }
        Ok(begin)
    }

    fn release(&mut self, partitions: &[i32], _: Release) -> Result<(), StoreError> {
        // What was flushed is kept; what was not is dropped here, and cannot be written by a flush that is
        // still under way once another has claimed the partition.
        self.forget(partitions);
        Ok(())
    }

    fn apply(&mut self, partition: i32, offset: i64, event: &EventView<'_>) -> Result<Outcome, StoreError> {
        let room = self.remembered_events / self.held.len().max(1);
        let Some(at) = self.held.get_mut(&partition).filter(|at| offset >= at.next) else {
            return Ok(Outcome::Behind);
        };
        (at.next, at.changed) = (offset + 1, true);
        self.unflushed += 1;
        if at.watermark.millis_since(event.time) > self.late_after_ms {
            return Ok(Outcome::Late);
        }
        at.watermark = at.watermark.max(event.time);
        if !at.window.insert(event.key().0, at.watermark, self.late_after_ms, room) {
            return Ok(Outcome::Duplicate);
        }
        let visitor = event.visitor();
        let fact = Fact {
            partition,
            next: offset + 1,
            event: event.key(),
            event_type: event.event_type,
            time: event.time,
            visitor,
            user: event.user(),
            session: event.session_id.map(SessionTag::of),
            session_only: (!event.consent).then(|| session_key(visitor, event.session_id)),
            items: event.items().collect(),
        };
        let outcome = if event.consent { Outcome::Applied } else { Outcome::SessionOnly };
        if event.consent {
            for item in &fact.items {
                at.added.entry(item.0).or_default().apply(event.event_type, event.time);
            }
        }
        self.facts.push(fact);
        Ok(outcome)
    }

    fn skip(&mut self, partition: i32, offset: i64) {
        if let Some(at) = self.held.get_mut(&partition).filter(|at| offset >= at.next) {
            (at.next, at.changed) = (offset + 1, true);
            self.unflushed += 1;
        }
    }

    fn publish(&mut self) -> Result<(), StoreError> {
        self.write()
    }

    /// At least one while something could not be written: then a flush is tried again.
    fn unflushed(&self) -> u64 {
        self.unflushed.max(self.trouble.is_some().into())
    }

    fn begin_flush(&mut self, before: Before) -> Result<bool, StoreError> {
        self.settle(false)?;
        if self.flush.is_some() {
            return Ok(false);
        }
        self.write()?;
        if !self.unsent.is_empty() {
            // Its letters were waited for; those of `before` are waited for next time.
            let unsent = std::mem::take(&mut self.unsent);
            self.send(unsent, Box::new(|| true));
            return Ok(false);
        }
        if !self.facts.is_empty() {
            // Offsets must not run ahead of what was written of visitors.
            return Ok(false);
        }
        let cuts = self.held.iter_mut().filter_map(|(&partition, held)| Cut::of(partition, held)).collect();
        self.unflushed = 0;
        self.send(cuts, before);
        Ok(true)
    }

    fn note_flush(&mut self) -> Result<(), StoreError> {
        self.settle(false)
    }

    fn wait_for_flush(&mut self) -> Result<(), StoreError> {
        self.settle(true)
    }

    fn erase(&mut self, erasures: &[Erasure]) -> Result<Vec<Gone>, StoreError> {
        if erasures.is_empty() {
            return Ok(Vec::new());
        }
        // Who is whose may stand in what was taken in and not written yet.
        self.write()?;
        if let Some(reason) = self.trouble.clone().filter(|_| !self.facts.is_empty()) {
            return Err(StoreError::Unavailable { place: self.store.shared.place.clone(), reason });
        }
        let shared = self.shared();
        let (gone, erased) = shared.runtime.block_on(shared.erase(erasures))?;
        self.cache.retain(|visitor, _| erased.before(Named::Visitor(*visitor)).is_none());
        Ok(gone)
    }

    fn progress(&self) -> Arc<dyn AppliedOffsets> {
        Arc::new(self.store.clone())
    }

    fn trouble(&self) -> Option<String> {
        self.trouble.clone()
    }
}

// === impl Shared ===

impl Shared {
    /// Writes what facts say of visitors, their sessions and accounts. Facts that a value has seen change
    /// nothing of it.
    async fn write(
        &self,
        facts: &[Fact],
        late_after_ms: i64,
        cache: &mut HashMap<VisitorKey, Versioned<Shopper>>,
    ) -> Result<(), StoreError> {
        let mut pending = BTreeMap::<Place, Vec<&Fact>>::new();
        for fact in facts {
            let place = match fact.session_only {
                Some(session) => Place::Session(fact.visitor, session),
                None => Place::Shopper(fact.visitor),
            };
            pending.entry(place).or_default().push(fact);
        }
        let session_ttl_ms = (SESSION_GAP_MS + late_after_ms).unsigned_abs();
        for _ in 0..ATTEMPTS {
            let mut sessions = HashMap::new();
            self.fetch(pending.keys(), cache, &mut sessions).await?;
            let mut accounts = BTreeMap::<UserKey, AccountEdit>::new();
            let mut logins = Vec::new();
            let mut writes = Vec::with_capacity(pending.len());
            for (&place, facts) in &pending {
                let write = match place {
                    Place::Shopper(visitor) => {
                        let held = cache.get(&visitor);
                        let (shopper, expected) =
                            (held.map(|held| held.entry.clone()), held.map(|held| held.version));
                        let shopper = shopper.unwrap_or_default();
                        logins.extend(new_logins(visitor, &shopper, facts));
                        let shopper = edit(visitor, shopper, facts, &mut accounts);
                        let version = next_version(expected);
                        let value = values::encode(version, &shopper);
                        cache.insert(visitor, Versioned { version, entry: shopper });
                        Write { key: self.keys.shopper(visitor), expected, value, ttl_ms: self.ttl_ms }
                    }
                    Place::Session(visitor, number) => {
                        let held: Option<Versioned<Session>> = sessions.remove(&place);
                        let expected = held.as_ref().map(|held| held.version);
                        let mut session = held.map(|held| held.entry).unwrap_or_default();
                        for fact in facts {
                            if !session.seen.has(fact.partition, fact.next) {
                                session.apply(*fact);
                                session.seen.note(fact.partition, fact.next);
                            }
                        }
                        let value = values::encode(next_version(expected), &session);
                        let key = self.keys.session(visitor, number);
                        Write { key, expected, value, ttl_ms: session_ttl_ms }
                    }
                };
                writes.push(write);
            }
            self.note_logins(&logins).await?;
            self.write_accounts(accounts).await?;
            let refused = self.replace(&writes).await?;
            let mut number = 0;
            pending.retain(|place, _| {
                let refused = refused.contains(&number);
                if let (true, Place::Shopper(visitor)) = (refused, place) {
                    cache.remove(visitor);
                }
                number += 1;
                refused
            });
            if pending.is_empty() {
                return Ok(());
            }
            tracing::debug!("{} values were changed by another writer; once more", pending.len());
        }
        Err(self.contended())
    }

    /// Reads entries that are not in the cache.
    async fn fetch(
        &self,
        places: impl Iterator<Item = &Place>,
        cache: &mut HashMap<VisitorKey, Versioned<Shopper>>,
        sessions: &mut HashMap<Place, Versioned<Session>>,
    ) -> Result<(), StoreError> {
        let wanted: Vec<(Place, Vec<u8>)> = places
            .filter_map(|&place| match place {
                Place::Shopper(visitor) if cache.contains_key(&visitor) => None,
                Place::Shopper(visitor) => Some((place, self.keys.shopper(visitor))),
                Place::Session(visitor, session) => Some((place, self.keys.session(visitor, session))),
            })
            .collect();
        let bytes = self.values(wanted.iter().map(|(_, key)| key.clone()).collect()).await?;
        for ((place, key), bytes) in wanted.iter().zip(bytes) {
            match (place, bytes) {
                (_, None) => {}
                (Place::Shopper(visitor), Some(bytes)) => {
                    cache.insert(*visitor, self.decode(key, &bytes)?);
                }
                (Place::Session(..), Some(bytes)) => {
                    sessions.insert(*place, self.decode(key, &bytes)?);
                }
            }
        }
        Ok(())
    }

    /// The values of keys, in order.
    pub(super) async fn values(&self, wanted: Vec<Vec<u8>>) -> Result<Vec<Option<Vec<u8>>>, StoreError> {
        if wanted.is_empty() {
            return Ok(Vec::new());
        }
        let per_command = if self.connection.keys_per_call() == 1 { 1 } else { KEYS_PER_READ };
        let answers = self.all(wanted.chunks(per_command).map(keys::mget).collect()).await?;
        let mut values = Vec::with_capacity(wanted.len());
        for answer in answers {
            values.extend(self.value::<Vec<Option<Vec<u8>>>>(answer)?);
        }
        Ok(values)
    }

    /// Tells accounts what their devices did, and each device the whole account.
    async fn write_accounts(&self, mut edits: BTreeMap<UserKey, AccountEdit>) -> Result<(), StoreError> {
        let mut copies = Vec::new();
        for _ in 0..ATTEMPTS {
            if edits.is_empty() {
                return self.renew(copies).await;
            }
            let keys: Vec<_> = edits.keys().map(|&user| self.keys.account(user)).collect();
            let held = self.values(keys.clone()).await?;
            let mut writes = Vec::with_capacity(keys.len());
            let mut devices = Vec::with_capacity(keys.len());
            for (((user, edit), key), bytes) in edits.iter().zip(keys).zip(held) {
                let held = bytes.map(|bytes| self.decode::<Account>(&key, &bytes)).transpose()?;
                let expected = held.as_ref().map(|held| held.version);
                let mut account = held.map(|held| held.entry).unwrap_or_default();
                account.user = user.0;
                for (&visitor, (logins, device)) in &edit.devices {
                    account.note(visitor, logins, device);
                }
                let value = values::encode(next_version(expected), &account);
                devices.push(account.devices.into_keys().collect::<Vec<_>>());
                writes.push(Write { key, expected, value, ttl_ms: self.ttl_ms });
            }
            let refused: BTreeSet<_> = self.replace(&writes).await?.into_iter().collect();
            let mut number = 0;
            edits.retain(|_, _| {
                let again = refused.contains(&number);
                // An account of one device needs no copy.
                if !again && devices[number].len() > 1 {
                    let value = Arc::new(std::mem::take(&mut writes[number].value));
                    copies.extend(
                        devices[number].iter().map(|&device| (self.keys.copy(device), value.clone())),
                    );
                }
                number += 1;
                again
            });
        }
        Err(self.contended())
    }

    /// Writes values that are still what was read; which are not.
    pub(super) async fn replace(&self, writes: &[Write]) -> Result<Vec<usize>, StoreError> {
        let per_call = self.connection.keys_per_call();
        let calls: Vec<Call> = writes
            .chunks(per_call)
            .map(|writes| Call {
                script: &REPLACE_SCRIPT,
                body: REPLACE,
                keys: writes.iter().map(|write| write.key.clone()).collect(),
                arguments: writes
                    .iter()
                    .flat_map(|write| {
                        let expected = write.expected.map(digits).unwrap_or_default();
                        [expected, write.value.clone(), write.ttl_ms.to_string().into_bytes()]
                    })
                    .collect(),
            })
            .collect();
        let answers = self.run(&calls).await?;
        let mut refused = Vec::new();
        for (call, answer) in answers.into_iter().enumerate() {
            let of_call: Vec<usize> = self.value(answer)?;
            refused.extend(of_call.into_iter().map(|number| call * per_call + number));
        }
        self.counts.conflicts.fetch_add(refused.len() as u64, Relaxed);
        Ok(refused)
    }

    /// Writes copies, where they are newer than what is there.
    pub(super) async fn renew(&self, copies: Vec<(Vec<u8>, Arc<Vec<u8>>)>) -> Result<(), StoreError> {
        let ttl = self.ttl_ms.to_string().into_bytes();
        let calls: Vec<Call> = copies
            .chunks(self.connection.keys_per_call())
            .map(|copies| Call {
                script: &RENEW_SCRIPT,
                body: RENEW,
                keys: copies.iter().map(|(key, _)| key.clone()).collect(),
                arguments: copies.iter().flat_map(|(_, value)| [value.to_vec(), ttl.clone()]).collect(),
            })
            .collect();
        self.run(&calls).await.map(drop)
    }

    pub(super) async fn run(&self, calls: &[Call]) -> Result<Vec<redis::Value>, StoreError> {
        if calls.is_empty() {
            return Ok(Vec::new());
        }
        self.counts.round_trips.fetch_add(1, Relaxed);
        self.connection.run(calls).await.map_err(|error| self.unavailable(&error))
    }

    pub(super) fn contended(&self) -> StoreError {
        let reason = format!("values were changed by another writer {ATTEMPTS} times in a row");
        StoreError::Unavailable { place: self.place.clone(), reason }
    }
}

/// Accounts that facts show a visitor in, but for the one that is known already.
fn new_logins(visitor: VisitorKey, shopper: &Shopper, facts: &[&Fact]) -> BTreeSet<(VisitorKey, UserKey)> {
    let known = shopper.state.user();
    let named = facts.iter().filter_map(|fact| fact.user).filter(|user| Some(*user) != known);
    named.map(|user| (visitor, user)).collect()
}

/// A visitor after facts, and what the accounts concerned are to be told.
fn edit(
    visitor: VisitorKey,
    mut shopper: Shopper,
    facts: &[&Fact],
    accounts: &mut BTreeMap<UserKey, AccountEdit>,
) -> Shopper {
    let mut users: BTreeMap<UserKey, Vec<EventTime>> = BTreeMap::new();
    // Whose it was is told, too, whose it is now.
    users.extend(shopper.state.user().map(|user| (user, Vec::new())));
    for fact in facts {
        if let Some(user) = fact.user {
            users.entry(user).or_default().push(fact.time);
        }
        if !shopper.seen.has(fact.partition, fact.next) {
            shopper.state.apply(*fact);
            shopper.seen.note(fact.partition, fact.next);
        }
    }
    if let Some(user) = shopper.state.user() {
        users.entry(user).or_default();
    }
    if !users.is_empty() {
        let device = Device { seen: shopper.seen.clone(), state: shopper.state.encode() };
        for (user, logins) in users {
            accounts.entry(user).or_default().devices.insert(visitor, (logins, device.clone()));
        }
    }
    shopper
}

impl EventFacts for Fact {
    fn key(&self) -> EventKey {
        self.event
    }

    fn event_type(&self) -> EventType {
        self.event_type
    }

    fn time(&self) -> EventTime {
        self.time
    }

    fn visitor(&self) -> VisitorKey {
        self.visitor
    }

    fn user(&self) -> Option<UserKey> {
        self.user
    }

    fn session(&self) -> Option<SessionTag> {
        self.session
    }

    fn items(&self) -> impl Iterator<Item = ItemKey> {
        self.items.iter().copied()
    }
}

impl std::fmt::Debug for ValkeyWriter {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ValkeyWriter")
            .field("store", &self.store)
            .field("unflushed", &self.unflushed)
            .finish()
    }
}
