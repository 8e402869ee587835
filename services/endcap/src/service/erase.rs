//! Forgetting a shopper through the service: on the topic first, then in its own state, with a receipt.

use std::time::{Duration, Instant};

use endcap_clickstream::Shopper;
use endcap_live::{
    KafkaConfig, consumer,
    erasures::{Erasure, Erasures, Error, NOTES, Receipt, StateReceipt, TopicReceipt},
    kafka::retention,
};
use endcap_proto::{EventTime, UserKey, VisitorKey};
use endcap_recommend::{Clock as _, StateReader, SystemClock};
use endcap_server::{EraseError, ShopperId};
use futures::future::{BoxFuture, FutureExt as _};

use super::state::State;

/// Forgets shoppers.
pub struct Eraser {
    pub erasures: Erasures,
    pub consumer: consumer::Handle,
    pub state: State,
    pub kafka: KafkaConfig,
}

/// What is left of a deadline for the answer to get back.
const TO_ANSWER: Duration = Duration::from_millis(100);
/// How long is waited where nobody says how long.
const PATIENCE: Duration = Duration::from_secs(30);

impl endcap_server::Eraser for Eraser {
    fn erase(
        &self,
        shopper: ShopperId,
        deadline: Option<Instant>,
    ) -> BoxFuture<'_, Result<String, EraseError>> {
        let until =
            deadline.and_then(|at| at.checked_sub(TO_ANSWER)).unwrap_or_else(|| Instant::now() + PATIENCE);
        async move {
            let receipt = self.forget(&shopper, until).await.map_err(|error| match error {
                Error::NoKey { .. } => EraseError::Refused(error.to_string()),
                error => EraseError::Unavailable(error.to_string()),
            })?;
            serde_json::to_string(&receipt).map_err(|error| EraseError::Unavailable(error.to_string()))
        }
        .boxed()
    }
}

impl Eraser {
    async fn forget(&self, shopper: &ShopperId, until: Instant) -> Result<Receipt, Error> {
        let state = self.state.reader();
        let erasure = erasure(shopper, Some(&*state)).await;
        let places = self.erasures.erase(&[erasure]).await?;
        let forgotten = async {
            self.erasures.reached(&places).await && self.consumer.has_erased(self.erasures.count()).await
        };
        let forgotten = tokio::time::timeout_at(until.into(), forgotten).await.unwrap_or(false);
        let state = StateReceipt {
            forgotten,
            said: match forgotten {
                true => format!("{}, on disk as well", self.state.name()),
                false => format!(
                    "{}: this service forgets as soon as it reads the topic of erasures and can write \
                     (GET /v1/status says what it waits for)",
                    self.state.name()
                ),
            },
            gone: self.consumer.gone(&erasure).unwrap_or_default(),
        };
        let topics = tokio::time::timeout_at(until.into(), topics(&self.kafka)).await.unwrap_or_default();
        Ok(receipt(shopper, erasure, places.iter().map(ToString::to_string).collect(), state, topics))
    }
}

/// Whom to forget, and up to when: now, or right after what was last heard of them, where their clock runs ahead.
pub async fn erasure(shopper: &ShopperId, state: Option<&dyn StateReader>) -> Erasure {
    let (shopper, visitor, user) = match shopper {
        ShopperId::Visitor(id) => (Shopper::Visitor(id.key()), id.key(), None),
        // Nobody has this key: what comes back is what the account's visitors did.
        ShopperId::User(id) => (Shopper::User(id.key()), VisitorKey(0), Some(id.key())),
    };
    let now = SystemClock.now();
    let last = match state {
        Some(state) => last_seen(state, visitor, user).await,
        None => None,
    };
    Erasure { shopper, before: last.map_or(now, |last| now.max(last.plus_millis(1))) }
}

async fn last_seen(state: &dyn StateReader, visitor: VisitorKey, user: Option<UserKey>) -> Option<EventTime> {
    match state.read(visitor, user, None).await {
        Ok(snapshot) => snapshot.state.last_seen(),
        Err(error) => {
            tracing::debug!("when a shopper was last seen is not known: {error}");
            None
        }
    }
}

/// When the topics that name shoppers have forgotten.
pub async fn topics(kafka: &KafkaConfig) -> Vec<TopicReceipt> {
    let names = &kafka.topics;
    let asked = [names.events.as_str(), names.impressions.as_str(), names.dead_letters.as_str()];
    let now = SystemClock.now();
    retention(kafka, &asked).await.into_iter().map(|of| TopicReceipt::new(of, now)).collect()
}

pub fn receipt(
    shopper: &ShopperId,
    erasure: Erasure,
    written: Vec<String>,
    state: StateReceipt,
    topics: Vec<TopicReceipt>,
) -> Receipt {
    let shopper = match shopper {
        ShopperId::Visitor(id) => format!("visitor {}", id.as_str()),
        ShopperId::User(id) => format!("user {}", id.as_str()),
    };
    let notes = NOTES.map(str::to_owned).to_vec();
    Receipt {
        shopper,
        before: erasure.before.to_string(),
        written,
        state,
        archives: Vec::new(),
        topics,
        notes,
    }
}
