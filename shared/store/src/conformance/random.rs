//! Random histories: a seeded sequence of commands from several workers is sent to the store and to the
//! [`Oracle`], and every answer and every task must be the same.
//!
//! A failure names its seed and step; `BATON_SEED=<number>` replays it, and `BATON_STEPS=<number>` makes histories longer.

mod batches;
mod by_hand;
mod endings;
mod same;
mod settings;

use std::sync::Arc;

use baton_model::{
    Digest, Directive, Fence, LeasePolicy, Owner, Priority, SessionId, Stands, Task, TaskId, TaskSpec,
    Timestamp, Unsaid,
};

use self::batches::promised;
use self::same::{Trace, kept, leases, leases_sorted, promised_back, same, same_task};
use self::settings::{all_schedules, all_supplies};
use super::Oracle;
use super::change::changing;
use super::drawn::{AFFINITIES, KEYS, change, link, once, warm};
use super::kit::*;
use super::split_mix::SplitMix;
use super::trace::trace;
use crate::{
    Beat, Cancel, Claim, Complete, Create, Direct, Expire, Fail, Idempotency, LimitStore, NoDoorbell,
    PauseQueue, Purge, Reap, Release, Retry, Store, TaskStore,
};

/// What a history is like.
struct Shape {
    /// How many steps; a world whose commands take long may take fewer, unless `whole`.
    steps: usize,
    /// Whether the seed was chosen for what its history meets, late in it: then all of it is taken, and what is drawn by hand besides
    /// (`by_hand`) is not, as it would be another history.
    whole: bool,
    /// A new task is made only while there are fewer than this.
    tasks: usize,
    /// The most milliseconds between two commands.
    pace: u64,
    /// By how many milliseconds the clocks that tell the commands' times are behind the first of them.
    behind: &'static [u64],
    /// Whether limits and schedules are set and changed.
    limits: bool,
}

/// A random history of many tasks has the same answers and the same outcome as the oracle's.
pub async fn a_random_history_of_many_tasks_agrees_with_the_oracle(b: Bench) {
    compare(b, 1, Shape { steps: 900, whole: false, tasks: 400, pace: 4_000, behind: &[0], limits: false })
        .await;
}

/// A random history of a few tasks that all workers fight for has the same answers and the same outcome as the
/// oracle's.
pub async fn a_random_history_of_contended_tasks_agrees_with_the_oracle(b: Bench) {
    compare(b, 2, Shape { steps: 900, whole: false, tasks: 12, pace: 20_000, behind: &[0], limits: false })
        .await;
}

/// A random history whose commands are dated by clocks that differ by half a second, three and sixty seconds has the same
/// answers and the same outcome as the oracle's.
pub async fn a_random_history_by_clocks_that_differ_agrees_with_the_oracle(b: Bench) {
    compare(
        b,
        3,
        Shape {
            steps: 900,
            whole: false,
            tasks: 12,
            pace: 2_000,
            behind: &[0, 500, 3_000, 60_000],
            limits: false,
        },
    )
    .await;
}

/// A random history in which limits of every kind, and schedules, are set, changed and taken away has the same answers and the same outcome as the
/// oracle's.
pub async fn a_random_history_under_limits_agrees_with_the_oracle(b: Bench) {
    compare(b, 4, Shape { steps: 650, whole: false, tasks: 200, pace: 2_000, behind: &[0], limits: true })
        .await;
}

/// The same, with commands that are dated by clocks that differ.
pub async fn a_random_history_under_limits_by_clocks_that_differ_agrees_with_the_oracle(b: Bench) {
    let behind = &[0, 500, 3_000, 60_000];
    compare(b, 5, Shape { steps: 650, whole: false, tasks: 200, pace: 2_000, behind, limits: true }).await;
}

/// As that of many tasks; in this one, a batch is made anew while tasks of an earlier one with its id are still there.
pub async fn a_random_history_whose_batches_are_made_anew_agrees_with_the_oracle(b: Bench) {
    compare(b, 41, Shape { steps: 900, whole: true, tasks: 400, pace: 4_000, behind: &[0], limits: false })
        .await;
}

