//! Who scales: one at a time, by the lease of a task.
//!
//! There is one task of a unique key, and who holds it is the leader. Its lease is kept by heartbeats, lost by silence, taken back by the
//! reaper and fenced by its attempt, as any task's: so that no further rule is needed (docs/decisions/0047).

use std::pin::pin;
use std::time::Duration;

use baton_api::ProblemCode;
use baton_api::claim::ClaimRequest;
use baton_api::complete::CompleteRequest;
use baton_api::create::CreateTask;
use baton_api::heartbeat::{HeartbeatRequest, LogFields, RunningFields};
use baton_api::unique::UniqueView;
use baton_client::{Client, ClientError, TaskQuery};
use baton_model::{
    Directive, Expected, Label, Level, QueueName, SessionId, Status, TaskId, UniqueWhile, WorkerId, limits,
};
use baton_runtime::{Ids as _, RandomIds};
use tokio::time::{Instant, sleep};

use crate::worker_run::host;

/// The queue, the type and the unique key of the task.
const QUEUE: &str = "baton-scaling";
const TYPE: &str = "lead";
/// How often it is beaten for, unless the server asks for more.
const BEAT: Duration = Duration::from_secs(5);
/// The most lines that wait for a heartbeat.
const LINES: usize = 400;

fn queue() -> Result<QueueName, Expected> {
    QUEUE.parse()
}

/// Those who scale now: one, or none.
pub(crate) async fn leaders(client: &Client) -> Result<Vec<String>, ClientError> {
    let query = TaskQuery {
        statuses: vec![Status::Running],
        queue: queue().ok(),
        limit: Some(10),
        ..TaskQuery::default()
    };
    let tasks = client.tasks(&query).await?.items;
    Ok(tasks.into_iter().filter_map(|task| Some(task.lease?.worker_id.to_string())).collect())
}

/// Somebody who would lead, and perhaps does.
pub(crate) struct Leader {
    client: Client,
    id: WorkerId,
    session: SessionId,
    holds: Option<(TaskId, u32)>,
    /// When the last heartbeat began that the server has taken.
    beaten: Option<Instant>,
    every: Duration,
    lines: Vec<LogFields>,
    /// Whether it only looks, and is no worker.
    looks_only: bool,
    /// Whether an operator has asked it to end.
    pub(crate) directed: bool,
}

impl Leader {
    pub(crate) fn new(client: Client, looks_only: bool) -> Result<Self, Expected> {
        let session = SessionId::from_uuid(RandomIds.uuid());
        let text = session.to_string();
        let end: String = text.chars().filter(char::is_ascii_alphanumeric).rev().take(6).collect();
        let id = format!("scaler-{}-{end}", host());
        Ok(Self {
            client,
            id: id.parse()?,
            session,
            holds: None,
            beaten: None,
            every: BEAT,
            lines: Vec::new(),
            looks_only,
            directed: false,
        })
    }

    pub(crate) const fn id(&self) -> &WorkerId {
        &self.id
    }

    /// Takes the lead, if nobody has it, or keeps it. Says whether it leads.
    pub(crate) async fn lead(&mut self) -> Result<bool, ClientError> {
        self.beat(false).await?;
        if self.holds.is_some() || self.directed {
            return Ok(self.holds.is_some());
        }
        let (Ok(queue), Ok(task_type), Ok(key)) = (queue(), TYPE.parse(), QUEUE.parse::<Label>()) else {
            return Ok(false);
        };
        if self.claim(&queue).await? {
            return Ok(true);
        }
        // Who waits for the lead writes nothing: it is made only where nobody has it.
        if !leaders(&self.client).await?.is_empty() {
            return Ok(false);
        }
        let task = CreateTask {
            queue: Some(queue.clone()),
            max_attempts: Some(limits::MAX_ATTEMPTS),
            description: Some("Who holds it scales machines: baton scale run.".to_owned()),
            unique: Some(UniqueView { key, held: UniqueWhile::Unfinished }),
            ..CreateTask::new(task_type)
        };
        self.client.create_task(&task).await?;
        self.claim(&queue).await
    }

