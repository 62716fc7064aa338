//! What functions ask of AWS: each request as the permissions that it takes, and of the table, the kinds of items that it
//! names.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::{Arc, LazyLock, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use baton_lambda::Queues;
use baton_lambda::queues::{BATCH, Outgoing, QueueError, Received};
use baton_lambda::stub::MemoryQueues;
use baton_model::Timestamp;
use baton_store::transfer::TaskRecord;
use baton_store::{Archive, ArchiveError};
use baton_store_dynamodb::aws_sdk_dynamodb::config::interceptors::BeforeTransmitInterceptorContextRef;
use baton_store_dynamodb::aws_sdk_dynamodb::config::{ConfigBag, Intercept, RuntimeComponents};
use baton_store_dynamodb::aws_sdk_dynamodb::error::BoxError;
use baton_store_dynamodb::{Meter, Request};
use serde_json::Value;

/// What is asked of: a resource by its name in `infra/template.yaml`; of the table's index, `Table/index`.
pub(crate) type Resource = String;

/// A permission's action, such as `dynamodb:Query`.
pub(crate) type Action = String;

/// By function, by resource: actions, each with the keys that it named, as a role's condition says them
/// (`dynamodb:LeadingKeys`): `T#*` for tasks. What changes a token names its attributes, too: `K#* (lu)`.
pub(crate) type Actions = BTreeMap<String, BTreeMap<Resource, BTreeMap<Action, BTreeSet<String>>>>;

/// Rights, each as the actions that come to the same: who may read an item in one way learns all that the others tell, and
/// who may put one may change it. Roles give the first to whoever has one of the others, too, as a write's answer may
/// bring the item. See `docs/decisions/0017-keys-of-roles.md`.
const RIGHTS: [&[&str]; 3] = [
    &["dynamodb:BatchGetItem", "dynamodb:GetItem", "dynamodb:Query"],
    &["dynamodb:PutItem", "dynamodb:UpdateItem"],
    &["dynamodb:DeleteItem"],
];

/// Whether a role that allows what is on record of a resource allows an action on a key.
fn may(known: &BTreeMap<Action, BTreeSet<String>>, action: &str, key: &str) -> bool {
    let has = |one: &str| known.get(one).is_some_and(|keys| keys.contains(key));
    let own = has(action);
    let wider = match RIGHTS.iter().position(|right| right.contains(&action)) {
        Some(0) => RIGHTS.iter().flat_map(|right| *right).any(|one| has(one)),
        Some(right) => RIGHTS[right].iter().any(|one| has(one)),
        None => false,
    };
    own || wider || key.starts_with("K#* (") && may(known, "dynamodb:PutItem", "K#*")
}

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
    fn note(&self, function: &'static str, resource: &str, action: String, keys: BTreeSet<String>) {
        let mut seen = self.seen.lock().unwrap();
        seen.latest.insert((function, resource.to_owned(), action.clone()));
        let of = seen.all.entry(function.to_owned()).or_default();
        of.entry(resource.to_owned()).or_default().entry(action).or_default().extend(keys);
    }

    /// All that was asked for.
    pub(crate) fn all(&self) -> Actions {
        self.seen.lock().unwrap().all.clone()
    }

    /// Whether a function has asked for this.
    pub(crate) fn has(&self, function: &str, resource: &str, action: &str) -> bool {
        let seen = self.seen.lock().unwrap();
        let of = seen.all.get(function).and_then(|resources| resources.get(resource));
        of.is_some_and(|actions| actions.contains_key(action))
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
                for (action, keys) in actions {
                    let Some(known) = known.filter(|known| known.contains_key(&action)) else {
                        unrecorded.push(format!("{function}: {action} on {resource}"));
                        continue;
                    };
                    let refused = keys.iter().filter(|key| !may(known, &action, key));
                    unrecorded
                        .extend(refused.map(|key| format!("{function}: {action} of {key} on {resource}")));
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
        self.calls.note(self.function, &name, format!("sqs:{action}"), BTreeSet::new());
    }

    pub(super) fn s3(&self, bucket: &str, actions: &[&str]) {
        for action in actions {
            self.calls.note(self.function, bucket, format!("s3:{action}"), BTreeSet::new());
        }
    }

    /// The same of what lies under these beginnings of paths alone, as a role's resources say them: `bytes/*`.
    pub(super) fn s3_below(&self, bucket: &str, action: &str, below: &[&str]) {
        let below = below.iter().map(|one| (*one).to_owned()).collect();
        self.calls.note(self.function, bucket, format!("s3:{action}"), below);
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
        for (action, keys) in actions(operation, &body) {
            self.calls.note(self.function, resource, format!("dynamodb:{action}"), keys);
        }
        Ok(())
    }
}

