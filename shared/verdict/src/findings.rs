//! What is wrong with a Baton, judged from what its routes tell. No question is asked here: the same facts give the same findings.

use std::time::Duration;

use baton_api::alert::AlertView;
use baton_api::fleet::{QueueView, StatsView, WorkerView};
use baton_api::health::{AbilityView, StoreView};
use baton_api::reap::ReaperView;
use baton_api::schedule::ScheduleView;
use baton_api::task::TaskView;
use baton_api::token::TokenView;
use baton_api::why::WhyView;
use baton_model::why::word;
use baton_model::{Timestamp, Worker, WorkerStatus};

use crate::finding::{Finding, error, warning};
use crate::kinds::{counted, kind_of};
use crate::next::next;
use crate::reaper::reaper;
use crate::words::{self as text, quoted};

/// How far the clocks of this machine and of the server may be apart: workers' and producers' times are told by either.
const CLOCKS: Duration = Duration::from_secs(5);

/// How long ready tasks may wait before it is asked why, where nobody says.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// How many times as long tasks may wait that only have others before them.
const LONG: f64 = 10.0;

/// For how long a lost worker may hold tasks: the reaper comes every few seconds.
const REAPED: Duration = Duration::from_secs(300);

/// How long a lost worker is told of.
const LATELY: Duration = Duration::from_secs(3_600);

/// How long a missed time of a schedule is told of.
const DAY: Duration = Duration::from_secs(86_400);

/// Below this, the room that is left is low, and below a quarter of it, nearly none.
const ROOM: u64 = 256 * 1024 * 1024;

/// A file of more than this is large.
const LARGE: u64 = 4 << 30;

/// What makes room for what is new.
const MAKE_ROOM: &str = "baton task delete --status completed --before 7d";

/// Fewer failures than this are told, and are no more than a warning.
const MANY: usize = 5;

/// What the findings are judged from.
pub struct Facts {
    /// What the store can do, also if that is too little.
    pub store: StoreView,
    /// Counts, ages and percentiles.
    pub stats: StatsView,
    /// By the clock of this machine, when `stats` was asked for and answered.
    pub asked: (Timestamp, Timestamp),
    /// The workers.
    pub workers: Vec<WorkerView>,
    /// Queues whose ready tasks wait for long, with the reasons of one of them.
    pub waiting: Vec<(QueueView, WhyView)>,
    /// How long ready tasks may wait before it is asked why.
    pub patience: Duration,
    /// Tasks that failed of late.
    pub failed: Vec<TaskView>,
    /// How many completed in the same time, counted to a bound.
    pub completed: usize,
    /// The schedules.
    pub schedules: Vec<ScheduleView>,
    /// The rules of alerts.
    pub alerts: Vec<AlertView>,
    /// The time that failures are told of, in words.
    pub period: String,
    /// How the reaper is; none of a server that does not tell.
    pub reaper: Option<ReaperView>,
    /// The tokens.
    pub tokens: Vec<TokenView>,
}

/// All that is wrong, the gravest first.
pub fn findings(facts: &Facts) -> Vec<Finding> {
    let mut found = Vec::new();
    store(&facts.store, &mut found);
    clocks(facts, &mut found);
    found.extend(facts.reaper.iter().flat_map(reaper));
    for (queue, why) in &facts.waiting {
        waiting(queue, why, facts.patience, &mut found);
    }
    paused(facts, &mut found);
    for one in &facts.workers {
        worker(one, facts.stats.at, &mut found);
    }
    failures(facts, &mut found);
    schedules(facts, &mut found);
    held_back(facts, &mut found);
    alerts(facts, &mut found);
    growth(facts, &mut found);
    // The order within one weight is that of the rules: what stops everything comes first.
    found.sort_by_key(|one| one.weight);
    found
}

fn store(store: &StoreView, found: &mut Vec<Finding>) {
    for (what, doing, ability) in
        [("store_reads", "read", &store.read), ("store_writes", "written to", &store.write)]
    {
        let AbilityView { status, detail } = ability;
        // On AWS writing is not tried, as each write is paid for.
        if status != "ok" && status != "untried" {
            let why = detail.as_ref().map(|detail| format!(": {detail}")).unwrap_or_default();
            let next = (status == "full").then(|| MAKE_ROOM.to_owned());
            found.push(error(what, format!("the store cannot be {doing} ({status}){why}"), next));
        }
    }
    if let Some(room) = store.room_bytes.filter(|room| *room < ROOM && store.write.status == "ok") {
        let message = format!("only {} are left for the store", text::mebibytes(room));
        let tell = if room < ROOM / 4 { error } else { warning };
        found.push(tell("disk", message, Some(MAKE_ROOM.to_owned())));
    }
}

