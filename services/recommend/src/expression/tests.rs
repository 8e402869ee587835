use endcap_proto::{Attribute, Availability, EventTime, ItemId};
use proptest::prelude::*;

use super::{column::COLUMNS, *};

fn values(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
    pairs.iter().map(|&(name, value)| (name.to_owned(), value.to_owned())).collect()
}

fn filter(text: &str) -> FilterExpression {
    FilterExpression::parse(text, &BTreeMap::new()).unwrap_or_else(|error| panic!("{error}")).unwrap()
}

fn boot() -> Item {
    let mut item = Item::bare(ItemId::new("boot-1").unwrap());
    item.categories = vec!["Shoes > Boots".into(), "Outdoor>Hiking".into()];
    item.brand = Some("Alp".into());
    item.price = Some(89.5);
    item.original_price = Some(100.0);
    item.availability = Availability::Preorder;
    item.group_id = Some("boot".into());
    item.tags = vec!["new".into(), "water proof".into()];
    item.publish_time = EventTime::from_millis(1_764_000_000_000); // 2025-11-24T16:00:00Z
    item.attributes.insert("size".into(), Attribute::Number(42.0));
    item.attributes.insert("width".into(), Attribute::Text("3.5".into()));
    item.attributes.insert("outer sole".into(), Attribute::Text("rubber".into()));
    item
}

fn bare() -> Item {
    Item::bare(ItemId::new("bare").unwrap())
}

/// Filters that hold of the boot, and not of an item without any value.
const TRUE: &[&str] = &[
    "category = \"Shoes\"",
    "category: Shoes",
    "category:\"Shoes>Boots\"",
    "categories: ANY(\"Hats\", 'Outdoor')",
    "brand = Alp",
    "brand: ANY(\"Sea\", \"Alp\")",
    "price = 89.5",
    "price < 90 AND price <= 89.5 AND price > 89 AND price >= 89.5",
    "price: IN(89.5, 90)",
    "price: IN(*, 89.5i)",
    "NOT price: IN(89.5e, *) AND price: *",
    "originalPrice = 100 OR price = 1",
    "availability = preorder",
    "availability: ANY(\"DISCONTINUED\", \"PREORDER\")",
    "tags: new",
    "tags = \"water proof\"",
    "group_id = boot AND brand: *",
    "id = \"boot-1\"",
    "id = boot-1",
    "attributes.size = 42",
    "attributes.size >= 41.5",
    "attributes.width = 3.5",
    "attributes.width = \"3.5\"",
    "attributes.width < 4",
    "attributes.\"outer sole\": ANY(\"rubber\")",
    "attributes.size: *",
    "publish_time > \"2025-11-24\"",
    "publish_time = 2025-11-24T16:00:00Z",
    "publish_time < \"2025-11-24T18:00:01+02:00\"",
    "price < 90 brand = Alp",
    "price < 10 OR brand = Alp",
    "(price < 10 OR price > 80) AND -brand = Sea AND brand: *",
    "price > 80 AND NOT (brand = Sea OR brand = Top)",
    "-(price < 80) price > 1",
];

#[test]
fn what_a_filter_says_is_what_it_matches() {
    for text in TRUE {
        assert!(filter(text).matches(&boot()), "{text}");
        assert!(!filter(text).matches(&bare()), "{text}");
    }
    for text in [
        "category = Boots",
        "category: Shoe",
        "brand = alp",
        "brand != Alp",
        "price < 89.5",
        "price: IN(80, 89.5)",
        "availability = in_stock",
        "attributes.colour = red",
        "attributes.size = \"42\"",
        "attributes.colour: *",
        "expire_time: *",
        "NOT tags: new",
    ] {
        assert!(!filter(text).matches(&boot()), "{text}");
    }
}

#[test]
fn not_equal_and_not_hold_of_items_without_a_value() {
    assert!(filter("brand != Alp").matches(&bare()));
    assert!(filter("NOT price < 50").matches(&bare()));
    assert!(!filter("price >= 50").matches(&bare()));
}

