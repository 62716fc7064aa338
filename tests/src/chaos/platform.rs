//! Clients of the generation platform: they speak the dialect `edge-functions`, give up on answers, have their connections cut, and die
//! while they work.
//!
//! What is checked in the end: each task that was acknowledged is there, once; of one attempt no two workers were told; a completion that
//! was acknowledged stands, with its location, and no task has two; a generation exists if and only if its task is completed; a file that
//! was handed over is read as it was sent, and its digest is that of the record.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use baton_files::sha256;
use baton_model::TaskId;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use serde_json::{Value, json};
use tokio::sync::{Mutex, watch};

use super::client::Client;
use super::proxy::Proxy;
use super::{Addresses, Place, Plan, Process, Program, Record, check, drain};

/// What the clients were told.
#[derive(Debug, Default)]
struct Told {
    created: BTreeSet<String>,
    /// By task and number of attempts before: the workers that were given it.
    given: BTreeMap<(String, u64), BTreeSet<String>>,
    /// The locations of acknowledged completions, by task.
    completed: BTreeMap<String, BTreeSet<String>>,
    /// The digests of the files that were handed over with them, by location.
    files: BTreeMap<String, String>,
    /// Completions that were refused, as the task was no longer in progress.
    refused: u64,
    surprises: Vec<String>,
}

/// What a run has shown.
#[derive(Debug)]
pub struct PlatformOutcome {
    /// Tasks that were acknowledged.
    pub created: usize,
    /// Attempts that were given out.
    pub given: usize,
    /// Tasks whose completion was acknowledged.
    pub completed: usize,
    /// Files that were handed over with them.
    pub files: usize,
    /// Completions that came too late.
    pub refused: u64,
    /// Connections that were cut.
    pub cuts: u64,
    /// Requests whose answer was lost.
    pub unanswered: u64,
    /// How many kills there were.
    pub kills: u32,
    /// What was broken; nothing, if all is well.
    pub broken: Vec<String>,
}

impl fmt::Display for PlatformOutcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { created, given, completed, files, refused, cuts, unanswered, kills, broken } = self;
        write!(
            f,
            "{created} tasks acknowledged, {given} attempts, {completed} completions, {files} with files, and {refused} too late, {kills} kills, \
             {cuts} connections cut, {unanswered} answers lost, {} broken",
            broken.len()
        )
    }
}

/// One client, and what all of them were told.
struct Caller {
    client: Client,
    random: StdRng,
    told: Arc<Mutex<Told>>,
    /// Numbers for workers' names, so that none is used twice.
    names: Arc<AtomicU64>,
}

impl Caller {
    /// Calls a function once; one call in ten does not wait for its answer.
    async fn call(&mut self, path: &str, body: &Value) -> Option<(u16, Value)> {
        let asked = self.client.ask(path, body);
        if self.random.random_range(0..10) > 0 {
            return asked.await;
        }
        let patience = Duration::from_micros(self.random.random_range(100..3_000));
        tokio::time::timeout(patience, asked).await.ok().flatten()
    }

    /// Calls a function until it answers.
    async fn insist(&mut self, path: &str, body: &Value) -> (u16, Value) {
        loop {
            if let Some(answer) = self.call(path, body).await {
                return answer;
            }
        }
    }
}

/// Creates tasks under ids of its own, some of which wait for others.
async fn produce(mut caller: Caller, pace: u64, on: Arc<AtomicBool>) {
    let mut last: Option<String> = None;
    while on.load(Ordering::Relaxed) {
        let id = TaskId::from_bytes(*uuid_of(&mut caller.random)).to_string();
        let waits = last.take().filter(|_| caller.random.random_range(0..3) == 0);
        let body = json!({"task_id": id, "task_type": "travel_segment", "params": {"n": 1}, "project_id": "film", "dependant_on": waits});
        let (status, answer) = caller.insist("/functions/v1/create-task", &body).await;
        let mut told = caller.told.lock().await;
        match status {
            200 => drop(told.created.insert(id.clone())),
            _ => told.surprises.push(format!("create-task {id}: {status} {answer}")),
        }
        drop(told);
        last = Some(id);
        tokio::time::sleep(Duration::from_millis(caller.random.random_range(0..pace))).await;
    }
}

