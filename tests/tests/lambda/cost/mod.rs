//! What tasks cost on AWS: units measured here, at public prices. The figures of `docs/cost.md` are written by this test, and
//! held against it.

mod batches;
mod bill;
mod fleet;
mod template;
mod ways;

use std::collections::BTreeSet;
use std::fmt::Write;
use std::path::PathBuf;

use baton_model::{LeasePolicy, limits};
use baton_runtime::{Settings, Sources, telemetry};
use serde_json::json;

use crate::calls::rewriting;
use crate::world::{request, seconds};
use bill::{Bill, assumed, price};
use fleet::{Fleet, Lines};
use template::Template;
use ways::Way;

/// How the page's figures are written anew.
const REWRITE: &str = "UPDATE=1 cargo test -p baton-tests --test lambda cost";

/// Seconds of a month, of 30 days.
const MONTH: f64 = 30.0 * 86_400.0;

/// A month of a worker that runs ten tasks: its heartbeats.
async fn heartbeats(fleet: &mut Fleet) -> Bill {
    fleet.create(10).await;
    let tasks = fleet.claim(10).await;
    fleet.relay().await;
    fleet.bill(1);
    fleet.beat(&tasks).await;
    let beat = fleet.bill(1);
    for task in tasks {
        fleet.complete(&task).await;
    }
    fleet.relay().await;
    fleet.bill(1);
    let every = LeasePolicy::default().heartbeat_interval.as_secs_f64();
    beat.and(fleet.verdicts(&["POST /v1/workers/{worker}/heartbeat"], 1.0 / every).await).times(MONTH / every)
}

/// A month of a worker that waits at the queue `ready`: each 20 s one claim, which does not wait, and one long poll. And its
/// heartbeats, which it sends, too.
async fn waiting_at_the_queue(fleet: &mut Fleet) -> Bill {
    let wait = limits::CLAIM_WAIT.as_secs_f64();
    let claim = json!({"worker_id": "w", "max_tasks": 1, "capacity": 10, "request_id": "waiting"});
    // Twice, as the first may have what is done once.
    for _ in 0..2 {
        fleet.bill(1);
        let answer = fleet.ask(|fleet| &fleet.claim, "/v1/claims", "POST /v1/claims", claim.clone()).await;
        assert_eq!(answer["tasks"].as_array().map(Vec::len), Some(0));
    }
    let listens = Bill { messages: 1.0, ..Bill::default() };
    let looks = fleet.bill(1).and(listens);
    looks.and(fleet.verdicts(&["POST /v1/claims"], 1.0 / wait).await).times(MONTH / wait)
}

/// A month of a worker that waits at the API: claims of 20 s, one after the other.
async fn waiting(fleet: &mut Fleet) -> Bill {
    let wait = limits::CLAIM_WAIT.as_secs_f64();
    let claim = json!({"worker_id": "w", "max_tasks": 1, "capacity": 10});
    fleet.ask(|fleet| &fleet.claim, "/v1/claims", "POST /v1/claims", claim.clone()).await;
    fleet.bill(1);
    fleet.ask(|fleet| &fleet.claim, "/v1/claims", "POST /v1/claims", claim.clone()).await;
    let asked = fleet.bill(1);
    fleet.run(&fleet.claim, &request("POST", "/v1/claims", &claim)).await;
    let look = fleet.bill(1);
    // It looks at once and then from time to time, and hears the doorbell meanwhile, by one long poll.
    let looks = (wait / baton_claim_task::LOOK_EVERY.as_secs_f64()).floor();
    let again = Bill { runs: 0.0, seconds: 0.0, logged: 0.0, ..look.times(looks) };
    let heard = Bill { messages: 1.0, seconds: wait, ..Bill::default() };
    let verdicts = fleet.verdicts(&["POST /v1/claims"], 1.0 / wait).await;
    asked.and(again).and(heard).and(verdicts).times(MONTH / wait)
}