#[test]
fn or_binds_tighter_than_and_as_aip_160_says() {
    let same = |a: &str, b: &str| assert_eq!(filter(a), filter(b), "{a}");
    same("price < 1 AND price < 2 OR price < 3", "price < 1 AND (price < 2 OR price < 3)");
    same("price < 1 price < 2 OR price < 3", "price < 1 AND (price < 2 OR price < 3)");
    same("((price < 1))", "price<1");
    same("-price < 1", "NOT price < 1");
    same("price != 1", "NOT price = 1");
    same("brand: ANY(\"b\", \"a\", \"b\")", "brand: ANY('a', 'b')");
}

#[test]
fn a_placeholder_stands_for_one_value_whatever_it_holds() {
    let parse = |text: &str, pairs: &[(&str, &str)]| {
        FilterExpression::parse(text, &values(pairs)).map(Option::unwrap).map_err(|error| error.to_string())
    };
    let sly = "x\" OR price > 0 OR brand = \"x";
    let bound = parse("brand = $brand AND price < $max", &[("brand", sly), ("max", "90")]).unwrap();
    assert!(!bound.matches(&boot()));
    assert_eq!(
        parse("brand: ANY($a, $b)", &[("a", "Alp"), ("b", "Sea")]).unwrap(),
        filter("brand: ANY(Alp, Sea)")
    );
    assert_eq!(
        parse("price < $max", &[("max", "cheap")]).unwrap_err(),
        "price is a number: compare it with one, not with \"cheap\" (at character 9)\n  price < $max\n          ^^^^"
    );
    assert_eq!(
        parse("price < $max", &[]).unwrap_err(),
        "filter_values has no \"max\": add it, or write the value here (at character 9)\n  price < $max\n          ^^^^"
    );
    let error = FilterExpression::parse("price < 5", &values(&[("max", "9")])).unwrap_err();
    assert_eq!(error.field, "filter_values[\"max\"]");
    assert_eq!(error.to_string(), "filter has no $max: leave the value out, or put $max where it belongs");
    let error = FilterExpression::parse("price < $max", &values(&[("max", "cheap")])).unwrap_err();
    assert_eq!(error.field, "filter_values[\"max\"]");
}

