//! The supply of queues over HTTP: what is set and shown, what is refused, and that a queue stays full under many claims.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use axum::body::Body;
use baton_http::App;
use baton_reap_stale_workers::scheduled;
use baton_runtime::{Clock, LocalDoorbell, RandomIds, Settings, Sources, SystemClock};
use baton_server::{Server, Service};
use baton_store::{Doorbell, Store};
use baton_store_sqlite::{Durability, Options, SqliteStore};
use http::Request;
use serde_json::{Value, json};
use tower::ServiceExt;

use crate::world::{Answer, World};

fn nights() -> Value {
    json!({
        "min": 2, "target": 4, "while_asked": true, "by": "ada", "reason": "nights",
        "templates": [
            {"weight": 3, "task": {"type": "render", "project": "film", "params": {"seed": "{{index}}", "day": "{{date}}"}}},
            {"task": {"type": "bake", "priority": "high", "max_attempts": 7}}
        ]
    })
}

async fn round(world: &World) {
    scheduled(&world.app, Duration::from_secs(10), None).await.unwrap();
}

async fn waiting(world: &World) -> Vec<Value> {
    let tasks = world.get("/v1/tasks?queue=gpu&status=queued").await.json();
    tasks["items"].as_array().unwrap().clone()
}

#[tokio::test]
async fn a_supply_is_shown_as_it_was_set_and_recorded() {
    let world = World::new();
    let answer = world.post("/v1/queues/gpu/supply", nights()).await;
    assert_eq!(answer.status, 201, "{}", answer.text());
    let supply = answer.json();
    let told =
        (&supply["queue"], &supply["min"], &supply["target"], &supply["while_asked"], &supply["paused"]);
    assert_eq!(told, (&json!("gpu"), &json!(2), &json!(4), &json!(true), &json!(false)));
    assert_eq!(
        (&supply["created"], &supply["changed_by"], &supply["reason"]),
        (&json!(0), &json!("ada"), &json!("nights"))
    );
    let (first, second) = (&supply["templates"][0], &supply["templates"][1]);
    assert_eq!((&first["weight"], &first["task"]["project"]), (&json!(3), &json!("film")));
    assert_eq!(first["task"]["params"], json!({"seed": "{{index}}", "day": "{{date}}"}));
    assert_eq!((&second["weight"], &second["task"]["max_attempts"]), (&json!(1), &json!(7)));
    let again = world.post("/v1/queues/gpu/supply", nights()).await;
    assert_eq!((again.status.as_u16(), again.json()), (200, supply.clone()), "the same changes nothing");
    // What is shown can be set.
    let shown = json!({"min": supply["min"], "target": supply["target"], "while_asked": true,
        "templates": supply["templates"]});
    assert_eq!(world.post("/v1/queues/gpu/supply", shown).await.json(), supply);
    assert_eq!(world.get("/v1/queues/gpu/supply").await.json(), supply);
    assert_eq!(world.get("/v1/supplies").await.json()["items"], json!([supply]));
    let audit = world.get("/v1/audit?action=set_supply").await.json();
    let change = &audit["items"][2]["change"];
    assert_eq!(change["to"], "2 to 4 ready of 3 × render, 1 × bake, while asked", "{audit}");
    let gone = world.act("/v1/queues/gpu/supply/unset").await.json();
    assert_eq!(gone["target"], 4);
    world.act("/v1/queues/gpu/supply/unset").await.problem(404, "supply_not_found");
    world.get("/v1/queues/gpu/supply").await.problem(404, "supply_not_found");
    assert_eq!(world.get("/v1/supplies").await.json()["items"], json!([]));
    world.get("/v1/queues/gpu").await.problem(404, "queue_not_found");
}

#[tokio::test]
async fn what_is_wrong_with_a_supply_is_told_by_field() {
    let world = World::new();
    let task = json!({"task": {"type": "a"}});
    for (body, fields) in [
        (json!({}), &["min", "target", "templates"][..]),
        (json!({"min": 0, "target": 1001, "templates": []}), &["min", "target", "templates"]),
        (json!({"min": 5, "target": 4, "templates": [task]}), &["target"]),
        (
            json!({"min": 1, "target": 4, "templates": [task, {"weight": 0, "task": {}}]}),
            &["templates[1].weight", "templates[1].task.type"],
        ),
        (json!({"min": 1, "target": 4, "templates": vec![task.clone(); 21]}), &["templates"]),
        (
            json!({"min": 1, "target": 4, "templates": [{"task": {"type": "a", "queue": "b", "delay_seconds": 1}}]}),
            &["templates[0].task.queue", "templates[0].task.delay_seconds"],
        ),
        (
            json!({"min": 1, "target": 4, "templates": [task], "while_asked": 1, "oops": 1}),
            &["while_asked", "oops"],
        ),
    ] {
        let mut told = world.post("/v1/queues/gpu/supply", body.clone()).await.wrong_fields();
        let mut fields: Vec<String> = fields.iter().map(|one| (*one).to_owned()).collect();
        told.sort();
        fields.sort();
        assert_eq!(told, fields, "{body}");
    }
    assert_eq!(world.get("/v1/supplies").await.json()["items"], json!([]), "nothing half done");
}

