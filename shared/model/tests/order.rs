//! Laws of the order of queues.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "test code")]

use std::cmp::Ordering;
use std::fmt::Debug;
use std::str::FromStr;
use std::time::Duration;

use baton_model::order::{Before, Facts, Line, Place, Ready, Rules};
use baton_model::{
    FairBy, Label, LimitOn, Priority, ProjectId, QueueOrder, TaskId, Tenant, Timestamp, Wants, Warm,
};
use proptest::prelude::*;

#[derive(Clone, Debug)]
struct Waiting {
    queue: usize,
    priority: Priority,
    run_after: Timestamp,
    id: TaskId,
    project: ProjectId,
    key: Option<Label>,
    affinity: Option<Label>,
}

impl Ready for Waiting {
    fn facts(&self) -> Facts<'_> {
        Facts {
            queue: self.queue,
            priority: self.priority,
            run_after: self.run_after,
            id: self.id,
            project: &self.project,
            key: self.key.as_ref(),
            affinity: self.affinity.as_ref(),
        }
    }
}

/// The order of all tasks, where nothing runs but what `running` says.
fn in_line(
    (orders, warm, now): (&[QueueOrder], &Warm, u64),
    tasks: Vec<Waiting>,
    running: &dyn Fn(usize, &Tenant) -> u32,
) -> Vec<Waiting> {
    Line::new(Rules { orders, warm, now: at(now), running }, tasks).collect()
}

fn at(seconds: u64) -> Timestamp {
    Timestamp::from_millis(1_800_000_000_000).plus(Duration::from_secs(seconds))
}

fn orders() -> impl Strategy<Value = QueueOrder> {
    let fair = prop::option::of(prop::sample::select(FairBy::ALL.to_vec()));
    (fair, prop::option::of(1..40_u32))
        .prop_map(|(fair, age_after_seconds)| QueueOrder { fair, age_after_seconds })
}

fn warm() -> impl Strategy<Value = Warm> {
    let prefer = (0..100_u64).prop_map(|span| Wants::Prefer { pass_over: Duration::from_secs(span) });
    let wants = prop_oneof![Just(Wants::Any), Just(Wants::Only), prefer];
    (prop::collection::vec(0..3_u8, 0..3), wants)
        .prop_map(|(names, wants)| Warm { names: names.into_iter().map(|n| named("a", n)).collect(), wants })
}

fn named<T: FromStr<Err: Debug>>(of: &str, n: u8) -> T {
    format!("{of}{n}").parse().unwrap()
}

fn waiting() -> impl Strategy<Value = Vec<Waiting>> {
    let own = (0..3_u8, prop::option::of(0..2_u8), prop::option::of(0..3_u8));
    let one = (0..3_usize, 0..4_usize, 0..100_u64, own);
    prop::collection::vec(one, 0..30).prop_map(|all| {
        let tasks =
            all.into_iter().zip(0_u8..).map(|((queue, priority, due, (project, key, affinity)), n)| {
                Waiting {
                    queue,
                    priority: Priority::ALL[priority],
                    run_after: at(due),
                    id: TaskId::from_bytes([n; 16]),
                    project: named("p", project),
                    key: key.map(|key| named("k", key)),
                    affinity: affinity.map(|affinity| named("a", affinity)),
                }
            });
        tasks.collect()
    })
}

/// The whole order by its definition: again and again the first of all that are left.
fn by_definition(orders: &[QueueOrder], warm: &Warm, mut left: Vec<Waiting>, now: Timestamp) -> Vec<TaskId> {
    let mut taken: Vec<Waiting> = Vec::new();
    let tenant =
        |one: &Waiting| orders[one.queue].fair.map(|fair| fair.tenant(&one.project, one.key.as_ref()));
    while !left.is_empty() {
        let place = |one: &Waiting| Place {
            queue: one.queue,
            level: orders[one.queue].level(one.priority, one.run_after, now),
            fit: warm.fit(one.affinity.as_ref(), one.run_after, now),
            running: taken
                .iter()
                .filter(|other| {
                    tenant(one).is_some() && other.queue == one.queue && tenant(other) == tenant(one)
                })
                .count() as u32,
            run_after: one.run_after,
            id: one.id,
        };
        let firsts = (0..orders.len()).filter_map(|queue| {
            let mine = left.iter().map(place).filter(|place| place.queue == queue);
            mine.min_by(|one, other| one.before(other))
        });
        let first = firsts.min_by(|one, other| one.before(other)).unwrap();
        let at = left.iter().position(|one| one.id == first.id).unwrap();
        taken.push(left.remove(at));
    }
    taken.into_iter().map(|one| one.id).collect()
}

