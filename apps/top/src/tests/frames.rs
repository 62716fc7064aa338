//! What the terminal shows.

use serde_json::json;

use super::world::{World, ago, id, task};
use crate::event::{Event, Key};

/// The line that begins so.
fn line(lines: &[String], begin: &str) -> String {
    let found = lines.iter().find(|line| line.starts_with(begin));
    found.unwrap_or_else(|| panic!("no line begins with {begin:?}: {lines:#?}")).clone()
}

#[test]
fn queues_at_80_by_24() {
    let mut world = World::answered();
    let lines = world.shows(80, 24);
    assert_eq!(lines.len(), 24);
    assert_eq!(
        lines[..12],
        [
            " error: 1 wrong, 1 more to look at  127.0.0.1:7410 0.1.0  03:12:45 UTC  clock ok",
            "queue images: 1200 ready, the oldest for 14m: no live worker takes type resize",
            "1252 wait 3 blocked 2 run 7 failed  2 workers 1 lost 1 busy",
            " 1 queues   2 workers   3 tasks   4 wrong                           3 by waiting",
            "QUEUE            STATE    READY  LATER    RUN FAILED OLDEST  IN/s OUT/s TREND",
            "images           late      1200      3      1      6    14m",
            "mail             paused      38      2      0      1     3h",
            "audio                        12      0      1      0   4.0s",
            "",
            "",
            "",
            "",
        ]
    );
    assert_eq!(lines[22], "");
    assert_eq!(lines[23], "↑↓ choose  Enter look into  / filter  s sort  p pause  ? help  q quit");
}

#[test]
fn queues_at_120_by_40_tell_more() {
    let mut world = World::answered();
    let lines = world.shows(120, 40);
    assert_eq!(lines.len(), 40);
    assert!(lines[0].ends_with("127.0.0.1:7410 0.1.0  03:12:45 UTC  clock ok  every 2s"), "{lines:?}");
    let titles = line(&lines, "QUEUE");
    assert!(titles.contains("BLOCKED") && titles.contains("WAIT95  RUN95 TREND"), "{titles}");
    let images = line(&lines, "images");
    let cells: Vec<_> = images.split_whitespace().collect();
    assert_eq!(cells, ["images", "late", "1200", "0", "3", "1", "6", "14m", "6m", "4.0s"]);
}

#[test]
fn workers() {
    let mut world = World::answered();
    world.press("2");
    world.answer();
    let lines = world.shows(80, 24);
    for (begin, words) in [
        ("WORKER", &["LIFE", "SINCE", "BEAT", "TASKS", "RUNS", "READINGS"][..]),
        ("gpu-1", &["active", "2h", "3.0s", "2/4", "01980a6e", "temperature"]),
        ("gpu-2", &["draining", "0/4"]),
        ("old-9", &["lost", "9m", "10m"]),
    ] {
        let line = line(&lines, begin);
        assert!(words.iter().all(|word| line.contains(word)), "{words:?}: {line}");
    }
    let lines = world.shows(120, 40);
    assert!(line(&lines, "gpu-1").contains("01980a6e…000001 40% +1"), "{lines:#?}");
    assert!(line(&lines, "gpu-1").contains("temperature 71  vram"), "{lines:#?}");
}

#[test]
fn running_tasks() {
    let mut world = World::answered();
    world.tasks.push(task(
        6,
        "running",
        json!({"lease":
        {"worker_id": "gpu-1", "claimed_at": ago(10), "timeout_at": "2026-01-31T03:16:45.000Z"}}),
    ));
    world.press("3");
    world.answer();
    let lines = world.shows(80, 24);
    for (begin, cells) in [
        ("TASK", &["TASK", "AGE", "LEASE", "DONE", "TRY", "WORKER", "QUEUE", "TYPE"][..]),
        (
            "01980a6e…000001",
            &["01980a6e…000001", "90s", "beat", "3.0s", "40%", "2/5", "gpu-1", "images", "resize"],
        ),
        ("01980a6e…000002", &["01980a6e…000002", "30s", "over", "1/5", "gpu-1", "audio", "mix"]),
        ("01980a6e…000006", &["01980a6e…000006", "10s", "4m", "left", "1/5", "gpu-1", "images", "resize"]),
    ] {
        assert_eq!(line(&lines, begin).split_whitespace().collect::<Vec<_>>(), cells);
    }
    assert!(lines[3].ends_with("3 running by age"), "{}", lines[3]);
    world.press("t");
    world.answer();
    let failed = line(&world.shows(80, 24), "01980a6e…000003");
    assert!(
        failed.contains("failed") && failed.contains("5/5") && failed.ends_with("out of memory"),
        "{failed}"
    );
    world.press("t");
    world.answer();
    assert!(line(&world.shows(80, 24), "01980a6e…000005").ends_with("due in 5m"));
}

