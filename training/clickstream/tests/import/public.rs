//! Imports of public data sets, over a few invented rows in each one's shape.

use std::sync::Arc;

use crate::source::{Imported, Source, events_of, lines};
use arrow::{
    array::{ArrayRef, Int64Array, RecordBatch, StringArray},
    datatypes::{DataType, Field, Schema},
};
use endcap_clickstream::{
    Part, TimeKind,
    import::{Format, ImportOptions, Mapping},
};
use endcap_proto::{Attribute, Availability, EventType, Item};

fn plain() -> ImportOptions {
    ImportOptions::default()
}

fn with(pairs: &[&str]) -> ImportOptions {
    let mut mapping = Mapping::default();
    pairs.iter().for_each(|pair| mapping.set(pair).unwrap());
    ImportOptions { mapping, ..plain() }
}

fn part(imported: &Imported, part: Part) -> Vec<String> {
    lines(&events_of(&imported.dataset, part).unwrap())
}

// === lists ===

#[test]
fn sessions_become_visitors_in_the_order_of_the_lines() {
    let source = Source::of(&[("train_sessions.txt.zst", "1 2 1\n\n3\n")]);
    let shop = source.import(Format::Sessions, &plain()).unwrap();
    assert_eq!(shop.lines(), ["0 s1 view 1", "1 s1 view 2", "2 s1 view 1", "3 s3 view 3"]);
    assert_eq!((shop.dataset.info.time, shop.dataset.info.ordered), (TimeKind::Ordinal, true));
    assert_eq!(shop.dataset.info.split, None);
    let ids: Vec<_> = shop.items.iter().map(|item| item.id.as_str()).collect();
    assert_eq!(ids, ["1", "2", "3"], "bare, in the order of appearance");
    let file = endcap_clickstream::import::import(
        Format::Sessions,
        &ImportOptions { event_type: EventType::Purchase, ..plain() },
        &source.path("in/train_sessions.txt.zst"),
        &source.path("file"),
    );
    assert_eq!(file.unwrap().events_by_type[&EventType::Purchase], 4);
}

#[test]
fn test_cases_are_put_together_to_sessions_of_which_they_are_the_prefixes() {
    let pairs = "9\t7 8\n8\t7\n\
                 2\t1\n3\t1 2\n\
                 5\t4\n\
                 1\t4 5 4\n\
                 nothing\n";
    let source = Source::of(&[("train_sessions.txt", "1 2\n"), ("test_pairs.tsv", pairs)]);
    let shop = source.import(Format::Sessions, &plain()).unwrap();
    assert_eq!(part(&shop, Part::Train), ["0 s1 view 1", "1 s1 view 2"]);
    assert_eq!(
        part(&shop, Part::Test),
        [
            "2 t1 view 7",
            "3 t1 view 8",
            "4 t1 view 9", // longest first
            "5 t2 view 1",
            "6 t2 view 2",
            "7 t2 view 3", // shortest first
            "8 t3 view 4",
            "9 t3 view 5",
            "10 t4 view 4",
            "11 t4 view 5",
            "12 t4 view 4",
            "13 t4 view 1", // not one item longer: another session
        ]
    );
    assert_eq!(shop.report.test_events, Some(12));
    assert_eq!(shop.report.notes, ["6 cases of test_pairs.tsv are 8 prefixes of 4 sessions"]);
    assert_eq!(shop.report.bad_rows.by_reason["must be: target, tab, history"], 1);
}

#[test]
fn sequences_read_the_same_a_pair_or_a_user_a_line() {
    let want = ["0 u view a", "1 u view b", "2 w view a"];
    for text in ["u a\nu b\nw a\n", "u a b\nw a\n"] {
        let source = Source::of(&[("some.txt.gz", text)]);
        let shop = source.import(Format::Sequences, &plain()).unwrap();
        assert_eq!(shop.lines(), want);
    }
    let source = Source::of(&[("some.txt", "u\nu a\n")]);
    let shop = source.import(Format::Sequences, &plain()).unwrap();
    assert_eq!(shop.report.bad_rows.by_reason["names no item"], 1);
}