/// A file that grows, and is mostly history.
fn growth(facts: &Facts, found: &mut Vec<Finding>) {
    let count = |state: &str| facts.stats.states.get(state).copied().unwrap_or_default();
    let ended = count("completed") + count("failed") + count("cancelled");
    let all = ended + count("waiting") + count("running");
    let Some(file) = facts.store.file_bytes.filter(|file| *file > LARGE && ended * 10 > all * 9) else {
        return;
    };
    let message = format!(
        "the store's file has {}, and {ended} of its {all} tasks have ended: keep them for a shorter time ([retention]), or have \
         them archived ([archive])",
        text::mebibytes(file)
    );
    found.push(warning("file_grows", message, "baton debug config --explain".to_owned()));
}

fn clocks(facts: &Facts, found: &mut Vec<Finding>) {
    let (asked, answered) = facts.asked;
    let at = facts.stats.at;
    let apart = if at < asked { asked.since(at) } else { at.since(answered) };
    if apart > CLOCKS {
        let side = if at < asked { "behind" } else { "ahead of" };
        let message = format!(
            "the server's clock is {} {side} this machine's; one of them is wrong",
            text::span(apart)
        );
        found.push(warning("clock", message, Some("timedatectl".to_owned())));
    }
}

/// A queue whose ready tasks wait.
fn waiting(queue: &QueueView, why: &WhyView, patience: Duration, found: &mut Vec<Finding>) {
    let Some(reason) = why.reasons.first() else { return };
    let age = queue.oldest_ready_seconds.unwrap_or_default();
    let (name, tasks) = (&queue.name, queue.queued);
    let told = format!("queue {name}: {tasks} ready, the oldest for {}: ", text::seconds(age));
    let command =
        next(why, reason).map_or_else(|| format!("baton debug task {}", why.task_id), |next| next.command);
    let (what, grave) = match reason.reason.as_str() {
        word::NO_WORKER => ("no_worker", true),
        word::AT_LIMIT => ("at_limit", false),
        word::ONLY_ALONE => ("only_alone", false),
        // That it is paused is told of the queue.
        word::PAUSED => return,
        word::BEHIND if age < LONG * patience.as_secs_f64() => return,
        word::BEHIND => ("behind", false),
        _ => ("waiting", false),
    };
    let tell = if grave { error } else { warning };
    found.push(tell(what, format!("{told}{}", reason.message), command));
}

fn paused(facts: &Facts, found: &mut Vec<Finding>) {
    for queue in facts.stats.queues.iter().filter(|queue| queue.paused && queue.waiting > 0) {
        let since = queue.pause.as_ref().map(|pause| {
            let by = pause.by.as_ref().map(|by| format!(" by {by}")).unwrap_or_default();
            let why = pause.reason.as_ref().map(|why| format!(": {why}")).unwrap_or_default();
            format!(" {}{by}{why}", text::ago(pause.since, facts.stats.at))
        });
        let (name, waiting) = (&queue.name, queue.waiting);
        let message = format!("queue {name} was paused{}; {waiting} wait", since.unwrap_or_default());
        found.push(warning("paused", message, format!("baton queue resume {name}")));
    }
}

fn worker(worker: &WorkerView, now: Timestamp, found: &mut Vec<Finding>) {
    let id = quoted(&worker.id.to_string());
    let show = format!("baton debug worker {id}");
    let heard = worker.last_beat_at.unwrap_or(worker.started_at);
    let silence = now.since(heard);
    let lost = worker.status == WorkerStatus::Lost;
    if lost && worker.active > 0 && silence > REAPED {
        let message = format!(
            "worker {} was last heard {} and still holds {}: no reaper takes tasks back",
            worker.id,
            text::ago(heard, now),
            worker.active
        );
        found.push(error("reaper", message, "baton reap".to_owned()));
    } else if lost && silence < LATELY {
        let message = format!("worker {} is lost: it was last heard {}", worker.id, text::ago(heard, now));
        found.push(warning("worker_lost", message, show.clone()));
    }
    let lives =
        matches!(worker.status, WorkerStatus::Active | WorkerStatus::Draining | WorkerStatus::Stopping);
    if let Some(why) = worker.labels.get(Worker::CANNOT_START).filter(|_| lives) {
        let message = format!("worker {} cannot start its command: {why}", worker.id);
        found.push(error("cannot_start", message, show.clone()));
    }
    if worker.contested_at.is_some_and(|at| now.since(at) < LATELY) {
        let message = format!(
            "two workers share the name {}, and take each other's tasks away: give each its own",
            worker.id
        );
        found.push(error("worker_contested", message, show));
    }
}