#[test]
fn one_queue() {
    let mut world = World::answered();
    world.key(Key::Down);
    world.key(Key::Enter);
    world.answer();
    let lines = world.shows(80, 24);
    assert!(lines[3].contains("› queue mail"), "{lines:#?}");
    assert_eq!(line(&lines, "paused"), "paused     it was paused 3h ago by ada: provider is down");
    let waiting = line(&lines, "waiting");
    assert!(
        waiting.contains("38 ready; the oldest for 3h; 0 for later, 2 to try again, 0 blocked"),
        "{waiting}"
    );
    assert_eq!(line(&lines, "of a day"), "of a day   waited none yet; ran none yet");
    assert!(world.text().contains("no such task; t lists others"));
    world.key(Key::Escape);
    world.key(Key::Up);
    world.key(Key::Enter);
    world.answer();
    let lines = world.shows(80, 24);
    assert!(line(&lines, "waiting").contains("the oldest for 14m, which is late"), "{lines:#?}");
    assert!(
        line(&lines, "of a day").contains("waited 30s at half, 6m at 95 of 100; ran 1.5s at"),
        "{lines:#?}"
    );
    assert!(line(&lines, "01980a6e…000003").contains("failed"), "{lines:#?}");
}

#[test]
fn one_task_that_runs() {
    let mut world = World::answered();
    world.press("3");
    world.answer();
    world.key(Key::Enter);
    world.answer();
    let lines = world.shows(120, 40);
    let at = lines[4..].join("\n");
    for told in [
        &format!("task       {}", id(1)),
        "state      running for 90s; 2 of 5 attempts used; priority normal",
        "is         of type resize in queue images, project default; created 10m ago",
        "runs       attempt 2 by gpu-1, claimed 90s ago",
        "progress   40% page 4 of 10",
        "  #2 03:11:15 gpu-1 runs for 90s running",
        "  #1 03:07:45 gpu-2 took 100s attempt_failed: exit_3: out of memory",
        "  03:12:26 warn stderr: memory is short",
        "  03:09:25 attempt_failed (attempt 1) by gpu-2: out of memory, 3m ago",
        "  03:02:45 created (attempt 0) by shop, 10m ago",
    ] {
        assert!(at.contains(told), "{told}: {at}");
    }
}

#[test]
fn one_task_that_waits_or_failed_or_is_done() {
    let mut world = World::answered();
    world.press("3tt");
    world.answer();
    world.key(Key::Enter);
    world.answer();
    let text = world.text();
    assert!(text.contains("waits      it is ready, and no live worker takes it"), "{text}");
    assert!(text.contains("           - no live worker takes type resize"), "{text}");
    assert!(text.contains("to go on: baton worker run --queue images -- COMMAND"), "{text}");
    let mut world = World::answered();
    world.press("3t");
    world.answer();
    world.key(Key::Enter);
    world.answer();
    let text = world.text();
    assert!(text.contains("error      exit_3: start\n           out of memory"), "{text}");
    let mut world = World::answered();
    let ask = crate::ask::Ask::Task(id(3));
    world.press("/");
    world.happens(Event::Pasted(id(3).to_string()));
    world.key(Key::Enter);
    world.asked.retain(|asked| *asked != ask);
    let mut one = super::world::one_task(&super::world::read(task(3, "completed", json!({}))));
    one.detail.generation = Some(super::world::read(
        json!({"id": "01980a6e-5b7c-7cc3-98c4-0000000000aa", "task_id": id(3),
        "project": "default", "queue": "images", "type": "resize", "attempt": 1, "worker_id": "gpu-1", "location": "s3://out/7",
        "kind": "image/png", "result": {"ok": true}, "created_at": ago(60), "started_at": ago(40), "finished_at": ago(30),
        "files": [{"path": "a.png", "size": 2_097_152, "sha256": "0", "content_type": "image/png"}], "run_seconds": 9.5}),
    ));
    world.happens(Event::Answered(ask, Ok(crate::ask::Answer::Task(Box::new(one)))));
    let text = world.text();
    assert!(
        text.contains("output     at s3://out/7, image/png, result of 11 bytes, 1 files of 2.0 MiB, ran\n           9.5s"),
        "{text}"
    );
}

