//! What may be learnt, and what is asked, under each protocol.

mod world;

use endcap_bundle::Origin;
use endcap_clickstream::{Part, TimeKind};
use endcap_evaluation::{HeldOut, Protocol, SeenItems, Split, SplitConfig};
use endcap_proto::{EventTime, Item, ItemId};
use world::{Met, asked, info, letters, sequences, split, write};

/// Sorted, for visitors come in the order of their keys.
fn sorted(items: impl IntoIterator<Item = String>) -> Vec<String> {
    let mut items: Vec<String> = items.into_iter().collect();
    items.sort();
    items
}

fn learnt(split: &Split, part: HeldOut) -> Vec<String> {
    sorted(split.training(part).map(|(_, learnt)| letters(learnt.iter().map(|interaction| interaction.item))))
}

fn questions(split: &Split, part: HeldOut) -> Vec<String> {
    sorted(split.questions(part).iter().map(asked))
}

#[test]
fn leave_one_out_learns_all_but_the_last_two_and_knows_all_but_the_last() {
    let folder = tempfile::tempdir().unwrap();
    let lines = [("u a b c d", Part::All), ("v e f g", Part::All), ("w h i", Part::All)];
    let dataset = sequences(folder.path(), &lines, true);
    let split = split(&dataset, SplitConfig::of(Protocol::LeaveOneOut));
    // Who met two things has nothing to be asked about, and is learnt from whole.
    assert_eq!(learnt(&split, HeldOut::Validation), ["ab", "e", "hi"]);
    assert_eq!(learnt(&split, HeldOut::Test), ["ab", "e", "hi"]);
    assert_eq!(questions(&split, HeldOut::Validation), ["ab>c", "e>f"]);
    assert_eq!(questions(&split, HeldOut::Test), ["abc>d", "ef>g"]);
    assert_eq!(split.protocol().seen_items(), SeenItems::Mask);

    // A fit sees the validation item, and is told not to learn from it.
    let before = split.before_test();
    let mut lengths: Vec<_> =
        before.sequences.iter().zip(&before.learnt).map(|((_, all), learnt)| (all.len(), *learnt)).collect();
    lengths.sort_unstable();
    assert_eq!(lengths, [(2, [1, 1]), (2, [2, 2]), (3, [2, 2])]);
}

#[test]
fn next_item_asks_every_prefix_of_the_test_sessions_and_validates_on_the_newest() {
    let folder = tempfile::tempdir().unwrap();
    let mut lines: Vec<(String, Part)> = (0..10).map(|n| (format!("s{n} a b"), Part::Train)).collect();
    lines.push(("t c d c".to_owned(), Part::Test));
    let lines: Vec<(&str, Part)> = lines.iter().map(|(line, part)| (line.as_str(), *part)).collect();
    let dataset = sequences(folder.path(), &lines, true);
    let split = split(&dataset, SplitConfig { validation: 0.2, ..SplitConfig::of(Protocol::NextItem) });
    assert_eq!(learnt(&split, HeldOut::Validation).len(), 8);
    assert_eq!(learnt(&split, HeldOut::Test).len(), 10);
    assert_eq!(questions(&split, HeldOut::Validation), ["a>b", "a>b"]);
    assert_eq!(questions(&split, HeldOut::Test), ["c>d", "cd>c"], "repeats are asked for");
    let newest = split.questions(HeldOut::Validation).iter().map(|question| question.as_of).min().unwrap();
    assert!(split.training(HeldOut::Validation).all(|(_, learnt)| learnt.iter().all(|i| i.time < newest)));
}

