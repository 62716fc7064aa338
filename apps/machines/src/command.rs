//! Machines that a program of the operator's lists and ends.

use std::process::Stdio;
use std::time::Duration;

use async_trait::async_trait;
use tokio::io::{AsyncRead, AsyncReadExt as _};

use crate::inventory::read_lines;
use crate::{Machine, Provider, ProviderError};

/// The most bytes that a program may tell.
const MOST_BYTES: u64 = 16 << 20;
/// The most of what it says is wrong.
const TOLD_BYTES: u64 = 64 << 10;
/// How much of that is told on.
const SHOWN: usize = 400;
/// How long it may take.
const LONGEST: Duration = Duration::from_secs(60);
/// What stands for the machine's id in the arguments of the program that ends it.
const ID: &str = "{id}";
/// What stands for a new machine's name in the arguments of the program that starts it.
const NAME: &str = "{name}";

/// A provider that is reached by programs: one prints machines as JSON lines, another ends one.
#[derive(Clone, Debug)]
pub struct Command {
    /// The provider's name.
    pub name: String,
    /// The program that lists, and its arguments.
    pub list: Vec<String>,
    /// The program that ends a machine, and its arguments, `{id}` among them; empty if there is none.
    pub terminate: Vec<String>,
    /// The program that starts a machine and prints it as a JSON line, and its arguments, `{name}` among them; empty if there is none.
    pub spawn: Vec<String>,
}

#[async_trait]
impl Provider for Command {
    async fn list(&self) -> Result<Vec<Machine>, ProviderError> {
        lines(&self.list).await
    }

    async fn spawn(&self, name: &str) -> Result<Machine, ProviderError> {
        if self.spawn.is_empty() {
            return Err(ProviderError::CannotSpawn(self.name.clone(), "spawn"));
        }
        let words: Vec<String> = self.spawn.iter().map(|word| word.replace(NAME, name)).collect();
        let mut machines = lines(&words).await?;
        match (machines.pop(), machines.is_empty()) {
            (Some(machine), true) => Ok(machine),
            (told, _) => Err(ProviderError::Program {
                program: words.first().cloned().unwrap_or_default(),
                what: format!(
                    "expected one line with the machine that was started, got {}",
                    machines.len() + usize::from(told.is_some())
                ),
            }),
        }
    }

    async fn terminate(&self, id: &str) -> Result<(), ProviderError> {
        if self.terminate.is_empty() {
            return Err(ProviderError::CannotTerminate(self.name.clone()));
        }
        // The id is one word, whatever is in it: no shell reads it.
        let words: Vec<String> = self.terminate.iter().map(|word| word.replace(ID, id)).collect();
        run(&words).await.map(drop)
    }
}

/// The machines that a program prints.
async fn lines(words: &[String]) -> Result<Vec<Machine>, ProviderError> {
    let told = run(words).await?;
    let text = String::from_utf8(told).map_err(|_| ProviderError::Program {
        program: words.first().cloned().unwrap_or_default(),
        what: "expected lines of JSON, got bytes that are no UTF-8".to_owned(),
    })?;
    read_lines(&text)
}

/// Runs a program to its end, and gives what it has told.
async fn run(words: &[String]) -> Result<Vec<u8>, ProviderError> {
    let [program, arguments @ ..] = words else {
        return Err(ProviderError::Program { program: String::new(), what: "no program is set".to_owned() });
    };
    let failed = |what: String| ProviderError::Program { program: program.clone(), what };
    let mut child = tokio::process::Command::new(program)
        .args(arguments)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .map_err(|error| failed(format!("it cannot be started: {error}")))?;
    let (out, err) = (child.stdout.take(), child.stderr.take());
    let work = async {
        let (out, err) = tokio::join!(read(out, MOST_BYTES), read(err, TOLD_BYTES));
        let status = child.wait().await;
        (out, err, status)
    };
    let (out, err, status) = tokio::time::timeout(LONGEST, work)
        .await
        .map_err(|_| failed(format!("it took longer than {} s, and was ended", LONGEST.as_secs())))?;
    let status = status.map_err(|error| failed(error.to_string()))?;
    if !status.success() {
        let told = String::from_utf8_lossy(&err);
        return Err(failed(format!("expected the exit code 0, got {status}: {}", tail(told.trim()))));
    }
    if out.len() as u64 > MOST_BYTES {
        return Err(failed(format!("expected up to {MOST_BYTES} bytes, got more")));
    }
    Ok(out)
}

/// Reads to the end, and keeps one byte more than `most` at most.
async fn read(from: Option<impl AsyncRead + Unpin>, most: u64) -> Vec<u8> {
    let Some(mut from) = from else { return Vec::new() };
    let mut kept = Vec::new();
    // What cannot be read is not there: then the program's status tells.
    let _ = (&mut from).take(most + 1).read_to_end(&mut kept).await;
    // The rest is read and let go of, so that the program comes to its end.
    let _ = tokio::io::copy(&mut from, &mut tokio::io::sink()).await;
    kept
}

/// The end of what was told, where causes stand.
fn tail(text: &str) -> String {
    let from = text.char_indices().rev().nth(SHOWN - 1).map_or(0, |(at, _)| at);
    text[from..].to_owned()
}
