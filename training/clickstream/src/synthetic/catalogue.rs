//! The catalogue: shelves, products with their variants, and the traits that decide who likes them.
//!
//! Items of one shelf stand next to each other, variants of one product too. An item's vector is
//! mostly made of what its page says (category, kind, brand, style) and partly its own, so a new
//! item can be placed by its words, and better once it has been clicked.

use std::{collections::BTreeMap, ops::Range};

use endcap_proto::{Attribute, Availability, Item, ItemId};

use super::{
    ShopConfig,
    config::DAY_MS,
    draws::{Domain, Draws},
    shopper::made,
    vector::{Vector, blend, direction},
    words::{self, DEPARTMENTS, Department, LINES},
};

/// All there is to buy.
#[derive(Debug)]
pub(super) struct Catalogue {
    pub(super) shelves: Vec<Shelf>,
    pub(super) items: Vec<Item>,
    pub(super) traits: Vec<Traits>,
}

/// A category.
#[derive(Debug)]
pub(super) struct Shelf {
    /// `Outdoor > Tents`.
    pub(super) path: String,
    /// Index of its department.
    pub(super) department: usize,
    /// Index within its department.
    pub(super) place: usize,
    /// Its items.
    pub(super) items: Range<usize>,
    /// Share of shoppers drawn to it, up to a factor.
    pub(super) popularity: f64,
    pub(super) vector: Vector,
}

/// What decides who likes an item, and when it can be bought.
#[derive(Debug, Clone)]
pub(super) struct Traits {
    pub(super) category: u16,
    pub(super) brand: u16,
    /// Index among the kinds of its category.
    pub(super) kind: u8,
    pub(super) price: f64,
    /// ln(price / median of the category) / ½.
    pub(super) price_level: f32,
    /// Standard normal: liked by everybody a bit more or less.
    pub(super) quality: f32,
    pub(super) vector: Vector,
    /// Days of the period on which it is on sale.
    pub(super) days: Range<u32>,
}

/// What a vector belongs to; part of the name of its random stream.
#[derive(Debug, Clone, Copy)]
#[repr(u64)]
enum Owner {
    Department = 1,
    Category = 2,
    Kind = 3,
    Brand = 4,
    Style = 5,
}

const BRANDS: usize = 8;

impl Catalogue {
    pub(super) fn build(config: &ShopConfig) -> Self {
        let shelves = shelves(config);
        let mut catalogue =
            Self { shelves: Vec::new(), items: Vec::new(), traits: Vec::with_capacity(config.items) };
        for (category, shelf) in shelves.iter().enumerate() {
            let mut product = 0;
            while catalogue.items.len() < shelf.items.end {
                let variants = shelf.items.end - catalogue.items.len();
                catalogue.add_product(config, category, shelf, product, variants);
                product += 1;
            }
        }
        catalogue.shelves = shelves;
        catalogue
    }

    /// Adds a product with 1 to 3 variants, `most` at most.
    fn add_product(
        &mut self,
        config: &ShopConfig,
        category: usize,
        shelf: &Shelf,
        product: usize,
        most: usize,
    ) {
        let Department { name, brands, styles, categories, variants: palette } =
            &DEPARTMENTS[shelf.department];
        let words::Category { name: category_name, kinds, price: median } = &categories[shelf.place];
        let place = [category as u64, product as u64];
        let draws = &mut Draws::at(config.seed, Domain::Product, &place);
        let variants = [1, 1, 1, 1, 1, 1, 1, 2, 2, 3][draws.below(10)].min(most);
        let (kind, brand, style) = (draws.below(4), draws.below(BRANDS), draws.below(6));
        let line = draws.pick(&LINES);
        let quality = draws.normal();
        let tier = 0.5 * (brand as f64 - 3.5) / 3.5;
        let price = charm(median * (tier + 0.4 * draws.normal()).exp());
        let original_price = draws.happens(0.15).then(|| charm(price * draws.between(1.15, 1.6)));
        let cost = (price * draws.between(0.45, 0.7) * 100.0).round() / 100.0;

        let department = shelf.department as u64;
        let of = |owner, path: &[u64]| owned(config.seed, owner, path);
        let vector = blend(&[
            (0.6, &shelf.vector),
            (0.5, &of(Owner::Kind, &[category as u64, kind as u64])),
            (0.45, &of(Owner::Brand, &[department, brand as u64])),
            (0.35, &of(Owner::Style, &[department, style as u64])),
            (0.5, &direction(draws)),
        ]);

        let stem = format!("{}-{}-{product:04}", slug(name), slug(category_name));
        let first_colour = draws.below(palette.values.len());
        for variant in 0..variants {
            let colour = palette.values[(first_colour + 5 * variant) % palette.values.len()].0;
            let id = match variants {
                1 => stem.clone(),
                _ => format!("{stem}-{}", ["a", "b", "c"][variant]),
            };
            let mut item = Item::bare(made(ItemId::new(&id)));
            item.title =
                Some(format!("{} {line} {} {}, {colour}", brands[brand], styles[style], kinds[kind]));
            item.categories = vec![shelf.path.clone()];
            item.brand = Some(brands[brand].to_owned());
            item.price = Some(price);
            item.original_price = original_price;
            item.cost = Some(cost);
            item.currency = Some("EUR".into());
            item.group_id = (variants > 1).then(|| stem.clone());
            item.tags = vec![slug(styles[style])];
            item.tags.extend(original_price.map(|_| "sale".to_owned()));
            let rating = (39.0 + 4.0 * quality).round().clamp(10.0, 50.0) / 10.0;
            item.attributes = BTreeMap::from([
                (palette.attribute.into(), Attribute::Text(colour.into())),
                ("rating".into(), Attribute::Number(rating)),
            ]);
            item.image_uri = config.images.then(|| format!("images/{id}.svg"));
            let days = lifetime(config, &mut item, &[place[0], place[1], variant as u64]);
            self.items.push(item);
            self.traits.push(Traits {
                category: category as u16,
                brand: (shelf.department * BRANDS + brand) as u16,
                kind: kind as u8,
                price,
                price_level: (2.0 * (price / median).ln()) as f32,
                quality: quality as f32,
                vector,
                days,
            });
        }
    }

