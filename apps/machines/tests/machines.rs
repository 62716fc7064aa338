//! Inventories of a thousand machines, and both providers as they are asked for real.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test ends where it is surprised"
)]

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::extract::State as Shared;
use axum::http::{HeaderMap, StatusCode};
use axum::routing::{delete, get};
use axum::{Json, Router};
use baton_machines::{Command, Known, Machine, Money, Provider, RunPod, State, Worker, report};
use baton_model::Timestamp;
use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};
use serde_json::{Value, json};

const START_UP: Duration = Duration::from_secs(600);

fn now() -> Timestamp {
    Timestamp::from_millis(1_770_000_000_000)
}

fn shifted(millis: i64) -> Timestamp {
    Timestamp::from_millis(now().as_millis() + millis)
}

/// What is drawn of a machine: whether it is an orphan, and what it costs, is known as it is made.
struct Drawn {
    machine: Machine,
    workers: Vec<Worker>,
    orphan: bool,
    /// Its price in billionths an hour, and for how many milliseconds it has been paid for, as far as that is known.
    price: i128,
    paid_for: i128,
}

/// Names as people and providers give them.
fn odd_name(random: &mut StdRng, number: usize) -> String {
    let odd =
        ["gpu ☂", "'; drop table", "--all", "", "GPU", "gpu", "$(reboot)", "a/b", "ünïcode", "\u{202e}evil"];
    let name = odd[random.random_range(0..odd.len())];
    format!("{name}{number}")
}

fn draw(random: &mut StdRng, number: usize) -> Drawn {
    let id = odd_name(random, number);
    let price = [0, 1, 740_000_000, 333_333_333, 4_990_000_001, 12_345_678_901][random.random_range(0..6)];
    let minutes = |random: &mut StdRng, from: i64, to: i64| random.random_range(from * 60_000..to * 60_000);
    // Old, young, of a clock that is a little or far ahead, or unknown.
    let (started, known_start) = match random.random_range(0..10) {
        0..5 => (Some(-minutes(random, 11, 50_000)), true),
        5..7 => (Some(-minutes(random, 0, 9)), true),
        7 => (Some(minutes(random, 1, 9)), true),
        8 => (Some(minutes(random, 11, 1_000_000)), false),
        _ => (None, false),
    };
    let young = known_start && started.is_some_and(|at| at > -600_000);
    let stopped = random.random_range(0..10) == 0;
    let worker = |random: &mut StdRng, alive: bool, heard: Option<i64>| Worker {
        id: format!("w{number}-{}", random.random::<u32>()),
        machine: Some(id.clone()),
        alive,
        heard_at: heard.map(shifted),
        holds: u32::from(alive),
    };
    let mut workers = Vec::new();
    let (alive, lately) = match random.random_range(0..5) {
        0 => (true, false),
        1 => {
            let at = -minutes(random, 11, 10_000);
            workers.push(worker(random, false, Some(at)));
            (false, false)
        }
        2 => {
            let at = -minutes(random, 0, 9);
            workers.push(worker(random, false, Some(at)));
            (false, true)
        }
        _ => (false, false),
    };
    if alive {
        let at = -minutes(random, 0, 1);
        workers.push(worker(random, true, Some(at)));
        workers.push(worker(random, false, Some(-900_000)));
    }
    let machine = Machine {
        name: id.clone(),
        id,
        price_per_hour: Money::from_billionths(price),
        started_at: started.map(shifted),
        state: if stopped { State::Stopped } else { State::Running },
        labels: BTreeMap::new(),
    };
    let paid_for = started.filter(|_| known_start && !stopped).map_or(0, |at| -i128::from(at.min(0)));
    Drawn {
        machine,
        workers,
        orphan: !stopped && !alive && !young && !lately,
        price: i128::from(price),
        paid_for,
    }
}

/// Cents of an exact amount in billionths of a millisecond-hour, halves upwards.
fn cents(amount: i128) -> String {
    let billionths = (amount + 1_800_000) / 3_600_000;
    let cents = (billionths + 5_000_000) / 10_000_000;
    format!("{}.{:02}", cents / 100, cents % 100)
}

