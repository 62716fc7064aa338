//! Each key, in each place.

use serde_json::json;

use super::world::{World, id};
use crate::ask::{Ask, Change, Slot};
use crate::event::{Event, Key};
use crate::rows::rows;
use crate::state::{Place, Row};

fn queue(name: &str) -> baton_model::QueueName {
    name.parse().unwrap()
}

/// A world in each place that there is.
fn places() -> Vec<(&'static str, World)> {
    let at = |name, keys: &str, enter| {
        let mut world = World::answered();
        world.press(keys);
        world.answer();
        if enter {
            world.key(Key::Enter);
            world.answer();
        }
        (name, world)
    };
    vec![
        at("queues", "1", false),
        at("workers", "2", false),
        at("tasks", "3", false),
        at("wrong", "4", false),
        at("queue", "1", true),
        at("worker", "2", true),
        at("task", "3", true),
    ]
}

#[test]
fn numbers_and_tab_lead_everywhere() {
    for (name, mut world) in places() {
        for (key, place) in "1234".chars().zip(Place::TABS) {
            world.press(&key.to_string());
            assert_eq!(world.state.stay().place, place, "{name}");
        }
        world.key(Key::Tab);
        assert_eq!(world.state.stay().place, Place::Queues, "{name}");
        world.key(Key::BackTab);
        assert_eq!(world.state.stay().place, Place::Wrong, "{name}");
    }
}

#[test]
fn what_is_chosen_is_looked_into_and_left_again() {
    let mut world = World::answered();
    let chosen = world.state.stay().chosen.clone();
    assert_eq!(chosen, Some(Row::Queue(queue("images"))), "most wait there");
    world.key(Key::Enter);
    world.answer();
    assert_eq!(world.state.stay().place, Place::Queue(queue("images")));
    world.key(Key::Right);
    world.answer();
    assert!(matches!(world.state.stay().place, Place::Task(_)));
    world.key(Key::Escape);
    assert_eq!(world.state.stay().place, Place::Queue(queue("images")));
    world.key(Key::Backspace);
    world.key(Key::Left);
    world.key(Key::Escape);
    assert_eq!((&world.state.stay().place, &world.state.stay().chosen), (&Place::Queues, &chosen));
    assert!(!world.state.over, "Esc never ends the program");
    world.press("2");
    world.answer();
    world.key(Key::Enter);
    world.answer();
    assert_eq!(world.state.stay().place, Place::Worker("gpu-1".parse().unwrap()));
    world.key(Key::Down);
    world.key(Key::Enter);
    assert_eq!(world.state.stay().place, Place::Task(id(2)), "a task that the worker holds");
}

#[test]
fn the_cursor_moves_within_the_list() {
    let mut world = World::answered();
    let at = |world: &World| world.state.stay().at;
    for (key, place) in [
        (Key::Down, 1),
        (Key::Char('j'), 2),
        (Key::Down, 2),
        (Key::Up, 1),
        (Key::Char('k'), 0),
        (Key::Up, 0),
        (Key::End, 2),
        (Key::Home, 0),
        (Key::Char('G'), 2),
        (Key::Char('g'), 0),
        (Key::PageDown, 2),
        (Key::PageUp, 0),
    ] {
        world.key(key);
        assert_eq!(at(&world), place, "{key:?}");
    }
}

#[test]
fn what_is_chosen_stays_chosen_however_the_list_is_sorted_anew() {
    let mut world = World::answered();
    world.key(Key::Down);
    assert_eq!(world.state.stay().chosen, Some(Row::Queue(queue("mail"))));
    world.stats["queues"][2]["waiting"] = json!(5_000);
    world.passes(2.0);
    world.answer();
    assert_eq!((world.state.stay().at, &world.state.stay().chosen), (0, &Some(Row::Queue(queue("mail")))));
    // It is gone: what has its place is chosen.
    world.stats["queues"].as_array_mut().unwrap().remove(2);
    world.passes(2.0);
    world.answer();
    assert_eq!(world.state.stay().chosen, Some(Row::Queue(queue("images"))));
}

