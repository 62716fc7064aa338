//! What is asked, when, and what becomes of a server that does not answer, or may not.

use std::time::Duration;

use proptest::prelude::{Just, Strategy, any, prop_oneof};
use proptest::{prop_assert, proptest};
use serde_json::json;

use super::world::{World, id, queue};
use crate::ask::{Ask, Refusal, Slot, Why};
use crate::event::{Event, Key};

fn slots(world: &World) -> Vec<Slot> {
    let mut slots: Vec<_> = world.asked.iter().map(Ask::slot).collect();
    slots.sort_unstable();
    slots
}

#[test]
fn each_place_asks_for_what_it_shows_and_for_no_more() {
    let mut world = World::new();
    assert_eq!(slots(&world), [Slot::Stats, Slot::Verdict]);
    world.answer();
    for (keys, asked) in [("2", &[Slot::Workers][..]), ("3", &[Slot::Tasks]), ("4", &[]), ("1", &[])] {
        world.press(keys);
        let slots = slots(&world);
        assert_eq!(slots, asked, "{keys}");
        world.answer();
    }
    world.key(Key::Enter);
    assert_eq!(slots(&world), [Slot::Queue, Slot::Tasks], "one queue");
}

#[test]
fn what_is_shown_is_asked_for_anew_at_each_interval_and_the_verdict_less_often() {
    let mut world = World::answered();
    world.passes(1.9);
    assert_eq!(slots(&world), []);
    world.passes(0.2);
    assert_eq!(slots(&world), [Slot::Stats]);
    world.answer();
    world.passes(7.0);
    world.answer();
    world.passes(1.0);
    assert_eq!(slots(&world), [Slot::Verdict]);
}

#[test]
fn a_slow_server_is_not_asked_again_and_no_key_waits_for_it() {
    let mut world = World::new();
    for _ in 0..100 {
        world.passes(1.0);
    }
    assert_eq!(slots(&world), [Slot::Stats, Slot::Verdict], "one request of each");
    assert!(world.shows(80, 24)[0].starts_with(" no answer for 100 s "), "{:?}", world.shows(80, 24)[0]);
    world.press("2");
    assert_eq!(slots(&world), [Slot::Stats, Slot::Verdict, Slot::Workers]);
    world.press("q");
    assert!(world.state.over);
}

#[test]
fn a_dead_server_is_told_what_was_known_stays_and_it_goes_on_when_it_is_back() {
    let mut world = World::answered();
    for _ in 0..6 {
        world.passes(2.0);
        world.refuse(Why::NoAnswer, "no answer: connection refused");
    }
    let lines = world.shows(80, 24);
    assert!(lines[0].starts_with(" no answer for 12 s "), "{lines:?}");
    assert!(lines[1].starts_with("no answer: connection refused; what is shown is as it was"), "{lines:?}");
    assert!(lines.iter().any(|line| line.starts_with("images")), "{lines:?}");
    world.passes(2.0);
    world.answer();
    assert!(world.text().starts_with(" error: 1 wrong, 1 more to look at "), "{}", world.text());
}

#[test]
fn what_the_token_may_not_is_told_and_seldom_tried_again() {
    let mut world = World::new();
    world.refuse(Why::Denied, "your token may not do that (scope_missing): it has the scope producer");
    assert_eq!(slots(&world), [Slot::Queues], "queues one by one, instead of statistics");
    world.answer();
    let text = world.text();
    assert!(text.starts_with(" no verdict "), "{text}");
    assert!(text.contains("your token may not do that (scope_missing)"), "{text}");
    assert!(text.contains("statistics are for tokens that may see everything"), "{text}");
    assert!(text.contains("\nimages "), "{text}");
    world.passes(10.0);
    assert_eq!(slots(&world), [Slot::Queues]);
    world.answer();
    world.press("2");
    world.refuse(Why::Denied, "your token may not do that (scope_missing): list_workers");
    assert!(
        world.text().contains("\nyour token may not do that (scope_missing): list_workers"),
        "{}",
        world.text()
    );
    world.passes(31.0);
    assert_eq!(slots(&world), [Slot::Stats, Slot::Queues, Slot::Verdict, Slot::Workers]);
}

#[test]
fn a_change_that_is_refused_is_told_with_what_it_was() {
    let mut world = World::answered();
    world.press("py");
    world.refuse(Why::Denied, "your token may not do that (scope_missing): pause_queue");
    let said = world.said();
    assert!(
        said.starts_with("could not pause queue images: your token may not do that (scope_missing)"),
        "{said}"
    );
    world.passes(21.0);
    assert!(!world.said().contains("could not"), "it is not said for ever");
}

#[test]
fn after_a_change_all_that_is_shown_is_asked_for_anew() {
    let mut world = World::answered();
    world.press("py");
    world.answer();
    assert!(world.said().contains("done: pause queue images"));
    let mut world = World::answered();
    world.press("py");
    let change = world.asked.pop().unwrap();
    let answer = world.answer_to(&change);
    world.happens(Event::Answered(change, answer));
    assert_eq!(slots(&world), [Slot::Stats, Slot::Verdict]);
}