/// As that of many tasks; in this one, several tasks of a batch fail in one command.
pub async fn a_random_history_whose_batches_fail_at_once_agrees_with_the_oracle(b: Bench) {
    compare(b, 109, Shape { steps: 900, whole: true, tasks: 400, pace: 4_000, behind: &[0], limits: false })
        .await;
}

/// How long finished tasks are kept.
const KEPT: std::time::Duration = std::time::Duration::from_secs(600);

const WORKERS: [&str; 4] = ["w0", "w1", "w2", "w3"];
const QUEUES: [&str; 2] = ["a", "b"];
const PROJECTS: [&str; 3] = ["default", "film", "game"];
/// Whose each worker's name is.
fn owner_of(worker: usize) -> Owner {
    match worker {
        0 => Owner::Unbound,
        1 => Owner::Project(name("film")),
        2 => Owner::Project(name("default")),
        _ => of_queues(&QUEUES),
    }
}

fn session_of(worker: usize, start: u64) -> SessionId {
    session(1_000 * worker as u64 + start)
}

struct History {
    bench: Bench,
    real: Arc<dyn Store>,
    model: Oracle,
    random: SplitMix,
    /// Whether queues are fair between keys, where they are fair.
    by_key: bool,
    /// The first clock. It hears the heartbeats and judges the leases: what differing clocks mean there, rules of their own
    /// say, as a store may date heartbeats by the reaper's looks.
    first: Timestamp,
    /// The clock that dates the next command.
    now: Timestamp,
    /// How often each worker has started.
    starts: [u64; 4],
    ids: Vec<TaskId>,
    /// Leases as claims gave them; most are stale after a while, which is wanted.
    held: Vec<Task>,
    creations: Vec<Create>,
    claims: Vec<Claim>,
    completions: Vec<Complete>,
    /// Whether goodbyes are drawn, and what is done by hand.
    draws_by_hand: bool,
    /// How many bulk commands there were.
    bulks: u64,
}

async fn compare(mut bench: Bench, seed: u64, shape: Shape) {
    if !bench.store().capabilities().total_claim_order {
        return;
    }
    bench.keeping(Some(KEPT)).await;
    // What goes by itself has its end by the second.
    let least = if bench.store().capabilities().removes_by_itself { 1_000 } else { 1 };
    let said = |name: &str| std::env::var(name).ok().and_then(|text| text.parse().ok());
    let seed = said("BATON_SEED").unwrap_or(seed);
    let steps = said("BATON_STEPS")
        .and_then(|steps| usize::try_from(steps).ok())
        .unwrap_or_else(|| if shape.whole { shape.steps } else { bench.steps(shape.steps) });
    let mut trace = Trace { seed, step: 0, command: "start".to_owned() };
    let mut history = History {
        real: bench.store(),
        bench,
        model: Oracle::new(LeasePolicy::default(), Arc::new(NoDoorbell)),
        random: SplitMix(seed),
        by_key: seed.is_multiple_of(2),
        first: at(0),
        now: at(0),
        starts: [0; 4],
        ids: Vec::new(),
        held: Vec::new(),
        creations: Vec::new(),
        claims: Vec::new(),
        completions: Vec::new(),
        draws_by_hand: !shape.whole,
        bulks: 0,
    };
    for worker in 0..WORKERS.len() {
        history.beat(worker, false, &mut trace).await;
    }
    for step in 0..steps {
        trace.step = step;
        let pause = history.random.below(shape.pace);
        history.first = history.first.plus(millis(pause.next_multiple_of(least)));
        let behind = history.random.pick(shape.behind).copied().unwrap_or_default();
        history.now = history.first.minus(millis(behind.next_multiple_of(least)));
        history.step(&shape, &mut trace).await;
        history.held.truncate(60);
    }
    trace.command = "the end".to_owned();
    history.agree().await;
    let History { bench, first, ids, .. } = history;
    bench.note_created(ids);
    bench.check(first).await;
}