/// The bytes of a UUIDv4.
fn uuid_of(random: &mut StdRng) -> Box<[u8; 16]> {
    let mut bytes: [u8; 16] = random.random();
    bytes[6] = bytes[6] & 0x0f | 0x40;
    bytes[8] = bytes[8] & 0x3f | 0x80;
    Box::new(bytes)
}

/// Beats for a worker until it is dropped.
struct Heart(tokio::task::JoinHandle<()>);

impl Drop for Heart {
    fn drop(&mut self) {
        self.0.abort();
    }
}

fn beat(addresses: Addresses, record: Arc<Record>, worker: String) -> Heart {
    Heart(tokio::spawn(async move {
        let client = Client::new(addresses, record);
        let body = json!({"worker_id_param": worker, "vram_total_mb_param": 24_000, "vram_used_mb_param": 1_000, "logs_param": [],
            "status_param": "active"});
        loop {
            // A lost beat is followed by the next one.
            let _answer = client.ask("/rest/v1/rpc/func_worker_heartbeat_with_logs", &body).await;
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    }))
}

/// Claims, and ends what it was given in one of the ways that there are, or dies with it.
async fn work(mut caller: Caller, addresses: Addresses, record: Arc<Record>, on: Arc<AtomicBool>) {
    let name = |caller: &Caller| format!("gpu-{}", caller.names.fetch_add(1, Ordering::Relaxed));
    let mut worker = name(&caller);
    let mut heart = beat(addresses.clone(), Arc::clone(&record), worker.clone());
    while on.load(Ordering::Relaxed) {
        let claim = json!({"worker_id": worker, "run_type": "gpu"});
        let task = match caller.call("/functions/v1/claim-next-task", &claim).await {
            Some((200, task)) => task,
            Some((204, _)) | None => {
                tokio::time::sleep(Duration::from_millis(20)).await;
                continue;
            }
            Some((status, answer)) => {
                caller.told.lock().await.surprises.push(format!("claim-next-task: {status} {answer}"));
                continue;
            }
        };
        let id = task["task_id"].as_str().unwrap_or_default().to_owned();
        let attempts = task["attempts"].as_u64().unwrap_or_default();
        caller.told.lock().await.given.entry((id.clone(), attempts)).or_default().insert(worker.clone());
        match caller.random.random_range(0..12) {
            // It dies, and its last word comes late or never.
            dice @ 0..2 => {
                drop(heart);
                if dice == 0 {
                    tokio::time::sleep(Duration::from_millis(2_000)).await;
                    complete(&mut caller, &id, &format!("out/{worker}/late")).await;
                }
                worker = name(&caller);
                heart = beat(addresses.clone(), Arc::clone(&record), worker.clone());
            }
            2 => {
                end(
                    &mut caller,
                    json!({"task_id": id, "status": "Failed", "output_location": "out of memory"}),
                )
                .await
            }
            3 => {
                let again = json!({"task_id": id, "status": "Queued", "attempts": attempts + 1, "error_details": "again", "clear_worker": true});
                end(&mut caller, again).await;
            }
            _ => {
                tokio::time::sleep(Duration::from_millis(caller.random.random_range(0..60))).await;
                complete(&mut caller, &id, &format!("out/{worker}/{attempts}")).await;
            }
        }
    }
    drop(heart);
}

/// Completes a task by one of the names and forms that there are.
async fn complete(caller: &mut Caller, id: &str, location: &str) {
    let form = caller.random.random_range(0..5);
    let filename = format!("{}.png", location.replace('/', "-"));
    let mut file = None;
    let (path, body) = match form {
        0 => (
            "/functions/v1/update-task-status",
            json!({"task_id": id, "status": "Complete", "output_location": location}),
        ),
        1 => {
            let bytes = bytes_of(&mut caller.random);
            file = Some(sha256(&bytes));
            let data = base64(&bytes);
            ("/functions/v1/complete_task", json!({"task_id": id, "file_data": data, "filename": filename}))
        }
        2 => ("/functions/v1/complete-task", json!({"task_id": id, "output_location": location})),
        3 => {
            let bytes = bytes_of(&mut caller.random);
            file = Some(sha256(&bytes));
            let Some(place) = upload(caller, id, &filename, bytes).await else { return };
            ("/functions/v1/complete_task", json!({"task_id": id, "storage_path": place}))
        }
        _ => ("/functions/v1/complete_task", json!({"task_id": id, "output_location": location})),
    };
    let (status, answer) = caller.insist(path, &body).await;
    let mut told = caller.told.lock().await;
    match (status, answer["public_url"].as_str()) {
        (200, Some(url)) => {
            told.completed.entry(id.to_owned()).or_default().insert(url.to_owned());
            if let Some(digest) = file {
                told.files.insert(url.to_owned(), digest);
            }
        }
        // Also a late one is answered so, by the platform's own rule, and changes nothing: it binds the status alone.
        (200, None) if form == 0 => drop(told.completed.entry(id.to_owned()).or_default()),
        (409, _) => told.refused += 1,
        _ => told.surprises.push(format!("{path} {id}: {status} {answer}")),
    }
}

/// Puts a file where an upload is prepared for it; says where it lies. None if the attempt is over.
async fn upload(caller: &mut Caller, id: &str, filename: &str, bytes: Vec<u8>) -> Option<Value> {
    let asked = json!({"task_id": id, "filename": filename, "content_type": "image/png"});
    let (status, prepared) = caller.insist("/functions/v1/generate-upload-url", &asked).await;
    let Some(path) = prepared["upload_url"].as_str().and_then(path_of).filter(|_| status == 200) else {
        caller.told.lock().await.surprises.push(format!("generate-upload-url {id}: {status} {prepared}"));
        return None;
    };
    loop {
        match caller.client.put(path, bytes.clone()).await {
            Some((200, _)) => return Some(prepared["storage_path"].clone()),
            Some((409, _)) => {
                caller.told.lock().await.refused += 1;
                return None;
            }
            Some((status, answer)) => {
                caller.told.lock().await.surprises.push(format!("an upload for {id}: {status} {answer}"));
                return None;
            }
            None => {}
        }
    }
}

/// The path of an address in the storage.
fn path_of(address: &str) -> Option<&str> {
    address.find("/storage/").map(|at| &address[at..])
}

/// The bytes of a file.
fn bytes_of(random: &mut StdRng) -> Vec<u8> {
    let length = random.random_range(1..8_000);
    (0..length).map(|_| random.random()).collect()
}

/// Bytes as base64 (RFC 4648 §4).
fn base64(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let four = |three: &[u8]| {
        let bits =
            (0..3).fold(0, |bits, at| (bits << 8) | usize::from(three.get(at).copied().unwrap_or_default()));
        let digit = |at: usize| if at <= three.len() { DIGITS[(bits >> (18 - 6 * at)) & 63] } else { b'=' };
        [0, 1, 2, 3].map(|at| char::from(digit(at)))
    };
    bytes.chunks(3).flat_map(four).collect()
}

/// Ends an attempt otherwise; what is no longer in progress may refuse it.
async fn end(caller: &mut Caller, body: Value) {
    let (status, answer) = caller.insist("/functions/v1/update-task-status", &body).await;
    if !matches!(status, 200 | 409) {
        caller.told.lock().await.surprises.push(format!("{body}: {status} {answer}"));
    }
}

/// Runs the plan with the platform's clients on a program with an empty store that speaks `edge-functions`, and checks what is left.
pub async fn run_platform(plan: Plan, program: Program) -> PlatformOutcome {
    let mut random = StdRng::seed_from_u64(plan.seed);
    let record = Arc::new(Record::default());
    let told = Arc::new(Mutex::new(Told::default()));
    let names = Arc::new(AtomicU64::new(1));
    let (producing, working) = (Arc::new(AtomicBool::new(true)), Arc::new(AtomicBool::new(true)));
    let mut place = Process { program: Arc::new(program), server: None };
    let (announce, own) = watch::channel(Some(place.start(false).await));
    let calm = Arc::new(AtomicBool::new(false));
    let proxy = Proxy::start(own.clone(), random.random(), Arc::clone(&calm)).await;
    let (_through, through) = watch::channel(Some(proxy.url().to_owned()));
    let addresses = vec![through];
    let mut caller = || Caller {
        client: Client::new(addresses.clone(), Arc::clone(&record)),
        random: StdRng::seed_from_u64(random.random()),
        told: Arc::clone(&told),
        names: Arc::clone(&names),
    };
    let producers: Vec<_> = (0..plan.producers)
        .map(|_| tokio::spawn(produce(caller(), plan.pace, Arc::clone(&producing))))
        .collect();
    let workers: Vec<_> = (0..plan.workers)
        .map(|_| tokio::spawn(work(caller(), addresses.clone(), Arc::clone(&record), Arc::clone(&working))))
        .collect();

    for kill in 1..=plan.kills {
        tokio::time::sleep(Duration::from_millis(random.random_range(plan.lives.clone()))).await;
        let last = kill == plan.kills;
        if last {
            producing.store(false, Ordering::Relaxed);
            calm.store(true, Ordering::Relaxed);
        }
        announce.send_replace(None);
        place.kill().await;
        announce.send_replace(Some(place.start(last).await));
    }
    for producer in producers {
        producer.await.expect("a producer does not panic");
    }
    let client = Client::new(vec![own], Arc::clone(&record));
    let finished = drain(&client).await;
    working.store(false, Ordering::Relaxed);
    for worker in workers {
        worker.await.expect("a worker does not panic");
    }
    let mut broken = standing(&client, &*told.lock().await).await;
    broken.extend(finished.err());
    place.kill().await;
    let told = told.lock().await;
    PlatformOutcome {
        created: told.created.len(),
        given: told.given.len(),
        completed: told.completed.len(),
        files: told.files.len(),
        refused: told.refused,
        cuts: proxy.cuts(),
        unanswered: record.unanswered.load(Ordering::Relaxed),
        kills: plan.kills,
        broken,
    }
}

/// Holds what the store says against what the clients were told.
async fn standing(client: &Client, told: &Told) -> Vec<String> {
    let mut broken = told.surprises.clone();
    let tasks = check::all(client, "/v1/tasks?limit=1000").await;
    let by_id: BTreeMap<_, _> = tasks.iter().filter_map(|task| Some((task["id"].as_str()?, task))).collect();
    for id in told.created.iter().filter(|id| !by_id.contains_key(id.as_str())) {
        broken.push(format!("task {id} was acknowledged and is gone"));
    }
    if by_id.len() != tasks.len() {
        broken.push(format!("{} tasks have {} ids", tasks.len(), by_id.len()));
    }
    for ((id, attempts), workers) in told.given.iter().filter(|(_, workers)| workers.len() > 1) {
        broken.push(format!("attempt {attempts} of task {id} was given to {workers:?}"));
    }
    let generations = check::all(client, "/v1/generations?limit=1000").await;
    let mut outputs: BTreeMap<&str, Vec<&Value>> = BTreeMap::new();
    for generation in &generations {
        outputs
            .entry(generation["task_id"].as_str().unwrap_or_default())
            .or_default()
            .push(&generation["location"]);
    }
    for (id, task) in &by_id {
        let has = outputs.get(id).map_or(0, Vec::len);
        if has != usize::from(task["status"] == "completed") {
            broken.push(format!("task {id} is {} and has {has} generations", task["status"]));
        }
    }
    for (id, locations) in &told.completed {
        let stands = outputs.get(id.as_str()).and_then(|all| all.first()).and_then(|one| one.as_str());
        if stands.is_none()
            || locations.len() > 1
            || !locations.iter().all(|location| Some(location.as_str()) == stands)
        {
            broken.push(format!(
                "task {id} was acknowledged as completed with {locations:?}, and has {stands:?}"
            ));
        }
    }
    for (location, digest) in &told.files {
        let read = match path_of(location) {
            Some(path) => client.bytes(path).await.map(|bytes| sha256(&bytes)),
            None => None,
        };
        let record = generations.iter().find(|generation| generation["location"] == **location);
        let told = record.is_some_and(|record| {
            let mut files = record["files"].as_array().into_iter().flatten();
            files.any(|file| file["sha256"] == **digest)
        });
        if read.as_ref() != Some(digest) || !told {
            broken.push(format!(
                "{location} was handed over as {digest}, is read as {read:?}, and has the record {record:?}"
            ));
        }
    }
    broken
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_are_written_as_the_standard_has_it() {
        for (bytes, text) in
            [("", ""), ("f", "Zg=="), ("fo", "Zm8="), ("foo", "Zm9v"), ("foobar", "Zm9vYmFy")]
        {
            assert_eq!(base64(bytes.as_bytes()), text);
        }
    }
}
