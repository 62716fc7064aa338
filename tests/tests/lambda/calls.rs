//! What functions ask of AWS: each request as the permissions that it takes.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::{Arc, LazyLock, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use baton_lambda::Queues;
use baton_lambda::queues::{BATCH, Outgoing, QueueError, Received};
use baton_lambda::stub::MemoryQueues;
use baton_store_dynamodb::aws_sdk_dynamodb::config::interceptors::BeforeTransmitInterceptorContextRef;
use baton_store_dynamodb::aws_sdk_dynamodb::config::{ConfigBag, Intercept, RuntimeComponents};
use baton_store_dynamodb::aws_sdk_dynamodb::error::BoxError;
use baton_store_dynamodb::{Meter, Request};
use serde_json::Value;

/// What is asked of: a resource by its name in `infra/template.yaml`; of the table's index, `Table/index`.
pub(crate) type Resource = String;

/// A permission's action, such as `dynamodb:Query`.
pub(crate) type Action = String;

/// By function, by resource: actions.
pub(crate) type Actions = BTreeMap<String, BTreeMap<Resource, BTreeSet<Action>>>;

/// The record that the permissions of `infra/template.yaml` are held against.
pub(crate) fn record() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../infra/actions.json")
}

/// How the record is written anew.
pub(crate) const REWRITE: &str = "UPDATE=1 cargo test -p baton-tests --test lambda permissions";

/// Whether the record is being written anew.
pub(crate) fn rewriting() -> bool {
    std::env::var_os("UPDATE").is_some()
}

/// The record as it stands.
static RECORDED: LazyLock<Actions> = LazyLock::new(|| {
    std::fs::read_to_string(record()).map(|text| serde_json::from_str(&text).unwrap()).unwrap_or_default()
});

/// What the functions of one world have asked for, and what it takes to serve that.
#[derive(Debug, Default)]
pub(crate) struct Calls {
    seen: Mutex<Seen>,
    spent: Mutex<Spent>,
}

/// What is billed.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Spent {
    /// How often functions ran.
    pub(crate) invocations: u64,
    /// Requests to the table, and its read and write units.
    pub(crate) requests: u64,
    pub(crate) reads: f64,
    pub(crate) writes: f64,
    /// Requests to queues, of at most 10 messages each.
    pub(crate) messages: u64,
    /// Bytes of log lines, metrics among them.
    pub(crate) logged: u64,
}

#[derive(Debug, Default)]
struct Seen {
    all: Actions,
    latest: BTreeSet<(&'static str, Resource, Action)>,
}

impl Calls {
    fn note(&self, function: &'static str, resource: &str, action: String) {
        let mut seen = self.seen.lock().unwrap();
        seen.latest.insert((function, resource.to_owned(), action.clone()));
        let of = seen.all.entry(function.to_owned()).or_default();
        of.entry(resource.to_owned()).or_default().insert(action);
    }

    /// All that was asked for.
    pub(crate) fn all(&self) -> Actions {
        self.seen.lock().unwrap().all.clone()
    }

    /// Whether a function has asked for this.
    pub(crate) fn has(&self, function: &str, resource: &str, action: &str) -> bool {
        let seen = self.seen.lock().unwrap();
        let of = seen.all.get(function).and_then(|resources| resources.get(resource));
        of.is_some_and(|actions| actions.contains(action))
    }

    /// What was asked for since this was last called.
    pub(crate) fn latest(&self) -> BTreeSet<(&'static str, Resource, Action)> {
        std::mem::take(&mut self.seen.lock().unwrap().latest)
    }

    /// What was asked for and is not on record: a function would be refused it.
    pub(crate) fn unrecorded(&self) -> Vec<String> {
        let mut unrecorded = Vec::new();
        for (function, resources) in self.all() {
            for (resource, actions) in resources {
                let known = RECORDED.get(&function).and_then(|resources| resources.get(&resource));
                for action in actions {
                    if known.is_none_or(|known| !known.contains(&action)) {
                        unrecorded.push(format!("{function}: {action} on {resource}"));
                    }
                }
            }
        }
        unrecorded
    }
}

impl Calls {
    /// Adds to what is billed.
    pub(crate) fn spend(&self, change: impl FnOnce(&mut Spent)) {
        change(&mut self.spent.lock().unwrap());
    }

