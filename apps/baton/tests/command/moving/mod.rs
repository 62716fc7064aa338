//! `baton import` and `baton export`.

#[cfg(feature = "dialects")]
mod docs;
mod export;
#[cfg(feature = "dialects")]
mod guides;
mod import;
#[cfg(all(feature = "dialects", feature = "postgres"))]
mod postgres;
#[cfg(feature = "dialects")]
mod systems;

use std::path::Path;
use std::process::Output;

use serde_json::Value;

use crate::support::{run, tool};

/// What a command says that is run in a folder.
fn baton(folder: &Path, arguments: &[&str], code: i32) -> Output {
    let mut command = tool();
    command.args(arguments).current_dir(folder);
    run(command, code)
}

/// What an import into `baton.db` reports.
fn import(folder: &Path, arguments: &[&str], code: i32) -> Value {
    let output =
        baton(folder, &[&["import", "-o", "json", "--to", "sqlite:baton.db"], arguments].concat(), code);
    serde_json::from_slice(&output.stdout).unwrap()
}

/// The tasks of `baton.db`, as they are exported.
fn tasks(folder: &Path) -> Vec<Value> {
    let output = baton(folder, &["export", "--from", "sqlite:baton.db"], 0);
    let lines = String::from_utf8(output.stdout).unwrap();
    lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// What a report says was changed, by how many.
fn changed(report: &Value, what: &str) -> u64 {
    let changes = report["changes"].as_array().unwrap().iter();
    changes
        .filter(|one| one["what"].as_str().unwrap().contains(what))
        .map(|one| one["count"].as_u64().unwrap())
        .sum()
}
