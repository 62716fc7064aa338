//! `baton task create --from`: a task for each line of a file.
//!
//! Each line has an outcome of its own, told with its number as soon as it is known: the id of its task, or why there is
//! none. A line that is refused does not hold up those after it. If the import breaks off, the error says how far it came
//! and how to go on. With an idempotency key, each line is a request of its own, under a key that is made of the given one
//! and the line's number: docs/decisions/0009-import-keys.md tells why not a batch under one key.

use std::cell::Cell;
use std::collections::VecDeque;
use std::fs::File;
use std::io::{self, BufReader, Read};
use std::path::Path;
use std::time::Duration;

use baton_api::batch::CreateBatch;
use baton_api::create::{CreateTask, CreatedTask, ItemProblem};
use baton_api::fields::BodyError;
use baton_api::{ProblemCode, ReadFields as _};
use baton_client::{Client, ClientError};
use baton_model::{Limits, RequestKey, Trace, limits};
use futures::{StreamExt as _, stream};
use serde::Serialize;
use tokio::sync::mpsc;

use crate::context::Context;
use crate::exit::Failure;
use crate::input::{self, Line, NotText};
use crate::signals::Signals;
use crate::task::create::surroundings;
use crate::words;

/// The most bytes of lines that go into one batch; the server takes 16 MiB unless set otherwise.
const BATCH_BYTES: usize = 8 << 20;
/// How many lines are on their way at once if each is a request of its own: a server commits in groups, and 16 fill most of
/// one, while lines that stand near each other still start in about their order.
const AT_ONCE: usize = 16;
/// How long a server that does not answer is waited for.
const PATIENCE: Duration = Duration::from_secs(30);

/// A line, and the task that it stands for, or why it stands for none.
struct Entry {
    line: u64,
    task: Result<CreateTask, ItemProblem>,
}

/// What became of a line.
#[derive(Serialize)]
struct Outcome {
    line: u64,
    #[serde(flatten)]
    became: Became,
}

#[derive(Serialize)]
#[serde(rename_all = "lowercase")]
enum Became {
    Task(CreatedTask),
    Problem(ItemProblem),
}

impl From<Result<CreatedTask, ItemProblem>> for Became {
    fn from(result: Result<CreatedTask, ItemProblem>) -> Self {
        match result {
            Ok(task) => Self::Task(task),
            Err(problem) => Self::Problem(problem),
        }
    }
}

/// An import under way.
pub(crate) struct Import<'a> {
    context: &'a Context,
    client: Client,
    file: &'a Path,
    /// What each line's key begins with.
    key: Option<&'a str>,
    accepted: Cell<u64>,
    refused: Cell<u64>,
    /// The last line whose outcome is told.
    told: Cell<u64>,
    /// The last line that may have reached the server.
    sent: Cell<u64>,
}

impl<'a> Import<'a> {
    /// # Errors
    /// That no key of a line can begin so.
    pub(crate) fn new(
        context: &'a Context,
        client: &Client,
        file: &'a Path,
        key: Option<&'a str>,
    ) -> Result<Self, Failure> {
        if let Some(key) = key {
            key_of(key, u64::MAX).parse::<RequestKey>().map_err(|wrong| {
                Failure::usage(format!("--idempotency-key (with .LINE behind it for each line): {wrong}"))
            })?;
        }
        let zero = || Cell::new(0);
        let client = client.with_deadline(PATIENCE);
        Ok(Self { context, client, file, key, accepted: zero(), refused: zero(), told: zero(), sent: zero() })
    }

    pub(crate) async fn run(self) -> Result<(), Failure> {
        let mut signals = Signals::listen()?;
        let ended = tokio::select! {
            ended = self.all() => ended,
            _ = signals.next() => Err(Failure::failed("interrupted")),
        };
        match ended {
            Ok(()) => self.sum(),
            // Whoever reads the ids has gone: that is no mistake, but what is not told is not made either.
            Err(Failure::Unread) => Err(Failure::Unread),
            // A file that cannot be read is a mistake, and nothing has begun.
            Err(failure @ Failure::Usage(_)) if self.told.get() == 0 => Err(failure),
            Err(failure) => {
                self.tell_how_far(&failure);
                Err(failure)
            }
        }
    }