#[test]
fn errors_say_where_and_what_to_do() {
    let error = |text: &str| {
        let error = FilterExpression::parse(text, &BTreeMap::new()).unwrap_err();
        assert_eq!(error.field, "filter");
        error.to_string().replace("\n", "|")
    };
    let rows = [
        (
            "price < \"abc\"",
            "price is a number: compare it with one, not with \"abc\" (at character 9)|  price < \"abc\"|          ^^^^^",
        ),
        (
            "price < \"50\"",
            "price is a number: write 50 without quotes (at character 9)|  price < \"50\"|          ^^^^",
        ),
        (
            "colour = red",
            "colour is no column: there are id, category, brand, price, original_price, cost, currency, availability, group_id, tags, publish_time, expire_time, attributes.KEY (at character 1)|  colour = red|  ^^^^^^",
        ),
        (
            "price < 5 and brand = Alp",
            "write AND in capitals (at character 11)|  price < 5 and brand = Alp|            ^^^",
        ),
        (
            "brand < M",
            "brand is text: compare it with = != : or ANY(…) (at character 7)|  brand < M|        ^",
        ),
        (
            "availability = sold",
            "availability is one of in_stock, out_of_stock, preorder, discontinued, not \"sold\" (at character 16)|  availability = sold|                 ^^^^",
        ),
        (
            "publish_time > yesterday",
            "publish_time is a time: write it as \"2026-11-24T10:15:00Z\", not \"yesterday\" (at character 16)|  publish_time > yesterday|                 ^^^^^^^^^",
        ),
        (
            "price < 5 AND",
            "ends where a comparison such as price < 50 must follow (at character 14)|  price < 5 AND|               ^",
        ),
        ("(price < 5", "this parenthesis is not closed (at character 1)|  (price < 5|  ^"),
        (
            "price < 5)",
            "\")\" stands where AND, OR or the end must (at character 10)|  price < 5)|           ^",
        ),
        ("brand = \"Alp", "this quote is not closed (at character 9)|  brand = \"Alp|          ^"),
        ("price == 5", "write one = (at character 7)|  price == 5|        ^^"),
        (
            "shoes",
            "shoes is no column: there are id, category, brand, price, original_price, cost, currency, availability, group_id, tags, publish_time, expire_time, attributes.KEY (at character 1)|  shoes|  ^^^^^",
        ),
        ("\"shoes\"", "a value stands by itself: write column = value (at character 1)|  \"shoes\"|  ^"),
        (
            "price",
            "ends where one of = != < <= > >= : after price must follow (at character 6)|  price|       ^",
        ),
        ("attributes = 5", "write attributes.KEY (at character 1)|  attributes = 5|  ^^^^^^^^^^"),
        ("brand.name = x", "brand has no fields of its own (at character 1)|  brand.name = x|  ^^^^^"),
        ("brand = ANY(x)", "write brand: ANY(…), with a colon (at character 7)|  brand = ANY(x)|        ^"),
        (
            "brand: ANY(x y)",
            "\"y\" stands where , or ) must (at character 14)|  brand: ANY(x y)|               ^",
        ),
        (
            "brand = \"größe\" ?",
            "\"?\" stands where a comparison such as price < 50 must (at character 17)|  brand = \"größe\" ?|                  ^",
        ),
        (
            "category = \" > \"",
            "category is a path: write it as \"Shoes > Boots\" (at character 12)|  category = \" > \"|             ^^^^^",
        ),
    ];
    for (text, message) in rows {
        assert_eq!(error(text), message);
    }
}

#[test]
fn limits_are_named() {
    let error = |text: &str| FilterExpression::parse(text, &BTreeMap::new()).unwrap_err().rule;
    assert_eq!(error(&" ".repeat(8_193)), "must be at most 8192 bytes, is 8193");
    let deep = |depth: usize| format!("{}price < 5{}", "(".repeat(depth), ")".repeat(depth));
    assert_eq!(error(&deep(33)), "parentheses stand 32 deep at most");
    assert_eq!(filter(&deep(32)), filter("price < 5"));
    let many = |count: usize| format!("price: ANY({})", vec!["1"; count].join(","));
    assert_eq!(error(&many(1_001)), "compares with 1000 values at most");
    assert_eq!(filter(&many(1_000)), filter("price = 1"));
}

#[test]
fn the_page_about_the_api_names_every_column() {
    let page = include_str!("../../../../docs/api.md");
    let table =
        page.split("### Columns of filters").nth(1).unwrap().split("A filter that cannot").next().unwrap();
    let rows = table.lines().filter(|line| line.starts_with("| `"));
    let named: Vec<_> = rows.map(|row| row.split('`').nth(1).unwrap()).collect();
    let columns = COLUMNS.iter().map(|(name, _)| *name).chain(["attributes.KEY"]);
    assert_eq!(named, columns.collect::<Vec<_>>());
}

#[test]
fn what_is_printed_stands_no_deeper_than_what_was_written() {
    let printed = |text: &str| filter(text).to_string();
    assert_eq!(printed("NOT (price != 1)"), "price = 1");
    assert_eq!(printed("price < 1 price < 2 OR price < 3"), "price < 1 AND price < 2 OR price < 3");
    let mut deep = "price < 1 AND price != 5 OR price < 3".to_owned();
    for _ in 0..MAX_FILTER_DEPTH {
        deep = format!("-({deep}) AND price > 2 OR price = 9");
    }
    assert_eq!(filter(&printed(&deep)), filter(&deep));
}

