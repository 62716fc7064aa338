//! `baton import` of files and tables with a map.

use std::io::Write as _;
use std::process::Stdio;

use serde_json::Value;

use super::{baton, changed, import, tasks};
use crate::support::{stderr, stdout, told, tool};

const MAP: &str = r#"
names = "jobs"

[columns]
id = "job"
type = "kind"
status = "phase"
params = "input"
created_at = "made"
updated_at = "touched"
attempts = "tries"
error = "why"
result = "outcome"

[states]
waiting = "queued"
"in work" = "running"
done = "completed"
broken = "failed"

[otherwise]
queue = "old"
"#;

const CSV: &str = "\
job,kind,phase,input,made,touched,tries,why,outcome
01980a6e-5b7c-4cc3-98c4-dc0c0c07398f,resize,waiting,\"{\"\"n\"\": 1.50}\",2026-01-31 08:15:00+00,,0,,
a 1,resize,in work,{},2026-01-31 08:15:00+00,2026-01-31 08:20:00+00,1,,
a 2,resize,done,{},2026-01-31 08:15:00+00,2026-01-31 08:20:00+00,1,,\"{\"\"made\"\":1}\"
a 3,resize,broken,{},2026-01-31 08:15:00+00,2026-01-31 08:20:00+00,3,no room,
";

fn folder() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("map.toml"), MAP).unwrap();
    std::fs::write(folder.path().join("jobs.csv"), CSV).unwrap();
    folder
}

/// The task whose id was, in the other system, this name.
fn named<'a>(tasks: &'a [Value], name: &str) -> &'a Value {
    let is = |task: &&Value| task["task"]["description"] == name;
    &tasks.iter().find(is).unwrap_or_else(|| panic!("no task {name}"))["task"]
}