    async fn all(&self) -> Result<(), Failure> {
        let mut chunks = read_aside(self.file)?;
        while let Some(chunk) = chunks.recv().await {
            let chunk = chunk?;
            match self.key {
                Some(key) => self.one_by_one(key, chunk).await?,
                None => self.together(chunk).await?,
            }
        }
        Ok(())
    }

    /// Each line is a request of its own, so that it has a key of its own.
    async fn one_by_one(&self, key: &str, chunk: Vec<Entry>) -> Result<(), Failure> {
        let asked = chunk.into_iter().map(|Entry { line, task }| async move {
            let created = match task {
                Ok(task) => {
                    self.sent.set(self.sent.get().max(line));
                    // A task with an id of its own choice needs no key; and a refusal that is kept under one would
                    // stand in the way of the same line once it is mended.
                    let key = if task.id.is_some() { None } else { Some(key_of(key, line)) };
                    let created = match key {
                        Some(key) => self.client.create_task_once(&task, &key).await,
                        None => self.client.create_task(&task).await,
                    };
                    match created {
                        Ok(task) => Ok(Ok(task)),
                        Err(error) => problem_of(error).map(Err),
                    }
                }
                Err(problem) => Ok(Err(problem)),
            };
            (line, created)
        });
        let mut outcomes = stream::iter(asked).buffered(AT_ONCE);
        while let Some((line, created)) = outcomes.next().await {
            self.tell(line, created?)?;
        }
        Ok(())
    }

    /// The lines as one batch in which each task stands by itself.
    async fn together(&self, chunk: Vec<Entry>) -> Result<(), Failure> {
        let (mut good, mut tasks) = (Vec::new(), Vec::new());
        let mut outcomes = Vec::with_capacity(chunk.len());
        for Entry { line, task } in chunk {
            match task {
                Ok(task) => {
                    good.push(outcomes.len());
                    tasks.push(task);
                    outcomes.push((line, None));
                }
                Err(problem) => outcomes.push((line, Some(Err(problem)))),
            }
        }
        if let Some((line, _)) = outcomes.last() {
            self.sent.set(*line);
        }
        // What is larger than the server takes is halved, until it is known which line is at fault.
        let mut parts = VecDeque::from([(0, tasks)]);
        while let Some((from, mut tasks)) = parts.pop_front() {
            if tasks.is_empty() {
                continue;
            }
            let batch = CreateBatch { batch: None, atomic: Some(false), tasks };
            match self.client.create_batch(&batch).await {
                Ok(answer) => {
                    for item in answer.items {
                        let at = good.get(from + item.index as usize).copied();
                        let Some((_, outcome)) = at.and_then(|at| outcomes.get_mut(at)) else { continue };
                        *outcome = item.task.map(Ok).or(item.problem.map(Err));
                    }
                }
                Err(error) => {
                    let problem = match problem_of(error) {
                        Ok(problem) => problem,
                        Err(failure) => {
                            // What is known of the first lines is told all the same.
                            let known =
                                outcomes.into_iter().map_while(|(line, outcome)| Some((line, outcome?)));
                            known.into_iter().try_for_each(|(line, outcome)| self.tell(line, outcome))?;
                            return Err(failure);
                        }
                    };
                    tasks = batch.tasks;
                    if tasks.len() == 1 {
                        outcomes[good[from]].1 = Some(Err(problem));
                    } else {
                        let rest = tasks.split_off(tasks.len() / 2);
                        parts.push_front((from + tasks.len(), rest));
                        parts.push_front((from, tasks));
                    }
                }
            }
        }
        for (line, outcome) in outcomes {
            self.tell(line, outcome.unwrap_or_else(|| Err(unanswered())))?;
        }
        Ok(())
    }