/// The actions that a request to DynamoDB takes, and the keys of each. A transaction takes those of its parts, and none of
/// its own.
fn actions(operation: &str, body: &Value) -> Vec<(String, BTreeSet<String>)> {
    let tables = || body["RequestItems"].as_object().unwrap().values();
    let keys: BTreeSet<String> = match operation {
        "TransactWriteItems" => {
            let parts = body["TransactItems"].as_array().unwrap().iter();
            let parts = parts.flat_map(|part| part.as_object().unwrap());
            return parts
                .map(|(kind, part)| match kind.as_str() {
                    "ConditionCheck" => ("ConditionCheckItem".to_owned(), key(part)),
                    kind => (format!("{kind}Item"), key(part)),
                })
                .collect();
        }
        "BatchGetItem" => {
            let keys = tables().flat_map(|table| table["Keys"].as_array().unwrap());
            keys.flat_map(|key| patterns(&key["pk"])).collect()
        }
        "BatchWriteItem" => {
            let requests = tables().flat_map(|table| table.as_array().unwrap());
            requests.flat_map(|request| request.as_object().unwrap().values()).flat_map(key).collect()
        }
        "Query" => {
            assert!(body["KeyConditionExpression"].as_str().unwrap().starts_with("#p = :p"), "{body}");
            patterns(&body["ExpressionAttributeValues"][":p"]).collect()
        }
        _ => key(body),
    };
    vec![(operation.to_owned(), keys)]
}

/// The key of a request for one item, or of a part of one for several.
fn key(request: &Value) -> BTreeSet<String> {
    let item = if request["Item"].is_null() { &request["Key"] } else { &request["Item"] };
    let keys = patterns(&item["pk"]);
    let Some(change) = request["UpdateExpression"].as_str() else {
        return keys.collect();
    };
    // What an update changes and what it is bound to, by the names behind the placeholders.
    let names =
        request["ExpressionAttributeNames"].as_object().unwrap_or_else(|| panic!("names in {change}"));
    let names: Vec<&str> =
        names.values().filter_map(Value::as_str).filter(|name| !KEYS.contains(name)).collect();
    let with = |key: String| match key.starts_with(TOKENS) {
        true => names.iter().map(|name| format!("{key} ({name})")).collect(),
        false => vec![key],
    };
    keys.flat_map(with).collect()
}

/// The attributes that are the table's keys.
const KEYS: [&str; 2] = ["pk", "sk"];

/// What the partitions of tokens begin with: who may change one may not change all of it.
const TOKENS: &str = "K#";

/// A key as conditions name its kind: what stands before its first `#`, and anything behind that. Two kinds that differ by
/// the form of ids alone go together, as callers may choose ids.
fn patterns(key: &Value) -> impl Iterator<Item = String> + use<> {
    let key = key["S"].as_str().unwrap_or_else(|| panic!("expected a key of text, got {key}"));
    let patterns = match key.split_once('#') {
        None => vec![key.to_owned()],
        Some(("T" | "X", _)) => vec!["T#*".to_owned(), "X#*".to_owned()],
        // Who may hold what one alone may do need not see what is kept beside it, some of which is secret. A webhook's messages have a
        // partition of their own.
        Some(("DO", kind)) => match kind.split_once('/') {
            Some((kind, _)) => vec![format!("DO#{kind}/*")],
            None => vec![format!("DO#{kind}")],
        },
        Some(("G" | "Y", _)) => vec!["G#*".to_owned(), "Y#*".to_owned()],
        Some((kind, _)) => vec![format!("{kind}#*")],
    };
    patterns.into_iter()
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

/// An archive, and the record of what one function asks of the bucket that it lies in.
pub(crate) struct RecordedArchive {
    archive: Arc<dyn Archive>,
    recorder: Recorder,
}

impl RecordedArchive {
    /// The bucket's name in the template.
    const BUCKET: &str = "ArchiveBucket";

    pub(crate) fn new(archive: Arc<dyn Archive>, recorder: Recorder) -> Self {
        Self { archive, recorder }
    }
}

#[async_trait]
impl Archive for RecordedArchive {
    async fn keep(&self, tasks: &[TaskRecord], now: Timestamp) -> Result<(), ArchiveError> {
        self.recorder.s3(Self::BUCKET, &["PutObject"]);
        self.archive.keep(tasks, now).await
    }

    async fn gather(&self, before: Timestamp, most: Option<u64>) -> Result<u64, ArchiveError> {
        // Parts are listed and read, written whole or as an upload in parts, which is taken back if it fails, and removed.
        let actions = ["ListBucket", "GetObject", "PutObject", "AbortMultipartUpload", "DeleteObject"];
        self.recorder.s3(Self::BUCKET, &actions);
        self.archive.gather(before, most).await
    }
}
