//! Imports of what a shop has: its own logs and catalogues, GA4's export, a Merchant feed.

use crate::source::{Imported, Source, bytes, read_back};
use endcap_clickstream::{
    BadRowLimit, TimeKind,
    import::{CatalogueOptions, Format, ImportOptions, Mapping, import, import_observed},
};
use endcap_proto::{Attribute, Availability, EventTime, EventType, Item, ItemId};

fn options(pairs: &[&str]) -> ImportOptions {
    let mut mapping = Mapping::default();
    pairs.iter().for_each(|pair| mapping.set(pair).unwrap());
    ImportOptions { mapping, ..ImportOptions::default() }
}

// === csv ===

const SHOP_CSV: &str = "\
event_id,type,time,visitor_id,user_id,session_id,item_id,quantity,unit_price,transaction_id,currency,consent,farbe
e1,view,2026-03-01T10:00:00Z,v1,,s1,boot,,,,,,rot
e2,add_to_cart,1772359210,v1,anna,s1,boot,2,49.90,,,true,
e3,Order Completed,1772359220000,v1,anna,s1,boot,2,49.90,T7,EUR,false,
e4,search,2026-03-01 11:00:00,\"v,2\",,,,,,,,,
";

#[test]
fn a_csv_with_the_contracts_names_needs_no_mapping() {
    let source = Source::of(&[("log.csv", SHOP_CSV)]);
    let shop = source.import(Format::Csv, &options(&["attribute.colour=farbe"])).unwrap();
    assert_eq!(
        shop.lines(),
        [
            "1772359200000 v1 view boot",
            "1772359210000 v1 add_to_cart boot",
            "1772359220000 v1 purchase boot",
            "1772362800000 v,2 search ",
        ]
    );
    let [view, cart, purchase, search] = &shop.events[..] else { panic!() };
    assert_eq!((view.event_id.as_str(), view.attributes["colour"].as_str()), ("e1", "rot"));
    assert_eq!(
        (view.consent, cart.consent, purchase.consent),
        (true, true, false),
        "consent is given unless denied"
    );
    assert_eq!(cart.user_id.as_ref().unwrap().as_str(), "anna");
    assert_eq!((cart.items[0].quantity, cart.items[0].unit_price), (2, Some(49.9)));
    let transaction = purchase.transaction.as_ref().unwrap();
    assert_eq!((transaction.id.as_str(), transaction.currency.as_str()), ("T7", "EUR"));
    assert!(search.session_id.is_none() && search.attributes.is_empty());
    assert_eq!(shop.items, [Item::bare(ItemId::new("boot").unwrap())], "an item without a catalogue is bare");
    assert!(!shop.report.catalogue && shop.report.unread_columns.is_empty());
    assert_eq!((shop.report.visitors, shop.report.events_by_type[&EventType::Purchase]), (2, 1));
}

#[test]
fn a_mapping_names_columns_values_and_times() {
    let log = "when;who;what;did\n01.03.2026 11:00;u1;a|b;pv\n01.03.2026 11:01;u1;a|b;buy\n";
    let source = Source::of(&[("log.csv.gz", log)]);
    let pairs = [
        "delimiter=;",
        "time=when",
        "visitor_id=who",
        "item_id=what",
        "event_type=did",
        "type.pv=view",
        "type.buy=purchase",
        "time_format=%d.%m.%Y %H:%M",
        "utc_offset=+01:00",
    ];
    let shop = source.import(Format::Csv, &options(&pairs)).unwrap();
    assert_eq!(shop.lines(), ["1772359200000 u1 view a|b", "1772359260000 u1 purchase a|b"]);
}

