//! Measures how a function's binary starts: from its exec to its first question for an event, and to its first answer;
//! its memory after that, and its size. `docs/lambda.md` tells how to run it and has the figures.
//!
//! The binary runs against stand-ins on this machine: Lambda's Runtime API, and a table over TLS that has nothing in it
//! and takes everything. What is measured is the function, and no network and no database.

#![allow(clippy::print_stdout, reason = "it tells its figures")]

mod instructions;
mod table;
mod throttle;

use std::error::Error;
use std::path::Path;
use std::process::Stdio;
use std::time::{Duration, Instant};

use baton_lambda::stub::{Outcome, RuntimeApi};
use serde_json::Value;
use table::Table;
use throttle::Throttle;
use tokio::process::Command;

type Failed = Box<dyn Error + Send + Sync>;

const USAGE: &str = "usage: cold-start [--memory MEGABYTES] BINARY EVENT.json [RUNS [EVENTS]]
       cold-start --instructions BINARY BARE EVENT.json

Starts BINARY, a function's binary for AWS Lambda, RUNS times (20) and gives it
the event of EVENT.json, EVENTS times (1). With more events, the time of one that
is not the first is told, too. With --memory: once BINARY has asked for its first
event it has the share of a core that Lambda gives a function of so much memory
(0.14 for 256), by a control group of Linux, which takes root.

With --instructions: how many an event costs BINARY and BARE, another binary that
takes the same event, and their ratio. Needs valgrind.";

#[tokio::main]
async fn main() -> Result<(), Failed> {
    let mut arguments: Vec<String> = std::env::args().skip(1).collect();
    if let [flag, binary, bare, event] = arguments.as_slice()
        && flag == "--instructions"
    {
        return compare(binary, bare, event).await;
    }
    let throttle = match arguments.as_slice() {
        [flag, megabytes, ..] if flag == "--memory" => {
            let throttle = Throttle::of_memory(megabytes.parse()?)?;
            arguments.drain(..2);
            Some(throttle)
        }
        _ => None,
    };
    let [binary, event, numbers @ ..] = arguments.as_slice() else { return Err(USAGE.into()) };
    let number = |place: usize, default: usize| numbers.get(place).map_or(Ok(default), |text| text.parse());
    let (runs, events) = (number(0, 20)?.max(1), number(1, 1)?.max(1));
    let event: Value = serde_json::from_slice(&std::fs::read(event)?)?;
    let dir = tempfile::tempdir()?;
    let table = Table::start(dir.path()).await?;
    let mut starts = Vec::with_capacity(runs);
    for _ in 0..runs {
        starts.push(start(Path::new(binary), &event, events, &table, throttle.as_ref()).await?);
    }
    let megabytes = std::fs::metadata(binary)?.len() as f64 / 1e6;
    println!("{binary}: {megabytes:.2} MB, {runs} starts");
    let millis = |time: Duration| time.as_secs_f64() * 1e3;
    tell("exec to first question, ms", starts.iter().map(|start| millis(start.polled)));
    tell("exec to first answer, ms", starts.iter().map(|start| millis(start.answered)));
    tell("memory after it, MB", starts.iter().map(|start| start.resident as f64 / 1e6));
    if events > 1 {
        tell("a later event, ms", starts.iter().map(|start| millis(start.later)));
    }
    Ok(())
}

async fn compare(binary: &str, bare: &str, event: &str) -> Result<(), Failed> {
    let event: Value = serde_json::from_slice(&std::fs::read(event)?)?;
    let dir = tempfile::tempdir()?;
    let table = Table::start(dir.path()).await?;
    let least = instructions::an_event(Path::new(bare), &event, &table).await?;
    println!("{bare}: {least} instructions an event");
    let whole = instructions::an_event(Path::new(binary), &event, &table).await?;
    println!("{binary}: {whole} instructions an event, {:.3} times as many", whole as f64 / least as f64);
    Ok(())
}

fn tell(what: &str, figures: impl Iterator<Item = f64>) {
    let mut figures: Vec<f64> = figures.collect();
    figures.sort_by(f64::total_cmp);
    println!("  {what:<26} min {:7.2}   median {:7.2}", figures[0], figures[figures.len() / 2]);
}

struct Start {
    polled: Duration,
    answered: Duration,
    later: Duration,
    /// Bytes.
    resident: u64,
}

async fn start(
    binary: &Path,
    event: &Value,
    events: usize,
    table: &Table,
    throttle: Option<&Throttle>,
) -> Result<Start, Failed> {
    let api = RuntimeApi::start().await?;
    let began = Instant::now();
    let mut process = Command::new(binary)
        .env_clear()
        .envs(api.environment("measured"))
        .envs(table.environment())
        .env("BATON_LOG_LEVEL", std::env::var("BATON_LOG_LEVEL").unwrap_or_else(|_| "warn".to_owned()))
        .stdout(Stdio::null())
        .kill_on_drop(true)
        .spawn()?;
    let id = process.id().ok_or("the binary has ended")?;
    api.polled().await;
    let polled = began.elapsed();
    if let Some(throttle) = throttle {
        throttle.hold(id)?;
    }
    let outcome = api.invoke(event).await;
    let answered = began.elapsed();
    check(outcome)?;
    let resident = resident(id)?;
    let warm = Instant::now();
    for _ in 1..events {
        check(api.invoke(event).await)?;
    }
    let later = warm.elapsed().checked_div(u32::try_from(events - 1)?).unwrap_or_default();
    process.kill().await?;
    Ok(Start { polled, answered, later, resident })
}

fn check(outcome: Option<Outcome>) -> Result<(), Failed> {
    match outcome {
        Some(Outcome::Answer(answer)) if answer["statusCode"].as_u64().is_none_or(|status| status < 300) => {
            Ok(())
        }
        other => Err(format!("expected an answer of success, got {other:?}").into()),
    }
}

/// The memory of a process, as Linux tells it.
fn resident(pid: u32) -> Result<u64, Failed> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status"))?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).ok_or("no VmRSS in /proc")?;
    Ok(line.trim().trim_end_matches("kB").trim().parse::<u64>()? * 1_024)
}
