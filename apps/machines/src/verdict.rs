//! Which machines serve no live worker, and what they cost: a pure rule of what the provider tells and what workers' heartbeats say.

use std::collections::HashMap;
use std::time::Duration;

use baton_model::Timestamp;
use serde::Serialize;

use crate::{Machine, Money, State};

/// A worker, as far as its machine is concerned.
#[derive(Clone, Debug)]
pub struct Worker {
    /// Its name.
    pub id: String,
    /// The machine that it says it runs on, by id or by name.
    pub machine: Option<String>,
    /// Whether it lives: it beats.
    pub alive: bool,
    /// When it was heard of last; none if never.
    pub heard_at: Option<Timestamp>,
    /// How many tasks it holds.
    pub holds: u32,
}

/// What is known at a time.
#[derive(Clone, Copy, Debug)]
pub struct Known<'a> {
    /// The machines.
    pub machines: &'a [Machine],
    /// The workers.
    pub workers: &'a [Worker],
    /// The time.
    pub now: Timestamp,
    /// How long a machine may take until a worker on it is heard of: after its start, and after its last worker was heard of.
    pub start_up: Duration,
}

/// What a machine is for.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(tag = "is", rename_all = "snake_case")]
pub enum Verdict {
    /// Live workers run on it.
    Used {
        /// Which.
        workers: Vec<String>,
        /// How many tasks they hold.
        holds: u32,
    },
    /// It may still be waited for.
    StartingUp {
        /// Until then.
        until: Timestamp,
    },
    /// It is paid for, and no live worker runs on it.
    Orphan {
        /// Since when; none if it is not known when it was started, and no worker was ever heard of on it.
        since: Option<Timestamp>,
        /// The worker that was heard of last.
        last: Option<LastWorker>,
    },
    /// It is not paid for by the hour.
    Stopped,
}

/// The worker that was heard of last on a machine.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct LastWorker {
    /// Its name.
    pub id: String,
    /// When.
    pub heard_at: Option<Timestamp>,
}

/// A machine with what it is for.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Judged {
    /// The machine.
    #[serde(flatten)]
    pub machine: Machine,
    /// What it is for.
    #[serde(flatten)]
    pub verdict: Verdict,
    /// What it has cost since its start; none if that is not known.
    pub cost_so_far: Option<Money>,
}

impl Judged {
    /// Whether it is paid for in vain.
    pub const fn is_orphan(&self) -> bool {
        matches!(self.verdict, Verdict::Orphan { .. })
    }
}

/// What some machines cost.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Totals {
    /// How many they are.
    pub machines: u64,
    /// An hour.
    pub per_hour: Money,
    /// A day of 24 hours.
    pub per_day: Money,
    /// A month of 30 days.
    pub per_month: Money,
    /// Since each was started, as far as that is known.
    pub so_far: Money,
}

/// All machines, judged.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Report {
    /// Each machine, those first that cost most in vain.
    pub machines: Vec<Judged>,
    /// What all cost that are paid for by the hour.
    pub paid: Totals,
    /// What of that is paid in vain.
    pub orphans: Totals,
    /// Live workers that say they run on a machine that is not among these.
    pub elsewhere: Vec<String>,
}

impl Totals {
    fn of<'a>(judged: impl Iterator<Item = &'a Judged> + Clone) -> Self {
        let per_hour: Money = judged.clone().map(|one| one.machine.price_per_hour).sum();
        Self {
            machines: judged.clone().count() as u64,
            per_hour,
            per_day: per_hour.times(24),
            per_month: per_hour.times(24 * 30),
            so_far: judged.filter_map(|one| one.cost_so_far).sum(),
        }
    }
}

