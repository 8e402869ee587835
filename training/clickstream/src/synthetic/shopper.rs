//! A shopper: a taste that lasts, a want that drifts from click to click, a cart, and what they do.
//!
//! ```text
//! visit:  home page with its slate ─► [ a slate, or organic browsing ] × some ─► checkout, or not
//! slate:  each place: looked at (position bias) and then clicked (affinity) ─► cart, wishlist, more like it
//! browse: search or category page ─► a product of a page of 32 that suits ─► cart, wishlist
//! ```
//!
//! The written period and the live shopper run the same code. A `click` opens the product's page;
//! no `view` follows it for the same product.

use std::{
    collections::{BTreeMap, VecDeque},
    ops::Range,
};

use endcap_proto::{
    Event, EventId, EventItem, EventTime, EventType, FieldError, ItemId, Transaction, UserId, VisitorId,
};

use super::{
    World,
    draws::Draws,
    taste::{Taste, Want, examination, sigmoid},
};

/// A shopper and all they carry from one page to the next.
#[derive(Debug, Clone)]
pub(super) struct Shopper {
    pub(super) visitor_id: VisitorId,
    pub(super) user_id: Option<UserId>,
    pub(super) taste: Taste,
    /// When the next thing happens.
    pub(super) clock: EventTime,
    pub(super) pace: Pace,
    /// Categories of the products opened last, newest last.
    pub(super) recent: VecDeque<u16>,
    /// From then on, what was wanted is forgotten.
    forgets: EventTime,
    logged_in: bool,
    last_item: Option<usize>,
    page: Option<u16>,
    cart: Vec<(usize, u32)>,
    visits: u32,
    events: u32,
    pub(super) slates: u32,
}

/// How long a shopper looks at a page.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Pace {
    /// Some 20 seconds, sometimes minutes.
    Dwelling,
    /// A millisecond: for a live demonstration.
    Instant,
}

/// A slate as the shopper sees it.
#[derive(Debug)]
pub(super) struct Shown<'a> {
    /// What the shop calls the items, and their index where this shop has them.
    pub(super) items: &'a [(ItemId, Option<usize>)],
    pub(super) placement: &'a str,
    pub(super) attribution_token: Option<&'a str>,
}

/// A want that nothing renews for so long is forgotten.
const WANT_LASTS_MS: i64 = 48 * 3_600_000;
/// A visit that begins within this time of the last page would be the same visit.
const SESSION_GAP_MS: i64 = 31 * 60_000;
/// Products on a page of search results or of a category.
const LISTING: usize = 32;
/// Categories that the logging policy remembers.
const RECENT: usize = 12;
/// How often a shopper looks for something else than before.
const CHANGE_OF_MIND: f64 = 0.08;
/// How often a shopper strays from what they look for.
const STRAYING: f64 = 0.2;

impl Shopper {
    pub(super) fn new(
        visitor_id: VisitorId,
        user_id: Option<UserId>,
        taste: Taste,
        clock: EventTime,
    ) -> Self {
        Self {
            visitor_id,
            user_id,
            taste,
            clock,
            pace: Pace::Dwelling,
            recent: VecDeque::with_capacity(RECENT),
            forgets: EventTime::MIN,
            logged_in: false,
            last_item: None,
            page: None,
            cart: Vec::new(),
            visits: 0,
            events: 0,
            slates: 0,
        }
    }

    /// A visit begins: at `start`, or some time after the last page of the visit before.
    pub(super) fn arrive(
        &mut self,
        world: &World,
        start: EventTime,
        draws: &mut Draws,
        out: &mut Vec<Event>,
    ) {
        let gap_ms = if self.visits == 0 || self.pace == Pace::Instant { 0 } else { SESSION_GAP_MS };
        self.clock = start.max(self.clock.plus_millis(gap_ms));
        self.visits += 1;
        self.page = None;
        self.forget(self.clock);
        if self.taste.want.is_none() {
            self.want_anew(world, draws);
        }
        if self.user_id.is_some() && !self.logged_in && draws.happens(0.7) {
            self.logged_in = true;
            out.push(self.event(EventType::Login, draws));
        }
        if draws.happens(0.6) {
            out.push(self.event(EventType::HomeView, draws));
        }
    }

