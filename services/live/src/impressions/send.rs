//! The thread that sends impressions: what is on its way, what is to be sent again, and what waits on disk.
//!
//! **Order.** Sent again first, then what is on disk, then what is new; so while something is to be sent again or
//! on disk, what is new goes to disk.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, PoisonError, atomic::Ordering::Relaxed},
    time::{Duration, Instant},
};

use prost::Message as _;
use tokio::{runtime::Handle, sync::mpsc};
use tokio_util::sync::CancellationToken;

use super::{
    Counts, Error, Offered, Options, Service,
    spill::{Spill, SpillError, Spilled},
};
use crate::{
    Message, Place, SendError, SendFault,
    decode::{CONTENT_TYPE, PROTOBUF},
    trace::TRACEPARENT,
};

/// What may be on its way, in bytes; half of what the client's queue holds.
const WAY_BYTES: usize = 32 << 20;
/// Without an answer for so long, the broker counts as away.
const STALLED: Duration = Duration::from_secs(1);
/// Pause before something is sent again.
const AGAIN: Duration = Duration::from_millis(500);
/// Impressions taken from the queue at a time: what one sync of the disk is shared by.
const BATCH: usize = 256;
/// The longest wait for something to do.
const WAIT: Duration = Duration::from_millis(50);

type Answer = (u64, Result<Place, SendError>);

pub(super) struct Sending {
    options: Options,
    offered: mpsc::Receiver<Offered>,
    counts: Arc<Counts>,
    runtime: Handle,
    tell: mpsc::UnboundedSender<Answer>,
    answers: mpsc::UnboundedReceiver<Answer>,
    spill: Option<Spill>,
    on_their_way: BTreeMap<u64, OnItsWay>,
    bytes: usize,
    /// Those that the broker did not take, by number.
    failed: BTreeSet<u64>,
    failed_at: Instant,
    next: u64,
}

struct OnItsWay {
    message: Spilled,
    /// The segment that it comes from.
    segment: Option<u64>,
    since: Instant,
}

impl Sending {
    pub(super) fn new(service: Service, runtime: Handle) -> Self {
        let Service { options, offered, counts } = service;
        let (tell, answers) = mpsc::unbounded_channel();
        Self {
            options,
            offered,
            counts,
            runtime,
            tell,
            answers,
            spill: None,
            on_their_way: BTreeMap::new(),
            bytes: 0,
            failed: BTreeSet::new(),
            failed_at: Instant::now(),
            next: 0,
        }
    }

    /// Sends until `drain`; then what is left.
    pub(super) fn until(mut self, drain: &CancellationToken) -> Result<(), Error> {
        if self.keeps() && Spill::is_there(&self.options.config.spill_path) {
            self.open_spill();
        }
        let waited = Duration::from_millis(self.options.config.drain_timeout_ms);
        let mut deadline = None;
        let mut batch = Vec::new();
        loop {
            self.wait(&mut batch, drain, deadline.is_some());
            if drain.is_cancelled() && deadline.is_none() {
                self.offered.close();
                deadline = Some(Instant::now() + waited);
            }
            while let Ok(answer) = self.answers.try_recv() {
                self.answered(answer);
            }
            self.send_again();
            self.send_spilled(deadline.is_some());
            self.send_new(std::mem::take(&mut batch));
            self.report();
            let Some(deadline) = deadline else { continue };
            let all_is_taken = self.offered.is_closed() && self.offered.is_empty();
            let all_is_there = self.on_their_way.is_empty();
            if all_is_taken && all_is_there || Instant::now() >= deadline {
                break;
            }
        }
        self.end(waited)
    }

