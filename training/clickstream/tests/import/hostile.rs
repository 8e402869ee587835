//! No input, however mangled, makes an importer panic.

use endcap_clickstream::import::{Format, ImportOptions, import};
use proptest::prelude::*;

use crate::source::Source;

/// A format, the names of its files, and sound contents of each.
const SOUND: &[(Format, &[(&str, &str)])] = &[
    (
        Format::Csv,
        &[("a.csv", "type,time,visitor_id,item_id,unit_price\nview,1,v,\"a,\"\"b\",2.5\nsearch,2,v,,\n")],
    ),
    (
        Format::Jsonl,
        &[("a.jsonl", r#"{"type":"view","time":1,"visitor_id":"v","items":[{"item_id":"a","quantity":2}]}"#)],
    ),
    (
        Format::Ga4,
        &[(
            "a.json",
            r#"{"event_name":"view_item","event_timestamp":"1","user_pseudo_id":"7","event_params":[{"key":"currency","value":{"string_value":"EUR"}}],"items":[{"item_id":"a","price":2}]}"#,
        )],
    ),
    (Format::ItemsCsv, &[("a.csv", "id,title,price,embedding,publish_time\na,Boot,2,0.5 1,2026-01-01\n")]),
    (
        Format::ItemsJsonl,
        &[("a.jsonl", r#"{"id":"a","categories":["x > y"],"attributes":{"b":{"number":2}}}"#)],
    ),
    (
        Format::Merchant,
        &[(
            "a.xml",
            "<rss><item><g:id>a</g:id><title>B &amp; <![CDATA[<c>]]>&#33;</title><g:price>1 EUR</g:price></item></rss>",
        )],
    ),
    (Format::Merchant, &[("a.tsv", "id\ttitle\tprice\na\tBoot\t1 EUR\n")]),
    (Format::Sessions, &[("train_sessions.txt", "1 2 1\n3\n"), ("test_pairs.tsv", "3\t1 2\n2\t1\n")]),
    (Format::Sequences, &[("a.txt", "u 1 2\nw 1\n"), ("a_item2attributes.json", r#"{"1":[2,3]}"#)]),
    (Format::FixedSplit, &[("train.txt", "u 1 2\n"), ("test.txt", "u 3\n")]),
    (
        Format::Movielens,
        &[
            ("a.inter", "user_id:token\titem_id:token\trating:float\ttimestamp:float\n1\t2\t3\t4\n"),
            ("a.item", "item_id:token\tmovie_title:token_seq\tclass:token_seq\n2\tHeat\tDrama\n"),
        ],
    ),
    (Format::Movielens, &[("ratings.dat", "1::2::3::4\n"), ("movies.dat", "2::Heat (1995)::Drama|Crime\n")]),
    (
        Format::Retailrocket,
        &[
            ("events.csv", "timestamp,visitorid,event,itemid,transactionid\n1,2,view,3,\n"),
            ("item_properties_part1.csv", "timestamp,itemid,property,value\n1,3,categoryid,4\n"),
            ("category_tree.csv", "categoryid,parentid\n4,5\n"),
        ],
    ),
    (Format::AmazonTimed, &[("user_item.dat", "1\t2\t5\t1386201600\n"), ("item_brand.dat", "2,3\n")]),
    (
        Format::Jd,
        &[("train.csv", "action_time,user_id,sku_id,type,sessionId\n2018-03-01 00:00:06,1,2,1,3\n")],
    ),
    (Format::AlibabaBrand, &[("t_alibaba_data.csv", "user_id,brand_id,type,visit_datetime\n1,2,0,6-4\n")]),
    (
        Format::Trivago,
        &[(
            "train.csv",
            "user_id,session_id,timestamp,step,action_type,reference,platform,city,device,current_filters,impressions,prices\nu,s,1,1,clickout item,2,FR,Lyon,mobile,,1|2,3|4\n",
        )],
    ),
];

fn options() -> ImportOptions {
    ImportOptions { year: Some(2012), ..ImportOptions::default() }
}

#[test]
fn the_sound_files_are_sound() {
    for (format, files) in SOUND {
        let imported = Source::of(files).import(*format, &options()).unwrap();
        assert_eq!(imported.report.bad_rows.total, 0, "{format}");
        assert!(imported.report.events + imported.report.items > 0, "{format}");
    }
}

/// Bytes that mean something to one parser or another.
const BYTES: &[u8] = b"\0\n\r\t \",:;.-+|<>&/{}[]\\0189aeN\xc3\xff";

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]
    #[test]
    fn mangled_parquet_is_imported_or_refused(
        edits in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6),
        length in prop::option::weighted(0.3, any::<prop::sample::Index>()),
    ) {
        let source = Source::of(&[]);
        let mut bytes = crate::public::trivago_parquet();
        for (place, byte) in edits {
            let place = place.index(bytes.len());
            bytes[place] = byte;
        }
        if let Some(length) = length {
            bytes.truncate(length.index(bytes.len()));
        }
        source.write("a.parquet", &bytes);
        if let Err(error) = import(Format::Trivago, &options(), &source.path("in"), &source.path("out")) {
            prop_assert!(error.to_string().contains("in/a.parquet") || error.to_string().contains("trivago"), "{error}");
        }
    }

    #[test]
    fn mangled_files_are_imported_or_refused(
        which in 0..SOUND.len(),
        edits in prop::collection::vec((any::<prop::sample::Index>(), 0..3, prop::sample::select(BYTES)), 1..8),
        cut in any::<prop::sample::Index>(),
        cut_off in prop::bool::weighted(0.2),
    ) {
        let (format, files) = SOUND[which];
        let source = Source::of(&[]);
        for (name, text) in files {
            let mut bytes = text.as_bytes().to_vec();
            for (place, edit, byte) in &edits {
                let place = place.index(bytes.len());
                match edit {
                    0 => bytes[place] = *byte,
                    1 => bytes.insert(place, *byte),
                    _ if bytes.len() > 1 => {
                        bytes.remove(place);
                    }
                    _ => {}
                }
            }
            if cut_off {
                bytes.truncate(cut.index(bytes.len()));
            }
            source.write(name, &bytes);
        }
        match import(format, &options(), &source.path("in"), &source.path("out")) {
            Ok(report) => {
                crate::source::read_back(report).unwrap();
            }
            Err(error) => prop_assert!(!error.to_string().is_empty()),
        }
    }
}