    /// Forgets what was wanted, where that is too long ago.
    pub(super) fn forget(&mut self, now: EventTime) {
        if now >= self.forgets {
            self.taste.want = None;
        }
    }

    /// Wants something of a favourite category that is in demand this week, like one of its products
    /// that suits the taste.
    pub(super) fn want_anew(&mut self, world: &World, draws: &mut Draws) {
        let day = world.season.day(self.clock);
        let trend = |category: u16| world.season.trend(day, category.into());
        if let Some(category) = self.favourite(trend, draws) {
            self.want(world, category, draws);
        }
    }

    /// One of the favourite categories, in proportion to its squared weight times `factor`.
    fn favourite(&self, factor: impl Fn(u16) -> f64, draws: &mut Draws) -> Option<u16> {
        let favourites = &self.taste.categories;
        let weights: Vec<f64> = favourites
            .iter()
            .map(|&(category, weight)| f64::from(weight).powi(2) * factor(category))
            .collect();
        draws.weighted(&weights).map(|favourite| favourites[favourite].0)
    }

    /// Wants something of this category.
    pub(super) fn want(&mut self, world: &World, category: u16, draws: &mut Draws) {
        self.taste.want = None;
        if let Some(item) = self.choose(world, category, draws) {
            let vector = world.catalogue.traits[item].vector;
            self.taste.want = Some(Want { category, vector });
            self.forgets = self.clock.plus_millis(WANT_LASTS_MS);
        }
    }

    /// Looks through a slate; the places that were clicked.
    pub(super) fn react(
        &mut self,
        world: &World,
        shown: &Shown<'_>,
        draws: &mut Draws,
        out: &mut Vec<Event>,
    ) -> Vec<usize> {
        if !shown.items.is_empty() {
            out.push(self.about(EventType::Impression, shown, 0..shown.items.len(), draws));
        }
        // All places are judged by the taste before the first click: the truth of this slate.
        let (mut clicked, mut dismissed) = (Vec::new(), None);
        for (k, (_, item)) in shown.items.iter().enumerate() {
            let Some(item) = *item else { continue };
            if draws.happens(examination(k, world.config.position_bias)) {
                let probability = sigmoid(self.taste.affinity(&world.catalogue.traits[item]));
                if draws.happens(probability) {
                    clicked.push(k);
                } else if probability < 0.01 && draws.happens(0.002) {
                    dismissed = Some(k);
                }
            }
        }
        for &k in &clicked {
            let Some(item) = shown.items[k].1 else { continue };
            out.push(self.about(EventType::Click, shown, k..k + 1, draws));
            self.opened(world, item, shown.attribution_token, draws, out);
            if draws.happens(0.25) {
                self.view_another(world, world.catalogue.traits[item].category, draws, out);
            }
        }
        if let Some(k) = dismissed {
            out.push(self.about(EventType::Dismiss, shown, k..k + 1, draws));
        }
        clicked
    }

    /// An event about some places of a slate.
    fn about(
        &mut self,
        event_type: EventType,
        shown: &Shown<'_>,
        places: Range<usize>,
        draws: &mut Draws,
    ) -> Event {
        let mut event = self.event(event_type, draws);
        event.items = places
            .map(|k| EventItem { position: Some(k as u32), ..plain(shown.items[k].0.clone()) })
            .collect();
        event.placement = Some(shown.placement.to_owned());
        event.attribution_token = shown.attribution_token.map(str::to_owned);
        event
    }