#[test]
fn a_log_line_stands_where_it_was_received_with_the_time_that_it_bears_beside() {
    let mut world = World::answered();
    let ask = crate::ask::Ask::Task(id(3));
    world.press("/");
    world.happens(Event::Pasted(id(3).to_string()));
    world.key(Key::Enter);
    world.asked.retain(|asked| *asked != ask);
    let mut one = super::world::one_task(&super::world::read(task(3, "completed", json!({}))));
    one.lines.as_mut().unwrap()[0].at = "2199-01-01T00:00:00.000Z".parse().unwrap();
    world.happens(Event::Answered(ask, Ok(crate::ask::Answer::Task(Box::new(one)))));
    let text = world.shows(120, 40).join("\n");
    assert!(
        text.contains("  03:12:26 (dated 2199-01-01T00:00:00.000Z) warn stderr: memory is short"),
        "{text}"
    );
}

#[test]
fn one_worker() {
    let mut world = World::answered();
    world.press("2");
    world.answer();
    world.key(Key::Enter);
    world.answer();
    let lines = world.shows(80, 24);
    assert_eq!(line(&lines, "life"), "life       active (2h ago): it beats");
    assert_eq!(line(&lines, "heard"), "heard      3s ago; started 2h ago; asked to run");
    assert_eq!(line(&lines, "readings"), "readings   temperature 71  vram 0.830");
    assert_eq!(line(&lines, "holds"), "holds      2 of 4 tasks");
    assert!(line(&lines, &id(1).to_string()).ends_with("2   40%"), "{lines:#?}");
}

#[test]
fn all_that_is_wrong_with_what_mends_it() {
    let mut world = World::answered();
    world.press("4");
    let text = world.text();
    assert!(
        text.contains(
            "1. error: queue images: 1200 ready, the oldest for 14m: no live worker takes\ntype resize"
        ),
        "{text}"
    );
    assert!(text.contains("   baton worker run --queue images -- COMMAND"), "{text}");
    assert!(text.contains("2. warning: queue mail was paused 3h ago by ada; 40 wait"), "{text}");
    world.found.clear();
    world.passes(10.0);
    world.answer();
    let text = world.text();
    assert!(text.starts_with(" ok: nothing is wrong ") && text.contains("\nnothing is wrong"), "{text}");
}

#[test]
fn clocks_that_are_apart_are_told_in_the_first_line() {
    let mut world = World::new();
    let asks = std::mem::take(&mut world.asked);
    for ask in asks {
        let mut answer = world.answer_to(&ask);
        if let Ok(crate::ask::Answer::Verdict { judged: Ok(judged), .. }) = &mut answer {
            judged.at = judged.at.plus(std::time::Duration::from_secs(7));
        }
        world.happens(Event::Answered(ask, answer));
    }
    assert!(world.shows(120, 40)[0].contains("clock 7.0s ahead"), "{}", world.shows(120, 40)[0]);
}

#[test]
fn a_terminal_that_is_too_small_is_told_and_goes_on() {
    let mut world = World::answered();
    for (width, height) in [(79, 24), (80, 23), (40, 10), (20, 2), (1, 1)] {
        let lines = world.shows(width, height);
        if width >= 70 {
            let told = format!("baton top needs 80 × 24, and this terminal has {width} × {height}:");
            assert_eq!(lines[..2], [told, "make it larger; q quits".to_owned()]);
        }
    }
    world.press("2");
    world.answer();
    assert!(world.text().contains("\ngpu-1"), "keys go on");
    world.press("q");
    assert!(world.state.over);
}

#[test]
fn before_the_first_answer_and_with_nothing_to_show_it_says_so() {
    let mut world = World::new();
    let text = world.text();
    assert!(text.starts_with(" asking ") && text.contains("asking the server"), "{text}");
    world.stats["queues"] = json!([]);
    world.workers.clear();
    world.tasks.clear();
    world.answer();
    assert!(world.text().contains("no queue has tasks"));
    world.press("2");
    world.answer();
    assert!(world.text().contains("no worker was ever heard of"));
    world.press("3");
    world.answer();
    assert!(world.text().contains("no such task; t lists others"));
}

#[test]
fn without_colours_what_matters_stands_out_all_the_same() {
    use ratatui::Terminal;
    use ratatui::backend::TestBackend;
    use ratatui::style::{Color, Modifier};
    for colours in [true, false] {
        let mut world = World::answered();
        world.state.setup.colours = colours;
        let mut terminal = Terminal::new(TestBackend::new(80, 24)).unwrap();
        terminal.draw(|frame| crate::view::draw(&mut world.state, frame)).unwrap();
        let buffer = terminal.backend().buffer();
        let coloured = buffer.content().iter().any(|cell| cell.fg != Color::Reset);
        assert_eq!(coloured, colours);
        assert!(buffer[(1, 0)].modifier.contains(Modifier::BOLD | Modifier::REVERSED), "the verdict");
        assert!(buffer[(0, 5)].modifier.contains(Modifier::REVERSED), "the chosen row");
    }
}
