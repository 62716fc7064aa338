//! Nothing that others have named, said or put out is obeyed by the terminal.

use proptest::{prop_assert, proptest};
use serde_json::json;

use super::world::{World, id, one_task, read, task, worker};
use crate::ask::{Answer, Ask, Refusal, Why};
use crate::event::{Event, Key};

/// What a terminal obeys, or a reader does not see.
fn harmful(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{200e}' | '\u{200f}' | '\u{2028}')
}

/// A world in which everything that is not held to the letters of names is this text.
fn evil(text: &str) -> World {
    let mut world = World::new();
    world.stats["queues"][2]["pause"]["reason"] = json!(text);
    world.stats["queues"][2]["waiting"] = json!(9_999);
    let readings = json!({text: 1.5});
    world.workers = vec![worker(
        "w",
        json!({"active": 1, "readings": readings, "labels": {text: text},
        "tasks": [{"task_id": id(1), "attempt": 1}], "life": {"state": text, "since": null, "why": text}}),
    )];
    let error = json!({"code": text, "message": format!("a\n{text}")});
    world.tasks = vec![
        task(1, "running", json!({"description": text})),
        task(3, "failed", json!({"error": error, "description": text})),
    ];
    for one in &mut world.found {
        one.message = text.to_owned();
        one.next = text.to_owned();
        one.more = Some(text.to_owned());
    }
    world.answer();
    world
}

/// Every place of it, as it is shown.
fn everywhere(text: &str) -> Vec<Vec<String>> {
    let mut world = evil(text);
    let mut shown = vec![world.shows(80, 24)];
    for keys in ["1", "2", "3", "3t", "4"] {
        world.press(keys);
        world.answer();
        shown.push(world.shows(120, 40));
        world.key(Key::Enter);
        for ask in std::mem::take(&mut world.asked) {
            let answer = if let Ask::Task(asked) = &ask {
                let number = usize::from(*asked != id(1));
                let mut one = one_task(&read(world.tasks[number].clone()));
                one.detail.history[0].reason = Some(text.to_owned());
                one.detail.progress =
                    Some(read(json!({"at": "2026-01-31T03:12:45.000Z", "progress": 2.0, "message": text})));
                one.why.as_mut().unwrap().message = text.to_owned();
                for line in one.lines.as_mut().unwrap() {
                    (line.message, line.source) = (text.to_owned(), text.to_owned());
                }
                Ok(Answer::Task(Box::new(one)))
            } else {
                world.answer_to(&ask)
            };
            world.happens(Event::Answered(ask, answer));
        }
        shown.push(world.shows(80, 24));
        world.key(Key::Escape);
    }
    world.press("1/");
    world.happens(Event::Pasted(text.to_owned()));
    shown.push(world.shows(80, 24));
    world.key(Key::Enter);
    world.press("py");
    world.refuse(Why::Refused, text);
    shown.push(world.shows(80, 24));
    shown
}

#[test]
fn escape_sequences_marks_of_direction_and_long_text_are_shown_and_not_done() {
    for text in [
        "\u{1b}[2J\u{1b}]0;owned\u{7}",
        "a\u{9b}31mb\r\n\tc\0\u{7f}",
        "invoice\u{202e}gpj.exe\u{2066}",
        "漢字漢字漢字漢字漢字漢字漢字漢字漢字漢字漢字漢字漢字漢字漢字漢字漢字漢字漢字漢字漢字漢字漢字",
        "👩\u{200d}🚀👩\u{200d}🚀 e\u{301}\u{301}\u{301}\u{301}",
        &"x".repeat(100_000),
        &"\u{1b}".repeat(10_000),
        "",
    ] {
        for lines in everywhere(text) {
            for line in &lines {
                assert!(!line.contains(harmful), "{line:?}");
            }
        }
    }
    let shown = everywhere("\u{1b}[2J\u{202e}").concat().join("\n");
    assert!(shown.contains("\\x1b[2J\\u{202e}"), "{shown}");
}

#[test]
fn what_was_refused_is_told_harmlessly() {
    let mut world = World::new();
    world.refuse(Why::Refused, "\u{1b}[2Jboo");
    let text = world.text();
    assert!(text.contains("\\x1b[2Jboo"), "{text}");
    let refusal = Refusal { why: Why::NoAnswer, told: "\u{1b}c".to_owned() };
    for _ in 0..5 {
        world.passes(2.0);
        for ask in std::mem::take(&mut world.asked) {
            world.happens(Event::Answered(ask, Err(refusal.clone())));
        }
    }
    assert!(!world.text().contains('\u{1b}'));
}

proptest! {
    #[test]
    fn no_text_leaves_its_place(text in "\\PC{0,20}|(?s:.{0,60})|[\\x00-\\x9f\u{2020}-\u{2070}]{0,40}") {
        for lines in everywhere(&text) {
            for line in &lines {
                prop_assert!(!line.contains(harmful), "{line:?}");
            }
            // What is told above and below stands where it stood.
            prop_assert!(lines[3].starts_with(" 1 queues   2 workers   3 tasks   4 wrong"), "{:?}", lines[3]);
        }
    }
}