#[test]
fn item_attributes_beside_the_sequences_are_tags() {
    let source =
        Source::of(&[("Toys.txt", "u 1 2\n"), ("Toys_item2attributes.json", r#"{"2": [10, 11], "1": []}"#)]);
    let shop = source.import(Format::Sequences, &plain()).unwrap();
    assert_eq!(shop.item("2").tags, ["10", "11"]);
    assert_eq!((shop.items.len(), shop.report.catalogue), (2, true));
    let source = Source::of(&[("Toys.txt", "u 1\n"), ("More.txt", "u 1\n")]);
    let message = source.refusal(Format::Sequences, &plain());
    assert_eq!(message, "DIR/in: holds several files *.txt; name the one to import");
}

#[test]
fn a_fixed_split_is_unordered_and_keeps_its_parts() {
    let source = Source::of(&[("train.txt.zst", "0 1 2\n1 2\n"), ("test.txt.zst", "0 3\n1\n")]);
    let shop = source.import(Format::FixedSplit, &plain()).unwrap();
    assert_eq!(part(&shop, Part::Train), ["0 0 view 1", "1 0 view 2", "2 1 view 2"]);
    assert_eq!(part(&shop, Part::Test), ["3 0 view 3"]);
    assert!(!shop.dataset.info.ordered && shop.dataset.info.split.is_some());
    assert_eq!((shop.report.visitors, shop.report.items), (2, 3));
    let source = Source::of(&[("train.txt", "0 1\n")]);
    let message = source.refusal(Format::FixedSplit, &plain());
    assert!(message.starts_with("DIR/in: no train.txt and test.txt in this folder"), "{message}");
}

// === movielens ===

fn ratings(imported: &Imported) -> Vec<String> {
    let rating = |event: &endcap_proto::Event| event.attributes["rating"].clone();
    imported
        .lines()
        .into_iter()
        .zip(imported.events.iter().map(rating))
        .map(|(line, rating)| line + " " + &rating)
        .collect()
}

fn movie(item: &Item) -> (Option<&str>, Vec<&str>, Option<&Attribute>) {
    (
        item.title.as_deref(),
        item.categories.iter().map(String::as_str).collect(),
        item.attributes.get("release_year"),
    )
}

#[test]
fn movielens_reads_the_same_from_each_publisher() {
    let year = Attribute::Text("1999".to_owned());
    let recbole = Source::of(&[
        (
            "ml.inter.zst",
            "user_id:token\titem_id:token\trating:float\ttimestamp:float\n5\t1\t4\t881250949\n6\t1\t3.5\t881250950\n",
        ),
        (
            "ml.item",
            "item_id:token\tmovie_title:token_seq\trelease_year:token\tclass:token_seq\n1\tThe \"Été\t1999\tComedy Drama\n",
        ),
        ("ml.user", "user_id:token\tage:token\n5\t24\n"),
    ]);
    let csv = Source::of(&[
        ("ratings.csv", "userId,movieId,rating,timestamp\n5,1,4,881250949\n6,1,3.5,881250950\n"),
        ("movies.csv", "movieId,title,genres\n1,\"The \"\"Été (1999)\",Comedy|Drama\n"),
    ]);
    let dat = Source::of(&[("ratings.dat", "5::1::4::881250949\n6::1::3.5::881250950\n")]);
    dat.write("movies.dat", b"1::The \"\xc9t\xe9 (1999)::Comedy|Drama\n");
    for source in [recbole, csv, dat] {
        let shop = source.import(Format::Movielens, &plain()).unwrap();
        assert_eq!(ratings(&shop), ["881250949000 5 rate 1 4", "881250950000 6 rate 1 3.5"]);
        assert_eq!(movie(shop.item("1")), (Some("The \"Été"), vec!["Comedy", "Drama"], Some(&year)));
        assert_eq!((shop.items.len(), shop.report.catalogue), (1, true));
    }
}

#[test]
fn sasrec_s_movielens_gets_its_titles_through_the_renumbering() {
    let source = Source::of(&[
        ("ml-1m_sasrec.txt", "1 1\n1 2\n2 1\n"),
        ("sasrec_item_to_movieid.tsv", "sasrec_item\tmovieid\n1\t70\n2\t80\n"),
        ("movies.dat", "70::Heat::Action\n80::Emma (1996)::Drama\n90::Never seen::Drama\n"),
    ]);
    let shop = source.import(Format::Movielens, &plain()).unwrap();
    assert_eq!(shop.lines(), ["0 1 view 1", "1 1 view 2", "2 2 view 1"]);
    assert_eq!(
        (shop.item("1").title.as_deref(), shop.item("2").title.as_deref()),
        (Some("Heat"), Some("Emma"))
    );
    assert_eq!((shop.items.len(), shop.dataset.info.time), (2, TimeKind::Ordinal));
    assert_eq!(shop.report.skipped["movie that no event names"], 1);
}

#[test]
fn recbole_without_times_or_ratings_reads_too() {
    let inter = "user_id:token\titem_id:token\n5\t1\n5\t2\n";
    let source = Source::of(&[
        ("a.inter", inter),
        ("a.item", "item_id:token\tprice:float\tsales_rank:float\n1\t9.5\t7\n"),
    ]);
    let shop = source.import(Format::Movielens, &plain()).unwrap();
    assert_eq!(shop.lines(), ["0 5 view 1", "1 5 view 2"]);
    assert_eq!(
        (shop.item("1").price, &shop.item("1").attributes["sales_rank"]),
        (Some(9.5), &Attribute::Number(7.0))
    );
    let source = Source::of(&[("a.csv", "x")]);
    let message = source.refusal(Format::Movielens, &plain());
    assert!(
        message.contains("no NAME.inter, ratings.csv, ratings.dat or NAME_sasrec.txt in this folder"),
        "{message}"
    );
}

// === shops ===

#[test]
fn retailrocket_keeps_the_last_category_and_availability() {
    let source = Source::of(&[
        (
            "events.csv",
            "timestamp,visitorid,event,itemid,transactionid\n\
             1433221332117,257597,view,10,\n1433221333117,257597,addtocart,10,\n1433221334117,257597,transaction,10,4000\n\
             1433221335117,257597,zoom,10,\n",
        ),
        ("category_tree.csv", "categoryid,parentid\n3,2\n2,1\n1,\n8,9\n9,8\n"),
        (
            "item_properties_part1.csv",
            "timestamp,itemid,property,value\n2,10,categoryid,3\n2,10,available,1\n2,10,888,n5\n",
        ),
        (
            "item_properties_part2.csv.gz",
            "timestamp,itemid,property,value\n1,10,categoryid,7\n3,10,available,0\n5,11,categoryid,8\n",
        ),
    ]);
    let shop = source.import(Format::Retailrocket, &plain()).unwrap();
    assert_eq!(
        shop.lines(),
        [
            "1433221332117 257597 view 10",
            "1433221333117 257597 add_to_cart 10",
            "1433221334117 257597 purchase 10",
        ]
    );
    assert_eq!(shop.events[2].transaction.as_ref().unwrap().id, "4000");
    assert_eq!(shop.item("10").categories, ["1 > 2 > 3"]);
    assert_eq!(shop.item("10").availability, Availability::OutOfStock);
    assert!(
        shop.item("11").categories[0].starts_with("8 > 9")
            || shop.item("11").categories[0].ends_with("9 > 8")
    );
    assert_eq!(shop.report.skipped["property with a hashed name"], 1);
    assert_eq!(shop.report.bad_rows.total, 1);
}

const JD: &str = "action_time,user_id,sku_id,type,sessionId,index\n\
    2018-03-01 00:00:06,7,100,1,42,1519862406.0\n2018-03-01 00:00:07,7,100,2,42,1519862407.0\n\
    2018-03-01 00:00:08,7,101,3,42,1.0\n2018-03-01 00:00:09,8,101,4,43,1.0\n";

#[test]
fn jd_types_are_mapped_and_an_unknown_one_ends_the_import() {
    let source = Source::of(&[("train.csv.zst", JD), ("test.csv.zst", JD)]);
    let shop = source.import(Format::Jd, &plain()).unwrap();
    assert_eq!(
        shop.lines(),
        [
            "1519862406000 7 view 100",
            "1519862407000 7 purchase 100",
            "1519862408000 7 add_to_wishlist 101",
            "1519862409000 8 rate 101",
        ]
    );
    assert_eq!(shop.events[3].session_id.as_deref(), Some("43"));
    assert_eq!(shop.dataset.info.notes, ["types are taken as 1 view, 2 purchase, 3 add_to_wishlist, 4 rate"]);

    let source = Source::of(&[("train.csv", &format!("{JD}2018-03-01 00:00:10,8,101,5,43,1.0\n"))]);
    let message = source.refusal(Format::Jd, &plain());
    assert_eq!(
        message,
        "DIR/in/train.csv, line 6: type \"5\" has no meaning; say which event type it stands for (type.5=EVENT_TYPE)"
    );
    let shop = source.import(Format::Jd, &with(&["type.5=add_to_cart", "type.3=add_to_cart"])).unwrap();
    assert_eq!(shop.report.events_by_type[&EventType::AddToCart], 2);
}

#[test]
fn alibaba_brand_needs_a_year_and_takes_its_days() {
    let rows = "user_id,brand_id,type,visit_datetime\n1,20,0,2-29\n1,20,1,6-4\n1,21,2,12-31\n2,20,3,7-1\n2,20,0,6-31\n";
    let source = Source::of(&[("t_alibaba_data.csv.zst", rows)]);
    let message = source.refusal(Format::AlibabaBrand, &plain());
    assert_eq!(message, "DIR/in/t_alibaba_data.csv.zst: its days have no year: say which one (--year 2012)");
    let shop = source.import(Format::AlibabaBrand, &ImportOptions { year: Some(2012), ..plain() }).unwrap();
    assert_eq!(
        shop.lines(),
        [
            "1330473600000 1 view 20",
            "1338768000000 1 purchase 20",
            "1341100800000 2 add_to_cart 20",
            "1356912000000 1 add_to_wishlist 21",
        ],
        "in the order of time"
    );
    assert_eq!(shop.report.bad_rows.by_reason["visit_datetime: must be a month and a day of 2012"], 1);
}

#[test]
fn amazon_timed_joins_brands_and_categories() {
    let source = Source::of(&[
        ("user_item.dat", "5\t0\t4\t1386201600\n5\t1\t1\t1386201600\n6\t0\tgood\t1386201600\n"),
        ("item_brand.dat", "0,3\n1,4\n"),
        ("item_category.dat", "0,7\n0,8\nmore\n"),
        ("item_view.dat", "0,1\n"),
    ]);
    let shop = source.import(Format::AmazonTimed, &plain()).unwrap();
    assert_eq!(ratings(&shop), ["1386201600000 5 rate 0 4", "1386201600000 5 rate 1 1"]);
    assert_eq!(
        (shop.item("0").brand.as_deref(), &shop.item("0").categories[..]),
        (Some("3"), &["7".to_owned(), "8".to_owned()][..])
    );
    assert!(shop.item("1").categories.is_empty());
    assert_eq!(shop.report.bad_rows.total, 2);
}

const TRIVAGO: [[&str; 12]; 8] = [
    [
        "u",
        "s",
        "1541599523",
        "1",
        "search for destination",
        "Lyon, France",
        "FR",
        "Lyon, France",
        "mobile",
        "",
        "",
        "",
    ],
    [
        "u",
        "s",
        "1541599524",
        "2",
        "filter selection",
        "5 Star",
        "FR",
        "Lyon, France",
        "mobile",
        "5 Star|Hotel",
        "",
        "",
    ],
    ["u", "s", "1541599525", "3", "interaction item image", "20", "FR", "Lyon, France", "mobile", "", "", ""],
    [
        "u",
        "s",
        "1541599526",
        "4",
        "clickout item",
        "20",
        "FR",
        "Lyon, France",
        "mobile",
        "",
        "10|20|30",
        "99|71|88",
    ],
    ["u", "s", "1541599527", "5", "clickout item", "40", "FR", "Lyon, France", "mobile", "", "10|20", "99"],
    [
        "u",
        "s",
        "1541599528",
        "6",
        "interaction item info",
        "unknown",
        "FR",
        "Lyon, France",
        "mobile",
        "",
        "",
        "",
    ],
    [
        "u",
        "s",
        "1541599528",
        "6",
        "interaction item deals",
        "Inn",
        "FR",
        "Lyon, France",
        "mobile",
        "",
        "",
        "",
    ],
    ["u", "s", "1541599529", "7", "search for item", "30", "FR", "Lyon, France", "mobile", "", "", ""],
];

const TRIVAGO_COLUMNS: [&str; 12] = [
    "user_id",
    "session_id",
    "timestamp",
    "step",
    "action_type",
    "reference",
    "platform",
    "city",
    "device",
    "current_filters",
    "impressions",
    "prices",
];

pub(crate) fn trivago_parquet() -> Vec<u8> {
    let columns: Vec<ArrayRef> = (0..12)
        .map(|column| {
            let cells = TRIVAGO.iter().map(|row| row[column]);
            match TRIVAGO_COLUMNS[column] {
                "timestamp" | "step" => {
                    Arc::new(cells.map(|cell| cell.parse::<i64>().ok()).collect::<Int64Array>()) as ArrayRef
                }
                _ => Arc::new(
                    cells.map(|cell| Some(cell).filter(|cell| !cell.is_empty())).collect::<StringArray>(),
                ),
            }
        })
        .collect();
    let field = |(name, column): (&&str, &ArrayRef)| Field::new(*name, column.data_type().clone(), true);
    let mut fields: Vec<_> = TRIVAGO_COLUMNS.iter().zip(&columns).map(field).collect();
    fields.push(Field::new("unused", DataType::Int64, true));
    let mut columns = columns;
    columns.push(Arc::new(Int64Array::from(vec![0; TRIVAGO.len()])));
    let batch = RecordBatch::try_new(Arc::new(Schema::new(fields)), columns).unwrap();
    let mut bytes = Vec::new();
    let mut writer = parquet::arrow::ArrowWriter::try_new(&mut bytes, batch.schema(), None).unwrap();
    writer.write(&batch).unwrap();
    writer.close().unwrap();
    bytes
}

#[test]
fn trivago_reads_the_same_from_parquet_and_csv() {
    let parquet = Source::of(&[("item_metadata.csv", "item_id,properties\n20,Spa|Pool\n")]);
    parquet.write("some.parquet", &trivago_parquet());
    let csv =
        TRIVAGO.iter().map(|row| row.map(|cell| format!("\"{cell}\"")).join(",") + "\n").collect::<String>();
    let csv = Source::of(&[("train.csv.zst", &(TRIVAGO_COLUMNS.join(",") + "\n" + &csv))]);
    let parquet = parquet.import(Format::Trivago, &plain()).unwrap();
    let csv = csv.import(Format::Trivago, &plain()).unwrap();
    assert_eq!(parquet.lines(), csv.lines());
    assert_eq!(
        csv.lines(),
        [
            "1541599523000 u search ",
            "1541599524000 u search ",
            "1541599525000 u view 20",
            "1541599526000 u impression 10,20,30",
            "1541599526000 u click 20",
            "1541599529000 u search 30",
        ]
    );
    let [destination, filter, view, list, click, _] = &parquet.events[..] else { panic!() };
    assert_eq!(destination.search_query.as_deref(), Some("Lyon, France"));
    assert_eq!((filter.search_query.as_deref(), filter.attributes["choice"].as_str()), (None, "5 Star"));
    assert_eq!(
        (filter.attributes["filters"].as_str(), view.attributes["device"].as_str()),
        ("5 Star|Hotel", "mobile")
    );
    assert_eq!(
        (view.session_id.as_deref(), &view.page_categories[..]),
        (Some("s"), &["Lyon, France".to_owned()][..])
    );
    let shown: Vec<_> = list.items.iter().map(|item| (item.position, item.unit_price)).collect();
    assert_eq!(shown, [(Some(0), Some(99.0)), (Some(1), Some(71.0)), (Some(2), Some(88.0))]);
    assert_eq!(click.items, [list.items[1].clone()]);
    assert_eq!(
        (list.attribution_token.as_deref(), click.attribution_token.as_deref()),
        (Some("s/4"), Some("s/4"))
    );
    assert_eq!(parquet.item("20").tags, ["Spa", "Pool"]);
    let reasons: Vec<_> = parquet.report.bad_rows.by_reason.keys().map(String::as_str).collect();
    assert_eq!(reasons, ["prices: must be as many as impressions", "reference: must be an item's number"]);
    assert_eq!(parquet.report.skipped["action on an item that the source calls unknown"], 1);
}

#[test]
fn a_file_that_is_no_parquet_is_refused() {
    let source = Source::of(&[("some.parquet", "hello")]);
    let message = source.refusal(Format::Trivago, &plain());
    assert!(message.starts_with("DIR/in/some.parquet: neither Arrow IPC nor Parquet"), "{message}");
}

#[test]
fn a_missing_column_is_named() {
    let source = Source::of(&[("train.csv", "action_time,user_id,sku_id\n")]);
    let message = source.refusal(Format::Jd, &plain());
    assert_eq!(
        message,
        "DIR/in/train.csv, line 1: there is no column `type`; the header names action_time, user_id, sku_id"
    );
}

#[test]
fn what_is_not_there_is_refused() {
    let source = Source::of(&[]);
    assert!(source.refusal(Format::Jd, &plain()).starts_with("DIR/in: no train.csv in this folder"));
    std::fs::remove_dir(source.path("in")).unwrap();
    let message = source.refusal(Format::Jd, &plain());
    assert!(message.starts_with("DIR/in: cannot open: "), "{message}");
}