#[test]
fn a_question_names_what_was_chosen_though_the_list_changes_under_it() {
    let mut world = World::answered();
    world.press("p");
    let asked = Some(Change::Pause(queue("images")));
    assert_eq!(world.state.question, asked);
    world.stats["queues"][0]["waiting"] = json!(90_000);
    world.passes(2.0);
    world.answer();
    assert_eq!(world.state.question, asked);
    world.press("x");
    world.key(Key::Enter);
    assert_eq!(world.state.question, asked, "another key is no answer");
    world.press("y");
    assert!(world.asked.contains(&Ask::Change(Change::Pause(queue("images")))), "{:?}", world.asked);
}

#[test]
fn nothing_is_done_without_a_yes() {
    for no in [Key::Char('n'), Key::Escape, Key::Char('q'), Key::Char('N'), Key::Backspace] {
        for (name, mut world) in places() {
            for key in "crpd".chars() {
                world.key(Key::Char(key));
                if world.state.question.is_some() {
                    world.key(no);
                }
                let asked = world.asked.iter().any(|ask| ask.slot() == Slot::Change);
                assert!(!asked && world.state.question.is_none() && !world.state.over, "{name} {key} {no:?}");
                assert!(world.state.told.is_some(), "{name}: {key} is not passed over in silence");
            }
        }
    }
}

#[test]
fn each_place_has_its_changes() {
    let changes = |name: &str| match name {
        "queues" | "queue" => "p",
        "workers" | "worker" => "d",
        _ => "",
    };
    for (name, _) in places() {
        for key in "crpd".chars() {
            let (_, mut world) = places().into_iter().find(|(other, _)| *other == name).unwrap();
            world.key(Key::Char(key));
            let asks = changes(name).contains(key)
                || matches!((name, key), ("tasks" | "task" | "worker" | "queue", 'c'));
            assert_eq!(world.state.question.is_some(), asks, "{name} {key}: {:?}", world.state.told);
        }
    }
}

#[test]
fn a_task_is_cancelled_while_it_has_not_ended_and_retried_once_it_failed() {
    let mut world = World::answered();
    world.press("3c");
    assert!(world.state.question.is_none(), "nothing is listed yet");
    world.answer();
    world.press("c");
    assert_eq!(world.state.question, Some(Change::Cancel(id(1))));
    world.press("n");
    world.press("r");
    assert!(
        world.said().contains("is running: expected a failed or cancelled one to retry"),
        "{}",
        world.said()
    );
    world.press("t");
    world.answer();
    world.press("c");
    assert!(world.said().contains("is failed: there is nothing to cancel"), "{}", world.said());
    world.press("ry");
    assert!(world.asked.contains(&Ask::Change(Change::Retry(id(3)))));
    world.answer();
    assert!(world.said().contains("done: retry task"), "{}", world.said());
}

#[test]
fn a_paused_queue_is_resumed_and_a_draining_worker_goes_on() {
    let mut world = World::answered();
    world.key(Key::Down);
    world.press("p");
    assert_eq!(world.state.question, Some(Change::Resume(queue("mail"))));
    world.press("n2");
    world.answer();
    world.press("d");
    assert_eq!(world.state.question, Some(Change::Drain("gpu-1".parse().unwrap())));
    world.press("nj");
    world.press("d");
    assert_eq!(world.state.question, Some(Change::Run("gpu-2".parse().unwrap())));
}

#[test]
fn read_only_changes_nothing_and_says_so() {
    for (name, mut world) in places() {
        world.state.setup.read_only = true;
        for key in "crpd".chars() {
            world.key(Key::Char(key));
            assert!(world.state.question.is_none(), "{name} {key}");
        }
        assert!(world.text().contains("read-only"), "{name}");
    }
    let mut world = World::answered();
    world.state.setup.read_only = true;
    world.press("p");
    assert!(world.said().contains("will not pause queue images: baton top was started with --read-only"));
}

#[test]
fn one_change_is_under_way_at_a_time() {
    let mut world = World::answered();
    world.press("py");
    world.press("p");
    assert!(world.state.question.is_none());
    assert!(world.said().contains("has not answered the last change yet"), "{}", world.said());
    world.answer();
    world.press("p");
    assert!(world.state.question.is_some());
}

