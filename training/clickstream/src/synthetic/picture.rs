//! Pictures: a small SVG for each item, told apart by department (shape), category (background),
//! kind (number of dots) and variant (colour).

use endcap_proto::{Attribute, Item};

use super::{
    catalogue::{Shelf, Traits},
    words::{DEPARTMENTS, MOST_CATEGORIES, Variants},
};

/// One outline for each department, on a square of 100.
const SHAPES: [&str; DEPARTMENTS.len()] = [
    "M50 18 84 76H60L50 52 40 76H16Z",
    "M20 34H72L66 70H26ZM74 38H92V46H73Z",
    "M16 60Q40 58 46 36L60 42Q64 56 86 62V74H16Z",
    "M34 22H66L86 38 76 50 68 44V80H32V44L24 50 14 38Z",
    "M18 78V46L50 20 82 46V78H60V56H40V78Z",
    "M22 60V50a28 28 0 0 1 56 0V60H84V80H68V52a18 18 0 0 0-36 0V80H16V60Z",
    "M14 44H24V34H34V46H66V34H76V44H86V56H76V66H66V54H34V66H24V56H14Z",
    "M50 82C50 60 30 60 22 34 46 32 50 48 50 56 50 42 58 26 80 24 78 48 58 52 50 82Z",
    "M16 46H26V36H44V46H56V36H74V46H84V78H16Z",
    "M40 18H60V34Q74 40 74 56V82H26V56Q26 40 40 34Z",
];

/// Draws an item: about 700 bytes.
pub(super) fn draw(item: &Item, traits: &Traits, shelf: &Shelf) -> String {
    let Variants { attribute, values } = DEPARTMENTS[shelf.department].variants;
    let fill = match item.attributes.get(*attribute) {
        Some(Attribute::Text(name)) => values.iter().find(|(value, _)| value == name),
        _ => None,
    };
    let fill = fill.map_or("#888888", |(_, hex)| hex);
    let hue = 360 * usize::from(traits.category) / MOST_CATEGORIES;
    let dots: String = (0..=traits.kind)
        .map(|dot| {
            format!(
                r##"<circle cx="{}" cy="90" r="3" fill="#fff"/>"##,
                50 + 10 * i32::from(dot) - 5 * i32::from(traits.kind)
            )
        })
        .collect();
    format!(
        r##"<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 100 100"><title>{title}</title><rect width="100" height="100" rx="6" fill="hsl({hue} 38% 84%)"/><rect y="84" width="100" height="16" fill="hsl({hue} 40% 45%)"/><path d="{shape}" fill="{fill}" stroke="#fff" stroke-width="1.5" stroke-linejoin="round"/>{dots}</svg>
"##,
        title = escaped(item.title.as_deref().unwrap_or_default()),
        shape = SHAPES[shelf.department],
    )
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}