/// Judges all machines.
pub fn report(known: &Known<'_>) -> Report {
    let places = Places::of(known.machines);
    let mut on: Vec<Vec<&Worker>> = vec![Vec::new(); known.machines.len()];
    let mut elsewhere = Vec::new();
    for worker in known.workers {
        let Some(machine) = &worker.machine else { continue };
        let found = places.find(machine);
        found.iter().for_each(|place| on[*place].push(worker));
        if found.is_empty() && worker.alive {
            elsewhere.push(worker.id.clone());
        }
    }
    let judged = known.machines.iter().zip(&on).map(|(machine, workers)| {
        let started = started_at(machine, known);
        Judged {
            machine: machine.clone(),
            verdict: verdict(machine, workers, known),
            cost_so_far: (machine.state != State::Stopped)
                .then_some(started)
                .flatten()
                .map(|at| machine.price_per_hour.over(known.now.since(at))),
        }
    });
    let mut machines: Vec<Judged> = judged.collect();
    let in_vain = |one: &Judged| one.is_orphan().then_some(one.machine.price_per_hour);
    machines.sort_by(|a, b| in_vain(b).cmp(&in_vain(a)).then_with(|| a.machine.id.cmp(&b.machine.id)));
    let paid = Totals::of(machines.iter().filter(|one| one.verdict != Verdict::Stopped));
    let orphans = Totals::of(machines.iter().filter(|one| one.is_orphan()));
    elsewhere.sort_unstable();
    Report { machines, paid, orphans, elsewhere }
}

/// Where each machine is in the list, by its id, and by its name.
struct Places<'a> {
    by_id: HashMap<&'a str, usize>,
    by_name: HashMap<&'a str, Vec<usize>>,
}

impl<'a> Places<'a> {
    fn of(machines: &'a [Machine]) -> Self {
        let mut by_name: HashMap<&str, Vec<usize>> = HashMap::new();
        for (place, machine) in machines.iter().enumerate() {
            by_name.entry(&machine.name).or_default().push(place);
        }
        Self { by_id: machines.iter().map(|machine| machine.id.as_str()).zip(0..).collect(), by_name }
    }

    /// The machine of this id; else all of this name: a worker on one of several that are called the same may be on each of them.
    fn find(&self, machine: &str) -> Vec<usize> {
        match self.by_id.get(machine) {
            Some(place) => vec![*place],
            None => self.by_name.get(machine).cloned().unwrap_or_default(),
        }
    }
}

/// When a machine was started. A time that is far ahead is of a clock that is wrong, and tells nothing: the machine would be starting up
/// until that clock is caught up with.
fn started_at(machine: &Machine, known: &Known<'_>) -> Option<Timestamp> {
    machine.started_at.filter(|at| *at <= known.now.plus(known.start_up))
}

