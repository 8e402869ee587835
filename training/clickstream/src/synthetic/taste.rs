//! What shoppers like, and how likely they are to click: the truth that the clickstream hides.
//!
//! ```text
//! P(click on item i in place k) = examination(k) · sigmoid(affinity(taste, i))
//! affinity = −6 + 4 · leaning to the category + 1.2 · leaning to the brand
//!          − 0.3 · min((price level of i − price level of the taste)², 4)
//!          + 2.5 · ⟨taste, i⟩ + 0.4 · quality of i
//!          + (while something is wanted) 1.5 · [its category] + 2 · ⟨want, i⟩
//! ```
//!
//! Vectors are unit vectors of 16 numbers; examination is 1/(1 + k)^η.

use super::{
    catalogue::{Catalogue, Traits},
    draws::Draws,
    vector::{Vector, blend, direction, dot},
};

/// What a shopper likes: leanings that last, and what they want right now.
#[derive(Debug, Clone, PartialEq)]
pub struct Taste {
    /// Favourite categories with a weight in (0, 1], strongest first. All others weigh 0.
    pub categories: Vec<(u16, f32)>,
    /// Brands liked (weight in (0, 1]) and disliked (weight in [−1, 0)).
    pub brands: Vec<(u16, f32)>,
    /// The price level that suits: 0 is the middle of a category, 1 is e^½ (1.65) times as much.
    pub price_level: f32,
    /// What else is liked: a direction among the items.
    pub vector: Vector,
    /// What the shopper is looking for at the moment. Ends with a purchase, a change of mind, or
    /// two days without a visit.
    pub want: Option<Want>,
}

/// Something a shopper is looking for.
#[derive(Debug, Clone, PartialEq)]
pub struct Want {
    /// On this shelf.
    pub category: u16,
    /// Like this: moves towards each item that the shopper opens.
    pub vector: Vector,
}

const BASE: f64 = -6.0;
const CATEGORY: f64 = 4.0;
const BRAND: f64 = 1.2;
const PRICE: f64 = 0.3;
const PRICE_MOST: f64 = 4.0;
const VECTOR: f64 = 2.5;
const QUALITY: f64 = 0.4;
const WANTED_CATEGORY: f64 = 1.5;
const WANTED_VECTOR: f64 = 2.0;

/// How far a want moves towards an item that was opened.
const PULL: f32 = 0.4;

/// Probability that place `position` (from 0) of a slate is looked at: 1/(1 + position)^`bias`.
pub(super) fn examination(position: usize, bias: f64) -> f64 {
    (1.0 + position as f64).powf(-bias)
}

/// 1/(1 + e^−x).
pub(super) fn sigmoid(x: f64) -> f64 {
    if x >= 0.0 { 1.0 / (1.0 + (-x).exp()) } else { x.exp() / (1.0 + x.exp()) }
}

impl Taste {
    /// Draws a taste: 2 to 5 favourite categories, mostly of two departments, a few brands there, a
    /// price level, and a vector near the favourite categories'.
    pub(super) fn draw(catalogue: &Catalogue, draws: &mut Draws) -> Self {
        let shelves = &catalogue.shelves;
        let popularity: Vec<f64> = shelves.iter().map(|shelf| shelf.popularity).collect();
        let mut homes = Vec::new();
        while homes.len() < 2 {
            homes.extend(draws.weighted(&popularity).map(|index| shelves[index].department));
        }
        let mut categories: Vec<(u16, f32)> = Vec::new();
        let count = (2 + draws.below(4)).min(shelves.len() / 2);
        while categories.len() < count {
            let at_home = draws.happens(0.8);
            let open = |(index, shelf): (usize, &super::catalogue::Shelf)| {
                let free = categories.iter().all(|&(category, _)| usize::from(category) != index);
                let near = !at_home || homes.contains(&shelf.department);
                if free && near { shelf.popularity } else { 0.0 }
            };
            let weights: Vec<f64> = shelves.iter().enumerate().map(open).collect();
            let weight = if categories.is_empty() { 1.0 } else { draws.between(0.4, 1.0) };
            categories.extend(draws.weighted(&weights).map(|index| (index as u16, weight as f32)));
        }
        categories.sort_by(|a, b| b.1.total_cmp(&a.1).then(a.0.cmp(&b.0)));

        let mut departments: Vec<usize> =
            categories.iter().map(|&(category, _)| shelves[usize::from(category)].department).collect();
        departments.sort_unstable();
        departments.dedup();
        let mut brands = Vec::new();
        for department in departments {
            let mut names = catalogue.brands_of(department);
            for sign in [1.0, 1.0, -1.0] {
                let brand = names.swap_remove(draws.below(names.len()));
                brands.push((brand, (sign * draws.between(0.5, 1.0)) as f32));
            }
        }

        let own = direction(draws);
        let mut parts: Vec<(f32, &Vector)> = categories
            .iter()
            .map(|&(category, weight)| (0.5 * weight, &shelves[usize::from(category)].vector))
            .collect();
        parts.push((0.6, &own));
        let vector = blend(&parts);
        Self { vector, categories, brands, price_level: (0.8 * draws.normal()) as f32, want: None }
    }