    /// One step without a slate: to a page of products, mostly of what is wanted, and into one of them.
    pub(super) fn browse(&mut self, world: &World, draws: &mut Draws, out: &mut Vec<Event>) {
        if self.taste.want.is_none() || draws.happens(CHANGE_OF_MIND) {
            self.want_anew(world, draws);
        }
        let category = match &self.taste.want {
            Some(want) if !draws.happens(STRAYING) => want.category,
            _ => match self.favourite(|_| 1.0, draws) {
                Some(category) => category,
                None => return,
            },
        };
        let Some(item) = self.choose(world, category, draws) else { return };
        if self.page != Some(category) || draws.happens(0.25) {
            self.page = Some(category);
            if draws.happens(0.45) {
                let mut search = self.event(EventType::Search, draws);
                let kind = world.catalogue.kind(item).to_lowercase();
                search.search_query = Some(match draws.happens(0.3) {
                    true => format!("{} {kind}", world.catalogue.brand(item).to_lowercase()),
                    false => kind,
                });
                out.push(search);
            } else {
                let mut page = self.event(EventType::CategoryView, draws);
                page.page_categories = vec![world.catalogue.shelves[usize::from(category)].path.clone()];
                out.push(page);
            }
        }
        self.view(world, item, draws, out);
    }

    /// The end of a visit: some of the cart goes back, and the rest is bought or left.
    pub(super) fn leave(&mut self, world: &World, draws: &mut Draws, out: &mut Vec<Event>) {
        if self.cart.is_empty() {
            return;
        }
        let (kept, returned) = std::mem::take(&mut self.cart).into_iter().partition(|_| !draws.happens(0.12));
        self.cart = kept;
        if draws.happens(0.5) {
            out.push(self.event(EventType::CartView, draws));
        }
        for (item, quantity) in returned {
            let mut remove = self.event(EventType::RemoveFromCart, draws);
            remove.items = vec![bought(world, item, quantity)];
            out.push(remove);
        }
        if self.cart.is_empty() || !draws.happens(0.65) {
            return;
        }
        out.push(self.event(EventType::Checkout, draws));
        if draws.happens(0.85) {
            let cart = std::mem::take(&mut self.cart);
            let sum = |of: &dyn Fn(usize) -> f64| {
                cents(cart.iter().map(|&(item, quantity)| of(item) * f64::from(quantity)).sum())
            };
            let revenue = sum(&|item| world.catalogue.traits[item].price);
            let mut purchase = self.event(EventType::Purchase, draws);
            purchase.transaction = Some(Transaction {
                id: format!("order-{}", purchase.event_id),
                revenue: Some(revenue),
                tax: Some(cents(revenue * 19.0 / 119.0)),
                cost: Some(sum(&|item| world.catalogue.items[item].cost.unwrap_or(0.0))),
                currency: "EUR".into(),
            });
            purchase.items = cart.iter().map(|&(item, quantity)| bought(world, item, quantity)).collect();
            out.push(purchase);
            // Who has it stops looking for it.
            let wanted = self.taste.want.as_ref().map(|want| want.category);
            if cart.iter().any(|&(item, _)| Some(world.catalogue.traits[item].category) == wanted) {
                self.taste.want = None;
            }
        }
    }

    /// Opens the page of a product, and maybe keeps it.
    pub(super) fn view(&mut self, world: &World, item: usize, draws: &mut Draws, out: &mut Vec<Event>) {
        let mut view = self.event(EventType::View, draws);
        view.items = vec![plain(world.catalogue.items[item].id.clone())];
        out.push(view);
        self.opened(world, item, None, draws, out);
    }

    fn view_another(&mut self, world: &World, category: u16, draws: &mut Draws, out: &mut Vec<Event>) {
        if let Some(item) = self.choose(world, category, draws) {
            self.view(world, item, draws, out);
        }
    }