    /// Waits for impressions, answers, or the drain.
    fn wait(&mut self, batch: &mut Vec<Offered>, drain: &CancellationToken, draining: bool) {
        // Where nothing can be kept, the queue is what waits.
        let takes = self.has_room() || self.keeps();
        let free = self.options.config.queue.max(1).saturating_sub(self.on_their_way.len());
        let most = if self.keeps() { BATCH } else { BATCH.min(free) };
        let Self { offered, answers, runtime, .. } = self;
        let open = !offered.is_closed() || !offered.is_empty();
        let mut answer = None;
        runtime.block_on(async {
            tokio::select! {
                _ = offered.recv_many(batch, most), if takes && open => {}
                came = answers.recv() => answer = came,
                () = drain.cancelled(), if !draining => {}
                () = tokio::time::sleep(WAIT) => {}
            }
        });
        if let Some(answer) = answer {
            self.answered(answer);
        }
    }

    fn keeps(&self) -> bool {
        self.options.config.spill_bytes > 0
    }

    fn has_room(&self) -> bool {
        self.on_their_way.len() < self.options.config.queue.max(1) && self.bytes < WAY_BYTES
    }

    /// Whether the broker answers, as far as can be told.
    fn is_well(&self) -> bool {
        let oldest = self.on_their_way.first_key_value();
        self.failed.is_empty() && oldest.is_none_or(|(_, oldest)| oldest.since.elapsed() < STALLED)
    }

    fn answered(&mut self, (number, result): Answer) {
        let Some(on_its_way) = self.on_their_way.get(&number) else { return };
        let error = match result {
            Ok(_) => {
                self.counts.delivered.fetch_add(1, Relaxed);
                return self.done_with(number);
            }
            Err(error) => error,
        };
        let again = error.fault != SendFault::TooLarge && (self.keeps() || on_its_way.segment.is_some());
        if again {
            self.trouble(Some(error.to_string()));
            self.failed.insert(number);
            self.failed_at = Instant::now();
        } else {
            tracing::warn!("an impression is lost: {error}");
            self.counts.faults[error.fault as usize].fetch_add(1, Relaxed);
            self.done_with(number);
        }
    }

    fn done_with(&mut self, number: u64) {
        self.failed.remove(&number);
        let Some(OnItsWay { message, segment, .. }) = self.on_their_way.remove(&number) else { return };
        self.bytes = self.bytes.saturating_sub(message.len());
        if let (Some(spill), Some(segment)) = (&mut self.spill, segment) {
            spill.acknowledge(segment);
        }
        if self.failed.is_empty() {
            self.trouble(None);
        }
    }

    fn send(&mut self, message: Spilled, segment: Option<u64>) {
        let number = self.next;
        self.next += 1;
        self.bytes += message.len();
        self.hand_over(number, &message);
        self.on_their_way.insert(number, OnItsWay { message, segment, since: Instant::now() });
    }

    fn hand_over(&self, number: u64, message: &Spilled) {
        let topic = self.options.topic.clone();
        let Spilled { key, value, traceparent } = message.clone();
        let mut message = Message::new(topic, key, value).header(CONTENT_TYPE, PROTOBUF);
        if let Some(traceparent) = traceparent {
            message = message.header(TRACEPARENT, traceparent);
        }
        let tell = self.tell.clone();
        let answer = move |result| drop(tell.send((number, result)));
        self.options.sink.send(message, Box::new(answer));
    }

    fn send_again(&mut self) {
        if self.failed.is_empty() || self.failed_at.elapsed() < AGAIN {
            return;
        }
        for number in std::mem::take(&mut self.failed) {
            if let Some(on_its_way) = self.on_their_way.get_mut(&number) {
                on_its_way.since = Instant::now();
                let message = on_its_way.message.clone();
                self.hand_over(number, &message);
            }
        }
    }

    fn send_spilled(&mut self, draining: bool) {
        while !draining && self.has_room() && self.is_well() {
            let Some(spill) = &mut self.spill else { return };
            match spill.next() {
                Ok(Some((segment, message))) => self.send(message, Some(segment)),
                Ok(None) => return,
                Err(error) => return self.trouble(Some(error.to_string())),
            }
        }
    }