#[test]
fn an_answer_for_what_is_no_longer_wanted_is_passed_over() {
    let mut world = World::answered();
    world.press("3");
    let running = world.asked.clone();
    world.press("t");
    world.answer();
    let before = world.text();
    for ask in running.into_iter().filter(|ask| ask.slot() == Slot::Tasks) {
        let answer = world.answer_to(&ask);
        world.happens(Event::Answered(ask, answer));
    }
    assert_eq!(world.text(), before);
    // A task that is gone is told of; the one before is not shown for it.
    world.press("/");
    world.happens(Event::Pasted(id(77).to_string()));
    world.key(Key::Enter);
    world.answer();
    assert!(world.text().contains("there is no such thing"), "{}", world.text());
    world.key(Key::Escape);
    world.press("/");
    world.happens(Event::Pasted(id(1).to_string()));
    world.key(Key::Enter);
    assert!(world.text().contains(&format!("asking for task {}", id(1))), "{}", world.text());
}

#[test]
fn a_queue_beyond_those_that_are_told_of_is_found_by_its_name() {
    let mut world = World::answered();
    let small = queue("zz-small", json!({"waiting": 1, "queued": 1}));
    world.press("/zz-small");
    assert_eq!(slots(&world), [], "nothing is asked while it is written");
    world.key(Key::Enter);
    assert_eq!(slots(&world), [Slot::Queue]);
    world.stats["queues"].as_array_mut().unwrap().push(small);
    let ask = world.asked.pop().unwrap();
    let answer = world.answer_to(&ask);
    world.happens(Event::Answered(ask, answer));
    assert!(world.text().contains("\nzz-small"), "{}", world.text());
}

#[test]
fn rates_are_those_between_two_looks() {
    let mut world = World::answered();
    world.stats["queues"][1]["run"]["count"] = json!(691);
    world.stats["queues"][1]["waiting"] = json!(1_190);
    world.passes(2.0);
    world.answer();
    let line = world.shows(80, 24).into_iter().find(|line| line.starts_with("images")).unwrap();
    assert!(line.contains(" 5.00  10.0"), "10 came, 20 were completed in 2 s: {line}");
    assert!(world.text().contains("  in 5.00 out 10.0/s  2 workers 1 lost 1 busy"), "{}", world.text());
}

#[test]
fn a_thousand_queues_and_a_hundred_thousand_tasks_are_drawn_in_no_time() {
    let mut world = World::new();
    let queues: Vec<_> =
        (0..100).map(|n| queue(&format!("q-{n}"), json!({"waiting": 1_000, "queued": 1_000}))).collect();
    let counts: Vec<_> = (0..1_000)
        .map(|n| json!({"queue": format!("q-{}", n % 100), "type": format!("t-{n}"), "state": "failed", "tasks": 1}))
        .collect();
    world.stats["queues"] = json!(queues);
    world.stats["counts"] = json!(counts);
    world.stats["other_queues"] = json!({"queues": 900, "states": {"waiting": 900}});
    world.answer();
    let begun = std::time::Instant::now();
    for _ in 0..20 {
        world.press("j");
        world.text();
    }
    assert!(begun.elapsed() < Duration::from_secs(5), "{:?}", begun.elapsed());
    let text = world.text();
    assert!(text.contains("100 by waiting, 900 more by /name"), "{text}");
}

fn events() -> impl Strategy<Value = Event> {
    let keys = prop_oneof![
        any::<char>().prop_map(Key::Char),
        "[1234?/sStcrpdynqgGjk]".prop_map(|key| Key::Char(key.chars().next().unwrap())),
        Just(Key::Enter),
        Just(Key::Escape),
        Just(Key::Tab),
        Just(Key::Up),
        Just(Key::Down),
        Just(Key::PageDown),
        Just(Key::End),
        Just(Key::Backspace),
    ];
    prop_oneof![8 => keys.prop_map(Event::Key), 1 => any::<bool>().prop_map(|_| Event::Tick), 1 => ".{0,20}".prop_map(Event::Pasted)]
}

proptest! {
    #[test]
    fn no_keys_make_it_panic_or_change_anything_without_a_question_and_a_yes(
        events in proptest::collection::vec((events(), 0_u8..4), 0..60),
        width in 1_u16..140,
        height in 1_u16..50,
    ) {
        let mut world = World::answered();
        for (event, answers) in events {
            let asked = world.state.question.clone();
            let yes = matches!(event, Event::Key(Key::Char('y' | 'Y')));
            let before = world.asked.len();
            world.happens(event);
            for ask in &world.asked[before.min(world.asked.len())..] {
                if let Ask::Change(change) = ask {
                    prop_assert!(yes && asked.as_ref() == Some(change));
                }
            }
            match answers {
                0 => world.answer(),
                1 => world.refuse(Why::NoAnswer, "no answer: it took too long"),
                2 => {
                    let refusal = Refusal { why: Why::Refused, told: "busy".to_owned() };
                    if let Some(ask) = world.asked.pop() {
                        world.happens(Event::Answered(ask, Err(refusal)));
                    }
                }
                _ => {}
            }
            world.shows(width, height);
        }
    }
}
