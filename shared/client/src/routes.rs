//! One method for each route.
//!
//! Every method answers with [`ClientError`] as it says; the routes' own problem codes are in the OpenAPI document,
//! which the server gives at `/openapi.json`.

use std::time::Duration;

use baton_api::batch::{BatchView, CreateBatch};
use baton_api::change::ChangeRequest;
use baton_api::claim::ClaimRequest;
use baton_api::claim::ClaimView;
use baton_api::complete::{CompleteRequest, FailRequest, ReleaseRequest};
use baton_api::complete::{CompletedView, EndedView};
use baton_api::create::CreateTask;
use baton_api::create::{BatchAnswer, CreatedTask};
use baton_api::fleet::{LogView, QueueView, StatsView, WorkerView};
use baton_api::graph::GraphView;
use baton_api::health::{HealthView, ReadinessView};
use baton_api::heartbeat::HeartbeatRequest;
use baton_api::heartbeat::HeartbeatView;
use baton_api::manage::{ActionRequest, CancelRequest, RetryRequest};
use baton_api::order::{OrderChangeView, OrderRequest};
use baton_api::reap::ReapRequest;
use baton_api::reap::{ReapView, ReaperView};
use baton_api::task::{EventView, GenerationView, IdsView, Page, TaskDetailView, TaskView};
use baton_api::timeline::{LiveEventsView, TimelineView};
use baton_api::token::CreateToken;
use baton_api::token::{AuditView, CreatedTokenView, OwnTokenView, TokenView};
use baton_api::why::WhyView;
use baton_model::{BatchId, Directive, GenerationId, ProjectId, QueueName, TaskId, TokenId, WorkerId};
use serde::Serialize;

use crate::call::{Call, new_key};
use crate::query::{AuditQuery, GenerationQuery, LogQuery, TaskQuery, TimelineQuery};
use crate::{Client, ClientError};

/// Producers: create, cancel, retry, and see what batches do.
impl Client {
    /// Creates a task, under an idempotency key of the client's own making: however often the request must be sent,
    /// there is one task.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn create_task(&self, task: &CreateTask) -> Result<CreatedTask, ClientError> {
        self.create_task_once(task, &new_key()).await
    }

    /// Creates a task under the caller's idempotency key, which also holds over restarts of the caller: the same key
    /// with the same task gives the first answer again for 24 hours.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn create_task_once(&self, task: &CreateTask, key: &str) -> Result<CreatedTask, ClientError> {
        self.call(Call::post("/v1/tasks", task).idempotency_key(key.to_owned())).await
    }

    /// Creates 1 to 1,000 tasks, under an idempotency key of the client's own making.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn create_batch(&self, batch: &CreateBatch) -> Result<BatchAnswer, ClientError> {
        self.create_batch_once(batch, &new_key()).await
    }

    /// Creates 1 to 1,000 tasks under the caller's idempotency key.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn create_batch_once(
        &self,
        batch: &CreateBatch,
        key: &str,
    ) -> Result<BatchAnswer, ClientError> {
        self.call(Call::post("/v1/tasks/batch", batch).idempotency_key(key.to_owned())).await
    }

    /// Calls a task off. A cancelled task stays as it is.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn cancel(&self, id: TaskId, action: &CancelRequest) -> Result<TaskView, ClientError> {
        self.call(Call::post(format!("/v1/tasks/{id}/cancel"), action).repeatable(true)).await
    }

    /// Puts a failed or cancelled task back into its queue, with a fresh set of attempts.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn retry(&self, id: TaskId, retry: &RetryRequest) -> Result<TaskView, ClientError> {
        self.call(Call::post(format!("/v1/tasks/{id}/retry"), retry)).await
    }

    /// Changes how a task that waits is to be run. Repeated freely: what is so already is no change; only a delay counts anew.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn change(&self, id: TaskId, change: &ChangeRequest) -> Result<TaskView, ClientError> {
        let call = Call::patch(format!("/v1/tasks/{id}"), change);
        self.call(call.repeatable(change.delay_seconds.is_none())).await
    }

    /// One batch, with what its tasks do.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn batch(&self, id: BatchId) -> Result<BatchView, ClientError> {
        self.call(Call::get(format!("/v1/batches/{id}"))).await
    }

    /// Batches, the newest first.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn batches(
        &self,
        project: Option<&ProjectId>,
        cursor: Option<&str>,
        limit: Option<u32>,
    ) -> Result<Page<BatchView>, ClientError> {
        let call = Call::get("/v1/batches").query("project", project);
        self.call(call.query("cursor", cursor).query("limit", limit)).await
    }

    /// Seals a batch: no task is added to it from then on.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn seal_batch(&self, id: BatchId) -> Result<BatchView, ClientError> {
        self.call(Call::post(format!("/v1/batches/{id}/seal"), &serde_json::json!({})).repeatable(true)).await
    }
}

