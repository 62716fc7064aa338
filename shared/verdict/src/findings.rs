//! What is wrong with a Baton, judged from what its routes tell. No question is asked here: the same facts give the same findings.

use std::collections::BTreeMap;
use std::time::Duration;

use baton_api::alert::AlertView;
use baton_api::fleet::{QueueView, StatsView, WorkerCountsView, WorkerView};
use baton_api::health::{AbilityView, StoreView};
use baton_api::limit::LimitView;
use baton_api::reap::ReaperView;
use baton_api::schedule::ScheduleView;
use baton_api::task::TaskView;
use baton_api::token::TokenView;
use baton_api::why::{ReasonView, WhyView};
use baton_model::why::word;
use baton_model::{LimitOn, LimitRules, ProjectId, Rate, Timestamp, Worker, WorkerStatus};

use crate::failures::{Ended, hour_of_day};
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
    /// The limits, where one of these tasks waits at one ([`at_limit`]).
    pub limits: Vec<LimitView>,
    /// From when on failures are told of: [`failures_from`](crate::failures_from).
    pub from: Timestamp,
    /// Tasks that failed since, of the newest [`NAMED`](crate::NAMED) failed ones: what failures are named from. How many attempts failed is
    /// counted by `stats`.
    pub failed: Vec<TaskView>,
    /// The schedules.
    pub schedules: Vec<ScheduleView>,
    /// The rules of alerts.
    pub alerts: Vec<AlertView>,
    /// How the reaper is; none of a server that does not tell.
    pub reaper: Option<ReaperView>,
    /// The tokens.
    pub tokens: Vec<TokenView>,
}

impl Facts {
    /// Those of a store of which nothing but its health is known, as at `now`.
    pub fn of_store(store: StoreView, now: Timestamp) -> Self {
        let stats = StatsView {
            at: now,
            counted_at: None,
            states: BTreeMap::new(),
            counts: Vec::new(),
            other_counts: None,
            queues: Vec::new(),
            other_queues: None,
            workers: WorkerCountsView { alive: 0, busy: 0, idle: 0, silent: 0, lost: 0, gone: 0 },
            hours: Vec::new(),
            minutes: None,
        };
        Self {
            store,
            stats,
            asked: (now, now),
            workers: Vec::new(),
            waiting: Vec::new(),
            patience: PATIENCE,
            from: crate::failures_from(now, 1),
            limits: Vec::new(),
            failed: Vec::new(),
            schedules: Vec::new(),
            alerts: Vec::new(),
            reaper: None,
            tokens: Vec::new(),
        }
    }
}

/// Whether one of these tasks waits at a limit: then the limits are to be asked for, too.
pub fn at_limit(waiting: &[(QueueView, WhyView)]) -> bool {
    waiting.iter().any(|(_, why)| why.reasons.first().is_some_and(|one| one.reason == word::AT_LIMIT))
}

/// All that is wrong, the gravest first.
pub fn findings(facts: &Facts) -> Vec<Finding> {
    let mut found = Vec::new();
    store(&facts.store, &mut found);
    clocks(facts, &mut found);
    found.extend(facts.reaper.iter().flat_map(reaper));
    for (queue, why) in &facts.waiting {
        waiting(facts, queue, why, &mut found);
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
            found.push(error(what, format!("the store cannot be {doing} ({status}){why}"), mends(status)));
        }
    }
    if let Some(room) = store.room_bytes.filter(|room| *room < ROOM && store.write.status == "ok") {
        let message = format!("only {} are left for the store", text::mebibytes(room));
        let tell = if room < ROOM / 4 { error } else { warning };
        found.push(tell("disk", message, MAKE_ROOM));
    }
}

/// What mends a store that is so.
fn mends(status: &str) -> &'static str {
    match status {
        "full" => MAKE_ROOM,
        // Or the copy is put in the place of the file: docs/sqlite.md.
        "damaged" => "baton serve --store sqlite:BACKUP",
        // The server has ended by itself, or is about to. The file is put back before.
        "gone" => "baton serve",
        // Who is in its way is no server's to say, and a cause stands in its log; this tells which store it is, and where that is said.
        _ => "baton debug config",
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
    let more = "baton debug config --explain".to_owned();
    found.push(warning("file_grows", message, MAKE_ROOM).with_more(more));
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
        found.push(warning("clock", message, "timedatectl"));
    }
}