    fn send_new(&mut self, batch: Vec<Offered>) {
        let mut to_keep = Vec::new();
        for offered in batch {
            let message = offered.into_message();
            let waits = self.spill.as_ref().is_some_and(Spill::has_more) || !to_keep.is_empty();
            if self.keeps() && (waits || !self.is_well() || !self.has_room()) {
                to_keep.push(message);
            } else {
                self.send(message, None);
            }
        }
        if !to_keep.is_empty() {
            self.keep(to_keep);
        }
    }

    fn keep(&mut self, messages: Vec<Spilled>) {
        let count = messages.len() as u64;
        self.open_spill();
        let left = match &mut self.spill {
            Some(spill) => spill.append(messages).err().map(|(left, error)| (left, Some(error))),
            None => Some((messages, None)),
        };
        let (left, error) = left.unwrap_or_default();
        self.counts.spilled.fetch_add(count - left.len() as u64, Relaxed);
        let full = matches!(error, Some(SpillError::Full));
        if let Some(error) = error {
            self.trouble(Some(error.to_string()));
        }
        let mut lost = 0;
        for message in left {
            // Rather out of order than not at all.
            if self.has_room() {
                self.send(message, None);
            } else {
                lost += 1;
            }
        }
        let counter = if full { &self.counts.spill_full } else { &self.counts.spill_failed };
        if lost > 0 && counter.fetch_add(lost, Relaxed) == 0 {
            tracing::error!("impressions are lost, {lost} for a start: {:?}", self.said());
        }
    }

    fn open_spill(&mut self) {
        if self.spill.is_none() {
            let config = &self.options.config;
            match Spill::open(&config.spill_path, config.spill_bytes) {
                Ok(spill) => self.spill = Some(spill),
                Err(error) => self.trouble(Some(error.to_string())),
            }
        }
    }

    fn trouble(&self, trouble: Option<String>) {
        *self.counts.trouble.lock().unwrap_or_else(PoisonError::into_inner) = trouble;
    }

    fn said(&self) -> Option<String> {
        self.counts.trouble.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn report(&self) {
        if let Some(spill) = &self.spill {
            self.counts.spill_bytes.store(spill.bytes(), Relaxed);
            self.counts.spill_damaged.store(spill.damaged(), Relaxed);
        }
    }

    /// Puts on disk what the broker does not have; what comes from there is there still.
    fn end(mut self, waited: Duration) -> Result<(), Error> {
        let mut left: Vec<Spilled> = Vec::new();
        for (_, OnItsWay { message, segment, .. }) in std::mem::take(&mut self.on_their_way) {
            if segment.is_none() {
                left.push(message);
            }
        }
        let mut unsent = Vec::new();
        while let Ok(offered) = self.offered.try_recv() {
            unsent.push(offered.into_message());
        }
        let mut abandoned = (left.len() + unsent.len()) as u64;
        if abandoned > 0 && self.keeps() {
            self.open_spill();
            if let Some(spill) = &mut self.spill {
                let (old, new) = (left.len() as u64, unsent.len() as u64);
                match spill.put_back(&left) {
                    Ok(()) => abandoned -= old,
                    Err(error) => tracing::error!("{old} impressions are lost: {error}"),
                }
                let kept = new - spill.append(unsent).err().map_or(0, |(left, _)| left.len() as u64);
                abandoned -= kept;
                self.counts.spilled.fetch_add(old + kept, Relaxed);
            }
        }
        self.report();
        self.counts.abandoned.fetch_add(abandoned, Relaxed);
        match abandoned {
            0 => Ok(()),
            abandoned => Err(Error::Abandoned { topic: self.options.topic, abandoned, waited }),
        }
    }
}

// === impl Offered ===

impl Offered {
    fn into_message(self) -> Spilled {
        let Self { impression, traceparent } = self;
        let key = impression.visitor_id.as_bytes().to_vec();
        Spilled { key, value: impression.encode_to_vec(), traceparent }
    }
}
