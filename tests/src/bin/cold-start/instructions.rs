//! What an event costs a function, in instructions: as valgrind counts them, so that other work on the machine changes
//! nothing.

use std::path::Path;
use std::process::Stdio;

use baton_lambda::stub::RuntimeApi;
use serde_json::Value;
use tokio::process::Command;

use crate::table::Table;
use crate::{Failed, check};

/// Few and many events; the difference is free of what a process does once.
const EVENTS: [u64; 2] = [20, 220];

/// Instructions that one event costs a binary.
pub(crate) async fn an_event(binary: &Path, event: &Value, table: &Table) -> Result<u64, Failed> {
    let [few, many] = EVENTS;
    let less = whole(binary, event, few, table).await?;
    let more = whole(binary, event, many, table).await?;
    Ok(more.saturating_sub(less) / (many - few))
}

/// Instructions of a process that gets this many events and is ended then.
async fn whole(binary: &Path, event: &Value, events: u64, table: &Table) -> Result<u64, Failed> {
    let api = RuntimeApi::start().await?;
    let process = Command::new("valgrind")
        .args(["--tool=callgrind", "--callgrind-out-file=/dev/null"])
        .arg(binary)
        .envs(api.environment("measured"))
        .envs(table.environment())
        .env("BATON_LOG_LEVEL", "info")
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .map_err(|error| format!("expected valgrind on this machine, got: {error}; install it"))?;
    let pid = process.id().ok_or("valgrind has ended")?;
    // It is read while it is written, as the function logs there, too.
    let output = tokio::spawn(process.wait_with_output());
    for _ in 0..events {
        check(api.invoke(event).await)?;
    }
    Command::new("kill").arg(pid.to_string()).status().await?;
    let told = String::from_utf8_lossy(&output.await??.stderr).into_owned();
    let count = told.lines().find_map(|line| line.split_once("Collected :")).map(|(_, count)| count.trim());
    let count = count.ok_or_else(|| format!("expected valgrind's count, got {told}"))?;
    Ok(count.parse()?)
}
