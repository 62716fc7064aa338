//! A pool that lives: tasks come, machines come up late or never, workers claim, end and are lost; and what the scaler decides is done.

use std::collections::VecDeque;
use std::time::Duration;

use baton_model::{Directive, Money, Timestamp};
use baton_scaling::{Action, Counts, Policy, Pool, QueueFacts, Seen, SeenMachine, SeenWorker, Turn};

pub(crate) const TICK: Duration = Duration::from_secs(5);
pub(crate) const START: i64 = 1_770_000_000_000;

pub(crate) fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

pub(crate) fn policy() -> Policy {
    Policy {
        name: "gpu".parse().unwrap(),
        queues: vec!["images".parse().unwrap()],
        provider: None,
        least: 0,
        most: 8,
        tasks_per_machine: 2,
        idle: seconds(300),
        spawn_timeout: seconds(180),
        failure_pause: seconds(30),
        longest_pause: seconds(600),
        budget_per_hour: None,
        price_per_hour: "0.5".parse().unwrap(),
    }
}

/// Numbers by chance that a seed repeats (SplitMix64).
#[derive(Clone)]
pub(crate) struct Chance(pub(crate) u64);

impl Chance {
    pub(crate) fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut word = self.0;
        word = (word ^ (word >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        word = (word ^ (word >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (word ^ (word >> 31)) % bound
    }
}

/// How a world goes wrong.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Troubles {
    /// Of a hundred starts, how many are refused.
    pub(crate) refused: u64,
    /// Of a hundred machines, on how many no worker ever comes to live.
    pub(crate) dead: u64,
    /// Of ten thousand turns of a machine, in how many its worker is lost.
    pub(crate) lost: u64,
    /// Of a thousand turns, after how many another scaler takes over, which remembers nothing.
    pub(crate) takeovers: u64,
}

struct Machine {
    seen: SeenMachine,
    lives_at: Option<Timestamp>,
    ends: Vec<Timestamp>,
    idle_since: Option<Timestamp>,
    lost_at: Option<Timestamp>,
    ever_lived: bool,
}

pub(crate) struct World {
    pub(crate) now: Timestamp,
    pub(crate) chance: Chance,
    pub(crate) troubles: Troubles,
    pub(crate) spawns: u64,
    pub(crate) failures: u64,
    pub(crate) losses: u64,
    pub(crate) takeovers: u64,
    pub(crate) machine_seconds: u64,
    pub(crate) waits: Vec<u64>,
    pool: Pool,
    machines: Vec<Machine>,
    waiting: VecDeque<(Timestamp, u64)>,
}

impl World {
    pub(crate) fn new(policy: Policy, seed: u64, troubles: Troubles) -> Self {
        Self {
            now: Timestamp::from_millis(START),
            chance: Chance(seed),
            troubles,
            spawns: 0,
            failures: 0,
            losses: 0,
            takeovers: 0,
            machine_seconds: 0,
            waits: Vec::new(),
            pool: Pool::new(policy),
            machines: Vec::new(),
            waiting: VecDeque::new(),
        }
    }

    pub(crate) fn arrive(&mut self, task_seconds: u64) {
        self.waiting.push_back((self.now, task_seconds));
    }

    pub(crate) fn has_machines(&self) -> bool {
        !self.machines.is_empty()
    }

    pub(crate) fn has_work(&self) -> bool {
        self.counts().tasks() > 0
    }

    /// Lets a tick pass, and does what is decided then; checks what must hold of each turn.
    pub(crate) fn tick(&mut self) -> Turn {
        self.now = self.now.plus(TICK);
        self.machine_seconds += TICK.as_secs() * self.machines.len() as u64;
        if self.chance.below(1_000) < self.troubles.takeovers {
            self.takeovers += 1;
            self.pool = Pool::new(self.pool.policy().clone());
            self.machines.iter_mut().for_each(|machine| {
                machine.idle_since = machine.idle_since.map(|_| self.now);
            });
        }
        self.work();
        let counts = self.counts();
        let seen: Vec<SeenMachine> = self.machines.iter().map(|machine| machine.seen.clone()).collect();
        let turn = self.pool.turn(&Seen { now: self.now, counts, machines: &seen });
        self.apply(&turn);
        self.check(&turn);
        turn
    }

    fn counts(&self) -> Counts {
        let running = self.machines.iter().map(|machine| machine.ends.len() as u64).sum();
        Counts::of([QueueFacts { ready: self.waiting.len() as u64, running, ..QueueFacts::default() }])
    }

    /// What workers do in a tick.
    fn work(&mut self) {
        let now = self.now;
        let most = self.pool.policy().tasks_per_machine as usize;
        for machine in &mut self.machines {
            if machine.lives_at.is_some_and(|at| at <= now) && !machine.ever_lived {
                machine.ever_lived = true;
                let id = format!("w-{}", machine.seen.id);
                machine.seen.workers.push(SeenWorker {
                    id,
                    is_alive: true,
                    is_gone: false,
                    directive: Directive::Run,
                    holds: 0,
                    heard_at: Some(now),
                });
            }
            let Some(worker) = machine.seen.workers.first_mut() else { continue };
            if worker.is_alive && self.chance.below(10_000) < self.troubles.lost {
                worker.is_alive = false;
                machine.lost_at = Some(now);
                machine.idle_since = None;
                self.losses += 1;
            }
            if let Some(lost) = machine.lost_at {
                // The reaper takes back what it held, and it is tried again.
                if now.since(lost) > seconds(60) {
                    self.waiting.extend(machine.ends.drain(..).map(|_| (now, 30)));
                    worker.holds = 0;
                }
                continue;
            }
            if worker.is_gone {
                continue;
            }
            worker.heard_at = Some(now);
            machine.ends.retain(|end| *end > now);
            if worker.directive == Directive::Run {
                while machine.ends.len() < most
                    && let Some((came, task_seconds)) = self.waiting.pop_front()
                {
                    self.waits.push(now.since(came).as_secs());
                    machine.ends.push(now.plus(seconds(task_seconds)));
                }
            } else if machine.ends.is_empty() {
                (worker.is_alive, worker.is_gone) = (false, true);
            }
            worker.holds = u32::try_from(machine.ends.len()).unwrap();
            let is_idle = worker.holds == 0 && worker.directive == Directive::Run;
            machine.idle_since = is_idle.then(|| machine.idle_since.unwrap_or(now));
        }
    }

    fn apply(&mut self, turn: &Turn) {
        for decision in &turn.decisions {
            match &decision.action {
                Action::Spawn { machines } => (0..*machines).for_each(|_| self.spawn()),
                Action::Drain { machine, workers } => {
                    let machine = self.machines.iter_mut().find(|one| one.seen.id == *machine).unwrap();
                    assert!(!workers.is_empty(), "somebody is drained: {decision:?}");
                    machine.seen.workers.iter_mut().for_each(|worker| worker.directive = Directive::Drain);
                    machine.idle_since = None;
                }
                Action::Terminate { machine: id } => {
                    let at = self.machines.iter().position(|one| one.seen.id == *id).unwrap();
                    let machine = self.machines.remove(at);
                    assert_eq!(machine.seen.holds(), 0, "it holds nothing: {decision:?}");
                    assert_eq!(machine.ends.len(), 0);
                    let may_claim =
                        |worker: &SeenWorker| worker.is_alive && worker.directive == Directive::Run;
                    assert!(
                        !machine.seen.workers.iter().any(may_claim),
                        "it was drained first: {decision:?}"
                    );
                    self.failures += u64::from(!machine.ever_lived);
                }
            }
        }
    }

    fn spawn(&mut self) {
        self.spawns += 1;
        if self.chance.below(100) < self.troubles.refused {
            self.failures += 1;
            self.pool.failed(self.now);
            return;
        }
        let id = format!("m{}", self.spawns);
        let dead = self.chance.below(100) < self.troubles.dead;
        let lives_at = (!dead).then(|| self.now.plus(seconds(30 + self.chance.below(90))));
        self.pool.spawned(id.clone(), self.now);
        let seen = SeenMachine {
            id,
            price_per_hour: self.pool.policy().price_per_hour,
            started_at: Some(self.now),
            is_stopping: false,
            workers: Vec::new(),
        };
        let machine =
            Machine { seen, lives_at, ends: Vec::new(), idle_since: None, lost_at: None, ever_lived: false };
        self.machines.push(machine);
    }

    fn check(&self, turn: &Turn) {
        let policy = self.pool.policy();
        let have = self.machines.len();
        assert!(have <= policy.most as usize, "{have} machines: {turn:?}");
        let cost: Money = self.machines.iter().map(|machine| machine.seen.price_per_hour).sum();
        assert!(policy.budget_per_hour.is_none_or(|budget| cost <= budget), "{cost}: {turn:?}");
        let surplus = turn.have > turn.wanted.machines;
        for machine in &self.machines {
            let idle = machine.idle_since.map_or(Duration::ZERO, |since| self.now.since(since));
            assert!(!surplus || idle < policy.idle + TICK, "idle for {idle:?}: {turn:?}");
            let age = self.now.since(machine.seen.started_at.unwrap());
            assert!(machine.ever_lived || age < policy.spawn_timeout + TICK, "{age:?} without a worker");
        }
    }
}