/// Workers: claim, beat, complete, fail, release.
impl Client {
    /// Asks for work. Repeated freely if it has a `request_id`, as the same id gives the same leases.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn claim(&self, claim: &ClaimRequest) -> Result<ClaimView, ClientError> {
        let call = Call::post("/v1/claims", claim);
        self.call(call.repeatable(claim.request_id.is_some()).waits(claim.wait_seconds)).await
    }

    /// Completes a task. The same completion sent again is answered as the first time; a claim that comes along is
    /// repeated freely only if it has a `request_id`. What ends close together goes by one request
    /// ([`ClientBuilder::gather_ends`](crate::ClientBuilder::gather_ends)).
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn complete(
        &self,
        id: TaskId,
        completion: &CompleteRequest,
    ) -> Result<CompletedView, ClientError> {
        self.end_attempt(id, completion).await
    }

    /// Fails an attempt. What ends close together goes by one request, as with [`Client::complete`].
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn fail(&self, id: TaskId, failure: &FailRequest) -> Result<EndedView, ClientError> {
        self.end_attempt(id, failure).await
    }

    /// Gives a task back unharmed: the attempt does not count. What ends close together goes by one request, as with
    /// [`Client::complete`].
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn release(&self, id: TaskId, release: &ReleaseRequest) -> Result<EndedView, ClientError> {
        self.end_attempt(id, release).await
    }

    /// Beats: says what the worker runs, ships its log lines, and learns which leases are gone.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn heartbeat(
        &self,
        worker: &WorkerId,
        beat: &HeartbeatRequest,
    ) -> Result<HeartbeatView, ClientError> {
        self.call(Call::post(format!("/v1/workers/{worker}/heartbeat"), beat).repeatable(true)).await
    }
}

/// Operators: direct workers, pause and order queues, reap.
impl Client {
    /// Asks a worker to drain, to stop, or to run on.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn direct(
        &self,
        worker: &WorkerId,
        directive: Directive,
        action: &ActionRequest,
    ) -> Result<WorkerView, ClientError> {
        let path = format!("/v1/workers/{worker}/{}", directive.as_str());
        self.call(Call::post(path, action).repeatable(true)).await
    }

    /// Makes claims pass a queue by.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn pause_queue(
        &self,
        queue: &QueueName,
        action: &ActionRequest,
    ) -> Result<QueueView, ClientError> {
        self.call(Call::post(format!("/v1/queues/{queue}/pause"), action).repeatable(true)).await
    }

    /// Makes claims take from a queue again.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn resume_queue(
        &self,
        queue: &QueueName,
        action: &ActionRequest,
    ) -> Result<QueueView, ClientError> {
        self.call(Call::post(format!("/v1/queues/{queue}/resume"), action).repeatable(true)).await
    }

    /// Says in which order a queue gives out its ready tasks; what the request leaves out is off.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn order_queue(
        &self,
        queue: &QueueName,
        order: &OrderRequest,
    ) -> Result<OrderChangeView, ClientError> {
        self.call(Call::post(format!("/v1/queues/{queue}/order"), order).repeatable(true)).await
    }

    /// Takes back tasks whose lease is lost, now instead of at the reaper's next round.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn reap(&self, reap: &ReapRequest) -> Result<ReapView, ClientError> {
        self.call(Call::post("/v1/reap", reap)).await
    }

    /// How the reaper is: whether it makes its rounds, and what the last of them did.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn reaper(&self) -> Result<ReaperView, ClientError> {
        self.call(Call::get("/v1/reaper")).await
    }
}

/// Operators: tokens, and what was done with them.
impl Client {
    /// Makes a token. Its secret is in the answer and nowhere else; if the answer is lost, the request is not repeated:
    /// revoke that token and make another.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn create_token(&self, token: &CreateToken) -> Result<CreatedTokenView, ClientError> {
        self.call(Call::post("/v1/tokens", token)).await
    }

    /// A page of tokens, the newest first.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn tokens(
        &self,
        cursor: Option<&str>,
        limit: Option<u32>,
    ) -> Result<Page<TokenView>, ClientError> {
        self.call(Call::get("/v1/tokens").query("cursor", cursor).query("limit", limit)).await
    }

    /// The token that this client presents, as the server knows it.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn own_token(&self) -> Result<OwnTokenView, ClientError> {
        self.call(Call::get("/v1/token")).await
    }

    /// Revokes a token: it is good for nothing from now on.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn revoke_token(&self, id: TokenId) -> Result<TokenView, ClientError> {
        self.call(Call::post(format!("/v1/tokens/{id}/revoke"), &Empty {}).repeatable(true)).await
    }

    /// A page of what operators did, the newest first.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn audit(&self, query: &AuditQuery) -> Result<Page<AuditView>, ClientError> {
        self.call(query.call()).await
    }
}