#[test]
fn bad_rows_are_counted_by_reason_and_written_aside_with_their_lines() {
    let log = "\
type,time,visitor_id,item_id,unit_price
view,1772359200,v1,a,1
view,yesterday,v1,a,1
view,1772359200,,a,1
view,1772359200,v1,,1
teleport,1772359200,v1,a,1
view,1772359200,v1,a,cheap
view,tomorrow,v1,a,1
view,1772359200,v1,a
";
    let source = Source::of(&[("log.csv", log)]);
    let shop = source.import(Format::Csv, &options(&[])).unwrap();
    assert_eq!(shop.report.events, 1);
    let reasons: Vec<_> =
        shop.report.bad_rows.by_reason.iter().map(|(reason, count)| (reason.as_str(), *count)).collect();
    assert_eq!(
        reasons,
        [
            (
                "event_type: unknown \"teleport\"; the mapping can say what it stands for (type.WORD=EVENT_TYPE)",
                1
            ),
            ("has 4 cells, the header has 5", 1),
            ("item_id: must not be empty for view", 1),
            ("time: must be a time (auto)", 2),
            ("unit_price: must be a number", 1),
            ("visitor_id: must not be empty", 1),
        ]
    );
    let aside = std::fs::read_to_string(shop.report.bad_rows_file.unwrap()).unwrap();
    let aside: Vec<serde_json::Value> =
        aside.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(
        aside.iter().map(|row| row["line"].as_u64().unwrap()).collect::<Vec<_>>(),
        [3, 4, 5, 6, 7, 8, 9]
    );
    assert_eq!(aside[0]["row"], "view,yesterday,v1,a,1");
    assert_eq!(aside[5]["reason"], "time: must be a time (auto)");
}

#[test]
fn past_the_limit_the_import_is_refused_and_leaves_no_data_set() {
    let log = "type,time,visitor_id,item_id\nview,1772359200,v1,a\nview,x,v1,a\nview,y,v1,a\n";
    let source = Source::of(&[("log.csv", log)]);
    let strict =
        |limit| ImportOptions { max_bad_rows: BadRowLimit::AtMost(limit), ..ImportOptions::default() };
    let message = source.refusal(Format::Csv, &strict(1));
    assert!(
        message.contains("2 bad rows, at most 1 are allowed") && message.contains("log.csv, line 4"),
        "{message}"
    );
    assert!(!source.path("out/dataset.json").exists());
    assert_eq!(
        source.import(Format::Csv, &strict(2)).unwrap().report.events,
        1,
        "the next try starts afresh"
    );
}

#[test]
fn an_import_of_nothing_is_refused_with_the_commonest_reason() {
    let source =
        Source::of(&[("log.csv", "type,time,visitor_id,item_id\nview,x,v1,a\nview,y,v1,a\nview,1,,a\n")]);
    let message = source.refusal(Format::Csv, &options(&[]));
    assert_eq!(message, "DIR/in: no row could be taken as `csv`; most often: time: must be a time (auto)");
    let source = Source::of(&[("log.csv", "type,time,visitor_id,item_id\n")]);
    assert_eq!(source.refusal(Format::Csv, &options(&[])), "DIR/in: nothing to import as `csv`");
}

#[test]
fn a_mapping_that_does_not_fit_is_refused_before_anything_is_written() {
    let source = Source::of(&[("log.csv", "type,time,who\nview,1,v1\n")]);
    let message = source.refusal(Format::Csv, &options(&[]));
    assert_eq!(
        message,
        "DIR/in/log.csv: no column for `visitor_id`: name one in the mapping; the header has type, time, who"
    );
    let message = source.refusal(Format::Csv, &options(&["visitor_id=wh"]));
    assert_eq!(message, "DIR/in/log.csv: the mapping names column `wh`; the header has type, time, who");
    let message = source.refusal(Format::Csv, &options(&["visitor=who"]));
    assert!(message.contains("`csv` has no field `visitor`; its fields are event_id,"), "{message}");
    assert!(source.refusal(Format::Jd, &options(&["visitor_id=who"])).contains("its columns are fixed"));
    assert!(!source.path("out/dataset.json").exists());
}