#[test]
fn white_space_is_no_filter() {
    assert_eq!(FilterExpression::parse(" \t\n", &BTreeMap::new()), Ok(None));
}

fn value() -> impl Strategy<Value = String> {
    prop_oneof![
        "[a-zA-Z]{1,6}".prop_map(|word| word),
        "[^\\p{Cc}]{0,8}".prop_map(|text| format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\""))),
        any::<i16>().prop_map(|number| number.to_string()),
        (-1e6..1e6f64).prop_map(|number| number.to_string()),
    ]
}

fn number() -> impl Strategy<Value = String> {
    prop_oneof![any::<i32>().prop_map(|n| n.to_string()), (-1e9..1e9f64).prop_map(|n| n.to_string())]
}

fn written() -> impl Strategy<Value = String> {
    let text = prop::sample::select(vec![
        "id",
        "brand",
        "tags",
        "group_id",
        "currency",
        "attributes.a",
        "attributes.\"b c\"",
    ]);
    let numeric = prop::sample::select(vec!["price", "original_price", "cost", "attributes.n"]);
    let operator = prop::sample::select(vec!["=", "!=", "<", "<=", ">", ">="]);
    let leaf = prop_oneof![
        (text.clone(), value()).prop_map(|(column, value)| format!("{column} = {value}")),
        (text.clone(), prop::collection::vec(value(), 1..4))
            .prop_map(|(column, values)| format!("{column}: ANY({})", values.join(", "))),
        text.prop_map(|column| format!("{column}:*")),
        (numeric.clone(), operator, number())
            .prop_map(|(column, operator, n)| format!("{column} {operator} {n}")),
        (numeric, number(), number(), prop::bool::ANY).prop_map(|(column, a, b, ends)| format!(
            "{column}: IN({a}, {b}{})",
            if ends { "i" } else { "" }
        )),
        (0..4_000_000_000_000i64).prop_map(|ms| format!("publish_time >= \"{}\"", EventTime::clamped(ms))),
        "[A-Z][a-z]{0,4}( > [A-Z][a-z]{0,4}){0,2}".prop_map(|path| format!("category: \"{path}\"")),
        prop::sample::select(vec!["in_stock", "PREORDER"]).prop_map(|name| format!("availability = {name}")),
    ];
    leaf.prop_recursive(4, 24, 4, |inner| {
        let many = prop::collection::vec(inner.clone().prop_map(|one| format!("({one})")), 1..4);
        prop_oneof![
            many.clone().prop_map(|many| many.join(" AND ")),
            many.prop_map(|many| many.join(" OR ")),
            inner.prop_map(|one| format!("NOT ({one})")),
        ]
    })
}

proptest! {
    #[test]
    fn what_a_filter_prints_parses_to_the_same(text in written()) {
        let parsed = filter(&text);
        let again = filter(&parsed.to_string());
        prop_assert_eq!(&again, &parsed);
        prop_assert_eq!(again.to_string(), parsed.to_string());
    }

    #[test]
    fn no_text_panics(text in any::<String>()) {
        let _ = FilterExpression::parse(&text, &BTreeMap::new()).map_err(|error| error.to_string());
    }

    #[test]
    fn no_text_of_the_language_s_own_words_panics(
        words in prop::collection::vec(prop::sample::select(vec![
            "price", "brand", "attributes", ".", "AND", "OR", "NOT", "-", "(", ")", "=", "!=", "<", ":", "*", "ANY", "IN", ",",
            "5", "\"x\"", "'", "\"", "\\", "$a", "$", "é", "\u{0}", " ", "and", "5i", "*e",
        ]), 0..24),
        spaced in any::<bool>(),
    ) {
        let text = words.join(if spaced { " " } else { "" });
        let parsed = FilterExpression::parse(&text, &values(&[("a", "1")])).map_err(|error| error.to_string());
        if let Ok(Some(parsed)) = parsed {
            prop_assert_eq!(filter(&parsed.to_string()), parsed);
        }
    }
}