/// The body of a request that says nothing.
#[derive(Serialize)]
struct Empty {}

/// Everyone: look.
impl Client {
    /// A page of tasks, the newest first.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn tasks(&self, query: &TaskQuery) -> Result<Page<TaskView>, ClientError> {
        self.call(query.call()).await
    }

    /// A task with its history and, if it is completed, its output record.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn task(&self, id: TaskId) -> Result<TaskDetailView, ClientError> {
        self.call(Call::get(format!("/v1/tasks/{id}"))).await
    }

    /// A page of a task's history, the first event first, of at most so many (1 to 1,000).
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn history(
        &self,
        id: TaskId,
        cursor: Option<&str>,
        limit: u32,
    ) -> Result<Page<EventView>, ClientError> {
        let call = Call::get(format!("/v1/tasks/{id}/history")).query("limit", Some(limit));
        self.call(call.query("cursor", cursor)).await
    }

    /// All that a task waits for and all that waits for it.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn graph(&self, id: TaskId) -> Result<GraphView, ClientError> {
        self.call(Call::get(format!("/v1/tasks/{id}/graph"))).await
    }

    /// Why a task waits.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn why(&self, id: TaskId) -> Result<WhyView, ClientError> {
        self.call(Call::get(format!("/v1/tasks/{id}/why"))).await
    }

    /// The ids that begin with `prefix`, at most twenty.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn task_ids(&self, prefix: &str) -> Result<IdsView, ClientError> {
        self.call(Call::get("/v1/task-ids").query("prefix", Some(prefix))).await
    }

    /// A page of output records, the newest first.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn generations(&self, query: &GenerationQuery) -> Result<Page<GenerationView>, ClientError> {
        self.call(query.call()).await
    }

    /// One output record.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn generation(&self, id: GenerationId) -> Result<GenerationView, ClientError> {
        self.call(Call::get(format!("/v1/generations/{id}"))).await
    }

    /// A page of workers by name.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn workers(
        &self,
        cursor: Option<&str>,
        limit: Option<u32>,
    ) -> Result<Page<WorkerView>, ClientError> {
        self.call(Call::get("/v1/workers").query("cursor", cursor).query("limit", limit)).await
    }

    /// One worker with what it holds.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn worker(&self, id: &WorkerId) -> Result<WorkerView, ClientError> {
        self.call(Call::get(format!("/v1/workers/{id}"))).await
    }

    /// A page of queues by name.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn queues(
        &self,
        cursor: Option<&str>,
        limit: Option<u32>,
    ) -> Result<Page<QueueView>, ClientError> {
        self.call(Call::get("/v1/queues").query("cursor", cursor).query("limit", limit)).await
    }

    /// One queue.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn queue(&self, name: &QueueName) -> Result<QueueView, ClientError> {
        self.call(Call::get(format!("/v1/queues/{name}"))).await
    }

    /// Counts, ages and percentiles.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn stats(&self) -> Result<StatsView, ClientError> {
        self.call(Call::get("/v1/stats")).await
    }

    /// A page of log lines that workers shipped, the newest first.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn logs(&self, query: &LogQuery) -> Result<Page<LogView>, ClientError> {
        self.call(query.call()).await
    }

    /// A page of what happened, the newest first.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn timeline(&self, query: &TimelineQuery) -> Result<Page<TimelineView>, ClientError> {
        self.call(query.call()).await
    }

    /// What happens to tasks behind an event, or from now on: what there is, or else what comes first within `wait`.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn events(
        &self,
        query: &TimelineQuery,
        after: Option<u64>,
        wait: Duration,
    ) -> Result<LiveEventsView, ClientError> {
        self.call(query.listen(after, wait)).await
    }

    /// Whether the server is there. Never repeated; see [`Client::wait_until_ready`].
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn livez(&self) -> Result<HealthView, ClientError> {
        self.call(Call::get("/livez").once()).await
    }

    /// Whether the server can do its work, and how much room its store has. Never repeated; see [`Client::wait_until_ready`].
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn readyz(&self) -> Result<ReadinessView, ClientError> {
        self.call(Call::get("/readyz").once()).await
    }

    /// Waits for up to `patience` until the server can do its work.
    ///
    /// # Errors
    /// The last [`ClientError`], if it could not by then.
    pub async fn wait_until_ready(&self, patience: Duration) -> Result<ReadinessView, ClientError> {
        self.with_deadline(patience).call(Call::get("/readyz")).await
    }

    /// The API's own description.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn openapi(&self) -> Result<serde_json::Value, ClientError> {
        self.call(Call::get("/openapi.json")).await
    }
}