#[test]
fn a_table_with_a_map_becomes_lawful_tasks_and_the_report_says_what_was_changed() {
    let folder = folder();
    for (new, same) in [(4, 0), (0, 4)] {
        let report = import(folder.path(), &["jobs.csv", "--map", "map.toml"], 0);
        assert_eq!((&report["new"], &report["same"]), (&new.into(), &same.into()), "{report}");
        assert_eq!(
            (changed(&report, "queued again"), changed(&report, "kept as a name")),
            (1, 3),
            "{report}"
        );
    }
    let tasks = tasks(folder.path());
    let ran = named(&tasks, "a 1");
    assert_eq!((&ran["head"]["state"], &ran["head"]["attempt"]), (&"queued".into(), &1.into()), "once");
    let failed = named(&tasks, "a 3");
    assert_eq!((&failed["head"]["state"], &failed["head"]["attempt"]), (&"failed".into(), &3.into()));
    assert_eq!(failed["error"]["message"], "no room");
    let done = tasks.iter().find(|task| !task["generation"].is_null()).unwrap();
    assert_eq!(done["generation"]["output"]["result"]["made"], 1);
    assert_eq!(done["task"]["finished_at"], "2026-01-31T08:20:00.000Z");
    let lines = stdout(&baton(folder.path(), &["export", "--from", "sqlite:baton.db"], 0));
    assert!(lines.contains(r#"{"n": 1.50}"#) && lines.contains("01980a6e-5b7c-4cc3-98c4-dc0c0c07398f"));
}

#[test]
fn a_dry_run_tells_the_first_mistakes_of_each_kind_and_needs_no_store() {
    let folder = folder();
    let mut text = CSV.to_owned();
    for n in 0..5 {
        text += &format!("b {n},resize,odd,{{}},yesterday,,0,,\n");
    }
    text += "b 9,resize,done\n";
    std::fs::write(folder.path().join("jobs.csv"), text).unwrap();
    let output = baton(folder.path(), &["import", "jobs.csv", "--map", "map.toml", "--dry-run"], 1);
    let said = stdout(&output);
    for part in [
        "5 rows: phase: expected one of ",
        "  line 6: got \"odd\"",
        "5 rows: made: expected a time such as",
        "  line 8: got \"yesterday\"",
        "1 rows: row: expected 9 fields, as the first line has",
        "  line 11: got 3",
        "10 rows read, 4 would be taken in, 6 would not; nothing was written",
    ] {
        assert!(said.contains(part), "{part}\nnot in\n{}", told(&output));
    }
    assert!(!said.contains("line 9: got"), "the first three of a kind: {said}");
    assert!(!folder.path().join("baton.db").exists());
    // Without --dry-run the others come in, and the command says that not all did.
    let report = import(folder.path(), &["jobs.csv", "--map", "map.toml"], 1);
    assert_eq!((&report["new"], &report["with_mistakes"]), (&4.into(), &6.into()), "{report}");
    assert_eq!(report["mistakes"][0]["first"][0]["line"], 6);
}

#[test]
fn an_sqlite_table_and_lines_from_stdin_are_read_by_the_same_map() {
    let folder = folder();
    let db = rusqlite::Connection::open(folder.path().join("old.db")).unwrap();
    db.execute_batch(
        "CREATE TABLE jobs (job TEXT, kind TEXT, phase TEXT, input TEXT, made REAL, tries INTEGER);
         INSERT INTO jobs VALUES ('s 1', 'resize', 'waiting', '{\"n\": 1.50}', 1769847300.25, 0), ('s 2', 'resize', 'done', NULL, 1769847300, 1)",
    )
    .unwrap();
    drop(db);
    let before = std::fs::read(folder.path().join("old.db")).unwrap();
    for source in ["sqlite:old.db", "old.db"] {
        let report = import(folder.path(), &[source, "--table", "jobs", "--map", "map.toml"], 0);
        assert_eq!(report["rows"], 2, "{report}");
    }
    assert_eq!(std::fs::read(folder.path().join("old.db")).unwrap(), before, "it is only read");
    let none = baton(folder.path(), &["import", "old.db", "--map", "map.toml", "--to", "sqlite:baton.db"], 3);
    assert!(stderr(&none).contains("expected the table tasks in old.db, got jobs"), "{}", told(&none));

    let mut command = tool();
    command.args(["import", "-", "--map", "map.toml", "--to", "sqlite:baton.db", "-o", "json"]);
    command.current_dir(folder.path()).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut running = command.spawn().unwrap();
    let line = r#"{"job": "s 1", "kind": "resize", "phase": "waiting", "input": {"n": 1.50}, "made": 1769847300.25, "tries": 0}"#;
    writeln!(running.stdin.take().unwrap(), "{line}").unwrap();
    let output = running.wait_with_output().unwrap();
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(report["same"], 1, "the same task, whichever way it comes: {}", told(&output));
}

#[test]
fn lines_that_no_command_could_have_made_are_refused() {
    let folder = folder();
    import(folder.path(), &["jobs.csv", "--map", "map.toml"], 0);
    let done = tasks(folder.path()).into_iter().find(|task| !task["generation"].is_null()).unwrap();
    let mut without = done.clone();
    without["generation"] = Value::Null;
    let mut short = done.clone();
    short["history"].as_array_mut().unwrap().pop();
    std::fs::write(folder.path().join("x.jsonl"), format!("{without}\n{short}\n{{}}\n[\n")).unwrap();
    let report = import(folder.path(), &["x.jsonl"], 1);
    assert_eq!((&report["with_mistakes"], &report["new"]), (&4.into(), &0.into()), "{report}");
    let told = report["mistakes"].to_string();
    for part in ["with another generation or none", "that ends otherwise", "as `baton export` writes it"] {
        assert!(told.contains(part), "{part} not in {told}");
    }
}

#[test]
fn an_import_that_is_interrupted_says_how_to_go_on_and_does() {
    use nix::sys::signal::Signal;

    use crate::support::{Running, until};

    let folder = folder();
    let lines: String = (0..20_000)
        .map(|n| format!("{{\"job\":\"j {n}\",\"kind\":\"t\",\"phase\":\"waiting\",\"made\":1769847300}}\n"))
        .collect();
    std::fs::write(folder.path().join("jobs.jsonl"), lines).unwrap();
    let mut command = tool();
    command.args(["import", "jobs.jsonl", "--map", "map.toml", "--to", "sqlite:baton.db"]);
    command.current_dir(folder.path()).stdout(Stdio::null());
    command.stderr(std::fs::File::create(folder.path().join("log")).unwrap());
    let mut running = Running(command.spawn().unwrap());
    let log = || std::fs::read_to_string(folder.path().join("log")).unwrap();
    until("some rows are read", || log().contains(" rows, ").then_some(()));
    running.signal(Signal::SIGINT);
    let ended = running.wait();
    // A quick machine may have come to the end.
    assert!(ended.success() || log().contains("run the same command again to go on"), "{}", log());
    let report = import(folder.path(), &["jobs.jsonl", "--map", "map.toml"], 0);
    let count = |name: &str| report[name].as_u64().unwrap();
    assert!(count("new") + count("same") == 20_000 && count("same") >= 1_000, "{report}");
    let again = import(folder.path(), &["jobs.jsonl", "--map", "map.toml"], 0);
    assert_eq!((&again["new"], &again["same"]), (&0.into(), &20_000.into()), "{again}");
}

#[test]
fn sources_that_cannot_be_are_refused_with_what_to_do() {
    let folder = folder();
    for (arguments, code, expected) in [
        (&["none.jsonl"][..], 3, "expected a file, got none at none.jsonl"),
        (&["."], 2, "got the folder ."),
        (&["jobs.csv", "--map", "none.toml"], 2, "--map: cannot read none.toml"),
        (&["http://127.0.0.1:1"], 2, "expected --as assistant with the address of a server"),
        (&["jobs.csv", "--to", "redis:x"], 2, "expected sqlite: and the path of the database file"),
    ] {
        let output = baton(folder.path(), &[&["import"], arguments].concat(), code);
        assert!(stderr(&output).contains(expected), "{arguments:?}: {}", told(&output));
    }
    let output = baton(folder.path(), &["import", "jobs.csv", "--dry-run"], 1);
    assert!(stdout(&output).contains("a row of a table; say --map or --as"), "{}", told(&output));
}
