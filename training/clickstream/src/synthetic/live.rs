//! A shopper for a running service: looks at its slates and answers with events.

use endcap_proto::{Event, EventTime, ItemId, VisitorId};

use super::{
    Shop, Taste,
    draws::{Domain, Draws},
    shopper::{Pace, Shopper, Shown, made},
};

/// A simulated shopper whose taste is known.
///
/// Runs the code that made the written period, except that events follow one another by a
/// millisecond, from the `now` that is passed in. The first call begins a visit, which may add a
/// `home_view` and a `login`. The same seed and the same calls give the same events.
#[derive(Debug, Clone)]
pub struct LiveShopper {
    shop: Shop,
    shopper: Shopper,
    draws: Draws,
    visiting: bool,
}

impl LiveShopper {
    /// A shopper whom the shop has not seen before; the visitor is `live-SEED`.
    pub fn new(shop: &Shop, seed: u64) -> Self {
        let world = &shop.world;
        let taste =
            Taste::draw(&world.catalogue, &mut Draws::at(world.config.seed, Domain::LiveTaste, &[seed]));
        let visitor_id = made(VisitorId::new(format!("live-{seed}")));
        Self::of(shop, Shopper::new(visitor_id, None, taste, world.config.end), seed)
    }

    /// The `index`-th shopper of the written period, as it left them.
    ///
    /// # Panics
    /// When there is no such shopper.
    pub fn returning(shop: &Shop, index: usize) -> Self {
        Self::of(shop, shop.regular_at_end(index), index as u64)
    }

    fn of(shop: &Shop, mut shopper: Shopper, seed: u64) -> Self {
        shopper.pace = Pace::Instant;
        shopper.clock = shopper.clock.min(shop.world.config.end);
        let draws = Draws::at(shop.world.config.seed, Domain::LiveVisit, &[seed]);
        Self { shop: shop.clone(), shopper, draws, visiting: false }
    }

    /// Who.
    pub fn visitor_id(&self) -> &VisitorId {
        &self.shopper.visitor_id
    }

    /// The truth about this shopper, with what they want at the moment.
    pub fn taste(&self) -> &Taste {
        &self.shopper.taste
    }

    /// Log-odds of a click on an item that is looked at; nothing for an item that this shop does not
    /// have.
    pub fn affinity(&self, item: &ItemId) -> Option<f64> {
        self.shop.item_index(item).map(|item| self.shop.affinity(self.taste(), item))
    }

    /// From now on they want something of this category (an index into
    /// [`Shop::categories`](super::Shop::categories)), like one of its products that suits them.
    ///
    /// # Panics
    /// When there is no such category.
    pub fn want(&mut self, category: usize, now: EventTime) {
        self.step(now, |shopper, shop, draws, _| {
            assert!(category < shop.world.catalogue.shelves.len(), "no category {category}");
            shopper.want(&shop.world, category as u16, draws);
        });
    }

    /// Looks through a slate: each place is looked at with its examination probability and then
    /// clicked with the true click probability. Gives the `impression` and for each click a `click`
    /// and what follows it (`add_to_cart`, `add_to_wishlist`, a `view` of something like it). Items
    /// that this shop does not have are passed over.
    pub fn react(&mut self, slate: &[ItemId], attribution_token: Option<&str>, now: EventTime) -> Vec<Event> {
        let items: Vec<(ItemId, Option<usize>)> =
            slate.iter().map(|id| (id.clone(), self.shop.item_index(id))).collect();
        self.step(now, |shopper, shop, draws, out| {
            let shown = Shown { items: &items, placement: "default", attribution_token };
            shopper.react(&shop.world, &shown, draws, out);
        })
    }

    /// One step without a slate: a `search` or `category_view` where the page changes, then a `view`.
    pub fn browse(&mut self, now: EventTime) -> Vec<Event> {
        self.step(now, |shopper, shop, draws, out| shopper.browse(&shop.world, draws, out))
    }

    /// Opens the page of this item, whatever their taste says: a `view` and what follows it. Nothing
    /// for an item that this shop does not have.
    pub fn open(&mut self, item: &ItemId, now: EventTime) -> Vec<Event> {
        let Some(item) = self.shop.item_index(item) else { return Vec::new() };
        self.step(now, |shopper, shop, draws, out| shopper.view(&shop.world, item, draws, out))
    }

    /// Ends the visit: where the cart holds something, part of it may go back and the rest be bought.
    pub fn leave(&mut self, now: EventTime) -> Vec<Event> {
        let events = self.step(now, |shopper, shop, draws, out| shopper.leave(&shop.world, draws, out));
        self.visiting = false;
        events
    }

    /// Does something at `now`, and first begins a visit where there is none.
    fn step(
        &mut self,
        now: EventTime,
        act: impl FnOnce(&mut Shopper, &Shop, &mut Draws, &mut Vec<Event>),
    ) -> Vec<Event> {
        let mut out = Vec::new();
        if self.visiting {
            self.shopper.clock = self.shopper.clock.max(now);
        } else {
            self.shopper.arrive(&self.shop.world, now, &mut self.draws, &mut out);
            self.visiting = true;
        }
        act(&mut self.shopper, &self.shop, &mut self.draws, &mut out);
        out
    }
}