impl History {
    fn worker(&mut self) -> usize {
        self.random.below(WORKERS.len() as u64) as usize
    }

    /// The first two workers do not name their starts, the others do, and now and then say an earlier one.
    fn session(&mut self, worker: usize) -> Option<SessionId> {
        let late = self.starts[worker] > 0 && self.random.once_in(12);
        (worker >= 2).then(|| session_of(worker, self.starts[worker] - u64::from(late)))
    }

    /// The bounds of a caller of the worker: mostly its own or none, now and then another's.
    fn caller(&mut self, worker: usize) -> Owner {
        match self.random.below(12) {
            0 => Owner::Project(name(PROJECTS[self.random.below(3) as usize])),
            1 => of_queues(&QUEUES[self.random.below(2) as usize..]),
            2..4 => Owner::Unbound,
            _ => owner_of(worker),
        }
    }

    fn id(&mut self) -> TaskId {
        let known = self.random.pick(&self.ids).copied();
        match known {
            Some(id) if !self.random.once_in(30) => id,
            _ => self.bench.task_id(),
        }
    }

    fn lease(&mut self) -> Option<(Task, Fence)> {
        let held = self.random.pick(&self.held)?.clone();
        let mut fence = fence(&held);
        if self.random.once_in(15) {
            fence.worker = name(WORKERS[self.worker()]);
        }
        if self.random.once_in(15) {
            fence.attempt = (fence.attempt + 1).saturating_sub(2 * self.random.below(2) as u32);
        }
        Some((held, fence))
    }

    async fn step(&mut self, shape: &Shape, trace: &mut Trace) {
        if shape.limits && self.random.once_in(12) {
            return self.limit(trace).await;
        }
        if shape.limits && self.random.once_in(16) {
            return self.schedule(shape, trace).await;
        }
        if shape.limits && self.random.once_in(16) {
            return self.supply(shape, trace).await;
        }
        if self.random.once_in(14) {
            return self.batch(shape, trace).await;
        }
        if self.draws_by_hand && self.random.once_in(16) {
            return self.by_hand(shape, trace).await;
        }
        match self.random.below(100) {
            0..18 => self.create(shape, trace).await,
            18..44 => self.claim(trace).await,
            44..57 => self.complete(trace).await,
            57..60 => self.end(trace).await,
            60..68 => self.fail(trace).await,
            68..72 => self.release(trace).await,
            72..82 => {
                let worker = self.worker();
                let anew = self.random.once_in(20);
                self.beat(worker, anew, trace).await;
            }
            82..87 => self.reap(trace).await,
            87..89 => {
                let change = changing(self.now, self.id(), change(&mut self.random, &QUEUES, self.now));
                trace.command = format!("{change:?}");
                same_task(self.real.change(change.clone()).await, self.model.change(change).await);
            }
            89..92 => {
                let cancel =
                    Cancel { with_dependants: self.random.once_in(4), ..cancel(self.now, self.id()) };
                trace.command = format!("{cancel:?}");
                same_task(self.real.cancel(cancel.clone()).await, self.model.cancel(cancel).await);
            }
            92..96 => {
                let retry = Retry { with_dependants: self.random.once_in(2), ..retry(self.now, self.id()) };
                trace.command = format!("{retry:?}");
                same_task(self.real.retry(retry.clone()).await, self.model.retry(retry).await);
            }
            96..98 => {
                let queue = name(QUEUES[self.random.below(2) as usize]);
                let paused = self.random.once_in(4);
                let reason = self.random.once_in(2).then(|| "a test".to_owned());
                let pause = PauseQueue { now: self.now, queue, paused, by: None, reason };
                trace.command = format!("{pause:?}");
                let real = self.real.pause_queue(pause.clone()).await.map(|queue| (queue.pause, queue.used));
                same(real, self.model.pause_queue(pause).await.map(|queue| (queue.pause, queue.used)));
            }
            98 => {
                let directive = if self.random.once_in(4) { Directive::Drain } else { Directive::Run };
                let worker = name(WORKERS[self.worker()]);
                let by = self.random.once_in(2).then(|| name("ada"));
                // Who is not named asks as a rule does: of those alone that run.
                let only_if = by.is_none().then_some(Stands { directive: Directive::Run, directed: None });
                let reason = Some("it is drawn".to_owned());
                let direct = Direct { now: self.now, worker, directive, by, reason, only_if };
                trace.command = format!("{direct:?}");
                let real = self.real.direct_worker(direct.clone()).await.map(leases_sorted);
                same(real, self.model.direct_worker(direct).await.map(leases_sorted));
            }
            _ => {
                let purge = Purge { keep_finished: Some(KEPT), ..Purge::at(self.now) };
                trace.command = format!("{purge:?}");
                let real = Ok(self.bench.purge(purge).await.tasks);
                same(real, self.model.purge(purge).await.map(|report| report.tasks));
            }
        }
    }

