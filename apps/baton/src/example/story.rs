//! What has happened, and whether it is as it must be.

use std::io::Read as _;
use std::path::Path;

use baton_api::task::{EventView, TaskDetailView};
use baton_client::{Client, GenerationQuery};
use baton_model::{EventKind, State};

use crate::context::Context;
use crate::example::fleet::Killed;
use crate::example::{Job, Places};
use crate::exit::Failure;
use crate::out::Rows;
use crate::{ids, process, text};

/// The first bytes of every PNG file.
const PNG: [u8; 8] = *b"\x89PNG\r\n\x1a\n";

/// Tells the story, and fails if anything in it is off.
pub(crate) async fn tell(
    context: &Context,
    client: &Client,
    places: &Places,
    jobs: &[Job],
    ended: &[TaskDetailView],
    killed: Option<&Killed>,
) -> Result<(), Failure> {
    let mut wrong = Vec::new();
    for (job, detail) in jobs.iter().zip(ended) {
        wrong.extend(check(client, job, detail).await?);
    }
    let recovery = killed.map(|killed| recovery(killed, ended));
    if let Some(Err(problem)) = &recovery {
        wrong.push(problem.clone());
    }
    if context.out.is_json() {
        let tasks: Vec<_> = ended
            .iter()
            .map(|detail| {
                serde_json::json!({
                    "task": detail.task, "generation": detail.generation, "history": detail.history,
                })
            })
            .collect();
        context.out.json(&serde_json::json!({
            "tasks": tasks,
            "killed": killed.map(|killed| serde_json::json!({
                "worker_id": killed.worker, "task_id": killed.task, "attempt": killed.attempt,
            })),
            "wrong": wrong,
        }))?;
    } else {
        table(context, jobs, ended)?;
        if let Some(Ok(recovery)) = &recovery {
            context.out.line("")?;
            recovery.iter().try_for_each(|line| context.out.line(line))?;
        }
        next_steps(context, places, killed)?;
    }
    if wrong.is_empty() {
        return Ok(());
    }
    Err(Failure::failed(format!("something is off:\n  {}", wrong.join("\n  "))))
}

/// A completed task must have exactly one generation and its picture; the broken scene must have failed, twice.
async fn check(client: &Client, job: &Job, detail: &TaskDetailView) -> Result<Vec<String>, Failure> {
    let query = GenerationQuery { task_id: Some(job.task), ..GenerationQuery::default() };
    let generations = client.generations(&query).await?.items.len();
    let (task, scene) = (&detail.task, &job.scene);
    let expected = if job.broken { State::Failed } else { State::Completed };
    let mut wrong = Vec::new();
    if task.status.state() != expected {
        let error = task.error.as_ref().map(|error| format!(": {}", text::short(&error.message, 200)));
        wrong.push(format!("{scene}: expected {expected}, got {}{}", task.status, error.unwrap_or_default()));
    }
    let owed = usize::from(expected == State::Completed);
    if generations != owed || detail.generation.is_some() != (owed == 1) {
        wrong.push(format!("{scene}: expected {owed} generations, got {generations}"));
    }
    if job.broken && task.attempts_used != task.max_attempts {
        wrong.push(format!("{scene}: expected {} attempts, got {}", task.max_attempts, task.attempts_used));
    }
    if expected == State::Completed && !is_png(&job.picture) {
        wrong.push(format!("{scene}: expected a picture at {}", job.picture.display()));
    }
    Ok(wrong)
}

fn is_png(path: &Path) -> bool {
    let mut first = [0; PNG.len()];
    std::fs::File::open(path).and_then(|mut file| file.read_exact(&mut first)).is_ok() && first == PNG
}

/// What became of the task that the killed worker held: its lease must have been lost, and another have completed it.
fn recovery(killed: &Killed, ended: &[TaskDetailView]) -> Result<Vec<String>, String> {
    let detail = ended
        .iter()
        .find(|detail| detail.task.id == killed.task)
        .ok_or_else(|| format!("{}: its task is gone", killed.scene))?;
    let event = |kind: EventKind, attempt: u32| {
        let fits = |event: &&EventView| event.kind == kind && event.attempt == attempt;
        detail
            .history
            .iter()
            .find(fits)
            .ok_or_else(|| format!("{}: expected {kind:?} of attempt {attempt}", killed.scene))
    };
    let claimed = event(EventKind::Claimed, killed.attempt)?;
    let lost = event(EventKind::LeaseLost, killed.attempt)?;
    let again = event(EventKind::Claimed, killed.attempt + 1)?;
    let completed = event(EventKind::Completed, killed.attempt + 1)?;
    let after = |event: &EventView| format!("+{:>4.1}s", event.at.since(claimed.at).as_secs_f64());
    let who = |event: &EventView| event.worker_id.as_ref().map(ToString::to_string).unwrap_or_default();
    let loss = lost.loss.map_or("the lease was lost", baton_model::LossReason::explain);
    let mut lines =
        vec![format!("What happened to the scene that {} was killed over, {}:", killed.worker, killed.scene)];
    lines.push(format!("  {}  {} claims it: attempt {}", after(claimed), who(claimed), claimed.attempt));
    lines.push("          kill -9: the worker is gone, and so is the program it ran".to_owned());
    lines.push(format!("  {}  the server takes it back: {loss}", after(lost)));
    lines.push(format!("  {}  {} claims it: attempt {}", after(again), who(again), again.attempt));
    lines.push(format!("  {}  {} completes it", after(completed), who(completed)));
    Ok(lines)
}

fn table(context: &Context, jobs: &[Job], ended: &[TaskDetailView]) -> Result<(), Failure> {
    let wide = context.out.width().is_none_or(|width| width >= 100);
    let mut header = vec!["TASK", "SCENE", "STATUS", "TRIES", "WORKER", "TIME"];
    if wide {
        header.push("PICTURE");
    }
    let mut rows = Rows::new(&header);
    let length = ids::unique_length(ended.iter().map(|detail| detail.task.id));
    for (job, detail) in jobs.iter().zip(ended) {
        let made = detail.generation.as_ref();
        let last = detail.history.iter().rev().find_map(|event| event.worker_id.as_ref());
        let mut row = vec![
            detail.task.id.to_string().chars().take(length).collect(),
            job.scene.clone(),
            detail.task.status.to_string(),
            format!("{}/{}", detail.task.attempts_used, detail.task.max_attempts),
            last.map(ToString::to_string).unwrap_or_default(),
            made.map_or_else(|| "-".to_owned(), |made| text::seconds(made.run_seconds)),
        ];
        if wide {
            row.push(made.and_then(|made| made.location.clone()).unwrap_or_else(|| "-".to_owned()));
        }
        rows.add(row);
    }
    context.out.table(rows, "no tasks")
}

fn next_steps(context: &Context, places: &Places, killed: Option<&Killed>) -> Result<(), Failure> {
    let line = |text: String| context.out.line(&text);
    line(String::new())?;
    line(format!(
        "The pictures are in {}, the logs in {}.",
        places.pictures.display(),
        places.root.display()
    ))?;
    line("To look around, start a server on the same database:".to_owned())?;
    let baton = process::own_name();
    line(format!(
        "  {baton} serve --store {}",
        process::quoted(&format!("sqlite:{}", places.database.display()))
    ))?;
    line("and in another terminal:".to_owned())?;
    if let Some(killed) = killed {
        line(format!("  {baton} task show {}", killed.task))?;
    }
    line(format!("  {baton} task list --status failed"))?;
    line(format!("  {baton} worker list"))?;
    line(format!("  {baton} stats"))?;
    line(format!("  {baton} logs"))
}
