//! What changes with time: how many visits at which hour and weekday, what sells this week, what is
//! on sale today.
//!
//! The weight of an item among this week's bestsellers stands for the sales that a shop would have
//! counted. It is fixed in advance rather than counted from the simulated shoppers, so that one
//! shopper's days do not depend on another's.

use endcap_proto::EventTime;

use super::{
    ShopConfig,
    catalogue::Catalogue,
    config::DAY_MS,
    draws::{Domain, Draws},
};

/// Visits by hour of the day (UTC), Monday to Sunday alike: quiet nights, a full evening.
const HOURS: [f64; 24] = [
    1.2, 0.7, 0.4, 0.3, 0.3, 0.5, 1.0, 1.8, 2.6, 3.2, 3.7, 4.0, 4.4, 4.2, 3.8, 3.7, 4.0, 4.6, 5.4, 6.3, 6.8,
    6.2, 4.3, 2.4,
];

/// Visits by weekday, Monday first; the mean is 1.
const WEEKDAYS: [f64; 7] = [1.0, 0.95, 0.92, 0.95, 0.93, 1.05, 1.2];

const QUALITY: f64 = 0.5;
const TREND: f64 = 0.3;
const HYPE: f64 = 0.4;
const DAYS_A_WEEK: usize = 7;

/// What sells and what is on sale, by day of the period.
#[derive(Debug)]
pub(super) struct Season {
    start: EventTime,
    days: Vec<Day>,
    weeks: Vec<Week>,
}

#[derive(Debug)]
struct Day {
    on_sale: usize,
    /// Weight of what is on sale, all and by category.
    weight: f64,
    weight_by_category: Vec<f64>,
}

#[derive(Debug)]
struct Week {
    /// How much more than usual each category is in demand.
    trends: Vec<f64>,
    /// Weights of items, summed up: item i has `sums[i + 1] − sums[i]`.
    sums: Vec<f64>,
}

impl Season {
    pub(super) fn plan(config: &ShopConfig, catalogue: &Catalogue) -> Self {
        let days = config.days as usize;
        let mut season = Self {
            start: config.start(),
            days: Vec::with_capacity(days),
            weeks: (0..days.div_ceil(DAYS_A_WEEK)).map(|week| Week::plan(config, catalogue, week)).collect(),
        };
        for day in 0..days {
            let (mut on_sale, mut weight_by_category) = (0, vec![0.0; catalogue.shelves.len()]);
            for (item, traits) in catalogue.traits.iter().enumerate() {
                if traits.days.contains(&(day as u32)) {
                    on_sale += 1;
                    weight_by_category[usize::from(traits.category)] +=
                        season.weeks[day / DAYS_A_WEEK].weight(item);
                }
            }
            let weight = weight_by_category.iter().sum();
            season.days.push(Day { on_sale, weight, weight_by_category });
        }
        season
    }

    /// The day of the period that `time` falls on; the first or last one where it lies outside.
    pub(super) fn day(&self, time: EventTime) -> usize {
        let day = time.millis_since(self.start).div_euclid(DAY_MS);
        day.clamp(0, self.days.len() as i64 - 1) as usize
    }

    /// Items on sale.
    pub(super) fn on_sale(&self, day: usize) -> usize {
        self.days[day].on_sale
    }

    /// How much more than usual a category is in demand this week: a factor, 1 in the median.
    pub(super) fn trend(&self, day: usize, category: usize) -> f64 {
        self.weeks[day / DAYS_A_WEEK].trends[category]
    }

    /// Whether anything of a category is on sale.
    pub(super) fn has(&self, day: usize, category: usize) -> bool {
        self.days[day].weight_by_category[category] > 0.0
    }

    /// Share of an item that is on sale among all that is sold.
    pub(super) fn share(&self, day: usize, item: usize) -> f64 {
        self.weeks[day / DAYS_A_WEEK].weight(item) / self.days[day].weight
    }

    /// The same within its category.
    pub(super) fn share_within(&self, day: usize, category: usize, item: usize) -> f64 {
        self.weeks[day / DAYS_A_WEEK].weight(item) / self.days[day].weight_by_category[category]
    }

    /// Draws an item on sale in proportion to its share.
    pub(super) fn draw(&self, day: usize, catalogue: &Catalogue, draws: &mut Draws) -> usize {
        self.draw_of(day, catalogue, 0..catalogue.items.len(), draws)
    }

    /// Draws one of a category that [has](Self::has) any.
    pub(super) fn draw_within(
        &self,
        day: usize,
        category: usize,
        catalogue: &Catalogue,
        draws: &mut Draws,
    ) -> usize {
        self.draw_of(day, catalogue, catalogue.shelves[category].items.clone(), draws)
    }

    /// Draws an item on sale, each alike.
    pub(super) fn draw_any(&self, day: usize, catalogue: &Catalogue, draws: &mut Draws) -> usize {
        loop {
            let item = draws.below(catalogue.items.len());
            if catalogue.traits[item].days.contains(&(day as u32)) {
                return item;
            }
        }
    }

    fn draw_of(
        &self,
        day: usize,
        catalogue: &Catalogue,
        items: std::ops::Range<usize>,
        draws: &mut Draws,
    ) -> usize {
        let sums = &self.weeks[day / DAYS_A_WEEK].sums;
        let (low, high) = (sums[items.start], sums[items.end]);
        loop {
            let place = draws.between(low, high);
            let item = items.start + sums[items.start + 1..items.end].partition_point(|&sum| sum <= place);
            if catalogue.traits[item].days.contains(&(day as u32)) {
                return item;
            }
        }
    }

    /// When visits begin on a day, for a shopper who comes `rate` times a day on average.
    pub(super) fn visits(&self, day: usize, rate: f64, draws: &mut Draws) -> Vec<EventTime> {
        let midnight = self.start.plus_millis(day as i64 * DAY_MS);
        // 1970-01-01 was a Thursday.
        let weekday = (midnight.as_millis().div_euclid(DAY_MS) + 3).rem_euclid(7) as usize;
        let hour_ms = DAY_MS / 24;
        let mut times: Vec<EventTime> = (0..draws.poisson(rate * WEEKDAYS[weekday]))
            .map(|_| {
                let hour = draws.weighted(&HOURS).unwrap_or(0) as i64;
                let clock = hour * hour_ms + draws.below(hour_ms as usize) as i64;
                midnight.plus_millis((clock - midnight.as_millis()).rem_euclid(DAY_MS))
            })
            .collect();
        times.sort_unstable();
        times
    }
}

impl Week {
    fn plan(config: &ShopConfig, catalogue: &Catalogue, week: usize) -> Self {
        let trend = |category: usize| {
            let draws = &mut Draws::at(config.seed, Domain::Trend, &[week as u64, category as u64]);
            (TREND * draws.normal()).exp()
        };
        let trends: Vec<f64> = (0..catalogue.shelves.len()).map(trend).collect();
        let mut sums = Vec::with_capacity(catalogue.items.len() + 1);
        let mut sum = 0.0;
        sums.push(sum);
        for (item, traits) in catalogue.traits.iter().enumerate() {
            let hype = Draws::at(config.seed, Domain::Hype, &[week as u64, item as u64]).normal();
            let category = usize::from(traits.category);
            sum += catalogue.shelves[category].popularity
                * trends[category]
                * (QUALITY * f64::from(traits.quality) + HYPE * hype).exp();
            sums.push(sum);
        }
        Self { trends, sums }
    }

    fn weight(&self, item: usize) -> f64 {
        self.sums[item + 1] - self.sums[item]
    }
}
