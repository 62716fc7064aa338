//! The example, from the first scene to the last word.

use serde_json::Value;

use crate::support::{told, tool};

#[test]
fn the_example_runs_to_its_end_and_survives_the_worker_that_it_kills() {
    let folder = tempfile::tempdir().unwrap();
    let example = |arguments: &[&str]| {
        let mut command = tool();
        command.arg("example").args(arguments).current_dir(folder.path()).env_remove("CARGO");
        let output = command.output().unwrap();
        assert!(output.status.success(), "{}", told(&output));
        String::from_utf8(output.stdout).unwrap()
    };
    let report: Value = serde_json::from_str(&example(&["-o", "json"])).unwrap();
    let tasks = report["tasks"].as_array().unwrap();
    assert_eq!(tasks.len(), 13);
    let of = |status: &str| tasks.iter().filter(|entry| entry["task"]["status"] == status).count();
    assert_eq!((of("completed"), of("failed")), (12, 1));
    let pictures = std::fs::read_dir(folder.path().join("baton-example/pictures")).unwrap().count();
    assert_eq!(pictures, 12);

    let (victim, task) = (&report["killed"]["worker_id"], &report["killed"]["task_id"]);
    let killed = tasks.iter().find(|entry| entry["task"]["id"] == *task).unwrap();
    assert_eq!(victim, "painter-1");
    assert_eq!(killed["generation"]["worker_id"], "painter-2");

    // Again, with scenes of one's own and for people, and over what an earlier version and a killed renderer left.
    let in_folder = |name: &str| folder.path().join("baton-example").join(name);
    std::fs::write(in_folder("baton.db"), "not of this version").unwrap();
    std::fs::write(in_folder("pictures/.mine.png.7.0.tmp"), "half").unwrap();
    let scenes = folder.path().join("own");
    std::fs::create_dir(&scenes).unwrap();
    let built_in = folder.path().join("baton-example/scenes/metal-row.json");
    std::fs::copy(built_in, scenes.join("mine.json")).unwrap();
    let text = example(&["--scenes", "own"]);
    assert!(text.contains("mine") && text.contains("completed"), "{text}");
    let serve = format!("  {} serve --store sqlite:baton-example/baton.db\n", env!("CARGO_BIN_EXE_baton"));
    assert!(text.contains(&serve), "{text}");
    assert!(!in_folder("pictures/.mine.png.7.0.tmp").exists());
}

#[test]
fn the_example_does_not_remove_a_database_that_is_not_its_own() {
    let folder = tempfile::tempdir().unwrap();
    let database = folder.path().join("baton.db");
    std::fs::write(&database, "tasks of one's own").unwrap();
    let mut command = tool();
    let output = command.args(["example", "--dir"]).arg(folder.path()).output().unwrap();
    assert_eq!(output.status.code(), Some(2), "{}", told(&output));
    assert!(told(&output).contains("name another folder"), "{}", told(&output));
    assert_eq!(std::fs::read_to_string(&database).unwrap(), "tasks of one's own");
}