    async fn create(&mut self, shape: &Shape, trace: &mut Trace) {
        let again = self.random.pick(&self.creations).cloned();
        let create = match again {
            Some(again) if self.random.once_in(5) || self.ids.len() >= shape.tasks => {
                Create { now: self.now, ..again }
            }
            _ if self.ids.len() >= shape.tasks => return,
            _ => self.new_tasks(),
        };
        self.send(create, trace).await;
    }

    /// Sends a creation, and notes what is new by it.
    async fn send(&mut self, create: Create, trace: &mut Trace) {
        trace.command = format!("{create:?}");
        let answer = same(self.real.create(create.clone()).await, self.model.create(create.clone()).await);
        if let Some(answer) = answer {
            self.ids.extend(answer.items.iter().flatten().filter(|one| one.new).map(|one| one.id));
            self.ids.sort();
            self.ids.dedup();
        }
        self.creations.push(create);
    }

    fn new_tasks(&mut self) -> Create {
        let random = &mut self.random;
        let mut tasks = Vec::new();
        for _ in 0..1 + random.below(3) {
            let spec = self.bench.spec(["render", "bake"][random.below(2) as usize]);
            let mut spec = spec
                .queue(QUEUES[random.below(2) as usize])
                .project(PROJECTS[random.below(3) as usize])
                .priority(Priority::ALL[random.below(4) as usize])
                .attempts(1 + random.below(3) as u32);
            spec.id_chosen = true;
            if random.once_in(4) {
                spec = spec.due(self.now.plus(millis(random.below(60_000))));
            }
            if random.once_in(3) {
                spec = spec.timeout(millis(1 + random.below(60_000)));
            }
            if random.once_in(2) {
                spec.concurrency_key = Some(name(KEYS[random.below(3) as usize]));
            }
            if random.once_in(3) {
                spec = TaskSpec { backoff: None, unsaid: Unsaid::BOTH, ..spec };
            }
            if random.once_in(3) {
                spec.affinity = Some(name(AFFINITIES[random.below(2) as usize]));
            }
            // Not drawn, so that what else is drawn of a seed stays.
            spec.trace =
                (spec.id.as_bytes()[15].is_multiple_of(3)).then(|| trace(spec.id.as_bytes()[15], None));
            if random.once_in(10)
                && let Some(earlier) = random.pick(&self.ids)
            {
                spec.id = *earlier;
            }
            if random.once_in(3) {
                link(random, &mut spec, &tasks, &self.ids);
            }
            once(random, &mut spec, self.now);
            tasks.push(spec);
        }
        let idempotency = random.once_in(3).then(|| {
            let serial = random.next();
            Idempotency {
                key: serial.to_string(),
                fingerprint: Digest::of_bytes(&serial.to_be_bytes()).into(),
            }
        });
        Create { now: self.now, tasks, atomic: random.once_in(2), idempotency, by: None }
    }