/// A month of a stack that has nothing to do, with its alarms and with the metrics that a stack in use has told.
async fn idle(fleet: &mut Fleet, metrics: usize) -> Bill {
    let schedule = json!({"source": "aws.scheduler", "detail": {}});
    // Until it believes the time and has removed what is past its keeping.
    for _ in 0..4 {
        while fleet.run(&fleet.reap, &schedule).await["removed"] != 0 {}
        fleet.world.clock.advance(seconds(1_800));
    }
    for _ in 0..3 {
        fleet.run(&fleet.reap, &schedule).await;
        fleet.bill(1);
        fleet.world.clock.advance(seconds(60));
    }
    fleet.run(&fleet.reap, &schedule).await;
    let round = fleet.bill(1);
    // The queues `submissions` and `completions`, each by long polls of 20 s.
    let polls = Bill { messages: 2.0 * assumed::POLLERS * 3.0, ..Bill::default() };
    // Those of the rounds come to the others.
    let metrics = metrics + fleet.custom_metrics().iter().filter(|(by, _)| by.len() == 1).count();
    let signals = Bill { metrics: metrics as f64, alarms: fleet.template.alarms as f64, ..Bill::default() };
    round.and(polls).times(MONTH / 60.0).and(signals)
}

/// A figure as people read it.
fn figure(number: f64) -> String {
    if number >= 100.0 {
        return format!("{number:.0}");
    }
    let text = format!("{number:.2}");
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

fn row(table: &mut String, name: &str, cells: impl IntoIterator<Item = String>) {
    let cells: Vec<String> = cells.into_iter().collect();
    writeln!(table, "| {name} | {} |", cells.join(" | ")).unwrap();
}

/// One figure of a bill.
type Measure = fn(&Bill) -> f64;

/// A table of bills: what is used, divided by `used_by`, and what so many cost.
fn table(first: &str, bills: &[(&str, Bill)], used_by: f64, by: f64) -> String {
    let mut table = String::new();
    row(&mut table, first, bills.iter().map(|(name, _)| (*name).to_owned()));
    writeln!(table, "|---|{}", "---|".repeat(bills.len())).unwrap();
    let used: [(&str, Measure); 9] = [
        ("requests to the API", |bill| bill.api),
        ("invocations", |bill| bill.runs),
        ("their time, s", |bill| bill.seconds),
        ("write units", |bill| bill.writes),
        ("read units", |bill| bill.reads),
        ("requests to queues", |bill| bill.messages),
        ("log and metrics, kB", |bill| bill.logged / 1e3),
        ("access log, kB", |bill| bill.accesses / 1e3),
        ("stored for a month, kB", |bill| bill.stored / 1e3),
    ];
    for (name, what) in used {
        row(&mut table, name, bills.iter().map(|(_, bill)| figure(what(bill) / used_by)));
    }
    for place in 0..bills[0].1.dollars().len() {
        let name = format!("{}, $", bills[0].1.dollars()[place].0);
        row(&mut table, &name, bills.iter().map(|(_, bill)| figure(bill.dollars()[place].1 * by)));
    }
    row(&mut table, "**together, $**", bills.iter().map(|(_, bill)| figure(bill.whole() * by)));
    table
}

/// One figure of a way.
type MeasureOfWay = fn(&Way) -> f64;

/// What a million tasks cost that come evenly over a month.
fn spread(ways: &[Way]) -> String {
    let mut table = String::new();
    row(&mut table, "a million tasks over a month", ways.iter().map(|way| way.name.to_owned()));
    writeln!(table, "|---|{}", "---|".repeat(ways.len())).unwrap();
    let used: [(&str, MeasureOfWay); 6] = [
        ("records of the stream an invocation", |way| way.records),
        ("invocations a task", |way| way.spread.runs),
        ("write units a task", |way| way.spread.writes),
        ("in a burst, $", |way| way.burst.whole() * 1e6),
        ("more than that, $", |way| (way.spread.whole() - way.burst.whole()) * 1e6),
        ("**together, $**", |way| way.spread.whole() * 1e6),
    ];
    for (name, what) in used {
        row(&mut table, name, ways.iter().map(|way| figure(what(way))));
    }
    table
}

/// A million tasks elsewhere: what each takes, and its dollars.
fn elsewhere(ways: &[Way]) -> String {
    const HTC_GRID: f64 = 13.0;
    let mut table = String::from("| a million tasks | $ | of it for |\n|---|---|---|\n");
    for way in ways {
        let name = format!("Baton, {}", way.name);
        row(&mut table, &name, [figure(way.burst.whole() * 1e6), "all above".to_owned()]);
    }
    let units = HTC_GRID * price::WRITE * 1e6;
    let queue = 3.0 * price::MESSAGE * 1e6;
    let objects = 2.0 * (price::OBJECT_PUT + price::OBJECT_GET) * 1e6;
    let told = format!(
        "its table, {HTC_GRID} write units ({}); its queue, 3 requests ({}); input and output in S3 ({})",
        figure(units),
        figure(queue),
        figure(objects)
    );
    row(&mut table, "HTC-Grid", [figure(units + queue + objects), told]);
    for (states, told) in [
        (1.0, "one transition, if only the state of the task counts"),
        (3.0, "three, as a start, a task and an end are counted"),
    ] {
        row(
            &mut table,
            "Step Functions, standard",
            [figure(states * price::TRANSITION * 1e6), told.to_owned()],
        );
    }
    table
}

/// Whether two pages say the same. Log lines have times in them, so that their lengths differ by a little; which parts of a
/// queue a claim looks into is chance, and with it whether it reads a page more; and what tasks cost that come evenly hangs on
/// which records of the stream come together, which is chance, too.
fn alike(page: &str, fresh: &str) -> bool {
    /// One read of a unit more or less, for as many tasks as are tried, of a thousand.
    const READ: f64 = 1e3 / ways::TASKS as f64;
    let number = |word: &str| word.parse::<f64>().ok();
    let (mut by, mut read) = (0.02, 0.0);
    page.lines().count() == fresh.lines().count()
        && page.lines().zip(fresh.lines()).all(|(page, fresh)| {
            match page {
                "<!-- tasks -->" => read = READ,
                "<!-- end of tasks -->" => read = 0.0,
                "<!-- spread -->" => by = 0.12,
                "<!-- end of spread -->" => by = 0.02,
                _ => {}
            }
            let least = if page.starts_with("| read units") { read } else { 0.0 };
            let (one, other) = (page.split_whitespace(), fresh.split_whitespace());
            let close = |(one, other): (&str, &str)| match (number(one), number(other)) {
                (Some(one), Some(other)) => (one - other).abs() <= least.max(by + by * one.abs()),
                _ => one == other,
            };
            one.clone().count() == other.clone().count() && one.zip(other).all(close)
        })
}

#[tokio::test]
async fn the_page_has_the_figures_that_are_measured() {
    let lines = Lines(std::thread::current().id());
    let level = ("BATON_LOG_LEVEL".to_owned(), Template::read().log_level);
    let environment = vec![level];
    let log = Settings::load(&Sources { environment, ..Sources::default() }).unwrap().log;
    // For all threads: what logs first decides by its own thread's subscriber whether anybody ever hears it.
    let subscriber = telemetry::subscriber(&log, true, false, move || lines.clone());
    tracing::subscriber::set_global_default(subscriber).unwrap();
    let (mut ways, mut metrics) = (Vec::new(), BTreeSet::new());
    for name in ways::NAMES {
        // A table for each: the stand-in for the stream reads all of it after each command.
        let mut fleet = Fleet::warm().await;
        ways.push(Way::measured(&mut fleet, name).await);
        metrics.extend(fleet.custom_metrics());
    }
    let mut fleet = Fleet::warm().await;
    let beats = heartbeats(&mut fleet).await;
    let rung = waiting_at_the_queue(&mut fleet).await;
    let standing = [
        ("a worker's heartbeats", beats),
        ("waiting at the API", waiting(&mut fleet).await),
        ("waiting at `ready`", rung),
        ("a stack that is idle", idle(&mut fleet, metrics.len()).await),
    ];
    let bursts: Vec<(&str, Bill)> = ways.iter().map(|way| (way.name, way.burst)).collect();
    let figures = [
        ("tasks", table("thousand tasks; $ for a million", &bursts, 1e-3, 1e6)),
        ("spread", spread(&ways)),
        ("standing", table("a month; all but dollars in thousands", &standing, 1e3, 1.0)),
        ("elsewhere", elsewhere(&ways)),
    ];
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../docs/cost.md");
    let page = std::fs::read_to_string(&path).unwrap();
    let mut fresh = page.clone();
    for (name, table) in figures {
        let (begin, end) = (format!("<!-- {name} -->\n"), format!("<!-- end of {name} -->"));
        let from = fresh.find(&begin).unwrap_or_else(|| panic!("docs/cost.md lacks {begin}")) + begin.len();
        let to = from + fresh[from..].find(&end).unwrap_or_else(|| panic!("docs/cost.md lacks {end}"));
        fresh.replace_range(from..to, &table);
    }
    if rewriting() {
        std::fs::write(&path, fresh).unwrap();
    } else {
        assert!(
            alike(&page, &fresh),
            "docs/cost.md is stale; to write it anew: {REWRITE}; expected\n{fresh}"
        );
    }
}