    /// Takes the task, if it waits. Says whether it did.
    async fn claim(&mut self, queue: &QueueName) -> Result<bool, ClientError> {
        let claim = ClaimRequest {
            session_id: Some(self.session),
            queues: vec![queue.clone()],
            capacity: Some(1),
            ..ClaimRequest::new(self.id.clone())
        };
        let begun = Instant::now();
        let Some(task) = self.client.claim(&claim).await?.tasks.into_iter().next() else { return Ok(false) };
        self.holds = Some((task.id, task.attempt));
        self.beaten = Some(begun);
        // What is held and not listed passes for forgotten.
        self.beat(false).await?;
        Ok(self.holds.is_some())
    }

    /// Whether it surely leads: the server has said so within two heartbeats, which is far within the time after which it would take
    /// silence for loss; else it is asked.
    pub(crate) async fn surely(&mut self) -> bool {
        let is_fresh = self.beaten.is_some_and(|at| at.elapsed() < self.every * 2);
        if !is_fresh && let Err(error) = self.beat(false).await {
            tracing::warn!(%error, "the server cannot be asked who leads");
            return false;
        }
        self.holds.is_some()
    }

    /// Does something, and beats meanwhile.
    pub(crate) async fn during<T>(&mut self, work: impl Future<Output = T>) -> T {
        let mut work = pin!(work);
        loop {
            tokio::select! {
                done = &mut work => return done,
                () = sleep(self.every), if !self.looks_only => {
                    if let Err(error) = self.beat(false).await {
                        tracing::debug!(%error, "a heartbeat was not taken");
                    }
                }
            }
        }
    }

    /// Waits, and beats meanwhile.
    pub(crate) async fn pause(&mut self, span: Duration) {
        self.during(sleep(span)).await;
    }

    /// Notes a line for the log that the server keeps.
    pub(crate) fn note(&mut self, level: Level, message: String) {
        if self.lines.len() < LINES {
            self.lines.push(LogFields {
                at: None,
                level: Some(level),
                source: Some("scaling".to_owned()),
                task_id: self.holds.map(|(task, _)| task),
                message,
                metadata: None,
            });
        }
    }

    async fn beat(&mut self, ending: bool) -> Result<(), ClientError> {
        let running = self.holds.map(|(task_id, attempt)| RunningFields {
            task_id,
            attempt,
            progress: None,
            message: None,
        });
        let beat = HeartbeatRequest {
            session_id: Some(self.session),
            running: Some(running.into_iter().collect()),
            capacity: Some(1),
            labels: [("host".to_owned(), host()), ("role".to_owned(), "scaler".to_owned())].into(),
            ending,
            logs: std::mem::take(&mut self.lines),
            ..HeartbeatRequest::default()
        };
        let begun = Instant::now();
        let answer = match self.client.heartbeat(&self.id, &beat).await {
            Ok(answer) => answer,
            Err(error) => {
                self.lines = beat.logs;
                return Err(error);
            }
        };
        self.beaten = Some(begun);
        self.every = Duration::try_from_secs_f64(answer.beat_every_seconds).unwrap_or(BEAT).min(BEAT);
        self.directed |= answer.directive != Directive::Run;
        let lost = |(task, attempt): &(TaskId, u32)| {
            answer.lost.iter().any(|lost| lost.task_id == *task && lost.attempt == *attempt)
        };
        if self.holds.as_ref().is_some_and(lost) {
            tracing::warn!("the lead was lost: another scaler may have it");
            self.holds = None;
        }
        Ok(())
    }

    /// Gives the lead up, so that the next one need not wait for its loss.
    pub(crate) async fn end(mut self) {
        if let Some((task, attempt)) = self.holds {
            let done = CompleteRequest {
                worker_id: self.id.clone(),
                attempt,
                location: None,
                kind: None,
                metadata: None,
                result: None,
                files: Vec::new(),
                run_seconds: None,
                claim: None,
            };
            match self.client.complete(task, &done).await {
                Ok(_) => self.holds = None,
                Err(error) if error.code() == Some(ProblemCode::StaleAttempt) => self.holds = None,
                Err(error) => tracing::warn!(%error, "the lead cannot be given up; it is lost by silence"),
            }
        }
        if let Err(error) = self.beat(true).await {
            tracing::debug!(%error, "the last heartbeat was not taken");
        }
    }
}