    fn tell(&self, line: u64, outcome: Result<CreatedTask, ItemProblem>) -> Result<(), Failure> {
        let out = &self.context.out;
        let counter = if outcome.is_ok() { &self.accepted } else { &self.refused };
        counter.set(counter.get() + 1);
        self.told.set(line);
        if out.is_json() {
            return out.json_line(&Outcome { line, became: outcome.into() });
        }
        match outcome {
            Ok(task) => out.line(&task.id.to_string()),
            Err(problem) => {
                out.note(&format!("line {line}: {}: {}", problem.code, words::for_the_tool(&problem.detail)));
                let told = |field: &&baton_api::FieldError| !problem.detail.contains(&field.to_string());
                problem.errors.iter().filter(told).for_each(|field| out.note(&format!("  {field}")));
                Ok(())
            }
        }
    }

    /// What is said when all lines have their outcome.
    fn sum(&self) -> Result<(), Failure> {
        let (accepted, refused) = (self.accepted.get(), self.refused.get());
        self.context.out.note(&format!("{accepted} tasks accepted, {refused} refused"));
        if refused == 0 {
            return Ok(());
        }
        let next = match self.key {
            Some(_) => "mend them and run the same command again: what was created is not created twice",
            None => "mend them and send those alone again",
        };
        let all = accepted + refused;
        Err(Failure::failed(format!(
            "{refused} of {all} lines were refused, each told above by its number; {next}"
        )))
    }

    /// What is said when it breaks off: how far it came, and how to go on.
    fn tell_how_far(&self, failure: &Failure) {
        let name = input::name_of(self.file);
        let (told, sent) = (self.told.get(), self.sent.get());
        let done = match told {
            0 => format!("no line of {name} has an outcome"),
            _ => format!(
                "{name} is done up to line {told}: {} tasks accepted, {} refused",
                self.accepted.get(),
                self.refused.get()
            ),
        };
        let untouched = matches!(failure, Failure::Request(error) if error.is_untouched());
        let open = if sent > told && !(untouched && self.key.is_none()) {
            format!("; of lines {} to {sent} it is not known whether their tasks were created", told + 1)
        } else {
            String::new()
        };
        let next = match self.key {
            Some(_) => "; run the same command again with the same file: it goes on from there, as each line has its \
                        own key for 24 hours"
                .to_owned(),
            None => {
                let from = if open.is_empty() { told + 1 } else { sent + 1 };
                format!(
                    "; go on from line {from} (tail -n +{from} FILE | baton task create --from -); with \
                     --idempotency-key NAME, the same command could just be run again"
                )
            }
        };
        self.context.out.note(&format!("{done}{open}{next}"));
    }
}

/// The key of a line.
fn key_of(key: &str, line: u64) -> String {
    format!("{key}.{line}")
}

/// What an error says about the task that was sent; the error itself if it says nothing about that, as when nobody
/// answers or the token does not do.
fn problem_of(error: ClientError) -> Result<ItemProblem, Failure> {
    match error {
        ClientError::Problem(problem) if is_about_the_task(problem.status, &problem.code) => {
            let problem = *problem;
            Ok(ItemProblem { code: problem.code, detail: problem.detail, errors: problem.errors })
        }
        // A gateway before the server has limits of its own.
        ClientError::Unexpected { status: 413, got, .. } => Ok(refusal(
            ProblemCode::PayloadTooLarge,
            format!("the server, or a gateway before it, answered {got}"),
        )),
        error => Err(error.into()),
    }
}

fn is_about_the_task(status: u16, code: &str) -> bool {
    match status {
        400 | 409 | 413 | 422 => true,
        403 => code == ProblemCode::OutsideGrant.as_str(),
        _ => false,
    }
}

fn refusal(code: ProblemCode, detail: String) -> ItemProblem {
    ItemProblem { code: code.as_str().to_owned(), detail, errors: Vec::new() }
}

fn unanswered() -> ItemProblem {
    refusal(ProblemCode::Internal, "the server's answer does not tell what became of it".to_owned())
}

