//! A server that is told of by JSON, as its routes tell it, and a user at a terminal.

use std::time::Duration;

use baton_api::fleet::{QueueView, StatsView, WorkerView};
use baton_api::task::TaskView;
use baton_model::{QueueName, TaskId, Timestamp};
use baton_verdict::{Finding, Weight};
use ratatui::Terminal;
use ratatui::backend::TestBackend;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use crate::ask::{Answer, Ask, Judged, Listed, OneTask, Refusal, Why};
use crate::event::{Event, Key, Moment};
use crate::state::{Setup, State};
use crate::update::update;

/// The time on the server at the start.
pub(crate) const NOW: &str = "2026-01-31T03:12:45.000Z";

pub(crate) fn read<T: DeserializeOwned>(value: Value) -> T {
    serde_json::from_value(value).unwrap()
}

/// The time so many seconds before [`NOW`].
pub(crate) fn ago(seconds: u64) -> String {
    NOW.parse::<Timestamp>().unwrap().minus(Duration::from_secs(seconds)).to_string()
}

pub(crate) fn id(number: u32) -> TaskId {
    format!("01980a6e-5b7c-7cc3-98c4-{number:012x}").parse().unwrap()
}

pub(crate) fn queue(name: &str, more: Value) -> Value {
    let none = json!({"count": 0, "p50_seconds": 0.0, "p95_seconds": 0.0, "p99_seconds": 0.0});
    let mut queue = json!({"name": name, "paused": false, "used": true, "waiting": 0, "queued": 0, "created": 0, "retry": 0,
        "running": 0, "wait": none, "run": none, "at_least": []});
    for (key, value) in more.as_object().unwrap() {
        queue[key] = value.clone();
    }
    queue
}

pub(crate) fn worker(name: &str, more: Value) -> Value {
    let mut worker = json!({"id": name, "status": "active", "started_at": ago(7_200), "last_beat_at": ago(3),
        "directive": "run", "capacity": 4, "active": 0, "tasks": [], "readings": {}, "labels": {},
        "life": {"state": "active", "since": ago(7_200), "why": "it beats"}});
    for (key, value) in more.as_object().unwrap() {
        worker[key] = value.clone();
    }
    worker
}

pub(crate) fn task(number: u32, status: &str, more: Value) -> Value {
    let mut task = json!({"id": id(number), "project": "default", "queue": "images", "type": "resize", "status": status,
        "priority": "normal", "params": {}, "attempt": 1, "attempts_used": 1, "worker_losses": 0, "max_attempts": 5,
        "run_after": ago(600), "created_at": ago(600), "updated_at": ago(90), "events": 2});
    if status == "running" {
        task["lease"] = json!({"worker_id": "gpu-1", "claimed_at": ago(90)});
    }
    for (key, value) in more.as_object().unwrap() {
        task[key] = value.clone();
    }
    task
}

/// What is wrong with the server of these tests.
pub(crate) fn found() -> Vec<Finding> {
    let one = |weight, what, message: &str, next: &str| Finding {
        weight,
        what,
        message: message.to_owned(),
        next: next.to_owned(),
        more: None,
    };
    vec![
        one(
            Weight::Error,
            "no_worker",
            "queue images: 1200 ready, the oldest for 14m: no live worker takes type resize",
            "baton worker run --queue images -- COMMAND",
        ),
        one(
            Weight::Warning,
            "paused",
            "queue mail was paused 3h ago by ada; 40 wait",
            "baton queue resume mail",
        ),
    ]
}

/// A program under test.
pub(crate) struct World {
    pub(crate) state: State,
    now: Moment,
    /// What was asked and is not answered.
    pub(crate) asked: Vec<Ask>,
    /// What the server has.
    pub(crate) stats: Value,
    pub(crate) workers: Vec<Value>,
    pub(crate) tasks: Vec<Value>,
    pub(crate) found: Vec<Finding>,
}

