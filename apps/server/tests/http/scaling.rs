//! How many machines should run workers, as the server tells it.

use std::sync::Arc;
use std::time::Duration;

use baton_http::{App, Parts};
use baton_model::{ReadingRule, ReadingWatch, Scope};
use baton_runtime::{Settings, Sources};
use baton_scaling::Policy;
use baton_store::Store;
use baton_store::faulty::{Fault, Faulty};
use serde_json::{Value, json};

use crate::world::World;

fn pool(name: &str, queues: &[&str]) -> Policy {
    Policy {
        name: name.parse().unwrap(),
        queues: queues.iter().map(|queue| queue.parse().unwrap()).collect(),
        provider: None,
        least: 0,
        most: 4,
        tasks_per_machine: 2,
        idle: Duration::from_secs(300),
        spawn_timeout: Duration::from_secs(600),
        failure_pause: Duration::from_secs(30),
        longest_pause: Duration::from_secs(600),
        budget_per_hour: None,
        price_per_hour: "0.5".parse().unwrap(),
    }
}

async fn create(world: &World, queue: &str, more: Value) -> String {
    let mut task = json!({"type": "t", "queue": queue});
    task.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    world.post("/v1/tasks", task).await.json()["id"].as_str().unwrap().to_owned()
}

async fn claim(world: &World, worker: &str, queues: &[&str]) {
    world.post("/v1/claims", json!({"worker_id": worker, "queues": queues})).await;
}

async fn beat(world: &World, worker: &str, labels: Value) {
    world.post(&format!("/v1/workers/{worker}/heartbeat"), json!({"labels": labels})).await;
}

/// What it says of the pool of this number, by these fields.
async fn told(world: &World, at: usize, fields: &[&str]) -> Value {
    let view = world.get("/v1/scaling").await.json();
    fields.iter().map(|field| view["items"][at][*field].clone()).collect()
}

#[tokio::test]
async fn each_pool_tells_what_it_wants_and_has_and_why() {
    let world = World::with_pools(&[], vec![pool("gpu", &["images", "thumbs"]), pool("cpu", &["mail"])]);
    let why = &["wanted", "have", "why"];
    assert_eq!(told(&world, 0, why).await, json!([0, 0, "nothing"]));

    let first = create(&world, "images", json!({})).await;
    create(&world, "images", json!({"depends_on": [first]})).await;
    create(&world, "thumbs", json!({"delay_seconds": 60})).await;
    assert_eq!(told(&world, 0, why).await, json!([1, 0, "queued_only"]));
    assert_eq!(told(&world, 0, &["claimable", "blocked", "later"]).await, json!([1, 1, 1]));

    // Two workers on one machine are one; one that names none is one by itself; one that drains is none.
    for (worker, labels) in [
        ("w1", json!({"machine": "m"})),
        ("w2", json!({"machine": "m"})),
        ("w3", json!({})),
        ("w4", json!({})),
    ] {
        claim(&world, worker, &["thumbs", "images"]).await;
        beat(&world, worker, labels).await;
    }
    claim(&world, "other", &["mail"]).await;
    beat(&world, "other", json!({})).await;
    world.act("/v1/workers/w4/drain").await;
    assert_eq!(told(&world, 0, why).await, json!([1, 2, "active_only"]));
    assert_eq!(told(&world, 0, &["workers", "idle", "tasks"]).await, json!([3, 2, 1]));
    assert_eq!(told(&world, 1, why).await, json!([0, 1, "nothing"]), "another pool has workers of its own");

    for _ in 0..20 {
        create(&world, "images", json!({})).await;
    }
    assert_eq!(told(&world, 0, why).await, json!([4, 2, "both"]));
    assert_eq!(told(&world, 0, &["bound", "tasks"]).await, json!(["most", 21]));
}

#[tokio::test]
async fn what_limits_and_pauses_keep_wants_no_machine() {
    let world = World::with_pools(&[], vec![pool("gpu", &["images"])]);
    for _ in 0..6 {
        create(&world, "images", json!({})).await;
    }
    world.post("/v1/limits", json!({"on": "queue/images", "max_running": 3})).await;
    assert_eq!(told(&world, 0, &["wanted", "claimable", "at_limit"]).await, json!([2, 3, 3]));
    world.act("/v1/queues/images/pause").await;
    assert_eq!(
        told(&world, 0, &["wanted", "why", "claimable", "paused"]).await,
        json!([0, "blocked_by_capacity", 0, 6])
    );
}

#[tokio::test]
async fn operators_who_reach_everything_may_ask_and_nobody_else() {
    let site = World::with_pools(&[("tokens.required", "always")], vec![pool("gpu", &["images"])]);
    assert_eq!(site.get("/v1/scaling").await.status, 401);
    for scope in Scope::ALL {
        let free = site.with_token(json!({"scopes": [scope]})).await;
        let expected = if scope == Scope::Operator { 200 } else { 403 };
        assert_eq!(free.get("/v1/scaling").await.status, expected, "{scope}");
        let bound = site.with_token(json!({"scopes": [scope], "queues": ["images"]})).await;
        assert_eq!(bound.get("/v1/scaling").await.status, 403, "{scope}");
    }
    let none = World::new().get("/v1/scaling").await.json();
    assert_eq!(none["items"], json!([]), "a server without pools says so");
}

