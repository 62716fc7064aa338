//! `/api/tasks/outputs/{id}`: what a task has put out, as it was appended.
//!
//! It is what was posted here, what the task's worker shipped as log lines about it, and what it handed over at the end.

use axum::extract::Request;
use baton_model::{Label, LogLine, Timestamp, limits};
use baton_store::{LogFilter, PageRequest, TaskDetail};
use http::StatusCode;
use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::ask::Ask;
use crate::entry::commit_hash;
use crate::kept::Kept;
use crate::no::{No, Told, told};
use crate::read;
use crate::records;
use crate::stamp::stamp;

/// The types that there are, and the type of the record of each.
const TYPES: [(&str, &str); 6] = [
    ("stdout", "output-stdout"),
    ("stderr", "output-stderr"),
    ("log", "output-log"),
    ("artifact", "output-artifact"),
    (COMMIT, COMMIT_RECORD),
    ("diagnostic", "output-diagnostic"),
];
const COMMIT: &str = "commit";
/// The type of the record of a commit.
pub(crate) const COMMIT_RECORD: &str = "output-commit";

/// What is kept of an output that was posted.
#[derive(Debug, Serialize, Deserialize)]
struct KeptOutput {
    output_type: String,
    content: String,
    file_path: Option<String>,
    file_size: Option<u64>,
    mime_type: Option<String>,
    commit_hash: Option<String>,
    branch: Option<String>,
}

/// An output as clients read it.
#[derive(Debug, Serialize)]
pub(crate) struct Output {
    id: String,
    #[serde(flatten)]
    kept: KeptOutput,
    timestamp: String,
    #[serde(skip)]
    at: Timestamp,
}

impl Output {
    fn new(id: String, at: Timestamp, kept: KeptOutput) -> Self {
        Self { id, kept, timestamp: stamp(at), at }
    }

    fn plain(output_type: &str, content: String) -> KeptOutput {
        KeptOutput {
            output_type: output_type.to_owned(),
            content,
            file_path: None,
            file_size: None,
            mime_type: None,
            commit_hash: None,
            branch: None,
        }
    }

    fn of_line(number: usize, line: LogLine) -> Self {
        let kind = match line.source.as_str() {
            "stdout" => "stdout",
            "stderr" => "stderr",
            _ => "log",
        };
        Self::new(format!("log-{number}"), line.received_at, Self::plain(kind, line.message))
    }
}

/// All outputs of a task, the oldest first; whether older ones were left out.
pub(crate) async fn of(ask: &Ask<'_>, detail: &TaskDetail) -> Result<(Vec<Output>, bool), No> {
    let (mut outputs, more) = posted(ask, detail).await?;
    outputs.extend(shipped(ask, detail).await?);
    outputs.extend(handed_over(detail));
    // A stable sort: what came at one time stays as it was appended.
    outputs.sort_by_key(|output| output.at);
    Ok((outputs, more))
}

async fn posted(ask: &Ask<'_>, detail: &TaskDetail) -> Result<(Vec<Output>, bool), No> {
    if !ask.caller.covers_queue(&records::queue()) {
        return Ok((Vec::new(), false));
    }
    let about = Label::from_stored(detail.task.head.id.to_string());
    let mut outputs = Vec::new();
    let (records, more) = records::about(ask, &about, None, &[]).await?;
    for record in records.into_iter().rev() {
        match serde_json::from_str(record.params.as_str()) {
            Ok(kept) => outputs.push(Output::new(record.head.id.to_string(), record.created_at, kept)),
            Err(error) => tracing::warn!(task_id = %record.head.id, %error, "a record is no output"),
        }
    }
    Ok((outputs, more))
}

/// Log lines may name any task, so that only those read them who may read all.
async fn shipped(ask: &Ask<'_>, detail: &TaskDetail) -> Result<Vec<Output>, No> {
    if ask.caller.is_bound() {
        return Ok(Vec::new());
    }
    let filter = LogFilter { task: Some(detail.task.head.id), ..LogFilter::default() };
    let lines = ask.app.store.logs(filter, PageRequest::first(limits::PAGE)).await?.items;
    Ok(lines.into_iter().rev().enumerate().map(|(number, line)| Output::of_line(number + 1, line)).collect())
}

fn handed_over(detail: &TaskDetail) -> Option<Output> {
    let generation = detail.generation.as_ref()?;
    let output = &generation.output;
    if output.location.is_none() && output.result.is_none() {
        return None;
    }
    let content = output.result.as_ref().map(|result| result.as_str().to_owned());
    let kept = KeptOutput {
        file_path: output.location.clone(),
        mime_type: output.kind.clone(),
        commit_hash: commit_hash(detail),
        branch: Some(Kept::of(&detail.task).branch),
        ..Output::plain("artifact", content.or_else(|| output.location.clone()).unwrap_or_default())
    };
    Some(Output::new(generation.id.to_string(), generation.finished_at, kept))
}

/// `GET /api/tasks/outputs/{id}`.
pub(crate) async fn list(ask: &Ask<'_>, _: Request) -> Told {
    let detail = read::found(ask).await?;
    let (outputs, more) = of(ask, &detail).await?;
    let mut answer = json!({
        "task_id": Kept::of(&detail.task).id,
        "total_outputs": outputs.len(),
        "outputs": outputs,
    });
    if more {
        answer["more"] = true.into();
    }
    told(&answer)
}

/// `POST /api/tasks/outputs/{id}`.
pub(crate) async fn append(ask: &Ask<'_>, request: Request) -> Told {
    let mut fields = ask.fields(request).await?;
    let kept = KeptOutput {
        output_type: fields.text_or_none("output_type").unwrap_or_else(|| "log".to_owned()),
        content: fields.text("content"),
        file_path: fields.text_or_none("file_path"),
        file_size: fields.number("file_size"),
        mime_type: fields.text_or_none("mime_type"),
        commit_hash: fields.text_or_none("commit_hash"),
        branch: fields.text_or_none("branch"),
    };
    let kept = fields.none_or(kept)?;
    let Some((_, record)) = TYPES.iter().find(|(name, _)| *name == kept.output_type) else {
        let known: Vec<_> = TYPES.iter().map(|(name, _)| *name).collect();
        let detail =
            format!("Invalid output type: {}; expected one of {}", kept.output_type, known.join(", "));
        return Err(No::Said(StatusCode::BAD_REQUEST, detail));
    };
    let detail = read::found(ask).await?;
    records::append(ask, record, &detail.task, &kept).await?;
    told(&json!({ "message": "Output added successfully", "task_id": Kept::of(&detail.task).id }))
}