proptest! {
    #[test]
    fn a_line_is_the_order_by_its_definition(
        orders in prop::collection::vec(orders(), 3),
        warm in warm(),
        waiting in waiting(),
        now in 100..200_u64,
    ) {
        let line = in_line((&orders, &warm, now), waiting.clone(), &|_, _| 0);
        let ids: Vec<TaskId> = line.into_iter().map(|one| one.id).collect();
        prop_assert_eq!(ids, by_definition(&orders, &warm, waiting, at(now)));
    }

    #[test]
    fn who_runs_less_goes_first(waiting in waiting(), most in 0..5_u32) {
        let orders = [QueueOrder { fair: Some(FairBy::Project), age_after_seconds: None }; 3];
        let running = |_: usize, tenant: &Tenant| match tenant {
            Tenant::Project(project) if project.as_str() == "p0" => most,
            _ => 0,
        };
        let warm = Warm::default();
        let first = in_line((&orders, &warm, 100), waiting.clone(), &running).into_iter().next();
        if let Some(first) = first.filter(|one| one.project.as_str() == "p0" && most > 0) {
            let others = waiting.iter().filter(|one| one.queue == first.queue && one.priority == first.priority);
            prop_assert!(others.into_iter().all(|one| one.project.as_str() == "p0"));
        }
    }

    #[test]
    fn nobody_is_passed_over_for_longer_than_is_said(waiting in waiting(), warm in warm(), now in 0..200_u64) {
        let Wants::Prefer { pass_over } = warm.wants else { return Ok(()) };
        let orders = [QueueOrder::default(); 3];
        let line = in_line((&orders, &warm, now), waiting, &|_, _| 0);
        for (place, one) in line.iter().enumerate() {
            let is_overdue = at(now) >= one.run_after.plus(pass_over);
            let passes = |other: &&Waiting| other.priority == one.priority && other.run_after > one.run_after;
            prop_assert!(!is_overdue || !line[..place].iter().any(|other| passes(&other)));
        }
    }

    #[test]
    fn waiting_never_lowers_a_priority(order in orders(), place in 0..4_usize, waited in 0..1_000_u64, more in 0..1_000_u64) {
        let priority = Priority::ALL[place];
        let level = |seconds| order.level(priority, at(0), at(seconds));
        prop_assert!(level(waited + more) <= level(waited));
        prop_assert!(level(waited) <= priority);
        prop_assert_eq!(level(0), priority);
        // A time ahead, as of a clock that was set back, is no wait.
        prop_assert_eq!(order.level(priority, at(waited), at(0)), priority);
    }

    #[test]
    fn what_is_ahead_is_what_comes_first_by_level_and_waiting(
        age in prop::option::of(1..40_u32),
        (own, mine) in (0..4_usize, 0..150_u64),
        (other, theirs) in (0..4_usize, 0..150_u64),
        now in 0..150_u64,
    ) {
        let order = QueueOrder { fair: None, age_after_seconds: age };
        let (own, other) = (Priority::ALL[own], Priority::ALL[other]);
        let due = at(mine).max(at(now));
        let level = |priority, run_after| order.level(priority, run_after, due);
        let first = (level(other, at(theirs)), theirs) .cmp(&(level(own, at(mine)), mine));
        let told = match order.ahead(other, (own, at(mine)), at(now)) {
            Before::None => false,
            Before::Until(until) => at(theirs) <= until,
            Before::Own => theirs < mine,
        };
        prop_assume!(theirs != mine && at(theirs) <= due);
        prop_assert_eq!(told, first == Ordering::Less);
    }

    #[test]
    fn whose_turn_it_is_reads_back_from_its_text(queue in "[a-z]{1,8}", name in "[a-z/]{1,12}", by_key in any::<bool>()) {
        let tenant = match by_key {
            true => Tenant::Key(format!("k{name}k").parse().unwrap()),
            false => Tenant::Project(name.replace('/', "-").parse().unwrap()),
        };
        let on = LimitOn::Turn(queue.parse().unwrap(), tenant);
        prop_assert_eq!(LimitOn::from_stored(&on.to_string()).unwrap(), on.clone());
        prop_assert!(on.to_string().parse::<LimitOn>().is_err(), "no caller names it");
    }
}
