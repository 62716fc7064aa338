//! A worker: claims, sometimes beats, and completes, fails, releases or abandons what it holds.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use baton_runtime::{Clock, SystemClock};
use rand::RngExt;
use rand::rngs::StdRng;
use serde_json::{Value, json};

use super::client::{Answer, Client};

struct Worker {
    id: String,
    queues: Vec<String>,
    session: String,
    client: Client,
    random: StdRng,
    claims: u64,
}

/// Works until `on` is off.
pub(super) async fn run(number: u32, client: Client, random: StdRng, on: Arc<AtomicBool>) {
    run_on(&["default", "slow"].map(str::to_owned), number, client, random, on).await;
}

/// The same with tasks of these queues.
pub(super) async fn run_on(
    queues: &[String],
    number: u32,
    client: Client,
    random: StdRng,
    on: Arc<AtomicBool>,
) {
    let queues = queues.to_vec();
    let id = format!("worker-{number}");
    let mut worker = Worker { id, queues, session: String::new(), client, random, claims: 0 };
    worker.start_anew();
    let mut held: Vec<Value> = Vec::new();
    while on.load(Ordering::Relaxed) {
        if held.is_empty() {
            held = worker.claim().await;
            continue;
        }
        worker.beat(&held).await;
        tokio::time::sleep(Duration::from_millis(worker.random.random_range(0..15))).await;
        if held.len() > 1 && worker.random.random_bool(0.3) {
            held = worker.end_all(held).await;
            continue;
        }
        let task = held.remove(0);
        match worker.random.random_range(0..100) {
            // It dies and comes back with no memory of what it held.
            0..=1 => {
                held.clear();
                worker.start_anew();
            }
            // It forgets one task.
            2..=3 => {}
            4..=7 => worker.end(&task, "fail", json!({ "error": { "message": "chaos" } })).await,
            8..=11 => worker.end(&task, "release", json!({})).await,
            _ => held.extend(worker.complete(&task, held.is_empty()).await),
        }
    }
}

impl Worker {
    fn start_anew(&mut self) {
        let (high, low): (u64, u64) = (self.random.random(), self.random.random());
        let digits = format!("{high:016x}{low:016x}");
        let parts = (&digits[..8], &digits[8..12], &digits[13..16], &digits[17..20], &digits[20..]);
        self.session = format!("{}-{}-8{}-a{}-{}", parts.0, parts.1, parts.2, parts.3, parts.4);
    }

    fn claim_body(&mut self) -> Value {
        self.claims += 1;
        json!({
            "worker_id": self.id,
            "session_id": self.session,
            "queues": self.queues,
            "max_tasks": self.random.random_range(1..4),
            "capacity": 8,
            "request_id": format!("{}-{}", &self.session[..8], self.claims),
        })
    }

    async fn claim(&mut self) -> Vec<Value> {
        let mut body = self.claim_body();
        body["wait_seconds"] = json!(0.2);
        // Now and then all servers hear it at once.
        let at_once = if self.random.random_bool(0.3) { self.client.servers() } else { 1 };
        let sendings = (0..at_once).map(|_| self.client.post("/v1/claims", None, &body));
        let mut held: Vec<Value> = Vec::new();
        for answer in futures::future::join_all(sendings).await {
            if !answer.is_success() {
                self.surprise("a claim", &answer);
            }
            let tasks = self.given(&answer.body);
            let told = tasks.iter().map(|task| {
                (
                    task["id"].as_str().unwrap_or_default().to_owned(),
                    task["attempt"].as_u64().unwrap_or_default(),
                )
            });
            let request = body["request_id"].as_str().unwrap_or_default().to_owned();
            self.client.record.told().claims.entry(request).or_default().push(told.collect());
            for task in tasks {
                if !held.iter().any(|one| one["id"] == task["id"]) {
                    held.push(task);
                }
            }
        }
        held
    }

    /// Notes what a claim was given; a task that comes with a repeated answer is the same.
    fn given(&self, answer: &Value) -> Vec<Value> {
        let tasks = answer["tasks"].as_array().cloned().unwrap_or_default();
        // The clock leaves away what is less than a millisecond.
        let by = SystemClock.now().plus(Duration::from_millis(1));
        let mut told = self.client.record.told();
        for task in &tasks {
            let id = task["id"].as_str().unwrap_or_default().to_owned();
            let attempt = task["attempt"].as_u64().unwrap_or_default();
            if let Some(why) = too_early(task) {
                told.surprises.push(format!("task {id} was given out though {why}"));
            }
            told.given_by.entry((id.clone(), attempt)).or_insert(by);
            told.given.entry((id, attempt)).or_default().push(self.id.clone());
        }
        tasks
    }

    async fn beat(&mut self, held: &[Value]) {
        if self.random.random_bool(0.5) {
            return;
        }
        let running: Vec<Value> = held
            .iter()
            .map(|task| json!({ "task_id": task["id"], "attempt": task["attempt"], "progress": 0.5 }))
            .collect();
        let body = json!({ "session_id": self.session, "running": running });
        // A lost heartbeat is not sent again: the next one comes.
        if let Some(answer) =
            self.client.try_post(&format!("/v1/workers/{}/heartbeat", self.id), None, &body).await
            && !answer.is_success()
        {
            self.surprise("a heartbeat", &answer);
        }
    }