#[tokio::test]
async fn a_worker_whose_reading_leaves_its_bounds_drains_and_goes_on_once_it_is_back() {
    let rule = ReadingRule {
        name: "hot".parse().unwrap(),
        reading: "celsius".to_owned(),
        least: 0.0,
        most: 85.0,
        margin: 5.0,
        lasting: Duration::from_secs(10),
        resume: true,
    };
    let world = World::with_readings(vec![rule]);
    let mut watch = ReadingWatch::default();
    let mut asked = Vec::new();
    for celsius in [70.0, 90.0, 90.0, 90.0, 84.0, 79.0] {
        for worker in ["w1", "w2"] {
            // The other one is always cool.
            let celsius = if worker == "w1" { celsius } else { 20.0 };
            let beat = json!({"readings": {"celsius": celsius}});
            world.post(&format!("/v1/workers/{worker}/heartbeat"), beat).await;
        }
        baton_reap_stale_workers::look_at_readings(&world.app, &mut watch).await.unwrap();
        let directive = async |worker: &str| {
            world.get(&format!("/v1/workers/{worker}")).await.json()["directive"].as_str().unwrap().to_owned()
        };
        assert_eq!(directive("w2").await, "run");
        asked.push(directive("w1").await);
        world.clock.advance(Duration::from_secs(5));
    }
    assert_eq!(asked, ["run", "run", "run", "drain", "drain", "run"]);
    // The time line has both, with what the rule has found.
    let told = world.get("/v1/timeline?worker=w1").await.json();
    let told: Vec<_> =
        told["items"].as_array().unwrap().iter().rev().map(|one| one["message"].clone()).collect();
    assert_eq!(told.len(), 3, "{told:#?}");
    assert_eq!(told[..2], ["started", "is to drain: celsius is 90, over 85 for 10 s (rule hot)"]);
    assert!(told[2].as_str().unwrap().starts_with("goes on: "), "{told:#?}");
}

#[tokio::test]
async fn the_wanted_machines_are_a_metric_by_the_name_that_the_page_has() {
    let world = World::with_pools(&[], vec![pool("gpu", &["images", "thumbs"]), pool("cpu", &["mail"])]);
    for _ in 0..3 {
        create(&world, "images", json!({})).await;
    }
    let text = world.get("/metrics").await.text();
    for line in [
        "baton_scaling_wanted{pool=\"gpu\"} 2.0",
        "baton_scaling_wanted{pool=\"cpu\"} 0.0",
        "baton_scaling_have{pool=\"gpu\"} 0.0",
        "baton_scaling_claimable{pool=\"gpu\"} 3.0",
        "baton_scaling_running{pool=\"gpu\"} 0.0",
    ] {
        assert!(text.lines().any(|told| told == line), "{line} is not in {text}");
    }
    let page =
        std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/scaling.md")).unwrap();
    assert!(page.contains("seriesQuery: 'baton_scaling_wanted{pool!=\"\"}'") && page.contains("pool: gpu"));
    let without = World::new().get("/metrics").await.text();
    assert!(!without.contains("baton_scaling"), "who has no pools pays for none");
}

#[tokio::test]
async fn pools_that_cannot_be_read_cost_no_other_figure_and_the_counts_are_read_once() {
    let world = World::with_pools(&[], vec![pool("gpu", &["images"])]);
    create(&world, "images", json!({})).await;
    let settings = Settings::load(&Sources::default()).unwrap();
    let (mut all, mut without) = (0, 0);
    for seed in 0..300 {
        // Each question meets a fault, so that all of them are known; a fourth of the faults fail it.
        let faulty = Arc::new(Faulty::new(Arc::clone(&world.app.store), seed, 1));
        let of = &world.app;
        let parts = Parts::configured(
            &settings,
            Arc::clone(&faulty) as Arc<dyn Store>,
            Arc::clone(&of.doorbell),
            Arc::clone(&of.clock),
            Arc::clone(&of.ids),
        );
        let app = App::new(Parts { scaling: of.scaling.clone(), ..parts });
        let told = baton_show_metrics::text(&app).await;
        let met = faulty.met();
        assert_eq!(met.iter().filter(|(asked, _)| *asked == "stats").count(), 1, "{met:?}");
        let failed: Vec<_> =
            met.iter().filter(|(_, fault)| *fault == Fault::Unavailable).map(|(asked, _)| *asked).collect();
        match told {
            Ok(text) => {
                assert!(text.contains("baton_tasks{"), "{text}");
                let has_pools = text.contains("baton_scaling_wanted{pool=\"gpu\"} 1.0");
                assert_eq!(has_pools, failed.is_empty(), "{failed:?}: {text}");
                if has_pools { all += 1 } else { without += 1 }
            }
            // These two are asked for the pools alone.
            Err(error) => {
                assert!(failed.iter().any(|asked| !["workers", "queue"].contains(asked)), "{error:?}")
            }
        }
    }
    assert!(all > 0 && without > 0, "{all}, {without}");
}