    /// The brands of a department.
    pub(super) fn brands_of(&self, department: usize) -> Vec<u16> {
        (0..BRANDS).map(|brand| (department * BRANDS + brand) as u16).collect()
    }

    /// What kind of thing an item is: `Dome Tent`.
    pub(super) fn kind(&self, item: usize) -> &'static str {
        let traits = &self.traits[item];
        let shelf = &self.shelves[usize::from(traits.category)];
        DEPARTMENTS[shelf.department].categories[shelf.place].kinds[usize::from(traits.kind)]
    }

    /// Who makes it.
    pub(super) fn brand(&self, item: usize) -> &'static str {
        let brand = usize::from(self.traits[item].brand);
        DEPARTMENTS[brand / BRANDS].brands[brand % BRANDS]
    }
}

/// Plans the shelves: some 50 items each, spread over the departments.
fn shelves(config: &ShopConfig) -> Vec<Shelf> {
    let count = (config.items / 40).clamp(6, words::MOST_CATEGORIES);
    let departments = (count / 3).clamp(2, DEPARTMENTS.len());
    let mut shelves: Vec<Shelf> = (0..count)
        .map(|category| {
            let (department, place) = (category % departments, category / departments);
            let draws = &mut Draws::at(config.seed, Domain::Category, &[category as u64]);
            let own = owned(config.seed, Owner::Category, &[category as u64]);
            let shared = owned(config.seed, Owner::Department, &[department as u64]);
            Shelf {
                path: format!(
                    "{} > {}",
                    DEPARTMENTS[department].name, DEPARTMENTS[department].categories[place].name
                ),
                department,
                place,
                items: 0..0,
                popularity: (0.6 * draws.normal()).exp(),
                vector: blend(&[(0.6, &shared), (0.8, &own)]),
            }
        })
        .collect();
    let widths: Vec<f64> = (0..count)
        .map(|category| Draws::at(config.seed, Domain::Category, &[category as u64, 1]).between(0.5, 1.5))
        .collect();
    let (total, mut before, mut start) = (widths.iter().sum::<f64>(), 0.0, 0);
    for (shelf, width) in shelves.iter_mut().zip(&widths) {
        before += width;
        let end = (config.items as f64 * before / total).round() as usize;
        shelf.items = start..end;
        start = end;
    }
    if let Some(last) = shelves.last_mut() {
        last.items.end = config.items;
    }
    shelves
}

/// Decides when an item is on sale: four in five since before the period, one in five from some day
/// of it; a few sold out, discontinued or expired before its end, a few not yet published.
fn lifetime(config: &ShopConfig, item: &mut Item, place: &[u64]) -> Range<u32> {
    let draws = &mut Draws::at(config.seed, Domain::Lifetime, place);
    let (start, days) = (config.start(), config.days);
    let midnight = |day: u32| start.plus_millis(i64::from(day) * DAY_MS);
    let fate = draws.unit();
    let from = match draws.unit() {
        u if u < 0.8 || days < 2 => {
            item.publish_time = Some(start.plus_millis(-(draws.below(700 * DAY_MS as usize) as i64)));
            0
        }
        _ => {
            let day = 1 + draws.below(days as usize - 1) as u32;
            item.publish_time = Some(midnight(day));
            day
        }
    };
    // The last day on sale lies between the first one and the end of the period.
    let until = from + 1 + draws.below((days - from) as usize) as u32;
    match fate {
        f if f < 0.03 => item.availability = Availability::OutOfStock,
        f if f < 0.05 => item.availability = Availability::Discontinued,
        f if f < 0.06 => item.expire_time = Some(midnight(until)),
        f if f < 0.07 => {
            item.publish_time = Some(midnight(days + 1 + draws.below(14) as u32));
            return days..days;
        }
        f if f < 0.08 => {
            item.expire_time = Some(midnight(days + 1 + draws.below(60) as u32));
            return from..days;
        }
        f if f < 0.10 => {
            item.availability = Availability::Preorder;
            return from..days;
        }
        _ => return from..days,
    }
    from..until
}

fn owned(seed: u64, owner: Owner, path: &[u64]) -> Vector {
    let mut name = vec![owner as u64];
    name.extend_from_slice(path);
    direction(&mut Draws::at(seed, Domain::Direction, &name))
}

/// A price as shops write it: 34.95.
fn charm(price: f64) -> f64 {
    (price.floor().max(1.0) * 100.0 + 95.0) / 100.0
}

/// `Sleeping Bags` → `sleeping-bags`.
fn slug(words: &str) -> String {
    let mut slug = String::new();
    for c in words.chars() {
        match c {
            c if c.is_alphanumeric() => slug.extend(c.to_lowercase()),
            _ if !slug.is_empty() && !slug.ends_with('-') => slug.push('-'),
            _ => {}
        }
    }
    slug.trim_end_matches('-').to_owned()
}