/// Reads the lines on a thread of its own: what waits for input must not hold up what waits for the server. At most two
/// batches are held, one that was read and one that is on its way.
fn read_aside(file: &Path) -> Result<mpsc::Receiver<Result<Vec<Entry>, Failure>>, Failure> {
    let (tell, chunks) = mpsc::channel(1);
    let name = input::name_of(file);
    let (from, waits): (Box<dyn Read + Send>, bool) = if file == Path::new("-") {
        (Box::new(io::stdin()), true)
    } else {
        let opened = File::open(file).and_then(|opened| opened.metadata().map(|about| (opened, about)));
        match opened {
            Ok((_, about)) if about.is_dir() => {
                return Err(Failure::usage(format!("--from: expected a file, got the folder {name}")));
            }
            Ok((opened, about)) => (Box::new(opened), !about.is_file()),
            Err(error) => return Err(Failure::usage(format!("--from: cannot read {name}: {error}"))),
        }
    };
    let trace = surroundings();
    std::thread::spawn(move || {
        let mut lines =
            Lines { from: BufReader::with_capacity(1 << 16, from), waits, number: 0, name, trace };
        loop {
            let chunk = lines.chunk();
            let last = chunk.is_err();
            // Nobody listens any more once the import has broken off.
            if chunk.as_ref().is_ok_and(Vec::is_empty) || tell.blocking_send(chunk).is_err() || last {
                return;
            }
        }
    });
    Ok(chunks)
}

/// The lines of a file, in portions that make a batch.
struct Lines<R> {
    from: BufReader<R>,
    /// Whether reading may wait for somebody who writes: what has come is then not held back for what will.
    waits: bool,
    number: u64,
    name: String,
    /// The span that this command runs in.
    trace: Option<Trace>,
}

impl<R: Read> Lines<R> {
    /// The next portion; empty at the end.
    fn chunk(&mut self) -> Result<Vec<Entry>, Failure> {
        let mut chunk = Vec::new();
        let mut bytes = 0;
        while chunk.len() < limits::BATCH_TASKS && bytes < BATCH_BYTES {
            let line = input::next_line(&mut self.from, input::MOST)
                .map_err(|error| Failure::failed(format!("--from: cannot read {} on: {error}", self.name)))?;
            let Some(line) = line else { break };
            self.number += 1;
            if let Line::Whole(line) = &line {
                bytes += line.len();
            }
            if let Some(task) = self.task(line)? {
                chunk.push(Entry { line: self.number, task });
            }
            if self.waits && !chunk.is_empty() && !self.from.buffer().contains(&b'\n') {
                break;
            }
        }
        Ok(chunk)
    }

    /// A line that names no trace is created in that of this command.
    fn traced(&self, task: CreateTask) -> CreateTask {
        match &self.trace {
            Some(trace) if task.traceparent.is_none() => {
                CreateTask { traceparent: Some(trace.parent), tracestate: trace.state.clone(), ..task }
            }
            _ => task,
        }
    }

    /// The task of a line, or what is wrong with the line; none if it is blank.
    fn task(&self, line: Line) -> Result<Option<Result<CreateTask, ItemProblem>>, Failure> {
        let line = match line {
            Line::Whole(line) => line,
            Line::TooLong(length) => {
                let most = input::MOST;
                let detail = format!("expected a line of at most {most} bytes, got {length}");
                return Ok(Some(Err(refusal(ProblemCode::PayloadTooLarge, detail))));
            }
        };
        if self.number == 1 && input::is_utf16(&line) {
            return Err(Failure::usage(format!("--from: {}: {}", self.name, NotText::Utf16)));
        }
        let text = match std::str::from_utf8(&line) {
            // What stands before the first line is the file's, not the line's.
            Ok(text) if self.number == 1 => text.strip_prefix('\u{feff}').unwrap_or(text),
            Ok(text) => text,
            Err(_) => match input::text(&line) {
                Err(wrong) => return Ok(Some(Err(refusal(ProblemCode::MalformedJson, wrong.to_string())))),
                Ok(text) => text,
            },
        };
        if text.trim().is_empty() {
            return Ok(None);
        }
        Ok(Some(task(text).map(|task| self.traced(task))))
    }
}