impl World {
    pub(crate) fn new() -> Self {
        let now = Moment { since: Duration::from_secs(100), wall: NOW.parse().unwrap() };
        let setup = Setup {
            server: "http://127.0.0.1:7410".to_owned(),
            interval: Duration::from_secs(2),
            read_only: false,
            colours: true,
        };
        let stats = json!({"at": NOW, "states": {"waiting": 1252, "blocked": 3, "running": 2, "completed": 981, "failed": 7},
            "counts": [
                {"queue": "images", "type": "resize", "state": "failed", "tasks": 6},
                {"queue": "images", "type": "resize", "state": "blocked", "tasks": 3},
                {"queue": "mail", "type": "send", "state": "failed", "tasks": 1}],
            "queues": [
                queue("audio", json!({"waiting": 12, "queued": 12, "running": 1, "oldest_ready_seconds": 4.0,
                    "run": {"count": 310, "p50_seconds": 2.0, "p95_seconds": 7.5, "p99_seconds": 9.0}})),
                queue("images", json!({"waiting": 1200, "queued": 1200, "running": 1, "oldest_ready_seconds": 840.0,
                    "wait": {"count": 671, "p50_seconds": 30.0, "p95_seconds": 400.0, "p99_seconds": 600.0},
                    "run": {"count": 671, "p50_seconds": 1.5, "p95_seconds": 4.0, "p99_seconds": 5.0}})),
                queue("mail", json!({"waiting": 40, "queued": 38, "retry": 2, "paused": true, "oldest_ready_seconds": 10800.0,
                    "pause": {"since": ago(10_800), "by": "ada", "reason": "provider is down"}}))],
            "workers": {"alive": 2, "busy": 1, "idle": 1, "silent": 0, "lost": 1, "gone": 0}, "hours": []});
        let workers = vec![
            worker(
                "gpu-1",
                json!({"active": 2, "readings": {"temperature": 71.0, "vram": 0.83},
                "tasks": [{"task_id": id(1), "attempt": 2, "progress": 0.4}, {"task_id": id(2), "attempt": 1}]}),
            ),
            worker(
                "gpu-2",
                json!({"directive": "drain", "status": "draining",
                "life": {"state": "draining", "why": "an operator asked it to"}}),
            ),
            worker(
                "old-9",
                json!({"status": "lost", "last_beat_at": ago(600),
                "life": {"state": "lost", "since": ago(540), "why": "it was not heard of for 60s"}}),
            ),
        ];
        let tasks = vec![
            task(1, "running", json!({"attempt": 2, "attempts_used": 2})),
            task(
                2,
                "running",
                json!({"queue": "audio", "type": "mix",
                "lease": {"worker_id": "gpu-1", "claimed_at": ago(30), "expires_at": NOW, "timeout_at": ago(0)}}),
            ),
            task(
                3,
                "failed",
                json!({"attempts_used": 5, "error": {"code": "exit_3", "message": "start\nout of memory"}}),
            ),
            task(4, "queued", json!({"attempts_used": 0, "attempt": 0})),
            task(5, "retry", json!({"run_after": "2026-01-31T03:17:45.000Z"})),
        ];
        let mut world = Self {
            state: State::new(setup, now),
            now,
            asked: Vec::new(),
            stats,
            workers,
            tasks,
            found: found(),
        };
        world.happens(Event::Tick);
        world
    }

    /// One whose server has answered all that was asked at first.
    pub(crate) fn answered() -> Self {
        let mut world = Self::new();
        world.answer();
        world
    }

    pub(crate) fn happens(&mut self, event: Event) {
        let asks = update(&mut self.state, event, self.now);
        self.asked.extend(asks);
    }

    pub(crate) fn passes(&mut self, seconds: f64) {
        let span = Duration::from_secs_f64(seconds);
        self.now = Moment { since: self.now.since + span, wall: self.now.wall.plus(span) };
        self.happens(Event::Tick);
    }

    pub(crate) fn press(&mut self, keys: &str) {
        keys.chars().for_each(|key| self.key(Key::Char(key)));
    }

    pub(crate) fn key(&mut self, key: Key) {
        self.happens(Event::Key(key));
    }

    /// The server answers all that was asked, also what is asked then.
    pub(crate) fn answer(&mut self) {
        while !self.asked.is_empty() {
            for ask in std::mem::take(&mut self.asked) {
                let answer = self.answer_to(&ask);
                self.happens(Event::Answered(ask, answer));
            }
        }
    }

    /// The server refuses all that was asked.
    pub(crate) fn refuse(&mut self, why: Why, told: &str) {
        for ask in std::mem::take(&mut self.asked) {
            self.happens(Event::Answered(ask, Err(Refusal { why, told: told.to_owned() })));
        }
    }

    fn stats_now(&self) -> StatsView {
        let mut stats = self.stats.clone();
        let passed = self.now.since - Duration::from_secs(100);
        stats["at"] = json!(NOW.parse::<Timestamp>().unwrap().plus(passed));
        read(stats)
    }

    fn queue_named(&self, name: &QueueName) -> Option<QueueView> {
        self.stats_now().queues.into_iter().find(|queue| queue.name == *name)
    }

    fn task_view(&self, number: usize) -> TaskView {
        read(self.tasks[number].clone())
    }

