//! The written period: every shopper's days, one after the other, as events in the order of time.
//!
//! A day holds the events of all shoppers between two midnights of the period; what a late visit
//! does after midnight waits for the next day. So only one day, and what a shopper carries from
//! visit to visit, is in memory.

use std::sync::Arc;

use endcap_proto::{Event, EventTime, ItemId, UserId, VisitorId, v1};

use super::{
    Taste, World,
    config::DAY_MS,
    draws::{Domain, Draws},
    policy::LoggingPolicy,
    shopper::{Shopper, Shown, made},
};

/// One day of the shop.
#[derive(Debug, Clone, Default)]
pub struct Day {
    /// What shoppers did, by time and then id.
    pub events: Vec<Event>,
    /// What they were shown, by time and then id.
    pub slates: Vec<LoggedSlate>,
}

/// A slate of the logging policy, with the truth about who saw it.
#[derive(Debug, Clone, PartialEq)]
pub struct LoggedSlate {
    /// When it was shown.
    pub time: EventTime,
    /// As it is logged.
    pub impression: v1::Impression,
    /// The shopper's taste at that moment: the click probability of each place follows from it.
    pub taste: Taste,
    /// The places that were clicked.
    pub clicked: Vec<usize>,
}

/// A shopper with the rhythm of their visits.
#[derive(Debug, Clone)]
pub(super) struct Regular {
    index: u64,
    first_day: usize,
    rate: f64,
    pub(super) shopper: Shopper,
}

/// The days of the period, in order.
#[derive(Debug)]
pub(super) struct Days {
    world: Arc<World>,
    regulars: Vec<Regular>,
    next: usize,
    waiting: Day,
}

/// Spread of the logarithm of the visits a day.
const ACTIVITY_SPREAD: f64 = 1.0;
const PLACEMENT_HOME: &str = "home";
const PLACEMENT_PRODUCT: &str = "product";

impl Days {
    pub(super) fn new(world: &Arc<World>) -> Self {
        let regulars = (0..world.config.shoppers).map(|index| Regular::new(world, index)).collect();
        Self { world: Arc::clone(world), regulars, next: 0, waiting: Day::default() }
    }
}

impl Iterator for Days {
    type Item = Day;

    fn next(&mut self) -> Option<Self::Item> {
        if self.next >= self.world.config.days as usize {
            return None;
        }
        let mut day = std::mem::take(&mut self.waiting);
        for regular in &mut self.regulars {
            regular.spend(&self.world, self.next, &mut day);
        }
        self.next += 1;
        let midnight = self.world.config.start().plus_millis(self.next as i64 * DAY_MS);
        day.events.sort_unstable_by(|a, b| (a.time, &a.event_id).cmp(&(b.time, &b.event_id)));
        day.slates.sort_by(|a, b| (a.time, &a.impression.slate_id).cmp(&(b.time, &b.impression.slate_id)));
        self.waiting.events = day.events.split_off(day.events.partition_point(|event| event.time < midnight));
        let today = day.slates.partition_point(|slate| slate.time < midnight);
        self.waiting.slates = day.slates.split_off(today);
        Some(day)
    }
}

impl Regular {
    pub(super) fn new(world: &World, index: usize) -> Self {
        let config = &world.config;
        let draws = &mut Draws::at(config.seed, Domain::Visits, &[index as u64]);
        let first_day = if draws.happens(0.75) { 0 } else { draws.below(config.days as usize) };
        let activity = (ACTIVITY_SPREAD * draws.normal() - ACTIVITY_SPREAD.powi(2) / 2.0).exp();
        let user_id = draws.happens(0.4).then(|| made(UserId::new(format!("u{index:06}"))));
        let visitor_id = made(VisitorId::new(format!("v{index:06}")));
        let taste =
            Taste::draw(&world.catalogue, &mut Draws::at(config.seed, Domain::Taste, &[index as u64]));
        Self {
            index: index as u64,
            first_day,
            rate: (config.visits_per_day * activity).min(20.0),
            shopper: Shopper::new(visitor_id, user_id, taste, config.start()),
        }
    }

    /// Lives through one day.
    pub(super) fn spend(&mut self, world: &World, day: usize, out: &mut Day) {
        if day < self.first_day {
            return;
        }
        let draws = &mut Draws::at(world.config.seed, Domain::Visits, &[self.index, day as u64]);
        for start in world.season.visits(day, self.rate, draws) {
            self.visit(world, start, draws, out);
        }
    }

    fn visit(&mut self, world: &World, start: EventTime, draws: &mut Draws, out: &mut Day) {
        let first = out.events.len();
        self.shopper.arrive(world, start, draws, &mut out.events);
        if draws.happens(0.8) {
            self.see(world, PLACEMENT_HOME, draws, out);
        }
        // Many short visits, a few long ones.
        let steps = 1 + (4.0 * (0.7 * draws.normal() - 0.245).exp()) as usize;
        let end = world.config.end;
        for _ in 0..steps.min(30) {
            if self.shopper.clock >= end {
                break;
            }
            if draws.happens(0.25) {
                self.see(world, PLACEMENT_PRODUCT, draws, out);
            } else {
                self.shopper.browse(world, draws, &mut out.events);
            }
        }
        if self.shopper.clock < end {
            self.shopper.leave(world, draws, &mut out.events);
        }
        // The period ends, whatever goes on.
        if self.shopper.clock > end {
            let cut = out.events[first..].partition_point(|event| event.time < end);
            out.events.truncate(first + cut);
            out.slates.retain(|slate| slate.time < end);
        }
    }

    /// Is shown a slate and reacts to it.
    fn see(&mut self, world: &World, placement: &str, draws: &mut Draws, out: &mut Day) {
        let shopper = &mut self.shopper;
        let day = world.season.day(shopper.clock);
        let seed = draws.state();
        let slate = LoggingPolicy::new(world, day, shopper.recent.iter().copied())
            .slate(world.config.slate_size, draws);
        shopper.slates += 1;
        let slate_id = format!("{}-slate-{}", shopper.visitor_id, shopper.slates);
        let attribution_token = format!("t-{slate_id}");
        let time = shopper.clock;
        let impression = v1::Impression {
            slate_id,
            served_time: Some(time.to_proto()),
            visitor_id: shopper.visitor_id.to_string(),
            user_id: shopper.known_as().map(UserId::to_string).unwrap_or_default(),
            session_id: shopper.session_id(),
            placement: placement.to_owned(),
            items: (0u32..)
                .zip(&slate)
                .map(|(position, placed)| v1::ImpressedItem {
                    item_id: world.catalogue.items[placed.item].id.to_string(),
                    position,
                    score: placed.share,
                    propensity: placed.propensity,
                    explored: true,
                    sources: vec![placed.source.as_str().to_owned()],
                    features: Vec::new(),
                })
                .collect(),
            served_by: Some(v1::ServedBy { bundle_version: "logging-policy".into(), ..Default::default() }),
            as_of: Some(time.to_proto()),
            seed,
            consent: true,
            attribution_token: attribution_token.clone(),
            ..Default::default()
        };
        let items: Vec<(ItemId, Option<usize>)> = slate
            .iter()
            .map(|placed| (world.catalogue.items[placed.item].id.clone(), Some(placed.item)))
            .collect();
        let shown = Shown { items: &items, placement, attribution_token: Some(&attribution_token) };
        let taste = shopper.taste.clone();
        let clicked = shopper.react(world, &shown, draws, &mut out.events);
        out.slates.push(LoggedSlate { time, impression, taste, clicked });
    }
}