/// A queue whose ready tasks wait.
fn waiting(facts: &Facts, queue: &QueueView, why: &WhyView, found: &mut Vec<Finding>) {
    let Some(reason) = why.reasons.first() else { return };
    let age = queue.oldest_ready_seconds.unwrap_or_default();
    let (name, tasks) = (&queue.name, queue.queued);
    let told = format!("queue {name}: {tasks} ready, the oldest for {}: ", text::seconds(age));
    let look =
        next(why, reason).map_or_else(|| format!("baton debug task {}", why.task_id), |next| next.command);
    // One more worker: that has room for the others, or for the one that is to be alone.
    let start = || Some(format!("baton worker run --queue {name} -- COMMAND"));
    let (what, grave, mends) = match reason.reason.as_str() {
        word::NO_WORKER => ("no_worker", true, None),
        word::AT_LIMIT => ("at_limit", false, raised(reason, &facts.limits)),
        word::ONLY_ALONE => ("only_alone", false, start()),
        // That it is paused is told of the queue.
        word::PAUSED => return,
        word::BEHIND if age < LONG * facts.patience.as_secs_f64() => return,
        word::BEHIND => ("behind", false, start()),
        _ => ("waiting", false, None),
    };
    let (next, more) = match mends {
        Some(mends) => (mends, Some(look)),
        None => (look, None),
    };
    let tell = if grave { error } else { warning };
    found.push(tell(what, format!("{told}{}", reason.message), next).with_more(more));
}

/// The command that lets twice as much start as the limit does that a task waits at. It says all else that the limit says, too: what is set
/// takes the place of what was.
fn raised(reason: &ReasonView, limits: &[LimitView]) -> Option<String> {
    let on = reason.limit.as_ref()?;
    let of = |on: &LimitOn| limits.iter().find(|limit| limit.on == *on);
    // What has no limit by its own name falls under the one for each, and is given one of its own.
    let limit = of(on).or_else(|| of(&on.for_each()))?;
    let twice = |n: u32, most: u32| n.saturating_mul(2).clamp(1, most);
    // When the task may start is known where it is the rate alone that stops it.
    let by_rate = reason.next_at.is_some();
    let mut command = format!("baton limit set {}", quoted(&on.to_string()));
    if let Some(running) = limit.max_running {
        let running = if by_rate { running } else { twice(running, LimitRules::MOST_RUNNING) };
        command.push_str(&format!(" --running {running}"));
    }
    if let Some(rate) = limit.rate {
        let starts = if by_rate { twice(rate.starts, Rate::MOST) } else { rate.starts };
        command.push_str(&format!(" --rate {starts}/{} --burst {}", rate.seconds, rate.burst));
    }
    if !limit.exempt_types.is_empty() {
        let types: Vec<&str> = limit.exempt_types.iter().map(|one| one.as_str()).collect();
        command.push_str(&format!(" --exempt {}", quoted(&types.join(","))));
    }
    if limit.holds_retries {
        command.push_str(" --hold-retries");
    }
    Some(command)
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
        found.push(error("reaper", message, "baton reap"));
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
        let next = "baton worker run --id NAME -- COMMAND";
        found.push(error("worker_contested", message, next).with_more(show));
    }
}