#[test]
fn fixed_split_asks_for_sets_and_keeps_nothing_of_the_files_order() {
    let folder = tempfile::tempdir().unwrap();
    let items = "a b c d e f g h i j k l m n o p q r s t";
    let lines = [(format!("u {items}"), Part::Train), ("u x y z".to_owned(), Part::Test)];
    let lines: Vec<(&str, Part)> = lines.iter().map(|(line, part)| (line.as_str(), *part)).collect();
    let dataset = sequences(folder.path(), &lines, false);
    let split = split(&dataset, SplitConfig::of(Protocol::FixedSplit));
    let learnt = learnt(&split, HeldOut::Test).concat();
    let mut letters: Vec<char> = learnt.chars().collect();
    assert_ne!(learnt, items.replace(' ', ""), "shuffled");
    letters.sort_unstable();
    assert_eq!(letters, items.replace(' ', "").chars().collect::<Vec<_>>());
    assert_eq!(self::learnt(&split, HeldOut::Validation).concat().len(), 18, "a tenth is held out");

    let [question] = &questions(&split, HeldOut::Test)[..] else { panic!("one shopper, one question") };
    let (history, targets) = question.split_once('>').unwrap();
    assert_eq!((history, targets.len()), (learnt.as_str(), 3));
    assert!(split.protocol().targets_are_a_set() && !split.is_ordered());
}

#[test]
fn global_time_keeps_equal_times_together_and_no_event_of_an_instant_is_history_for_another() {
    let folder = tempfile::tempdir().unwrap();
    let at = |minute: i64| 1_700_000_000_000 + minute * 60_000;
    let all = |visitor, item, minute| Met(visitor, item, at(minute), Part::All);
    let met = [
        all("u", "a", 0),
        all("u", "b", 1),
        all("v", "c", 2),
        all("v", "d", 3),
        all("u", "e", 4),
        all("u", "f", 4),
        all("v", "g", 4),
        all("u", "h", 5),
        all("v", "i", 6),
        all("v", "j", 7),
    ];
    let dataset = write(folder.path(), info(TimeKind::Real, true), &met, &[]);
    let config = SplitConfig { test: 0.3, validation: 0.2, ..SplitConfig::of(Protocol::GlobalTime) };
    let split = split(&dataset, config);
    // Seven of ten lie before minute 5; five of ten would cut minute 4, so it belongs to validation whole.
    assert_eq!(split.cut(HeldOut::Test), Some(EventTime::clamped(at(5))));
    assert_eq!(split.cut(HeldOut::Validation), Some(EventTime::clamped(at(4))));
    assert_eq!(learnt(&split, HeldOut::Validation), ["ab", "cd"]);
    let validation = questions(&split, HeldOut::Validation);
    assert!(validation == ["ab>ef", "cd>g"] || validation == ["ab>fe", "cd>g"], "{validation:?}");
    let test: Vec<String> = split.questions(HeldOut::Test).iter().map(asked).collect();
    let history = validation[0].replace('>', "");
    assert_eq!(test, [format!("{history}>h"), "cdg>i".to_owned(), "cdgi>j".to_owned()], "in order of time");
}

#[test]
fn what_knew_the_answers_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let lines = [("u a b c d", Part::All), ("v e f g", Part::All)];
    let dataset = sequences(&folder.path().join("one"), &lines, true);
    let split = split(&dataset, SplitConfig::of(Protocol::LeaveOneOut));
    let origin = |split: &Split| Origin { held_out: split.held_out_parts(), ..Origin::default() };
    split.check(&origin(&split), HeldOut::Test).unwrap();
    split
        .check(&origin(&world::split(&dataset, SplitConfig::of(Protocol::LeaveOneOut))), HeldOut::Test)
        .unwrap();

    let refused = |origin: &Origin| split.check(origin, HeldOut::Test).unwrap_err().to_string();
    assert!(refused(&Origin::default()).contains("it says of nothing that it was held out"));
    // The same but for one answer.
    let other =
        sequences(&folder.path().join("two"), &[("u a b c e", Part::All), ("v e f g", Part::All)], true);
    let other = world::split(&other, SplitConfig::of(Protocol::LeaveOneOut));
    let message = refused(&origin(&other));
    assert!(message.contains("leave-one-out test of 2 interactions"), "{message}");
    assert!(message.contains("--protocol leave-one-out"), "{message}");
}

