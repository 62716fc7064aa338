//! Programs that are run when an alert fires and when it ends: one at a time for each rule, and none for longer than it may.
//!
//! A program is run once for what happened, and not again after a restart: what must not be lost goes to a webhook.

use std::collections::BTreeMap;
use std::io;
use std::process::Stdio;
use std::time::Duration;

use baton_alerts::{Command, EventName};
use baton_model::GroupName;
use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::process::Child;
use tokio::sync::mpsc;
use tokio::time::timeout;

/// How many runs of a rule wait for their turn.
const WAITING: usize = 100;
/// How much of what a program says on stderr is told when it fails.
const SAID: u64 = 2_000;

/// One run.
struct Run {
    command: Command,
    event: EventName,
    line: String,
}

/// The programs of all rules.
#[derive(Default)]
pub(crate) struct Commands(BTreeMap<GroupName, mpsc::Sender<Run>>);

impl Commands {
    /// Has the program of a rule run, once those before it have ended. `line` is on its input.
    pub(crate) fn run(&mut self, rule: &GroupName, command: Command, event: EventName, line: String) {
        let sender = self.0.entry(rule.clone()).or_insert_with(|| {
            let (sender, receiver) = mpsc::channel(WAITING);
            tokio::spawn(run_all(rule.clone(), receiver));
            sender
        });
        if sender.try_send(Run { command, event, line }).is_err() {
            tracing::error!(alert = %rule, "too many runs of the alert's command wait; this one is left out");
        }
    }
}

async fn run_all(rule: GroupName, mut runs: mpsc::Receiver<Run>) {
    while let Some(run) = runs.recv().await {
        let longest = run.command.timeout;
        match run_one(&rule, run).await {
            Ok(None) => {}
            Ok(Some(why)) => tracing::error!(alert = %rule, why, "the command of an alert failed"),
            Err(error) => {
                tracing::error!(alert = %rule, %error, ?longest, "the command of an alert could not be run");
            }
        }
    }
}

/// Runs a program to its end; why it failed, if it did.
async fn run_one(rule: &GroupName, run: Run) -> io::Result<Option<String>> {
    let Run { command: Command { words, shell, timeout: longest }, event, line } = run;
    let mut program = if shell {
        let mut program = tokio::process::Command::new("/bin/sh");
        program.arg("-c").args(&words);
        program
    } else {
        let Some((name, arguments)) = words.split_first() else { return Ok(None) };
        let mut program = tokio::process::Command::new(name);
        program.args(arguments);
        program
    };
    program
        .env_remove("BATON_TOKEN")
        .env("BATON_ALERT", rule.as_str())
        .env("BATON_EVENT", event.as_str())
        .process_group(0)
        .kill_on_drop(true)
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::piped());
    let mut child = program.spawn()?;
    let group = child.id().and_then(|id| i32::try_from(id).ok()).map(Pid::from_raw);
    let outcome = timeout(longest, converse(&mut child, &line)).await;
    // Whatever it has started ends with it.
    if let Some(group) = group {
        let _ = killpg(group, Signal::SIGKILL);
    }
    match outcome {
        Ok(outcome) => outcome,
        Err(_) => {
            timeout(Duration::from_secs(5), child.wait()).await.map_err(io::Error::other)??;
            Ok(Some(format!("it took longer than {} s, and was ended", longest.as_secs_f64())))
        }
    }
}

async fn converse(child: &mut Child, line: &str) -> io::Result<Option<String>> {
    if let Some(mut input) = child.stdin.take() {
        // A program need not read it.
        let _ = input.write_all(line.as_bytes()).await;
        let _ = input.write_all(b"\n").await;
    }
    let mut said = Vec::new();
    if let Some(errors) = child.stderr.take() {
        let mut some = errors.take(SAID);
        some.read_to_end(&mut said).await?;
        tokio::io::copy(&mut some.into_inner(), &mut tokio::io::sink()).await?;
    }
    let status = child.wait().await?;
    let said = String::from_utf8_lossy(&said).trim().to_owned();
    Ok((!status.success()).then(|| format!("{status}: {said}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(words: &[&str], shell: bool, longest: Duration) -> Run {
        let words = words.iter().map(|word| (*word).to_owned()).collect();
        let command = Command { words, shell, timeout: longest };
        Run { command, event: EventName::AlertFired, line: r#"{"type":"alert.fired"}"#.to_owned() }
    }

    #[tokio::test]
    async fn a_program_gets_what_happened_on_its_input_and_no_shell() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("out");
        let rule: GroupName = "deep".parse().unwrap();
        let plain = run(&["tee", file.to_str().unwrap()], false, Duration::from_secs(20));
        assert_eq!(run_one(&rule, plain).await.unwrap(), None);
        assert_eq!(std::fs::read_to_string(&file).unwrap(), "{\"type\":\"alert.fired\"}\n");
        let strange = run(&["false", "; touch x"], false, Duration::from_secs(20));
        assert!(run_one(&rule, strange).await.unwrap().unwrap().contains("exit status: 1"));
        let shell = format!("echo \"$BATON_ALERT $BATON_EVENT\" > {}; echo no >&2; exit 3", file.display());
        let told = run_one(&rule, run(&[&shell], true, Duration::from_secs(20))).await.unwrap().unwrap();
        assert!(told.contains("exit status: 3: no"), "{told}");
        assert_eq!(std::fs::read_to_string(&file).unwrap(), "deep alert.fired\n");
        assert!(run_one(&rule, run(&["/nowhere"], false, Duration::from_secs(9))).await.is_err());
    }

    #[tokio::test]
    async fn a_program_that_does_not_end_is_ended_with_what_it_has_started() {
        let rule: GroupName = "deep".parse().unwrap();
        let long = run(&["sleep 100 & sleep 100"], true, Duration::from_millis(50));
        let told = run_one(&rule, long).await.unwrap().unwrap();
        assert!(told.contains("took longer than 0.05 s"), "{told}");
    }
}