fn failures(facts: &Facts, found: &mut Vec<Finding>) {
    let failed = facts.failed.len();
    let kinds = counted(facts.failed.iter().map(|task| (kind_of(task), task.id.to_string())));
    let Some(most) = kinds.first() else { return };
    let of = failed + facts.completed;
    let message = format!(
        "{failed} of {of} tasks that ended in {} failed; {} with: {} (such as {})",
        facts.period, most.tasks, most.what, most.example
    );
    let grave = failed >= MANY && failed > facts.completed;
    let tell = if grave { error } else { warning };
    found.push(tell("failures", message, "baton debug tasks".to_owned()));
}

/// Tokens that make more requests than they may.
fn held_back(facts: &Facts, found: &mut Vec<Finding>) {
    for token in &facts.tokens {
        let Some(held) = token.held_back.filter(|held| facts.stats.at.since(held.last_at) < LATELY) else {
            continue;
        };
        let name = quoted(token.name.as_str());
        let message = format!(
            "{} requests of the token {name} were answered with 429, the last {}: it makes more than the {} a second that it may",
            held.requests,
            text::ago(held.last_at, facts.stats.at),
            held.requests_per_second
        );
        let twice = held.requests_per_second.saturating_mul(2);
        let next = match token.requests_per_second {
            Some(_) => {
                let scopes = token.scopes.iter().map(|scope| format!(" --scope {}", scope.as_str()));
                let queues = token.queues.iter().map(|queue| format!(" --queue {queue}"));
                let project = token.project.iter().map(|project| format!(" --project {project}"));
                let grant: String = scopes.chain(queues).chain(project).collect();
                format!("baton token create --name {name}{grant} --requests-per-second {twice}")
            }
            None => format!("BATON_TOKENS_REQUESTS_PER_SECOND={twice} baton serve"),
        };
        found.push(warning("too_many_requests", message, next));
    }
}

fn schedules(facts: &Facts, found: &mut Vec<Finding>) {
    for schedule in &facts.schedules {
        let Some(at) = schedule.missed_at.filter(|at| facts.stats.at.since(*at) < DAY) else { continue };
        let message = format!("schedule {} missed a time {}", schedule.name, text::ago(at, facts.stats.at));
        let command = format!("baton schedule show {}", quoted(&schedule.name.to_string()));
        found.push(warning("schedule_missed", message, command));
    }
}