    /// What is to be billed since this was last asked.
    pub(crate) fn bill(&self) -> Spent {
        std::mem::take(&mut self.spent.lock().unwrap())
    }
}

impl Meter for Calls {
    fn record(&self, request: Request) {
        self.spend(|spent| {
            spent.requests += 1;
            let units = if request.writes { &mut spent.writes } else { &mut spent.reads };
            *units += request.units();
        });
    }
}

/// Records what one function asks for.
#[derive(Clone, Debug)]
pub(crate) struct Recorder {
    function: &'static str,
    calls: Arc<Calls>,
}

impl Recorder {
    pub(crate) fn new(function: &'static str, calls: Arc<Calls>) -> Self {
        Self { function, calls }
    }

    fn sqs(&self, queue: &str, action: &str, messages: usize) {
        self.calls.spend(|spent| spent.messages += messages.div_ceil(BATCH) as u64);
        // The queue `submissions-dead` is `SubmissionsDead` in the template.
        let name = queue.rsplit('/').next().unwrap().split('-');
        let name: String = name.map(|word| word[..1].to_uppercase() + &word[1..]).collect();
        self.calls.note(self.function, &name, format!("sqs:{action}"));
    }
}

impl Intercept for Recorder {
    fn name(&self) -> &'static str {
        "recorder"
    }

    fn read_before_transmit(
        &self,
        context: &BeforeTransmitInterceptorContextRef<'_>,
        _: &RuntimeComponents,
        _: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        let request = context.request();
        let target = request.headers().get("x-amz-target").ok_or("a request names no operation")?;
        let operation = target.rsplit('.').next().unwrap_or(target);
        let body: Value =
            serde_json::from_slice(request.body().bytes().ok_or("a request has no body of its own")?)?;
        let resource = if body.get("IndexName").is_some() { "Table/index" } else { "Table" };
        for action in actions(operation, &body) {
            self.calls.note(self.function, resource, format!("dynamodb:{action}"));
        }
        Ok(())
    }
}

/// The actions that a request to DynamoDB takes. A transaction takes those of its parts, and none of its own.
fn actions(operation: &str, body: &Value) -> Vec<String> {
    if operation != "TransactWriteItems" {
        return vec![operation.to_owned()];
    }
    let parts = body["TransactItems"].as_array().unwrap().iter();
    let kinds = parts.flat_map(|part| part.as_object().unwrap().keys());
    kinds
        .map(
            |kind| {
                if kind == "ConditionCheck" { "ConditionCheckItem".to_owned() } else { format!("{kind}Item") }
            },
        )
        .collect()
}

/// Queues, and the record of what one function asks of them.
pub(crate) struct Recorded {
    queues: Arc<MemoryQueues>,
    recorder: Recorder,
}

impl Recorded {
    pub(crate) fn new(queues: Arc<MemoryQueues>, recorder: Recorder) -> Self {
        Self { queues, recorder }
    }
}

#[async_trait]
impl Queues for Recorded {
    async fn send(&self, queue: &str, messages: &[Outgoing]) -> Vec<Result<(), QueueError>> {
        self.recorder.sqs(queue, "SendMessage", messages.len());
        self.queues.send(queue, messages).await
    }

    async fn receive(&self, queue: &str, most: usize, wait: Duration) -> Result<Vec<Received>, QueueError> {
        self.recorder.sqs(queue, "ReceiveMessage", 1);
        self.queues.receive(queue, most, wait).await
    }

    async fn delete(&self, queue: &str, receipts: &[String]) -> Result<(), QueueError> {
        self.recorder.sqs(queue, "DeleteMessage", receipts.len());
        self.queues.delete(queue, receipts).await
    }

    async fn release(&self, queue: &str, receipts: &[String]) -> Result<(), QueueError> {
        self.recorder.sqs(queue, "ChangeMessageVisibility", receipts.len());
        self.queues.release(queue, receipts).await
    }
}