    async fn complete(&mut self, task: &Value, with_claim: bool) -> Vec<Value> {
        let mut body = self.completion(task);
        if with_claim && self.random.random_bool(0.5) {
            body["claim"] = self.claim_body();
        }
        let path = format!("/v1/tasks/{}/complete", task["id"].as_str().unwrap_or_default());
        let answer = self.client.post(&path, None, &body).await;
        if !answer.is_success() {
            self.refused("a completion", &answer);
            return Vec::new();
        }
        self.completed(task, &body, &answer.body);
        self.given(&answer.body["next"])
    }

    /// What a completion says.
    fn completion(&self, task: &Value) -> Value {
        let attempt = task["attempt"].as_u64().unwrap_or_default();
        let result = json!({ "by": self.id, "attempt": attempt, "of": task["params"]["n"] });
        json!({ "worker_id": self.id, "attempt": attempt, "result": result })
    }

    /// Notes a completion that was acknowledged.
    fn completed(&self, task: &Value, sent: &Value, answer: &Value) {
        let attempt = task["attempt"].as_u64().unwrap_or_default();
        let generation = answer["generation_id"].as_str().unwrap_or_default().to_owned();
        let id = task["id"].as_str().unwrap_or_default().to_owned();
        let told = (attempt, generation, sent["result"].clone());
        self.client.record.told().completed.entry(id).or_default().push(told);
    }

    /// Ends all that it holds by one request, which brings what comes next. What could not be done is sent again, alone or
    /// with the others of its kind.
    async fn end_all(&mut self, mut held: Vec<Value>) -> Vec<Value> {
        let mut claim = self.claim_body();
        let mut next: Vec<Value> = Vec::new();
        let mut endings: Vec<Value> = held.iter().map(|task| self.ending(task)).collect();
        while !held.is_empty() {
            let mut body = json!({ "endings": endings });
            if !claim.is_null() {
                body["claim"] = claim.clone();
            }
            let answer = self.client.post("/v1/endings", None, &body).await;
            if !answer.is_success() {
                self.surprise("ends of attempts", &answer);
                return next;
            }
            if answer.body["next"].is_object() {
                claim = Value::Null;
                next.extend(self.given(&answer.body["next"]));
            }
            let items = answer.body["items"].as_array().cloned().unwrap_or_default();
            let mut again = (Vec::new(), Vec::new());
            for ((task, ending), item) in held.into_iter().zip(endings).zip(items) {
                let problem = &item["problem"];
                if problem.is_null() {
                    if let Some(sent) = ending.get("completion") {
                        self.completed(&task, sent, &item["completed"]);
                    }
                } else if problem["status"].as_u64() == Some(503) {
                    again.0.push(task);
                    again.1.push(ending);
                } else {
                    self.refused("one of several ends", &Answer { status: 409, body: problem.clone() });
                }
            }
            (held, endings) = again;
        }
        next
    }

    fn ending(&mut self, task: &Value) -> Value {
        let given_back = json!({ "worker_id": self.id, "attempt": task["attempt"] });
        match self.random.random_range(0..10) {
            0 => {
                let mut failure = given_back;
                failure["error"] = json!({ "message": "chaos" });
                json!({ "task_id": task["id"], "failure": failure })
            }
            1 => json!({ "task_id": task["id"], "release": given_back }),
            _ => json!({ "task_id": task["id"], "completion": self.completion(task) }),
        }
    }

    async fn end(&mut self, task: &Value, how: &str, mut body: Value) {
        body["worker_id"] = json!(self.id);
        body["attempt"] = task["attempt"].clone();
        let path = format!("/v1/tasks/{}/{how}", task["id"].as_str().unwrap_or_default());
        let answer = self.client.post(&path, None, &body).await;
        if !answer.is_success() {
            self.refused(how, &answer);
        }
    }

    /// A worker whose lease is gone is told so; any other refusal is a surprise.
    fn refused(&self, what: &str, answer: &Answer) {
        if !matches!(answer.code(), "lease_lost" | "stale_attempt" | "wrong_worker") {
            self.surprise(what, answer);
        }
    }

    fn surprise(&self, what: &str, answer: &Answer) {
        self.client
            .record
            .told()
            .surprises
            .push(format!("{what} was answered {} {}", answer.status, answer.body));
    }
}

/// What is wrong with giving out a task now, as told by what comes along of the tasks that it waited for.
fn too_early(task: &Value) -> Option<String> {
    let wanted = task["depends_on"].as_array()?;
    let inputs = task["inputs"].as_array().map(Vec::as_slice).unwrap_or_default();
    if inputs.len() != wanted.len() {
        return Some(format!("of {} tasks that it waited for {} are told", wanted.len(), inputs.len()));
    }
    let runs_anyhow = task["if_dependency_fails"] == "run";
    let wrong = |input: &&Value| match input["state"].as_str().unwrap_or_default() {
        "completed" => !input["generation"].is_object(),
        "failed" | "cancelled" => !runs_anyhow,
        _ => true,
    };
    inputs.iter().find(wrong).map(|input| format!("it waits for {input}"))
}