/// What an operator has asked to be told of.
fn alerts(facts: &Facts, found: &mut Vec<Finding>) {
    for alert in &facts.alerts {
        let Some(first) = alert.firing.first() else { continue };
        let name = &alert.rule.name;
        let more = match alert.firing.len() {
            1 => String::new(),
            many => format!(" (and {} more)", many - 1),
        };
        let since = text::ago(first.since, facts.stats.at);
        let message = format!("alert {name} fires since {since}: {}{more}", first.message);
        found.push(warning("alert", message, format!("baton alert show {}", quoted(name.as_str()))));
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::finding::Weight;

    const NOW: &str = "2026-01-31T08:00:00.000Z";

    fn read<T: serde::de::DeserializeOwned>(value: Value) -> T {
        serde_json::from_value(value).unwrap()
    }

    fn none() -> Value {
        json!({"count": 0, "p50_seconds": 0.0, "p95_seconds": 0.0, "p99_seconds": 0.0})
    }

    fn queue(name: &str, age: Option<f64>) -> QueueView {
        read(
            json!({"name": name, "paused": false, "used": true, "waiting": 3, "queued": 3, "created": 0, "retry": 0,
            "running": 0, "oldest_ready_seconds": age, "wait": none(), "run": none(), "at_least": []}),
        )
    }

    /// A Baton that is well.
    fn well() -> Facts {
        let at: Timestamp = NOW.parse().unwrap();
        let ok = json!({"status": "ok"});
        Facts {
            store: read(json!({"read": ok, "write": ok, "room_bytes": 1_u64 << 40, "file_bytes": 1000})),
            stats: read(json!({"at": NOW, "states": {"waiting": 3}, "counts": [], "queues": [],
                "workers": {"alive": 1, "busy": 0, "idle": 1, "silent": 0, "lost": 0, "gone": 0}})),
            asked: (at, at),
            workers: Vec::new(),
            waiting: Vec::new(),
            patience: Duration::from_secs(30),
            failed: Vec::new(),
            completed: 0,
            schedules: Vec::new(),
            alerts: Vec::new(),
            period: "the last hour".to_owned(),
            reaper: None,
            tokens: Vec::new(),
        }
    }

    fn worker(status: &str, beat: &str, active: u32, labels: Value) -> WorkerView {
        read(
            json!({"id": "w1", "status": status, "started_at": "2026-01-30T00:00:00.000Z", "last_beat_at": beat,
            "directive": "run", "active": active, "tasks": [], "readings": {}, "labels": labels}),
        )
    }

    fn failed(n: u8, message: &str) -> TaskView {
        let id = format!("01980a6e-5b7c-7cc3-98c4-0000000000{n:02}");
        read(
            json!({"id": id, "project": "p", "queue": "q", "type": "t", "status": "failed", "priority": "normal",
            "params": {}, "attempt": 1, "attempts_used": 1, "worker_losses": 0, "max_attempts": 1, "run_after": NOW,
            "created_at": NOW, "updated_at": NOW, "events": 3, "depends_on": [], "error": {"message": message}}),
        )
    }

    fn why(reason: &str) -> WhyView {
        read(
            json!({"task_id": "01980a6e-5b7c-7cc3-98c4-000000000001", "queue": "q", "project": "p", "type": "t",
            "status": "queued", "attempt": 0, "waits": true, "message": "it waits",
            "reasons": [{"reason": reason, "keeps": false, "message": "so it is"}]}),
        )
    }

    /// What is found, in a word each.
    fn words(facts: &Facts) -> Vec<(Weight, &'static str)> {
        findings(facts).iter().map(|one| (one.weight, one.what)).collect()
    }

    #[test]
    fn nothing_is_wrong_with_what_is_well() {
        assert_eq!(findings(&well()), []);
    }

    #[test]
    fn a_store_that_cannot_work_comes_first_and_little_room_is_told() {
        let mut facts = well();
        facts.store.write = read(json!({"status": "full", "detail": "its disk is full"}));
        facts.waiting = vec![(queue("q", Some(60.0)), why(word::NO_WORKER))];
        assert_eq!(words(&facts), [(Weight::Error, "store_writes"), (Weight::Error, "no_worker")]);
        assert_eq!(findings(&facts)[0].next.as_deref(), Some(MAKE_ROOM));
        facts = well();
        facts.store.write = read(json!({"status": "untried"}));
        assert_eq!(words(&facts), []);
        for (room, weight) in [(ROOM - 1, Weight::Warning), (ROOM / 4 - 1, Weight::Error)] {
            facts = well();
            facts.store.room_bytes = Some(room);
            assert_eq!(words(&facts), [(weight, "disk")]);
        }
    }

    #[test]
    fn a_token_that_is_held_back_is_told_with_what_would_let_it_go_on() {
        let mut facts = well();
        let token = |own: Option<u32>, last: &str| {
            read(json!({"id": "01980a6e-5b7c-7cc3-98c4-000000000001", "name": "ci", "status": "active",
                "scopes": ["worker", "producer"], "queues": ["gpu"], "requests_per_second": own, "created_at": NOW,
                "held_back": {"requests": 40, "last_at": last, "requests_per_second": 5}}))
        };
        facts.tokens =
            vec![token(Some(5), "2026-01-31T07:59:00.000Z"), token(None, "2026-01-31T06:59:00.000Z")];
        let found = findings(&facts);
        assert_eq!(found.len(), 1, "{found:#?}");
        assert_eq!(
            (found[0].what, found[0].next.as_deref()),
            (
                "too_many_requests",
                Some(
                    "baton token create --name ci --scope worker --scope producer --queue gpu --requests-per-second 10"
                )
            )
        );
        facts.tokens = vec![token(None, NOW)];
        let next = findings(&facts).remove(0).next.unwrap();
        assert_eq!(next, "BATON_TOKENS_REQUESTS_PER_SECOND=10 baton serve");
    }

    #[test]
    fn clocks_that_are_apart_are_told_by_side() {
        for (asked, side) in
            [("2026-01-31T08:00:06.000Z", "behind"), ("2026-01-31T07:59:54.000Z", "ahead of")]
        {
            let at: Timestamp = asked.parse().unwrap();
            let facts = Facts { asked: (at, at), ..well() };
            assert_eq!(words(&facts), [(Weight::Warning, "clock")]);
            assert!(findings(&facts)[0].message.contains(side));
        }
    }

    #[test]
    fn a_queue_that_waits_is_told_by_its_first_reason() {
        for (reason, found) in [
            (word::NO_WORKER, Some((Weight::Error, "no_worker"))),
            (word::AT_LIMIT, Some((Weight::Warning, "at_limit"))),
            (word::ONLY_ALONE, Some((Weight::Warning, "only_alone"))),
            (word::BEHIND, None),
            (word::PAUSED, None),
        ] {
            let facts = Facts { waiting: vec![(queue("q", Some(60.0)), why(reason))], ..well() };
            assert_eq!(words(&facts), found.into_iter().collect::<Vec<_>>(), "{reason}");
        }
        let facts = Facts { waiting: vec![(queue("q", Some(301.0)), why(word::BEHIND))], ..well() };
        assert_eq!(words(&facts), [(Weight::Warning, "behind")]);
        let mut paused = queue("q", None);
        paused.paused = true;
        let mut facts = well();
        facts.stats.queues = vec![paused];
        assert_eq!(words(&facts), [(Weight::Warning, "paused")]);
        assert_eq!(findings(&facts)[0].next.as_deref(), Some("baton queue resume q"));
    }

    #[test]
    fn workers_that_are_lost_contested_or_cannot_start_are_told() {
        let soon = "2026-01-31T07:58:00.000Z";
        let long = "2026-01-31T07:50:00.000Z";
        for (worker, found) in [
            (worker("active", soon, 1, json!({})), None),
            (worker("lost", soon, 1, json!({})), Some((Weight::Warning, "worker_lost"))),
            (worker("lost", long, 1, json!({})), Some((Weight::Error, "reaper"))),
            (worker("lost", "2026-01-30T00:00:00.000Z", 0, json!({})), None),
            (
                worker("active", soon, 0, json!({"cannot_start": "no such file"})),
                Some((Weight::Error, "cannot_start")),
            ),
            (worker("gone", soon, 0, json!({"cannot_start": "no such file"})), None),
            (
                WorkerView {
                    contested_at: Some(soon.parse().unwrap()),
                    ..worker("active", soon, 1, json!({}))
                },
                Some((Weight::Error, "worker_contested")),
            ),
        ] {
            let facts = Facts { workers: vec![worker], ..well() };
            assert_eq!(words(&facts), found.into_iter().collect::<Vec<_>>());
        }
        let facts = Facts { workers: vec![super::tests::worker("lost", soon, 0, json!({}))], ..well() };
        assert_eq!(findings(&facts)[0].next.as_deref(), Some("baton debug worker w1"));
    }

    #[test]
    fn failures_are_an_error_once_they_are_many_and_most() {
        let some: Vec<_> = (0..5).map(|n| failed(n, &format!("no page {n}"))).collect();
        let mut facts = Facts { failed: some, completed: 100, ..well() };
        assert_eq!(words(&facts), [(Weight::Warning, "failures")]);
        assert!(findings(&facts)[0].message.contains("5 of 105 tasks"), "{:?}", findings(&facts));
        assert!(findings(&facts)[0].message.contains("5 with: no page #"), "{:?}", findings(&facts));
        facts.completed = 4;
        assert_eq!(words(&facts), [(Weight::Error, "failures")]);
        facts.failed.truncate(4);
        facts.completed = 0;
        assert_eq!(words(&facts), [(Weight::Warning, "failures")]);
    }

    #[test]
    fn a_large_file_of_what_has_ended_is_told() {
        let mut facts = well();
        facts.store.file_bytes = Some(LARGE + 1);
        assert_eq!(words(&facts), []);
        facts.stats.states.insert("completed".to_owned(), 1_000);
        assert_eq!(words(&facts), [(Weight::Warning, "file_grows")]);
    }

    #[test]
    fn an_alert_that_fires_is_told() {
        let alert = |firing: Value| -> AlertView {
            read(
                json!({"name": "deep", "kind": "queue_depth", "above": 2.0, "below": 2.0, "for_seconds": 0.0,
                "ends_after_seconds": 0.0, "from": "api", "runs_command": false, "fires": true, "firing": firing, "ended": []}),
            )
        };
        let firing = json!({"subject": "q", "message": "3 tasks wait in queue q", "value": 3.0, "since": NOW, "fired_at": NOW});
        let facts = Facts { alerts: vec![alert(json!([])), alert(json!([firing, firing]))], ..well() };
        assert_eq!(words(&facts), [(Weight::Warning, "alert")]);
        let [found] = &findings(&facts)[..] else { panic!("one") };
        assert!(
            found.message.contains("alert deep fires since") && found.message.contains("(and 1 more)"),
            "{found:?}"
        );
        assert_eq!(found.next.as_deref(), Some("baton alert show deep"));
    }
}