#[test]
fn importing_twice_gives_the_same_bytes_and_another_source_other_ids() {
    let log = "type,time,visitor_id,item_id\nview,1772359200,v1,a\nview,1772359200,v1,a\n";
    let source = Source::of(&[("log.csv", log)]);
    let named = |name: &str| ImportOptions { source: Some(name.to_owned()), ..ImportOptions::default() };
    let run = |name: &str, out: &str| {
        read_back(import(Format::Csv, &named(name), &source.path("in"), &source.path(out)).unwrap()).unwrap()
    };
    let (one, _two, other) = (run("shop", "1"), run("shop", "2"), run("outlet", "3"));
    assert_eq!(bytes(&source.path("1")), bytes(&source.path("2")));
    let ids = |imported: &Imported| imported.events.iter().map(|e| e.event_id.clone()).collect::<Vec<_>>();
    assert_ne!(ids(&one)[0], ids(&one)[1], "two rows alike are two events");
    assert!(ids(&one).iter().all(|id| !ids(&other).contains(id)));
}

#[test]
fn several_files_of_a_folder_are_one_source_and_columns_left_out_are_named() {
    let rows = "type,time,visitor_id,item_id,weather\nview,1772359200,v1,a,sun\n";
    let source = Source::of(&[
        ("a.csv", rows),
        ("b.tsv", "time\tvisitor_id\titem_id\n1772359201\tv2\tb\n"),
        ("c.txt", ""),
    ]);
    let shop = source.import(Format::Csv, &options(&[])).unwrap();
    assert_eq!(shop.lines(), ["1772359200000 v1 view a", "1772359201000 v2 view b"]);
    assert_eq!(shop.report.unread_columns, ["weather"]);
    assert_eq!(shop.report.notes, ["b.tsv has no column of event types: all are view"]);
    assert_eq!(shop.dataset.info.notes, shop.report.notes, "and dataset.json keeps it");
}

#[test]
fn progress_is_told_while_rows_are_read() {
    let rows: String = (0..20_000).map(|i| format!("view,1772359200,v{i},a\n")).collect();
    let source = Source::of(&[("log.csv.zst", &format!("type,time,visitor_id,item_id\n{rows}"))]);
    let mut seen = Vec::new();
    let observe = &mut |progress: endcap_clickstream::import::ImportProgress| seen.push(progress.events);
    import_observed(Format::Csv, &options(&[]), &source.path("in"), &source.path("out"), observe).unwrap();
    assert_eq!(seen, [8191, 16383]);
}

// === jsonl ===

#[test]
fn a_json_event_reads_in_the_contracts_own_form() {
    let proto3 = r#"{"eventId":"e1","type":"EVENT_TYPE_PURCHASE","eventTime":"2026-03-01T10:00:00Z","visitorId":"v1",
        "items":[{"itemId":"a","quantity":2,"unitPrice":1.5},{"itemId":"b"}],
        "transaction":{"id":"T1","revenue":4.5,"currency":"EUR"},"attributes":{"channel":"app","age":7},"consent":false}"#;
    let plain = r#"{"type":"view_item","event_time":1772359200,"visitor_id":"v1","items":["a","b"]}"#;
    let flat = r#"{"event":"search","timestamp":"2026-03-01T10:00:00+01:00","visitor_id":42,"search_query":"boots"}"#;
    let source =
        Source::of(&[("log.jsonl", &[proto3.replace('\n', " ").as_str(), plain, "", flat].join("\n"))]);
    let shop = source.import(Format::Jsonl, &options(&[])).unwrap();
    assert_eq!(
        shop.lines(),
        ["1772355600000 42 search ", "1772359200000 v1 purchase a,b", "1772359200000 v1 view a,b"]
    );
    let purchase = &shop.events[1];
    assert_eq!((purchase.event_id.as_str(), purchase.consent), ("e1", false));
    assert_eq!((purchase.items[0].quantity, purchase.items[0].unit_price), (2, Some(1.5)));
    assert_eq!(purchase.transaction.as_ref().unwrap().revenue, Some(4.5));
    assert_eq!((purchase.attributes["channel"].as_str(), purchase.attributes["age"].as_str()), ("app", "7"));
    assert_eq!(shop.events[0].search_query.as_deref(), Some("boots"));
}