fn failures(facts: &Facts, found: &mut Vec<Finding>) {
    let ended = Ended::attempts(&facts.stats, facts.from);
    let kinds = counted(facts.failed.iter().map(|task| (kind_of(task), task.id.to_string())));
    // An attempt that failed is no fault of its own while its task is tried again; that most of them do is one.
    if kinds.is_empty() && !ended.is_grave() {
        return;
    }
    let since = hour_of_day(facts.from);
    let queues = match &facts.stats.other_queues {
        Some(_) => " in the queues that statistics list",
        None => "",
    };
    let told = match ended.failed {
        // A task may fail without an attempt, or in a queue that statistics leave out, or they may trail behind.
        0 => format!("tasks have failed since {since}"),
        failed => format!("{failed} of {} attempts that ended since {since}{queues} failed", ended.all()),
    };
    let with = kinds.first().map(|most| format!("; mostly with: {} (such as {})", most.what, most.example));
    let tell = if ended.is_grave() { error } else { warning };
    found.push(tell("failures", told + &with.unwrap_or_default(), "baton debug tasks"));
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
        let mut command = format!("baton schedule show {}", quoted(&schedule.name.to_string()));
        if schedule.project != ProjectId::default() {
            command.push_str(&format!(" --project {}", quoted(&schedule.project.to_string())));
        }
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
    use baton_api::fleet::HourView;
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
            from: crate::failures_from(at, 1),
            limits: Vec::new(),
            failed: Vec::new(),
            schedules: Vec::new(),
            alerts: Vec::new(),
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

    /// What was done in an hour of the day.
    fn hour(of_day: u32, completed: u64, failed: u64) -> HourView {
        let from = format!("2026-01-31T{of_day:02}:00:00.000Z").parse().unwrap();
        HourView { from, claimed: completed + failed, completed, failed }
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
        assert_eq!(findings(&facts)[0].next, MAKE_ROOM);
        for (status, next) in [
            ("unavailable", "baton debug config"),
            ("damaged", "baton serve --store sqlite:BACKUP"),
            ("gone", "baton serve"),
            ("failed", "baton debug config"),
        ] {
            let broken: AbilityView = read(json!({"status": status, "detail": "so it is"}));
            facts = well();
            facts.store.read = broken.clone();
            facts.store.write = broken;
            assert_eq!(words(&facts), [(Weight::Error, "store_reads"), (Weight::Error, "store_writes")]);
            assert!(findings(&facts).iter().all(|one| one.next == next), "{status}: {:#?}", findings(&facts));
        }
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
            (found[0].what, found[0].next.as_str()),
            (
                "too_many_requests",
                "baton token create --name ci --scope worker --scope producer --queue gpu --requests-per-second 10"
            )
        );
        facts.tokens = vec![token(None, NOW)];
        let next = findings(&facts).remove(0).next;
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
        assert_eq!(findings(&facts)[0].next, "baton queue resume q");
    }

    #[test]
    fn a_limit_that_is_reached_is_raised_by_a_command_that_says_all_else_that_it_says() {
        let limit = |on: &str, rules: Value| -> LimitView {
            let mut limit = json!({"on": on, "changed_at": NOW});
            limit.as_object_mut().unwrap().extend(rules.as_object().unwrap().clone());
            read(limit)
        };
        let mut facts = well();
        facts.limits = vec![
            limit("queue/q", json!({"max_running": 3, "exempt_types": ["a", "b"]})),
            limit("queue/q/key/*", json!({"max_running": 0, "holds_retries": true})),
            limit("queue/mail", json!({"max_running": 9, "rate": {"starts": 60, "seconds": 30, "burst": 5}})),
        ];
        for (on, next_at, mends) in [
            ("queue/q", None, Some("baton limit set queue/q --running 6 --exempt a,b")),
            ("queue/q/key/k", None, Some("baton limit set queue/q/key/k --running 1 --hold-retries")),
            ("queue/mail", None, Some("baton limit set queue/mail --running 18 --rate 60/30 --burst 5")),
            ("queue/mail", Some(NOW), Some("baton limit set queue/mail --running 9 --rate 120/30 --burst 5")),
            // One that was taken away meanwhile.
            ("owner/o", None, None),
        ] {
            let mut why = why(word::AT_LIMIT);
            why.reasons[0].limit = Some(on.parse().unwrap());
            why.reasons[0].next_at = next_at.map(|at| at.parse().unwrap());
            facts.waiting = vec![(queue("q", Some(60.0)), why)];
            assert!(at_limit(&facts.waiting));
            let found = findings(&facts).remove(0);
            let look = format!("baton limit show {on}");
            let commands = match mends {
                Some(mends) => (mends.to_owned(), Some(look)),
                None => (look, None),
            };
            assert_eq!((found.next, found.more), commands);
        }
        assert!(!at_limit(&[(queue("q", None), why(word::BEHIND))]));
    }

    #[test]
    fn a_schedule_of_a_project_is_shown_with_it() {
        let schedule = |project: &str| -> ScheduleView {
            read(json!({"name": "nightly", "project": project, "every_seconds": 60.0, "if_missed": "skip",
                "late_after_seconds": 300.0, "if_running": "skip", "paused": false, "task": {"type": "t"},
                "next": [], "created": 0, "skipped": 0, "created_at": NOW, "changed_at": NOW, "missed_at": "2026-01-31T07:00:00.000Z"}))
        };
        let facts = Facts { schedules: vec![schedule("default"), schedule("film")], ..well() };
        let shown: Vec<_> = findings(&facts).into_iter().map(|one| one.next).collect();
        assert_eq!(shown, ["baton schedule show nightly", "baton schedule show nightly --project film"]);
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
        assert_eq!(findings(&facts)[0].next, "baton debug worker w1");
    }

    #[test]
    fn failures_are_an_error_once_they_are_many_and_most() {
        let some: Vec<_> = (0..5).map(|n| failed(n, &format!("no page {n}"))).collect();
        let mut facts = Facts { failed: some, ..well() };
        facts.stats.hours = vec![hour(8, 100, 3), hour(7, 0, 2)];
        assert_eq!(words(&facts), [(Weight::Warning, "failures")]);
        let told = findings(&facts).remove(0).message;
        assert!(told.starts_with("5 of 105 attempts that ended since 07:00 UTC failed; "), "{told}");
        assert!(told.contains("mostly with: no page # (such as 01980a6e-"), "{told}");
        facts.stats.hours = vec![hour(8, 4, 5)];
        assert_eq!(words(&facts), [(Weight::Error, "failures")]);
        facts.stats.hours = vec![hour(8, 0, 4)];
        assert_eq!(words(&facts), [(Weight::Warning, "failures")]);
    }

    /// However many ended, and however few of them were looked at.
    #[test]
    fn failures_are_counted_by_statistics_and_not_by_the_tasks_that_name_them() {
        let mut facts = Facts { failed: vec![failed(1, "no page 7")], ..well() };
        for (completed, failed, weight) in
            [(600, 5_000, Weight::Error), (5_000, 600, Weight::Warning), (500, 500, Weight::Warning)]
        {
            // What failed before the time that is told of counts nothing.
            facts.stats.hours = vec![hour(6, 0, 9_999), hour(8, completed, failed)];
            assert_eq!(words(&facts), [(weight, "failures")]);
            let told = findings(&facts).remove(0).message;
            assert!(told.starts_with(&format!("{failed} of 5600")) || failed == 500, "{told}");
        }
        facts.failed.clear();
        assert_eq!(words(&facts), [], "attempts that failed and are tried again, but not most of them");
        facts.stats.hours = vec![hour(8, 600, 5_000)];
        assert_eq!(words(&facts), [(Weight::Error, "failures")]);
        facts.stats.other_queues = Some(read(json!({"queues": 7, "states": {}})));
        let told = findings(&facts).remove(0).message;
        let listed = "since 07:00 UTC in the queues that statistics list failed";
        assert_eq!(told, format!("5000 of 5600 attempts that ended {listed}"));
    }

    #[test]
    fn tasks_that_failed_without_an_attempt_are_told_without_a_count() {
        let facts = Facts { failed: vec![failed(1, "it has expired")], ..well() };
        let found = findings(&facts).remove(0);
        assert_eq!((found.weight, found.what), (Weight::Warning, "failures"));
        assert!(
            found.message.starts_with("tasks have failed since 07:00 UTC; mostly with: it has"),
            "{found:?}"
        );
    }

    #[test]
    fn a_large_file_of_what_has_ended_is_told() {
        let mut facts = well();
        facts.store.file_bytes = Some(LARGE + 1);
        assert_eq!(words(&facts), []);
        facts.stats.states.insert("completed".to_owned(), 1_000);
        assert_eq!(words(&facts), [(Weight::Warning, "file_grows")]);
        assert_eq!(findings(&facts)[0].next, MAKE_ROOM);
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
        assert_eq!(found.next, "baton alert show deep");
    }
}