#[tokio::test]
async fn a_claim_and_the_reapers_round_refill_what_is_low() {
    let world = World::new();
    world.post("/v1/queues/gpu/supply", nights()).await;
    round(&world).await;
    assert_eq!(waiting(&world).await.len(), 0, "nobody asks");
    // Nothing runs beside this world, as on AWS: the claim refills by itself, and looks again.
    let claim = json!({"worker_id": "w1", "queues": ["gpu"]});
    let given = world.post("/v1/claims", claim.clone()).await.json();
    assert_eq!(given["tasks"][0]["queue"], "gpu", "{given}");
    assert_eq!(waiting(&world).await.len(), 3);
    let task =
        world.get(&format!("/v1/tasks/{}/history", given["tasks"][0]["id"].as_str().unwrap())).await.json();
    assert_eq!(task["items"][0]["by"], "supply gpu", "{task}");
    let many = json!({"worker_id": "w2", "queues": ["gpu"], "max_tasks": 3});
    assert_eq!(world.post("/v1/claims", many).await.json()["tasks"].as_array().unwrap().len(), 3);
    round(&world).await;
    let ready = waiting(&world).await;
    assert_eq!(ready.len(), 4);
    round(&world).await;
    assert_eq!(waiting(&world).await.len(), 4);
    let seeds = ready.iter().filter_map(|task| task["params"]["seed"].as_str()).collect::<Vec<_>>();
    assert!(
        seeds.iter().all(|seed| seed.parse::<u64>().is_ok_and(|index| (4..8).contains(&index))),
        "{seeds:?}"
    );
    assert_eq!(world.get("/v1/queues/gpu/supply").await.json()["created"], 8);
}

#[tokio::test]
async fn a_token_sets_and_sees_supplies_of_its_queues_unless_it_is_of_one_project() {
    let world = World::new();
    for queue in ["cpu", "gpu"] {
        world.post(&format!("/v1/queues/{queue}/supply"), nights()).await;
    }
    let of_gpu = world.with_token(json!({"queues": ["gpu"]})).await;
    let listed = of_gpu.get("/v1/supplies").await.json();
    assert_eq!((listed["items"].as_array().unwrap().len(), &listed["items"][0]["queue"]), (1, &json!("gpu")));
    assert_eq!(of_gpu.get("/v1/queues/gpu/supply").await.status, 200);
    assert_eq!(of_gpu.post("/v1/queues/gpu/supply", nights()).await.status, 200);
    of_gpu.get("/v1/queues/cpu/supply").await.problem(403, "outside_grant");
    of_gpu.act("/v1/queues/cpu/supply/unset").await.problem(403, "outside_grant");
    let of_film = world.with_token(json!({"project": "film"})).await;
    of_film.post("/v1/queues/gpu/supply", nights()).await.problem(403, "outside_grant");
    of_film.get("/v1/queues/gpu/supply").await.problem(403, "outside_grant");
    of_film.get("/v1/supplies").await.problem(403, "outside_grant");
    let producer = world.with_token(json!({"scopes": ["producer", "worker"]})).await;
    producer.get("/v1/supplies").await.problem(403, "scope_missing");
}

const MIN: u32 = 20;
const TARGET: u32 = 60;
const CLAIMERS: usize = 32;

/// What was seen of the ready tasks: the most, and for how long there were fewer than the least at the longest.
struct Seen {
    most: u32,
    longest_low: Duration,
    looks: u64,
}

/// Looks at the ready tasks of the queue in the file, each look at one moment, until it is over.
fn watch(file: &std::path::Path, over: &AtomicBool) -> Seen {
    let db = rusqlite::Connection::open(file).unwrap();
    let sql = "SELECT count(*) FROM task INDEXED BY task_ready WHERE state = 0 AND queue = 'gpu'";
    let mut count = db.prepare(sql).unwrap();
    let mut seen = Seen { most: 0, longest_low: Duration::ZERO, looks: 0 };
    let mut low_since: Option<Instant> = None;
    while !over.load(Ordering::SeqCst) {
        let ready: u32 = count.query_row([], |row| row.get(0)).unwrap();
        seen.most = seen.most.max(ready);
        seen.looks += 1;
        match low_since {
            _ if ready >= MIN => low_since = None,
            None => low_since = Some(Instant::now()),
            Some(since) => seen.longest_low = seen.longest_low.max(since.elapsed()),
        }
        std::thread::sleep(Duration::from_millis(1));
    }
    seen
}