    pub(crate) fn answer_to(&self, ask: &Ask) -> Result<Answer, Refusal> {
        let missing = || Refusal { why: Why::Missing, told: "there is no such thing".to_owned() };
        let listed = |more| Listed { items: more, more: false };
        let stats = self.stats_now();
        Ok(match ask {
            Ask::Stats => Answer::Stats(Box::new(stats)),
            Ask::Queues => Answer::Queues(Listed { items: stats.queues, more: true }),
            Ask::Queue(name) => Answer::Queue(Box::new(self.queue_named(name).ok_or_else(missing)?)),
            Ask::Verdict => Answer::Verdict {
                version: Some("0.1.0".to_owned()),
                judged: Ok(Judged { found: self.found.clone(), asked: (stats.at, stats.at), at: stats.at }),
            },
            Ask::Workers => {
                let workers = self.workers.iter().map(|worker| read(worker.clone())).collect();
                Answer::Workers(Listed { items: workers, more: false })
            }
            Ask::Worker(name) => {
                let mut workers = self.workers.iter().map(|worker| read::<WorkerView>(worker.clone()));
                Answer::Worker(Box::new(workers.find(|worker| worker.id == *name).ok_or_else(missing)?))
            }
            Ask::Tasks(tasks) => {
                let all = (0..self.tasks.len()).map(|number| self.task_view(number));
                let statuses = tasks.which.statuses();
                let fits = |task: &TaskView| {
                    (statuses.is_empty() || statuses.contains(&task.status))
                        && tasks.queue.as_ref().is_none_or(|queue| task.queue == *queue)
                };
                Answer::Tasks(listed(all.filter(fits).collect()))
            }
            Ask::Task(id) => {
                let mut all = (0..self.tasks.len()).map(|number| self.task_view(number));
                let task = all.find(|task| task.id == *id).ok_or_else(missing)?;
                Answer::Task(Box::new(one_task(&task)))
            }
            Ask::Change(change) => Answer::Changed(format!("done: {}", change.what())),
        })
    }

    /// What the terminal shows, line by line, without blanks at the ends.
    pub(crate) fn shows(&mut self, width: u16, height: u16) -> Vec<String> {
        let mut terminal = Terminal::new(TestBackend::new(width, height)).unwrap();
        terminal.draw(|frame| crate::view::draw(&mut self.state, frame)).unwrap();
        let buffer = terminal.backend().buffer();
        let line = |y: u16| {
            let (mut line, mut x) = (String::new(), 0);
            while x < width {
                let symbol = buffer[(x, y)].symbol();
                line.push_str(symbol);
                x += u16::try_from(unicode_width::UnicodeWidthStr::width(symbol).max(1)).unwrap();
            }
            line.trim_end().to_owned()
        };
        (0..height).map(line).collect()
    }

    /// The same as one text.
    pub(crate) fn text(&mut self) -> String {
        self.shows(80, 24).join("\n")
    }

    /// What is said in the line for that.
    pub(crate) fn said(&mut self) -> String {
        self.shows(80, 24)[22].clone()
    }
}

pub(crate) fn one_task(task: &TaskView) -> OneTask {
    let status = task.status.as_str();
    let history = json!([
        {"seq": 1, "at": ago(600), "kind": "created", "to": "queued", "status": "queued", "attempt": 0, "by": "shop"},
        {"seq": 2, "at": ago(300), "kind": "claimed", "from": "queued", "to": "running", "status": "running", "attempt": 1,
            "worker_id": "gpu-2"},
        {"seq": 3, "at": ago(200), "kind": "attempt_failed", "from": "running", "to": "queued", "status": "retry", "attempt": 1,
            "worker_id": "gpu-2", "error": {"code": "exit_3", "message": "out of memory"}},
        {"seq": 4, "at": ago(90), "kind": "claimed", "from": "queued", "to": "running", "status": "running", "attempt": 2,
            "worker_id": "gpu-1"}]);
    let mut detail = json!({"task": task, "events": 4, "history": history});
    if status == "running" {
        detail["progress"] = json!({"progress": 0.4, "message": "page 4 of 10"});
    }
    let waits = matches!(status, "queued" | "retry");
    let why = json!({"task_id": task.id, "queue": task.queue, "project": "default", "type": task.task_type, "status": status,
        "attempt": 1, "waits": waits, "message": "it is ready, and no live worker takes it",
        "reasons": if waits { json!([{"reason": "no_worker", "keeps": false, "message": "no live worker takes type resize"}]) }
            else { json!([]) }});
    let lines = json!([{"at": ago(20), "received_at": ago(19), "worker_id": "gpu-1", "task_id": task.id, "level": "warn",
        "source": "stderr", "message": "memory is short"}]);
    OneTask { detail: read(detail), why: Ok(read(why)), lines: Ok(read(lines)) }
}