fn verdict(machine: &Machine, workers: &[&Worker], known: &Known<'_>) -> Verdict {
    if machine.state == State::Stopped {
        return Verdict::Stopped;
    }
    let alive: Vec<&&Worker> = workers.iter().filter(|worker| worker.alive).collect();
    if !alive.is_empty() {
        let mut names: Vec<String> = alive.iter().map(|worker| worker.id.clone()).collect();
        names.sort_unstable();
        return Verdict::Used { workers: names, holds: alive.iter().map(|worker| worker.holds).sum() };
    }
    let last = workers.iter().max_by(|a, b| (a.heard_at, &b.id).cmp(&(b.heard_at, &a.id)));
    // A worker's times are this system's own, which no clock of a machine falsifies.
    let heard_at = last.and_then(|worker| worker.heard_at).map(|at| at.min(known.now));
    let since = started_at(machine, known).max(heard_at).map(|at| at.plus(known.start_up));
    match since {
        Some(until) if until > known.now => Verdict::StartingUp { until },
        since => Verdict::Orphan {
            since,
            last: last.map(|worker| LastWorker { id: worker.id.clone(), heard_at: worker.heard_at }),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const START_UP: Duration = Duration::from_secs(600);

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_millis(1_770_000_000_000 + seconds * 1_000)
    }

    fn machine(id: &str, started: Option<i64>) -> Machine {
        Machine {
            id: id.to_owned(),
            name: format!("{id}-name"),
            price_per_hour: "0.5".parse().unwrap(),
            started_at: started.map(at),
            state: State::Running,
            labels: std::collections::BTreeMap::new(),
        }
    }

    fn worker(id: &str, machine: &str, alive: bool, heard: Option<i64>) -> Worker {
        Worker {
            id: id.to_owned(),
            machine: Some(machine.to_owned()),
            alive,
            heard_at: heard.map(at),
            holds: 1,
        }
    }

    fn judge(machine: &Machine, workers: &[Worker]) -> Verdict {
        let machines = std::slice::from_ref(machine);
        report(&Known { machines, workers, now: at(10_000), start_up: START_UP }).machines.remove(0).verdict
    }

    #[test]
    fn a_machine_is_an_orphan_when_no_live_worker_is_on_it_past_its_start_up() {
        let used = |name: &str| Verdict::Used { workers: vec![name.to_owned()], holds: 1 };
        let orphan = |since: Option<i64>, last: Option<(&str, i64)>| Verdict::Orphan {
            since: since.map(at),
            last: last.map(|(id, heard)| LastWorker { id: id.to_owned(), heard_at: Some(at(heard)) }),
        };
        let starting = |until| Verdict::StartingUp { until: at(until) };
        let old = machine("m", Some(0));
        for (name, machine, workers, verdict) in [
            ("nobody came", old.clone(), vec![], orphan(Some(600), None)),
            ("one lives", old.clone(), vec![worker("w", "m", true, Some(9_999))], used("w")),
            ("by its name", old.clone(), vec![worker("w", "m-name", true, Some(9_999))], used("w")),
            ("another's", old.clone(), vec![worker("w", "x", true, Some(9_999))], orphan(Some(600), None)),
            (
                "the last one was lost long ago",
                old.clone(),
                vec![worker("w", "m", false, Some(5_000)), worker("v", "m", false, Some(20))],
                orphan(Some(5_600), Some(("w", 5_000))),
            ),
            (
                "lost just now: it may come back",
                old,
                vec![worker("w", "m", false, Some(9_500))],
                starting(10_100),
            ),
            ("young", machine("m", Some(9_401)), vec![], starting(10_001)),
            ("no longer young", machine("m", Some(9_400)), vec![], orphan(Some(10_000), None)),
            ("its clock is a little fast", machine("m", Some(10_060)), vec![], starting(10_660)),
            ("its clock is days ahead", machine("m", Some(300_000)), vec![], orphan(None, None)),
            ("no start is told", machine("m", None), vec![], orphan(None, None)),
            (
                "no start is told, and a worker was there",
                machine("m", None),
                vec![worker("w", "m", false, Some(0))],
                orphan(Some(600), Some(("w", 0))),
            ),
        ] {
            assert_eq!(judge(&machine, &workers), verdict, "{name}");
        }
        let stopped = Machine { state: State::Stopped, ..machine("m", Some(0)) };
        assert_eq!(judge(&stopped, &[]), Verdict::Stopped);
    }

    #[test]
    fn costs_are_summed_over_what_is_paid_for() {
        let mut machines = vec![machine("a", Some(0)), machine("b", Some(2_800)), machine("c", None)];
        machines.push(Machine { state: State::Stopped, ..machine("d", Some(0)) });
        let workers = [worker("w", "a", true, Some(9_999)), worker("v", "gone", true, Some(9_999))];
        let told =
            report(&Known { machines: &machines, workers: &workers, now: at(10_000), start_up: START_UP });
        let ids: Vec<&str> = told.machines.iter().map(|one| one.machine.id.as_str()).collect();
        assert_eq!(ids, ["b", "c", "a", "d"]);
        assert_eq!((told.paid.machines, told.orphans.machines), (3, 2));
        assert_eq!(
            (told.paid.per_hour.to_string(), told.orphans.per_hour.to_string()),
            ("1.50".into(), "1.00".into())
        );
        assert_eq!(
            (told.orphans.per_day.to_string(), told.orphans.per_month.to_string()),
            ("24.00".into(), "720.00".into())
        );
        // Two hours of b are known, and of c none.
        assert_eq!((told.orphans.so_far.to_string(), told.elsewhere), ("1.00".into(), vec!["v".to_owned()]));
    }

    /// Two that are called the same are both left alone while a worker says that it runs on one of them.
    #[test]
    fn a_worker_on_one_of_several_of_a_name_may_be_on_each() {
        let twin = |id: &str| Machine { name: "twin".to_owned(), ..machine(id, Some(0)) };
        let machines = [twin("a"), twin("b")];
        let workers = [worker("w", "twin", true, Some(9_999))];
        let told =
            report(&Known { machines: &machines, workers: &workers, now: at(10_000), start_up: START_UP });
        assert_eq!(told.orphans.machines, 0);
    }
}