/// Claims and completes until it is over; says how many tasks it was given.
async fn work(service: Service, worker: String, over: Arc<AtomicBool>) -> u64 {
    let post = async |path: String, body: Value| {
        let request = Request::post(path).header("content-type", "application/json");
        let request = request.body(Body::from(body.to_string())).unwrap();
        Answer::of(service.clone().oneshot(request).await.unwrap()).await.json()
    };
    let mut done = 0;
    while !over.load(Ordering::SeqCst) {
        let claim =
            json!({"worker_id": worker, "queues": ["gpu"], "max_tasks": 1 + done % 3, "wait_seconds": 1});
        let given = post("/v1/claims".to_owned(), claim).await;
        for task in given["tasks"].as_array().unwrap() {
            done += 1;
            let end = json!({"worker_id": worker, "attempt": task["attempt"]});
            let id = task["id"].as_str().unwrap();
            post(format!("/v1/tasks/{id}/complete"), end).await;
        }
    }
    done
}

/// Two servers, a reaper and 32 claimers on a queue with a supply: never above the target, and never below the least for longer than
/// a second. `BATON_SUPPLY_SECONDS` says how long; three if left out.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_queue_stays_between_its_bounds_under_two_servers_a_reaper_and_32_claimers() {
    let seconds = std::env::var("BATON_SUPPLY_SECONDS").map_or(3, |text| text.parse().unwrap());
    let flag = ("--set".to_owned(), "server.listen".to_owned(), "127.0.0.1:0".to_owned());
    let settings = Settings::load(&Sources { flags: vec![flag], ..Sources::default() }).unwrap();
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("baton.db");
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    let doorbell = LocalDoorbell::new(Arc::clone(&clock));
    let options = Options { durability: Durability::Normal, ..Options::default() };
    let store: Arc<dyn Store> =
        Arc::new(SqliteStore::open(&file, options, Arc::clone(&doorbell) as Arc<dyn Doorbell>).unwrap());
    let start =
        |bell| Server::start(&settings, Arc::clone(&store), bell, Arc::clone(&clock), Arc::new(RandomIds));
    let first = start(Arc::clone(&doorbell)).await.unwrap();
    // The other hears nothing of claims, as one on another machine would not.
    let second = start(LocalDoorbell::new(Arc::clone(&clock))).await.unwrap();
    let app = App::configured(
        &settings,
        Arc::clone(&store),
        Arc::clone(&doorbell),
        Arc::clone(&clock),
        Arc::new(RandomIds),
    );
    let service = baton_server::service(app.clone(), &settings).unwrap();
    let supply =
        json!({"min": MIN, "target": TARGET, "while_asked": true, "templates": [{"task": {"type": "a"}}]});
    let request = Request::post("/v1/queues/gpu/supply").header("content-type", "application/json");
    let set = service.clone().oneshot(request.body(Body::from(supply.to_string())).unwrap()).await.unwrap();
    assert_eq!(set.status(), 201);

    let over = Arc::new(AtomicBool::new(false));
    let rounds = Arc::new(AtomicU64::new(0));
    let reaper = {
        let (over, rounds) = (Arc::clone(&over), Arc::clone(&rounds));
        tokio::spawn(async move {
            while !over.load(Ordering::SeqCst) {
                scheduled(&app, Duration::from_secs(5), None).await.unwrap();
                rounds.fetch_add(1, Ordering::SeqCst);
                tokio::time::sleep(Duration::from_millis(30)).await;
            }
        })
    };
    let claimers: Vec<_> = (0..CLAIMERS)
        .map(|n| tokio::spawn(work(service.clone(), format!("w{n}"), Arc::clone(&over))))
        .collect();
    let watcher = {
        let (file, over) = (file.clone(), Arc::clone(&over));
        std::thread::spawn(move || watch(&file, &over))
    };
    tokio::time::sleep(Duration::from_secs(seconds)).await;
    over.store(true, Ordering::SeqCst);
    let mut done = 0;
    for claimer in claimers {
        done += claimer.await.unwrap();
    }
    reaper.await.unwrap();
    let seen = watcher.join().unwrap();
    first.shutdown().await;
    second.shutdown().await;
    println!(
        "{seconds} s, {done} tasks, {} rounds, {} looks: at most {} ready, below {MIN} for {:?} at the longest",
        rounds.load(Ordering::SeqCst),
        seen.looks,
        seen.most,
        seen.longest_low
    );
    assert!(seen.most <= TARGET, "{} were ready", seen.most);
    assert!(seen.longest_low <= Duration::from_secs(1), "fewer than {MIN} for {:?}", seen.longest_low);
    assert!(done > u64::from(TARGET) && seen.looks > 100, "{done} tasks, {} looks", seen.looks);
}