#[test]
fn t_lists_other_tasks() {
    let mut world = World::answered();
    world.press("3");
    world.answer();
    let mut counts = Vec::new();
    for _ in 0..4 {
        counts.push(rows(&world.state).len());
        world.press("t");
        assert!(rows(&world.state).is_empty() || world.asked.is_empty());
        world.answer();
    }
    assert_eq!(counts, [2, 1, 2, 5], "running, failed, waiting, all");
    world.press("1t");
    assert!(world.said().contains("t shows other tasks"));
}

#[test]
fn a_filter_is_written_kept_and_lifted() {
    let mut world = World::answered();
    world.press("/MAq");
    assert!(world.state.writing && !world.state.over, "q is a letter here");
    assert!(rows(&world.state).is_empty());
    world.key(Key::Backspace);
    assert_eq!(
        rows(&world.state),
        [Row::Queue(queue("images")), Row::Queue(queue("mail"))],
        "letters of any size"
    );
    world.key(Key::Down);
    world.key(Key::Enter);
    assert!(!world.state.writing);
    assert_eq!(world.state.stay().chosen, Some(Row::Queue(queue("mail"))));
    assert!(world.said().contains("/MA (Esc shows all)"), "{}", world.said());
    world.key(Key::Escape);
    assert_eq!(rows(&world.state).len(), 3);
    world.press("/x");
    world.key(Key::Escape);
    assert!(!world.state.writing && world.state.stay().filter.is_empty());
    world.press("/");
    world.key(Key::Backspace);
    assert!(!world.state.writing, "nothing is left to take away");
    world.press("4/");
    assert!(!world.state.writing);
}

#[test]
fn the_whole_id_of_a_task_looks_into_it_from_any_list() {
    let mut world = World::answered();
    world.press("/");
    world.happens(Event::Pasted(format!(" {}\n", id(4))));
    world.key(Key::Enter);
    assert_eq!(world.state.stay().place, Place::Task(id(4)));
    world.key(Key::Escape);
    assert_eq!(world.state.stay().place, Place::Queues);
    assert!(world.state.stay().filter.is_empty());
}

#[test]
fn text_that_is_pasted_is_no_keys() {
    for (name, mut world) in places() {
        world.happens(Event::Pasted("qpydycy\n".to_owned()));
        let changes = world.asked.iter().any(|ask| ask.slot() == Slot::Change);
        assert!(!world.state.over && world.state.question.is_none() && !changes, "{name}");
    }
    let mut world = World::answered();
    world.press("/");
    world.happens(Event::Pasted("a".repeat(10_000)));
    assert_eq!(world.state.stay().filter.len(), 128, "bounded");
}

#[test]
fn lists_are_sorted_by_each_column_and_turned_round() {
    let mut world = World::answered();
    let first = |world: &World| match &rows(&world.state)[0] {
        Row::Queue(queue) => queue.to_string(),
        other => panic!("{other:?}"),
    };
    let mut firsts = vec![first(&world)];
    for _ in 0..5 {
        world.press("s");
        firsts.push(first(&world));
    }
    assert_eq!(firsts, ["images", "mail", "audio", "audio", "images", "audio"]);
    world.press("S");
    assert_eq!(first(&world), "mail");
    assert!(world.said().contains("sorted by name, turned round"), "{}", world.said());
    world.press("4s");
    assert!(world.said().contains("no list here to sort"));
}

#[test]
fn q_and_ctrl_c_end_it_and_help_is_left_by_any_key() {
    for (name, mut world) in places() {
        world.press("?");
        assert!(world.state.help && world.text().contains("cancel the task that is chosen"), "{name}");
        world.press("q");
        assert!(!world.state.help && !world.state.over, "{name}");
        world.press("q");
        assert!(world.state.over, "{name}");
    }
    for keys in ["/", "p", "?"] {
        let mut world = World::answered();
        world.press(keys);
        world.key(Key::Interrupt);
        assert!(world.state.over, "{keys}");
    }
}

#[test]
fn lines_are_scrolled_no_further_than_they_go() {
    let mut world = World::answered();
    world.press("3");
    world.answer();
    world.key(Key::Enter);
    world.answer();
    let whole = world.text();
    world.key(Key::End);
    let end = world.text();
    assert!(end.contains("created (attempt 0) by shop"), "{end}");
    world.key(Key::Up);
    world.key(Key::PageUp);
    world.key(Key::Home);
    assert_eq!(world.text(), whole);
}
