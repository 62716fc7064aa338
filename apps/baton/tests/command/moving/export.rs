//! `baton export`, and reading again what it wrote.

use serde_json::Value;

use super::{baton, import, tasks};
use crate::support::{PATIENT, World, stderr, told};

/// A world with a completed, a cancelled and a waiting task, whose server has ended.
fn world() -> (World, [String; 3]) {
    let mut world = World::new(PATIENT);
    let done = world.create(&["--project", "film", "--params", r#"{"n": 1.50}"#]);
    let worker = world.worker("echo '{\"made\": 1}'");
    world.becomes(&done, "completed");
    drop(worker);
    let cancelled = world.create(&[]);
    world.run(&["task", "cancel", &cancelled], 0);
    let waiting = world.create(&["--queue", "later", "--project", "film", "--depends-on", &done]);
    assert!(world.end_server().success());
    (world, [done, cancelled, waiting])
}

#[test]
fn what_is_exported_is_read_again_whole_and_once() {
    let (mut world, ids) = world();
    let folder = world.folder.path().to_owned();
    let exported = baton(&folder, &["export", "--from", "sqlite:baton.db"], 0).stdout;
    std::fs::write(folder.join("tasks.jsonl"), &exported).unwrap();
    assert!(String::from_utf8_lossy(&exported).contains(r#"{"n": 1.50}"#), "byte for byte");
    let here = import(&folder, &["tasks.jsonl"], 0);
    assert_eq!((&here["same"], &here["new"]), (&3.into(), &0.into()), "{here}");

    std::fs::rename(folder.join("baton.db"), folder.join("before.db")).unwrap();
    for (new, same) in [(3, 0), (0, 3)] {
        let report = import(&folder, &["tasks.jsonl"], 0);
        assert_eq!((&report["new"], &report["same"]), (&new.into(), &same.into()), "{report}");
        assert_eq!((&report["changes"], &report["mistakes"]), (&Value::Array(vec![]), &Value::Array(vec![])));
    }
    assert_eq!(baton(&folder, &["export", "--from", "sqlite:baton.db"], 0).stdout, exported);
    world.restart_server();
    let [done, cancelled, waiting] = ids.map(|id| world.task(&id));
    assert_eq!(
        (&done["task"]["status"], &done["generation"]["result"]["made"]),
        (&"completed".into(), &1.into())
    );
    assert_eq!(cancelled["task"]["status"], "cancelled");
    assert_eq!(
        (&waiting["task"]["status"], &waiting["task"]["depends_on"][0]),
        (&"queued".into(), &done["task"]["id"])
    );
    assert_eq!(world.json(&["stats"])["states"]["completed"], 1);
}

#[test]
fn a_file_is_there_once_it_is_whole_and_json_needs_one() {
    let (world, _) = world();
    let folder = world.folder.path();
    let report = baton(folder, &["export", "--from", "sqlite:baton.db", "--out", "x.jsonl", "-o", "json"], 0);
    let report: Value = serde_json::from_slice(&report.stdout).unwrap();
    assert_eq!((&report["tasks"], &report["out"]), (&3.into(), &"x.jsonl".into()));
    assert!(!folder.join("x.jsonl.part").exists());
    assert_eq!(std::fs::read_to_string(folder.join("x.jsonl")).unwrap().lines().count(), 3);
    let unsaid = baton(folder, &["export", "--from", "sqlite:baton.db", "-o", "json"], 2);
    assert!(stderr(&unsaid).contains("expected --out FILE with it"), "{}", told(&unsaid));
    let none = baton(folder, &["export", "--from", "sqlite:none.db"], 3);
    assert!(stderr(&none).contains("got none at none.db"), "{}", told(&none));
    assert!(!folder.join("none.db").exists());
}

#[test]
fn a_task_that_was_worked_on_since_is_refused_and_left_as_it_is() {
    let (mut world, [_, cancelled, _]) = world();
    let folder = world.folder.path().to_owned();
    let exported = baton(&folder, &["export", "--from", "sqlite:baton.db"], 0).stdout;
    std::fs::write(folder.join("tasks.jsonl"), exported).unwrap();
    world.restart_server();
    world.run(&["task", "retry", &cancelled], 0);
    assert!(world.end_server().success());
    let before = tasks(&folder);
    let report = import(&folder, &["tasks.jsonl"], 4);
    assert!(report["refused"].as_u64().unwrap() >= 1 && report["same"].as_u64().unwrap() >= 1, "{report}");
    assert!(
        report["refusals"][0]["why"].as_str().unwrap().contains("it has been worked on there"),
        "{report}"
    );
    assert_eq!(tasks(&folder), before);
}
