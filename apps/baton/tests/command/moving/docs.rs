//! The commands of docs/moving-data.md, run as they are written there.

use std::path::Path;
use std::process::Command;

use super::import;
use crate::support::told;

/// The blocks of a document in this language.
fn blocks<'a>(text: &'a str, language: &str) -> Vec<&'a str> {
    let fence = format!("```{language}\n");
    text.split(fence.as_str()).skip(1).map(|rest| rest.split("```").next().unwrap()).collect()
}

#[test]
fn each_test_that_the_page_of_failures_names_is_where_it_says() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/moving");
    let page = std::fs::read_to_string(folder.join("failures.md")).unwrap();
    let mut named = 0;
    for link in page.lines().filter(|line| line.starts_with('|')).flat_map(|line| line.split("[`").skip(1)) {
        let (name, rest) = link.split_once("`](").unwrap();
        let (file, _) = rest.split_once(')').unwrap();
        let tests = std::fs::read_to_string(folder.join(file)).unwrap();
        assert!(tests.contains(&format!("async fn {name}(")), "{name} is in {file}");
        named += 1;
    }
    assert!(named >= 20, "{named}");
}

/// The files that the commands name.
fn prepare(folder: &Path, map: &str) {
    std::fs::write(folder.join("map.toml"), map).unwrap();
    std::fs::write(
        folder.join("jobs.csv"),
        "job,kind,phase,width,height,made\na 1,resize,in work,640,480,2026-01-31 08:15:00\n",
    )
    .unwrap();
    std::fs::write(
        folder.join("tasks.csv"),
        "id,status,type,params,created_at\n01980a6e-5b7c-4cc3-98c4-dc0c0c07398f,queued,general_query,{},2026-01-31 08:15:00+00\n",
    )
    .unwrap();
    let db = rusqlite::Connection::open(folder.join("autodev.db")).unwrap();
    db.execute_batch(
        "CREATE TABLE tasks (id TEXT, title TEXT, role TEXT, state TEXT, created_at TEXT);
         INSERT INTO tasks VALUES ('agent-task-1-aa', 'One', 'backend', 'queued', '2026-01-31 08:15:00')",
    )
    .unwrap();
}

#[test]
fn every_block_of_the_page_runs() {
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/moving-data.md");
    let page = std::fs::read_to_string(page).unwrap();
    let folder = tempfile::tempdir().unwrap();
    prepare(folder.path(), blocks(&page, "toml")[0]);
    let program = Path::new(env!("CARGO_BIN_EXE_baton")).parent().unwrap();
    let path = format!("{}:{}", program.display(), std::env::var("PATH").unwrap());
    let commands = blocks(&page, "sh");
    assert_eq!(commands.len(), 3);
    for block in commands {
        let output = Command::new("sh")
            .args(["-e", "-c", block])
            .env("PATH", &path)
            .current_dir(folder.path())
            .output()
            .unwrap();
        assert!(output.status.success(), "{block}: {}", told(&output));
    }
    let report = import(folder.path(), &["jobs.csv", "--map", "map.toml"], 0);
    assert_eq!((&report["same"], super::tasks(folder.path()).len()), (&1.into(), 3), "{report}");
}