    /// What opening a product's page leads to.
    fn opened(
        &mut self,
        world: &World,
        item: usize,
        attribution_token: Option<&str>,
        draws: &mut Draws,
        out: &mut Vec<Event>,
    ) {
        let traits = &world.catalogue.traits[item];
        let liking = sigmoid(self.taste.affinity(traits));
        self.taste.opened(traits, draws);
        self.forgets = self.clock.plus_millis(WANT_LASTS_MS);
        self.last_item = Some(item);
        if self.recent.len() == RECENT {
            self.recent.pop_front();
        }
        self.recent.push_back(traits.category);
        let carted = self.cart.iter().any(|&(other, _)| other == item);
        let kept = if !carted && draws.happens(0.25 * liking) {
            let quantity = if draws.happens(0.1) { 2 } else { 1 };
            self.cart.push((item, quantity));
            Some((EventType::AddToCart, bought(world, item, quantity)))
        } else if draws.happens(0.06 * liking) {
            Some((EventType::AddToWishlist, plain(world.catalogue.items[item].id.clone())))
        } else {
            None
        };
        if let Some((event_type, item)) = kept {
            let mut event = self.event(event_type, draws);
            event.items = vec![item];
            event.attribution_token = attribution_token.map(str::to_owned);
            out.push(event);
        }
    }

    /// One product of a page of [`LISTING`] of this category that are on sale, which shows more of
    /// what sells well: with probability in proportion to e^affinity.
    fn choose(&self, world: &World, category: u16, draws: &mut Draws) -> Option<usize> {
        let day = world.season.day(self.clock);
        if !world.season.has(day, category.into()) {
            return None;
        }
        let mut listing: Vec<usize> = Vec::with_capacity(LISTING);
        // A short shelf has fewer than a page: 3 tries a place find nearly all of it.
        for _ in 0..3 * LISTING {
            let item = world.season.draw_within(day, category.into(), &world.catalogue, draws);
            if self.last_item != Some(item) && !listing.contains(&item) {
                listing.push(item);
            }
            if listing.len() == LISTING {
                break;
            }
        }
        let affinity: Vec<f64> =
            listing.iter().map(|&item| self.taste.affinity(&world.catalogue.traits[item])).collect();
        let most = affinity.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        let weights: Vec<f64> = affinity.iter().map(|x| (x - most).exp()).collect();
        draws.weighted(&weights).map(|chosen| listing[chosen])
    }

    /// An event now; then time passes.
    fn event(&mut self, event_type: EventType, draws: &mut Draws) -> Event {
        let time = self.clock;
        let pause = match self.pace {
            Pace::Instant => 1,
            Pace::Dwelling => (20_000.0 * (0.9 * draws.normal()).exp()).clamp(500.0, 900_000.0) as i64,
        };
        self.clock = time.plus_millis(pause);
        self.events += 1;
        let (visitor, number) = (&self.visitor_id, self.events);
        Event {
            event_id: made(EventId::new(format!("{visitor}-{:x}-{number}", time.as_millis()))),
            event_type,
            time,
            visitor_id: visitor.clone(),
            user_id: self.known_as().cloned(),
            session_id: Some(self.session_id()),
            items: Vec::new(),
            transaction: None,
            search_query: None,
            page_categories: Vec::new(),
            placement: None,
            attribution_token: None,
            experiment_ids: Vec::new(),
            attributes: BTreeMap::new(),
            consent: true,
        }
    }

    pub(super) fn session_id(&self) -> String {
        format!("{}-visit-{}", self.visitor_id, self.visits)
    }

    /// The account, once logged in.
    pub(super) fn known_as(&self) -> Option<&UserId> {
        self.user_id.as_ref().filter(|_| self.logged_in)
    }
}

/// Ids made here are short and without control characters.
pub(super) fn made<T>(id: Result<T, FieldError>) -> T {
    id.expect("an id made of letters and digits")
}

fn plain(item_id: ItemId) -> EventItem {
    EventItem { item_id, quantity: 1, unit_price: None, position: None }
}

fn bought(world: &World, item: usize, quantity: u32) -> EventItem {
    let unit_price = Some(world.catalogue.traits[item].price);
    EventItem { quantity, unit_price, ..plain(world.catalogue.items[item].id.clone()) }
}

fn cents(amount: f64) -> f64 {
    (amount * 100.0).round() / 100.0
}