/// The task that a text stands for, by the rules of the API; the server knows its own limits.
fn task(text: &str) -> Result<CreateTask, ItemProblem> {
    let any = Limits {
        params_bytes: usize::MAX,
        result_bytes: usize::MAX,
        batch_bytes: usize::MAX,
        ..Limits::default()
    };
    CreateTask::from_json(text, &any).map_err(|error| match error {
        BodyError::NotJson(error) => refusal(ProblemCode::MalformedJson, words::json_fault(&error)),
        BodyError::Fields(fields) => {
            // Of what is no object at all, the line says enough.
            let told = |field: String| field.strip_prefix("(body): ").map(str::to_owned).unwrap_or(field);
            let told: Vec<String> = fields.iter().map(|field| told(field.to_string())).collect();
            let detail = told.join("; ");
            ItemProblem { errors: fields, ..refusal(ProblemCode::InvalidFields, detail) }
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chunks(bytes: &[u8], waits: bool, buffer: usize) -> Vec<Vec<Entry>> {
        let from = BufReader::with_capacity(buffer, bytes);
        let mut lines = Lines { from, waits, number: 0, name: "t.jsonl".to_owned(), trace: None };
        std::iter::from_fn(|| Some(lines.chunk().unwrap()).filter(|chunk| !chunk.is_empty())).collect()
    }

    fn lengths(chunks: &[Vec<Entry>]) -> Vec<usize> {
        chunks.iter().map(Vec::len).collect()
    }

    #[test]
    fn lines_become_batches_of_a_thousand() {
        let text = "{\"type\":\"a\"}\n\r\n".repeat(2_001);
        let chunks = chunks(text.as_bytes(), false, 1 << 16);
        assert_eq!(lengths(&chunks), [1_000, 1_000, 1]);
        assert_eq!(chunks[2][0].line, 4_001, "blank lines count");
    }

    #[test]
    fn large_lines_become_smaller_batches() {
        let line = format!("{{\"type\":\"a\",\"params\":\"{}\"}}\n", "x".repeat(3 << 20));
        assert_eq!(lengths(&chunks(line.repeat(5).as_bytes(), false, 1 << 16)), [3, 2]);
    }

    #[test]
    fn what_a_pipe_has_brought_is_not_held_back_for_what_may_come() {
        let text = "{\"type\":\"a\"}\n".repeat(10);
        // Three lines and a part of the fourth fit into the buffer.
        let chunks = chunks(text.as_bytes(), true, 45);
        assert_eq!(lengths(&chunks)[0], 3);
        assert_eq!(lengths(&chunks).iter().sum::<usize>(), 10);
    }

    #[test]
    fn each_line_has_a_mistake_of_its_own() {
        let text = b"\xef\xbb\xbf{\"type\":\"a\"}\r\n{\"typ\":\"a\"}\n{\n\xff\n[]\n{\"type\":\"b\"}";
        let entries: Vec<Entry> = chunks(text, false, 1 << 16).into_iter().flatten().collect();
        let told: Vec<String> = entries
            .iter()
            .map(|entry| match &entry.task {
                Ok(task) => format!("{}: {}", entry.line, task.task_type),
                Err(problem) => format!("{}: {}: {}", entry.line, problem.code, problem.detail),
            })
            .collect();
        assert_eq!(told[0], "1: a");
        assert!(told[1].starts_with("2: invalid_fields: type: expected a value"), "{told:?}");
        assert_eq!(told[2], "3: malformed_json: column 1: it ends within an object; a closing } is missing");
        assert_eq!(told[3], "4: malformed_json: expected UTF-8, got another byte (0xff) at offset 0");
        assert!(told[4].starts_with("5: invalid_fields: expected "), "{told:?}");
        assert_eq!(told[5], "6: b");
    }
}