    fn new_claim(&mut self) -> Claim {
        let worker = self.worker();
        let (session, caller) = (self.session(worker), self.caller(worker));
        let random = &mut self.random;
        let mut claim = claim(WORKERS[worker], self.now)
            .queues([&["a", "b"][..], &["a"], &["b"]][random.below(3) as usize])
            .types([&["render"][..], &[], &[]][random.below(3) as usize])
            .max(1 + random.below(3) as u32)
            .cap(2 + random.below(6) as u32);
        (claim.session, claim.caller) = (session, caller);
        if random.once_in(3) {
            claim = claim.fixed(millis(1 + random.below(90_000)));
        }
        if random.once_in(3) {
            claim.warm = warm(random);
        }
        if random.once_in(2) {
            let key = format!("r{}", random.next());
            claim = claim.key(&key);
        }
        claim
    }

    async fn claim(&mut self, trace: &mut Trace) {
        self.expire().await;
        let again = self.claims.last().cloned().filter(|_| self.random.once_in(6));
        // What is older may be known or not.
        let again = again.filter(|again| self.now.since(again.now) < secs(15 * 60));
        let claim = match again {
            Some(again) => Claim { now: self.now, ..again },
            None => self.new_claim(),
        };
        trace.command = format!("{claim:?}");
        self.claims.push(claim.clone());
        let (real, model) = (self.real.claim(claim.clone()).await, self.model.claim(claim).await);
        let sorted = |tasks: Vec<Task>| {
            let mut tasks = tasks;
            tasks.sort_by_key(|task| task.head.id);
            tasks
        };
        if let Some(tasks) = same(leases(real).map(sorted), leases(model).map(sorted)) {
            self.held.splice(0..0, tasks);
        }
    }

    /// Ends what has expired, before a claim is made: how much of it that ends, and so which dependants it is given, is the store's
    /// choice.
    async fn expire(&self) {
        self.bench.settle().await;
        let expire = Expire { now: self.now, limit: 1_000 };
        self.real.expire(expire).await.expect("an expiry is taken");
        self.model.expire(expire).await.expect("an expiry is taken");
    }

    async fn complete(&mut self, trace: &mut Trace) {
        self.expire().await;
        let again = self.random.pick(&self.completions).cloned();
        let complete = match again {
            Some(again) if self.random.once_in(6) => Complete { now: self.now, ..again },
            _ => {
                let Some((held, fence)) = self.lease() else { return };
                let output = output(["one", "two"][self.random.below(2) as usize]);
                Complete { fence, output, ..self.bench.completion(self.now, &held) }
            }
        };
        let next = self.random.once_in(3).then(|| {
            let next = self.new_claim();
            Claim { worker: complete.fence.worker.clone(), session: None, ..next }
        });
        trace.command = format!("{complete:?} {next:?}");
        self.completions.push(complete.clone());
        let plain = |answer: crate::CompleteAnswer| {
            let next = answer.next.map(|next| leases(next).map_err(|error| format!("{error:?}")));
            (answer.generation, answer.repeated, next)
        };
        let real = self.real.complete(complete.clone(), next.clone()).await.map(plain);
        let model = self.model.complete(complete, next).await.map(plain);
        if let Some((_, _, Some(Ok(tasks)))) = same(real, model) {
            self.held.splice(0..0, tasks);
        }
    }

    async fn fail(&mut self, trace: &mut Trace) {
        let Some((held, fence)) = self.lease() else { return };
        let retry_after = self.random.once_in(3).then(|| millis(self.random.below(20_000)));
        let retryable = !self.random.once_in(5);
        let fail = Fail { fence, retryable, retry_after, ..failing(self.now, &held) };
        trace.command = format!("{fail:?}");
        let (real, model) = (self.real.fail(fail.clone()).await, self.model.fail(fail).await);
        same(real.map(promised_back), model.map(promised_back));
    }

    async fn release(&mut self, trace: &mut Trace) {
        let Some((held, fence)) = self.lease() else { return };
        let delay = millis(self.random.below(20_000));
        let release = Release { fence, delay, ..releasing(self.now, &held) };
        trace.command = format!("{release:?}");
        let (real, model) = (self.real.release(release.clone()).await, self.model.release(release).await);
        same(real.map(promised_back), model.map(promised_back));
    }