#[test]
fn a_thousand_machines_are_judged_rightly_and_cost_what_they_do_to_the_cent() {
    for seed in 0..20 {
        let mut random = StdRng::seed_from_u64(seed);
        let drawn: Vec<Drawn> = (0..1_000).map(|number| draw(&mut random, number)).collect();
        let machines: Vec<Machine> = drawn.iter().map(|one| one.machine.clone()).collect();
        let mut workers: Vec<Worker> = drawn.iter().flat_map(|one| one.workers.clone()).collect();
        let strange = |id: &str, machine: Option<&str>| Worker {
            id: id.to_owned(),
            machine: machine.map(str::to_owned),
            alive: true,
            heard_at: Some(now()),
            holds: 0,
        };
        workers.push(strange("homeless", None));
        workers.push(strange("elsewhere", Some("another account's")));
        let told = report(&Known { machines: &machines, workers: &workers, now: now(), start_up: START_UP });
        let expected: BTreeSet<&str> =
            drawn.iter().filter(|one| one.orphan).map(|one| one.machine.id.as_str()).collect();
        let found: BTreeSet<&str> =
            told.machines.iter().filter(|one| one.is_orphan()).map(|one| one.machine.id.as_str()).collect();
        assert_eq!(found, expected, "seed {seed}");
        assert_eq!(told.elsewhere, ["elsewhere"]);
        let hours = |of: &dyn Fn(&Drawn) -> bool| {
            drawn.iter().filter(|one| of(one)).map(|one| one.price).sum::<i128>()
        };
        let spent = |of: &dyn Fn(&Drawn) -> bool| {
            drawn.iter().filter(|one| of(one)).map(|one| one.price * one.paid_for).sum::<i128>()
        };
        let paid = |one: &Drawn| one.machine.state != State::Stopped;
        let orphan = |one: &Drawn| one.orphan;
        for (totals, hour, so_far) in
            [(told.paid, hours(&paid), spent(&paid)), (told.orphans, hours(&orphan), spent(&orphan))]
        {
            assert_eq!(totals.per_hour.to_string(), cents(hour * 3_600_000), "seed {seed}");
            assert_eq!(totals.per_day.to_string(), cents(hour * 3_600_000 * 24));
            assert_eq!(totals.per_month.to_string(), cents(hour * 3_600_000 * 24 * 30));
            assert_eq!(totals.so_far.to_string(), cents(so_far), "seed {seed}");
        }
    }
}