    /// Log-odds of a click on an item that is looked at.
    pub(super) fn affinity(&self, item: &Traits) -> f64 {
        let leaning = |leanings: &[(u16, f32)], to: u16| {
            leanings.iter().find(|(index, _)| *index == to).map_or(0.0, |(_, weight)| f64::from(*weight))
        };
        let off_price = f64::from(item.price_level - self.price_level).powi(2).min(PRICE_MOST);
        let standing = BASE
            + CATEGORY * leaning(&self.categories, item.category)
            + BRAND * leaning(&self.brands, item.brand)
            - PRICE * off_price
            + VECTOR * dot(&self.vector, &item.vector)
            + QUALITY * f64::from(item.quality);
        let wanted = self.want.as_ref().map_or(0.0, |want| {
            WANTED_CATEGORY * f64::from(u8::from(want.category == item.category))
                + WANTED_VECTOR * dot(&want.vector, &item.vector)
        });
        standing + wanted
    }

    /// The shopper opened this item: the want moves towards it, or turns to it (half of the time)
    /// where it is something else.
    pub(super) fn opened(&mut self, item: &Traits, draws: &mut Draws) {
        let turns = draws.happens(0.5);
        match &mut self.want {
            Some(want) if want.category == item.category => {
                want.vector = blend(&[(1.0 - PULL, &want.vector), (PULL, &item.vector)]);
            }
            Some(_) if !turns => {}
            want => *want = Some(Want { category: item.category, vector: item.vector }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::synthetic::draws::Domain;

    fn traits() -> Traits {
        let mut vector = [0.0; super::super::vector::LATENT];
        vector[0] = 1.0;
        Traits {
            category: 3,
            brand: 8,
            kind: 0,
            price: 10.0,
            price_level: 1.0,
            quality: 0.5,
            vector,
            days: 0..7,
        }
    }

    #[test]
    fn affinity_is_the_documented_sum() {
        let item = traits();
        let mut vector = [0.0; super::super::vector::LATENT];
        (vector[0], vector[1]) = (0.6, 0.8);
        let mut taste = Taste {
            categories: vec![(1, 1.0), (3, 0.5)],
            brands: vec![(8, -0.5)],
            price_level: 0.0,
            vector,
            want: None,
        };
        // −6 + 4·0.5 − 1.2·0.5 − 0.3·1 + 2.5·0.6 + 0.4·0.5 = −3.2
        assert!((taste.affinity(&item) + 3.2).abs() < 1e-6);
        // + 1.5 + 2·0.6
        taste.want = Some(Want { category: 3, vector });
        assert!((taste.affinity(&item) + 0.5).abs() < 1e-6);
        // Something of another shelf is wanted: + 2·0.6 alone.
        taste.want = Some(Want { category: 4, vector });
        assert!((taste.affinity(&item) + 2.0).abs() < 1e-6);
        // A price far off costs 0.3·4 rather than 0.3·1, and no more.
        taste.price_level = -9.0;
        assert!((taste.affinity(&item) + 2.9).abs() < 1e-6);
    }

    #[test]
    fn a_want_moves_towards_what_is_opened() {
        let item = traits();
        let mut vector = [0.0; super::super::vector::LATENT];
        vector[1] = 1.0;
        let mut taste = Taste {
            categories: vec![],
            brands: vec![],
            price_level: 0.0,
            vector,
            want: Some(Want { category: 3, vector }),
        };
        let mut draws = Draws::at(1, Domain::Taste, &[]);
        let mut last = 0.0;
        for _ in 0..5 {
            taste.opened(&item, &mut draws);
            let now = dot(&taste.want.as_ref().unwrap().vector, &item.vector);
            assert!(now > last);
            last = now;
        }
        taste.want = None;
        taste.opened(&item, &mut draws);
        assert_eq!(taste.want, Some(Want { category: 3, vector: item.vector }));
    }

    #[test]
    fn sigmoid_and_examination_by_hand() {
        assert_eq!(sigmoid(0.0), 0.5);
        assert!((sigmoid(3f64.ln()) - 0.75).abs() < 1e-12);
        assert!((sigmoid(-(3f64.ln())) - 0.25).abs() < 1e-12);
        assert_eq!((sigmoid(800.0), sigmoid(-800.0)), (1.0, 0.0));
        assert_eq!(examination(0, 0.6), 1.0);
        assert!((examination(3, 0.5) - 0.5).abs() < 1e-12);
    }
}