#[test]
fn a_model_that_was_trained_past_the_cut_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let met: Vec<Met<'_>> = (0..20).map(|n| Met("u", "a", 1_700_000_000_000 + n * 1000, Part::All)).collect();
    let dataset = write(folder.path(), info(TimeKind::Real, true), &met, &[]);
    let split = split(&dataset, SplitConfig::of(Protocol::GlobalTime));
    let cut = split.cut(HeldOut::Test).unwrap();
    let trained = |until: EventTime| Origin { newest_event: Some(until), ..Origin::default() };
    split.check(&trained(cut.plus_millis(-1)), HeldOut::Test).unwrap();
    let message = split.check(&trained(cut), HeldOut::Test).unwrap_err().to_string();
    assert!(message.contains("was trained on events up to") && message.contains("--holdout"), "{message}");
}

#[test]
fn hidden_items_are_met_by_nobody_before_the_test() {
    let folder = tempfile::tempdir().unwrap();
    let ids: Vec<String> = (0..100).map(|n| format!("item-{n}")).collect();
    let visitors: Vec<String> = (0..20).map(|n| format!("v{n}")).collect();
    let mut met = Vec::new();
    for n in 0..2000usize {
        met.push(Met(
            &visitors[n * 7 % 20],
            &ids[n * 13 % 100],
            1_700_000_000_000 + n as i64 * 1000,
            Part::All,
        ));
    }
    let titled = |id: &String| Item { title: Some(id.clone()), ..Item::bare(ItemId::new(id).unwrap()) };
    let items: Vec<Item> = ids.iter().map(titled).collect();
    let dataset = write(&folder.path().join("shop"), info(TimeKind::Real, true), &met, &items);
    let config = SplitConfig { hidden_items: 0.1, ..SplitConfig::of(Protocol::GlobalTime) };
    let split = split(&dataset, config.clone());
    let hidden = split.hidden().len();
    assert!((3..=20).contains(&hidden), "{hidden}");
    let is_hidden = |item| split.hidden().contains(&item);
    assert!(split.training(HeldOut::Test).all(|(_, learnt)| learnt.iter().all(|i| !is_hidden(i.item))));
    assert!(split.counts(HeldOut::Test).len() == 100 - hidden);
    let questions = split.questions(HeldOut::Test);
    let targets = questions.iter().flat_map(|question| question.targets);
    let asked = targets.filter(|target| is_hidden(target.item)).count();
    assert_eq!(asked, 2 * hidden, "each item is met twice in the newest tenth");

    // A bundle that met them is refused, whenever it was trained.
    let open = world::split(&dataset, SplitConfig { hidden_items: 0.0, ..config.clone() });
    let knew = Origin { held_out: open.held_out_parts(), ..Origin::default() };
    let message = split.check(&knew, HeldOut::Test).unwrap_err().to_string();
    assert!(message.contains("items were hidden from its training"), "{message}");
    split.check(&Origin { held_out: split.held_out_parts(), ..Origin::default() }, HeldOut::Test).unwrap();

    // Without words for them there is nothing to be made of new items.
    let bare = write(&folder.path().join("bare"), info(TimeKind::Real, true), &met, &[]);
    let message = Split::read(&bare, &config).unwrap_err().to_string();
    assert!(message.contains("only where a catalogue says what they are"), "{message}");
}

#[test]
fn data_that_does_not_fit_a_protocol_is_refused_in_words() {
    let folder = tempfile::tempdir().unwrap();
    let ordinal = sequences(&folder.path().join("ordinal"), &[("u a b c", Part::All)], true);
    let refused = |config| Split::read(&ordinal, &config).unwrap_err().to_string();
    let of = SplitConfig::of;
    assert!(refused(of(Protocol::GlobalTime)).contains("not instants; use leave-one-out"));
    assert!(refused(of(Protocol::NextItem)).contains("no train and test set of its own"));
    assert!(refused(of(Protocol::FixedSplit)).contains("use global-time or leave-one-out"));
    assert!(
        refused(SplitConfig { test: 0.6, validation: 0.5, ..of(Protocol::LeaveOneOut) }).contains("together")
    );
    let unordered = sequences(&folder.path().join("unordered"), &[("u a b c", Part::All)], false);
    let message = Split::read(&unordered, &of(Protocol::LeaveOneOut)).unwrap_err().to_string();
    assert!(message.contains("order of its events means nothing"), "{message}");
}