/// Writes a program that can be executed. Another process writes it: a file that this one has open for writing could be held open by what
/// another test starts just then, and would be "busy" for whoever executes it.
fn script(folder: &Path, name: &str, text: &str) -> String {
    let (file, text) = (folder.join(name), format!("#!/bin/sh\n{text}\n"));
    let mut child = std::process::Command::new("sh")
        .args(["-c", "cat > \"$0\" && chmod 755 \"$0\""])
        .arg(&file)
        .stdin(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    std::io::Write::write_all(&mut child.stdin.take().unwrap(), text.as_bytes()).unwrap();
    assert!(child.wait().unwrap().success(), "{}", file.display());
    file.to_str().unwrap().to_owned()
}

#[tokio::test]
async fn a_program_lists_machines_and_another_ends_one() {
    let folder = tempfile::tempdir().unwrap();
    let list = script(folder.path(), "list", r#"echo '{"id":"a b","price_per_hour":0.5}'; echo noise >&2"#);
    let ended = folder.path().join("ended");
    let end = script(folder.path(), "end", &format!("printf '%s|' \"$@\" > {}", ended.display()));
    let words = vec![end, "--machine={id}".to_owned(), "{id}".to_owned()];
    let provider = Command { name: "rack".into(), list: vec![list], terminate: words };
    let machines = provider.list().await.unwrap();
    assert_eq!((machines.len(), machines[0].id.as_str()), (1, "a b"));
    provider.terminate("a b; $(touch x) '").await.unwrap();
    assert_eq!(std::fs::read_to_string(&ended).unwrap(), "--machine=a b; $(touch x) '|a b; $(touch x) '|");
}

#[tokio::test]
async fn what_a_program_does_wrong_is_told() {
    let folder = tempfile::tempdir().unwrap();
    let listing = |list: Vec<String>| Command { name: "rack".into(), list, terminate: Vec::new() };
    let told = async |provider: Command| provider.list().await.unwrap_err().to_string();
    let absent = folder.path().join("absent").display().to_string();
    assert!(told(listing(vec![absent])).await.contains("it cannot be started"), "absent");
    let fails = script(folder.path(), "fails", "echo no credentials >&2; exit 3");
    let text = told(listing(vec![fails])).await;
    assert!(text.contains("expected the exit code 0, got exit status: 3: no credentials"), "{text}");
    let strange = script(folder.path(), "strange", "echo hello");
    let text = told(listing(vec![strange])).await;
    assert_eq!(text, "line 1: expected a JSON object, got \"hello\"");
    let binary = script(folder.path(), "binary", "printf '\\377\\376'");
    assert!(told(listing(vec![binary])).await.contains("no UTF-8"));
    let much = script(folder.path(), "much", "head -c 20000000 /dev/zero");
    assert!(told(listing(vec![much])).await.contains("expected up to 16777216 bytes, got more"));
    let none = listing(vec!["true".into()]).terminate("a").await.unwrap_err().to_string();
    assert_eq!(none, "no program is set that ends machines of rack; set terminate");
}

/// What stands for RunPod: its pods, and whom it was asked to end.
#[derive(Clone)]
struct Account {
    pods: Arc<Mutex<Value>>,
    asked: Arc<Mutex<Vec<String>>>,
}

async fn account(pods: Value) -> (String, Account) {
    let account = Account { pods: Arc::new(Mutex::new(pods)), asked: Arc::default() };
    let is_ours =
        |headers: &HeaderMap| headers.get("authorization").is_some_and(|key| key == "Bearer rpa_key");
    let list = move |Shared(account): Shared<Account>, headers: HeaderMap| async move {
        let pods = account.pods.lock().unwrap().clone();
        if is_ours(&headers) {
            (StatusCode::OK, Json(pods))
        } else {
            (StatusCode::UNAUTHORIZED, Json(json!("no key")))
        }
    };
    let end = |Shared(account): Shared<Account>, axum::extract::Path(id): axum::extract::Path<String>| async move {
        let known =
            account.pods.lock().unwrap().as_array().unwrap().iter().any(|pod| pod["id"] == id.as_str());
        account.asked.lock().unwrap().push(id);
        if known { StatusCode::NO_CONTENT } else { StatusCode::NOT_FOUND }
    };
    let router = Router::new()
        .route("/v1/pods", get(list))
        .route("/v1/pods/{id}", delete(end))
        .with_state(account.clone());
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = format!("http://{}/v1", listener.local_addr().unwrap());
    tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
    (address, account)
}

#[tokio::test]
async fn pods_are_listed_and_ended_by_runpods_own_words() {
    let pod = |id: &str, name: &str, status: &str, cost: Value| {
        json!({
            "id": id, "name": name, "desiredStatus": status, "costPerHr": cost, "adjustedCostPerHr": null,
            "lastStartedAt": "2026-11-28 10:00:00.5 +0000 UTC", "machineId": "m7", "env": {"SECRET": "x"},
        })
    };
    let mut cheaper = pod("p2", "gpu_b", "EXITED", json!("0.79"));
    cheaper["adjustedCostPerHr"] = json!(0.69);
    let pods = json!([
        pod("p1", "gpu_a", "RUNNING", json!(0.74)),
        cheaper,
        pod("p3", "gpu_c", "TERMINATED", json!(0.1)),
    ]);
    let (address, account) = account(pods).await;
    let provider = RunPod::new(Some(&address), "rpa_key\n").unwrap();
    let machines = provider.list().await.unwrap();
    let told: Vec<_> = machines
        .iter()
        .map(|machine| (machine.id.as_str(), machine.price_per_hour.to_string(), machine.state.as_str()))
        .collect();
    assert_eq!(told, [("p1", "0.74".to_owned(), "running"), ("p2", "0.69".to_owned(), "stopped")]);
    assert_eq!(machines[0].started_at, Some("2026-11-28T10:00:00.5Z".parse().unwrap()));
    provider.terminate("p1").await.unwrap();
    provider.terminate("gone/x").await.unwrap();
    assert_eq!(*account.asked.lock().unwrap(), ["p1", "gone/x"]);

    let stranger = RunPod::new(Some(&address), "other").unwrap();
    let refused = stranger.list().await.unwrap_err().to_string();
    assert!(refused.contains("/v1/pods: expected 200, got 401") && !refused.contains("other"), "{refused}");
    *account.pods.lock().unwrap() = json!([{"id": "p1", "desiredStatus": "RUNNING"}]);
    let wrong = provider.list().await.unwrap_err().to_string();
    assert_eq!(wrong, "pod 0, costPerHr: expected a price an hour, such as 0.74, got nothing");
    *account.pods.lock().unwrap() = json!({"error": "x"});
    let wrong = provider.list().await.unwrap_err().to_string();
    assert!(wrong.ends_with("expected a list of pods, got something else"), "{wrong}");
    let nobody = RunPod::new(Some("http://127.0.0.1:1/v1"), "rpa_key").unwrap();
    let gone = nobody.list().await.unwrap_err().to_string();
    assert_eq!(gone, "http://127.0.0.1:1/v1/pods cannot be reached");
}