#[test]
fn json_fields_are_found_by_path() {
    let log = r#"{"ev":{"kind":"pv","at":1772359200000},"user":{"id":"u1"},"basket":{"lines":[{"sku":"a","n":3}]}}"#;
    let source = Source::of(&[("log.jsonl", log)]);
    let pairs = [
        "event_type=ev.kind",
        "type.pv=view",
        "time=ev.at",
        "visitor_id=user.id",
        "items=basket.lines",
        "quantity=n",
        "attribute.who=user.id",
    ];
    let shop = source.import(Format::Jsonl, &options(&pairs)).unwrap();
    assert_eq!(shop.lines(), ["1772359200000 u1 view a"]);
    assert_eq!((shop.events[0].items[0].quantity, shop.events[0].attributes["who"].as_str()), (3, "u1"));
}

#[test]
fn lines_that_are_no_json_objects_are_bad_rows() {
    let log = "{\"type\":\"view\"\n[1]\n{\"type\":}\n{\"type\":\"view\",\"time\":1,\"visitor_id\":\"v\",\"items\":3}\n\
               {\"type\":\"home_view\",\"time\":1,\"visitor_id\":\"v\"}";
    let source = Source::of(&[("log.jsonl", log)]);
    let shop = source.import(Format::Jsonl, &options(&[])).unwrap();
    let reasons: Vec<_> = shop.report.bad_rows.by_reason.keys().map(String::as_str).collect();
    assert_eq!(
        reasons,
        ["JSON: is cut off", "JSON: is malformed", "items: must be a list", "must be a JSON object"]
    );
    assert_eq!(shop.report.events, 1);
}

// === ga4 ===

