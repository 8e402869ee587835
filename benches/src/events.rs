//! A seeded stream of events as a shop's collector sends them: some 300 bytes each, few visitors and products with most
//! of the events.

use std::collections::BTreeMap;

use endcap_proto::{Event, EventId, EventItem, EventTime, EventType, ItemId, VisitorId, v1};
use prost::Message;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use rand_distr::{Distribution, Zipf};

/// Draws events without end, a millisecond apart.
#[derive(Debug)]
pub struct Events {
    rng: StdRng,
    visitors: Zipf<f64>,
    items: Zipf<f64>,
    next: u64,
}

/// When the first event happens: 2026-01-01T00:00:00Z.
pub const START_MS: i64 = 1_767_225_600_000;

impl Events {
    /// Visitors and items are drawn by Zipf's law with exponent 1.
    ///
    /// # Panics
    /// Where there are none.
    pub fn new(seed: u64, visitors: usize, items: usize) -> Self {
        let zipf = |n: usize| Zipf::new(n as f64, 1.0).expect("at least one");
        Self { rng: StdRng::seed_from_u64(seed), visitors: zipf(visitors), items: zipf(items), next: 0 }
    }

    /// The id of the `i`-th most frequent item, from 1.
    pub fn item(i: u64) -> String {
        format!("sku-{i:07}")
    }

    /// The id of the `i`-th most frequent visitor, from 1.
    pub fn visitor(i: u64) -> String {
        // As a collector's cookie: 32 characters that say nothing.
        format!("{:032x}", u128::from(i).wrapping_mul(0x9e37_79b9_7f4a_7c15_f39c_c060_5ced_c835))
    }

    /// The id of a visitor's session: another one every ten minutes.
    fn session(visitor: &str, number: u64) -> String {
        format!("{}-{}", &visitor[..8], number / 600_000)
    }

    /// Draws the next event, of the `i`-th most frequent visitor whoever was drawn.
    pub fn next_of(&mut self, i: u64) -> Option<Event> {
        let (number, visitor) = (self.next, Self::visitor(i));
        let event = self.next()?;
        let session_id = Some(Self::session(&visitor, number));
        Some(Event { session_id, visitor_id: VisitorId::new(visitor).ok()?, ..event })
    }
}

impl Iterator for Events {
    type Item = Event;

    fn next(&mut self) -> Option<Event> {
        let number = self.next;
        self.next += 1;
        let rng = &mut self.rng;
        let event_type = match rng.random_range(0..100) {
            0..78 => EventType::View,
            78..88 => EventType::Click,
            88..96 => EventType::AddToCart,
            _ => EventType::Purchase,
        };
        let visitor = Self::visitor(self.visitors.sample(rng) as u64);
        let item = EventItem {
            item_id: ItemId::new(Self::item(self.items.sample(rng) as u64)).ok()?,
            quantity: 1,
            unit_price: Some(f64::from(rng.random_range(100..20_000)) / 100.0),
            position: Some(rng.random_range(0..20)),
        };
        let attributes =
            [("device", "mobile"), ("country", "NL"), ("app_version", "11.4.2"), ("currency", "EUR")];
        Some(Event {
            event_id: EventId::new(format!("{number:08x}-0000-7000-8000-{:012x}", rng.random::<u64>() >> 16))
                .ok()?,
            event_type,
            time: EventTime::clamped(START_MS + number as i64),
            session_id: Some(Self::session(&visitor, number)),
            visitor_id: VisitorId::new(visitor).ok()?,
            user_id: None,
            items: vec![item],
            transaction: None,
            search_query: None,
            page_categories: vec!["Outdoor > Tents > Family tents".into()],
            placement: Some("product-page-similar".into()),
            attribution_token: None,
            experiment_ids: vec!["ranker-2026-01".into()],
            attributes: BTreeMap::from(attributes.map(|(key, value)| (key.to_owned(), value.to_owned()))),
            consent: true,
        })
    }
}

/// The bytes on the topic.
pub fn encode(event: Event) -> Vec<u8> {
    v1::Event::from(event).encode_to_vec()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_are_valid_and_some_three_hundred_bytes() {
        let bytes: Vec<usize> = Events::new(1, 1_000, 1_000)
            .take(500)
            .map(|event| {
                let bytes = encode(event.clone());
                let decoded = v1::Event::decode(&*bytes).unwrap();
                assert_eq!(Event::try_from(decoded).unwrap(), event);
                bytes.len()
            })
            .collect();
        let mean = bytes.iter().sum::<usize>() / bytes.len();
        assert!((270..330).contains(&mean), "{mean}");
    }
}