    async fn beat(&mut self, worker: usize, anew: bool, trace: &mut Trace) {
        let session = if anew {
            // A new start is heard of by its heartbeat, and a claim of it comes later.
            self.starts[worker] += 1;
            (worker >= 2).then(|| session_of(worker, self.starts[worker]))
        } else {
            self.session(worker)
        };
        // The first heartbeat settles whose the name is.
        let caller = if trace.step == 0 { owner_of(worker) } else { self.caller(worker) };
        let said = !self.random.once_in(3);
        let mut running: Vec<_> = Vec::new();
        for held in &self.held {
            let mine = lease(held).worker == name(WORKERS[worker]);
            if (mine && !self.random.once_in(12)) || self.random.once_in(25) {
                running.push(listed(held));
            }
        }
        let running = said.then_some(running);
        let ending = self.draws_by_hand && self.random.once_in(10);
        let beat = Beat { session, caller, running, ending, ..beat(WORKERS[worker], self.first) };
        trace.command = format!("{beat:?}");
        let sorted = |answer: crate::BeatAnswer| {
            let mut answer = answer;
            answer.lost.sort_by_key(|lost| (lost.task, lost.attempt));
            // Told by stores that several processes work with, and by no others.
            answer.shipped = None;
            answer
        };
        let real = self.real.heartbeat(beat.clone()).await.map(sorted);
        same(real, self.model.heartbeat(beat).await.map(sorted));
    }

    async fn reap(&mut self, trace: &mut Trace) {
        let worker = self.random.once_in(5).then(|| name(WORKERS[self.random.below(4) as usize]));
        let queue = self.random.once_in(5).then(|| name(QUEUES[self.random.below(2) as usize]));
        // Which are taken first is the store's choice, so that all are.
        let reap = Reap { worker, queue, ..reap(self.first) };
        trace.command = format!("{reap:?}");
        self.bench.settle().await;
        let sorted = |report: crate::ReapReport| {
            let mut report = report;
            report.taken.sort_by_key(|taken| taken.task);
            report
        };
        let real = self.real.reap(reap.clone()).await.map(sorted);
        same(real, self.model.reap(reap).await.map(sorted));
    }

    /// Compares every task with all that belongs to it, and every worker.
    async fn agree(&self) {
        assert_eq!(all_schedules(&*self.real).await, all_schedules(&self.model).await);
        assert_eq!(all_supplies(&*self.real).await, all_supplies(&self.model).await);
        self.bench.settle().await;
        self.bench.follow(self.first).await;
        self.agree_on_batches().await;
        for id in &self.ids {
            let plain =
                |detail: crate::TaskDetail| crate::TaskDetail { task: promised(detail.task), ..detail };
            same(self.real.task(*id).await.map(plain), self.model.task(*id).await.map(plain));
            // In which order dependants are told is the store's choice.
            let sorted = |mut linked: Vec<crate::Linked>| {
                linked.iter_mut().for_each(|one| one.dependants.sort_unstable());
                linked
            };
            let real = self.real.linked(vec![*id]).await.map(sorted);
            same(real, self.model.linked(vec![*id]).await.map(sorted));
            same(self.real.inputs(vec![*id]).await, self.model.inputs(vec![*id]).await);
            same(
                self.real.why(*id, self.first).await.map(kept),
                self.model.why(*id, self.first).await.map(kept),
            );
        }
        for worker in WORKERS {
            let real = self.real.worker(&name(worker)).await.map(leases_sorted);
            same(real, self.model.worker(&name(worker)).await.map(leases_sorted));
        }
        let page = || crate::PageRequest::first(100);
        let all = |page: crate::Page<crate::LimitStatus>| page.items;
        same(self.real.limits(page()).await.map(all), self.model.limits(page()).await.map(all));
    }
}