fn ga4(name: &str, time_us: u64, rest: &str) -> String {
    format!(r#"{{"event_name":"{name}","event_timestamp":"{time_us}","user_pseudo_id":"77.1"{rest}}}"#)
}

#[test]
fn a_ga4_export_gives_events_and_the_items_they_name() {
    let session = r#","event_params":[{"key":"ga_session_id","value":{"string_value":null,"int_value":"314"}},{"key":"search_term","value":{"string_value":"boots"}},{"key":"currency","value":{"string_value":"EUR"}}]"#;
    let list = r#","items":[{"item_id":"a","item_name":"Boot","item_list_name":"home","item_list_index":"(not set)"},{"item_id":"(not set)"},{"item_id":"b","item_list_index":"4"}]"#;
    let bought = r#","user_id":"anna","ecommerce":{"transaction_id":"T9","purchase_revenue":59.5,"tax_value":null},"items":[{"item_id":"a","item_name":"Boot II","item_brand":"Acme","item_category":"Shoes","item_category2":"Boots","price":"29.75","quantity":2}]"#;
    let log = [
        ga4("session_start", 1, session),
        ga4("view_item_list", 1_772_359_200_000_000, &format!("{session}{list}")),
        ga4("purchase", 1_772_359_201_500_900, &format!("{session}{bought}")),
        ga4(
            "view_item",
            1_772_359_200_500_000,
            r#","items":[{"item_id":"a","item_name":"Boot I","price":31}]"#,
        ),
        ga4(
            "view_search_results",
            1_772_359_202_000_000,
            &format!(r#"{session},"privacy_info":{{"analytics_storage":"No"}}"#),
        ),
        ga4("view_item", 1_772_359_203_000_000, r#","items":[{"item_id":"(not set)"}]"#),
        ga4("scroll", 1, ""),
    ];
    let source = Source::of(&[("events_20260301.json.gz", &log.join("\n"))]);
    let shop = source.import(Format::Ga4, &options(&[])).unwrap();
    assert_eq!(
        shop.lines(),
        [
            "1772359200000 77.1 impression a,b",
            "1772359200500 77.1 view a",
            "1772359201500 77.1 purchase a",
            "1772359202000 77.1 search ",
        ]
    );
    let [list, _, purchase, search] = &shop.events[..] else { panic!() };
    assert_eq!(list.items.iter().map(|item| item.position).collect::<Vec<_>>(), [Some(0), Some(4)]);
    assert_eq!((list.placement.as_deref(), list.session_id.as_deref()), (Some("home"), Some("314")));
    let transaction = purchase.transaction.as_ref().unwrap();
    assert_eq!((transaction.id.as_str(), transaction.revenue, transaction.tax), ("T9", Some(59.5), None));
    assert_eq!((purchase.items[0].quantity, purchase.items[0].unit_price), (2, Some(29.75)));
    assert_eq!((search.search_query.as_deref(), search.consent), (Some("boots"), false));
    let boot = shop.item("a");
    assert_eq!(
        (boot.title.as_deref(), boot.brand.as_deref(), boot.price),
        (Some("Boot II"), Some("Acme"), Some(29.75))
    );
    assert_eq!(
        (&boot.categories[..], boot.currency.as_deref()),
        (&["Shoes > Boots".to_owned()][..], Some("EUR"))
    );
    assert_eq!(shop.items.len(), 2);
    assert_eq!(
        shop.report.skipped.keys().collect::<Vec<_>>(),
        ["event_name scroll", "event_name session_start"]
    );
    assert_eq!(shop.report.bad_rows.by_reason["item_id: must not be empty for view"], 1);
}

// === catalogues ===

fn full_item() -> Item {
    Item {
        title: Some("Rain boot".to_owned()),
        categories: vec!["Shoes > Boots".to_owned(), "Sale".to_owned()],
        brand: Some("Acme".to_owned()),
        price: Some(49.9),
        original_price: Some(60.0),
        currency: Some("EUR".to_owned()),
        availability: Availability::OutOfStock,
        group_id: Some("g1".to_owned()),
        tags: vec!["new".to_owned()],
        attributes: [
            ("colour".to_owned(), Attribute::Text("red".to_owned())),
            ("size".to_owned(), Attribute::Number(42.0)),
        ]
        .into(),
        embedding: vec![0.5, -1.0],
        publish_time: EventTime::from_millis(1_772_359_200_000),
        ..Item::bare(ItemId::new("boot").unwrap())
    }
}

#[test]
fn a_catalogue_reads_the_same_from_csv_and_json() {
    let csv = "sku,name,category,brand,price,original_price,currency,availability,group_id,tags,colour,size,embedding,publish_time,stars\n\
        boot,Rain boot,Shoes > Boots|Sale,Acme,49.9,60,EUR,Out of stock,g1,new,red,42,\"[0.5, -1]\",2026-03-01T10:00:00Z,5\n\
        sock,,,,-1,,,,,,,,,,\n\
        hat,,,,,,,sold,,,,,,,\n";
    let source = Source::of(&[("items.csv", csv)]);
    let pairs = ["title=name", "id=sku", "attribute.colour=colour", "attribute.size=size"];
    let shop = source.import(Format::ItemsCsv, &options(&pairs)).unwrap();
    assert_eq!(shop.items, [full_item()]);
    assert_eq!(shop.report.unread_columns, ["stars"]);
    let reasons: Vec<_> = shop.report.bad_rows.by_reason.keys().map(String::as_str).collect();
    let availability = "availability: must be in_stock, out_of_stock, preorder, backorder or discontinued";
    assert_eq!(reasons, [availability, "price: must not be negative"]);

    let plain = r#"{"id":"boot","title":"Rain boot","categories":["Shoes > Boots","Sale"],"brand":"Acme","price":49.9,"original_price":60,
        "currency":"EUR","availability":"out_of_stock","group_id":"g1","tags":["new"],"attributes":{"colour":"red","size":42},
        "embedding":[0.5,-1],"publish_time":"2026-03-01T10:00:00Z"}"#;
    let proto3 = serde_json::to_string(&endcap_proto::v1::Item::from(full_item())).unwrap();
    for json in [plain.replace('\n', " "), proto3] {
        let source = Source::of(&[("items.jsonl", &json)]);
        assert_eq!(source.import(Format::ItemsJsonl, &options(&[])).unwrap().items, [full_item()], "{json}");
    }
}

#[test]
fn a_catalogue_beside_the_events_is_the_catalogue() {
    let source = Source::of(&[("log.csv", "time,visitor_id,item_id\n1,v,a\n2,v,b\n")]);
    std::fs::write(source.path("items.csv"), "id,title\na,Boot\nc,Hat\n").unwrap();
    let beside = |format| ImportOptions {
        catalogue: Some(CatalogueOptions {
            format,
            input: source.path("items.csv"),
            mapping: Mapping::default(),
        }),
        ..ImportOptions::default()
    };
    let message = source.refusal(Format::Csv, &beside(Format::Jd));
    assert_eq!(message, "DIR/items.csv: `jd` cannot be the catalogue beside `csv`");
    let shop = source.import(Format::Csv, &beside(Format::ItemsCsv)).unwrap();
    let ids: Vec<_> = shop.items.iter().map(|item| item.id.as_str()).collect();
    assert_eq!(ids, ["a", "c"], "b is not made up");
    assert_eq!((shop.report.items_in_events, shop.report.items, shop.report.catalogue), (2, 2, true));
}

const FEED: &str = r#"<?xml version="1.0"?>
<rss xmlns:g="http://base.google.com/ns/1.0" version="2.0"><channel><title>A shop</title>
<item>
  <g:id>boot</g:id><title>Rain &amp; mud boot&#33;</title><g:title><![CDATA[Rain & mud <boot>]]></g:title>
  <g:product_type>Shoes &gt; Boots</g:product_type><g:product_type>Sale</g:product_type>
  <g:google_product_category>Apparel &gt; Shoes</g:google_product_category>
  <g:price>60.00 EUR</g:price><g:sale_price>49.90 EUR</g:sale_price>
  <g:brand>Acme</g:brand><g:availability>in stock</g:availability><g:item_group_id>g1</g:item_group_id>
  <g:shipping><g:country>DE</g:country><g:price>5 EUR</g:price></g:shipping>
  <g:image_link>https://shop.example/boot.jpg</g:image_link><g:color>red</g:color>
  <g:custom_label_0>new</g:custom_label_0><g:expiration_date>2026-07-11T11:07+0100</g:expiration_date>
  <g:description>Long</g:description><g:link/>
</item>
<item><g:id>sock</g:id><g:price>cheap</g:price></item>
<item><title>no id</title></item>
</channel></rss>"#;

#[test]
fn a_merchant_feed_reads_the_same_as_rss_and_tab_separated() {
    let source = Source::of(&[("feed.xml", FEED)]);
    let shop = source.import(Format::Merchant, &options(&[])).unwrap();
    let want = Item {
        title: Some("Rain & mud <boot>".to_owned()),
        categories: vec!["Shoes > Boots".to_owned(), "Sale".to_owned()],
        brand: Some("Acme".to_owned()),
        price: Some(49.9),
        original_price: Some(60.0),
        currency: Some("EUR".to_owned()),
        group_id: Some("g1".to_owned()),
        tags: vec!["new".to_owned()],
        attributes: [
            ("color".to_owned(), Attribute::Text("red".to_owned())),
            ("google_product_category".to_owned(), Attribute::Text("Apparel > Shoes".to_owned())),
        ]
        .into(),
        image_uri: Some("https://shop.example/boot.jpg".to_owned()),
        expire_time: EventTime::from_millis(1_783_764_420_000),
        ..Item::bare(ItemId::new("boot").unwrap())
    };
    assert_eq!(shop.items, std::slice::from_ref(&want));
    assert_eq!(
        shop.report.bad_rows.by_reason.keys().collect::<Vec<_>>(),
        ["id: must not be empty", "price: must be a number"]
    );
    assert_eq!(shop.report.unread_columns, ["description"]);

    let tsv = "id\ttitle\tproduct type\tgoogle product category\tprice\tsale price\tbrand\tavailability\titem group id\timage link\tcolor\tcustom label 0\texpiration date\n\
        boot\tRain & mud <boot>\tShoes > Boots\tApparel > Shoes\t60.00 EUR\t49.90 EUR\tAcme\tin_stock\tg1\thttps://shop.example/boot.jpg\tred\tnew\t2026-07-11T11:07+0100\n";
    let source = Source::of(&[("feed.txt.zst", tsv)]);
    let tsv = source.import(Format::Merchant, &options(&[])).unwrap();
    assert_eq!(tsv.items, [Item { categories: vec!["Shoes > Boots".to_owned()], ..want }]);
}

#[test]
fn an_atom_feed_reads_and_a_dated_sale_is_not_taken_for_today() {
    let feed = r#"<feed xmlns="http://www.w3.org/2005/Atom" xmlns:g="http://base.google.com/ns/1.0">
        <title>A shop</title><entry><id>tag:shop.example:1</id><g:id>boot</g:id><title>Boot</title>
        <link href="https://shop.example"/><g:price>60 EUR</g:price><g:sale_price>50 EUR</g:sale_price>
        <g:sale_price_effective_date>2026-02-24/2026-02-28</g:sale_price_effective_date>
        <g:google_product_category>187</g:google_product_category></entry></feed>"#;
    let source = Source::of(&[("feed.xml", feed)]);
    let shop = source.import(Format::Merchant, &options(&[])).unwrap();
    let boot = shop.item("boot");
    assert_eq!((boot.title.as_deref(), boot.price, boot.original_price), (Some("Boot"), Some(60.0), None));
    assert!(boot.categories.is_empty(), "a number is no path");
}

#[test]
fn unsound_xml_is_refused_with_its_line() {
    let source =
        Source::of(&[("feed.xml", "<rss><channel>\n<item>\n<g:id>a</g:id>\n</wrong></channel></rss>")]);
    let message = source.refusal(Format::Merchant, &options(&[]));
    assert!(message.starts_with("DIR/in/feed.xml, line 4: no sound XML: "), "{message}");
    let source = Source::of(&[("feed.xml", "<rss><channel>\n<item>\n<g:id>a</g:id>\n")]);
    let message = source.refusal(Format::Merchant, &options(&[]));
    assert_eq!(message, "DIR/in/feed.xml, line 2: no sound XML: the file ends within a product");
    let bomb = format!("<rss><item><g:title>{}</g:title></item></rss>", "x".repeat(17 << 20));
    let source = Source::of(&[("feed.xml.zst", &bomb)]);
    let message = source.refusal(Format::Merchant, &options(&[]));
    assert!(message.contains("more than 16 MiB without the end of a product"), "{message}");
}

#[test]
fn what_the_times_are_is_said() {
    let source = Source::of(&[("log.csv", "time,visitor_id,item_id\n1,v,a\n")]);
    let shop = source.import(Format::Csv, &options(&[])).unwrap();
    assert_eq!((shop.dataset.info.time, shop.dataset.info.ordered), (TimeKind::Real, true));
    assert_eq!(shop.dataset.info.source, "csv");
    let text = shop.report.to_string();
    assert!(text.contains("events       1 (view 1)") && text.contains("1970-01-01T00:00:01.000Z"), "{text}");
}
