//! What holds whatever comes. Each turn of the world checks: never over the most or the budget, nothing ended that holds a lease or was
//! not drained, nothing idle for longer than told, no start waited for beyond its timeout.

use baton_scaling::{Action, Bound, Counts, HeldBack, Policy, Pool, Seen, Wanted, Why};
use proptest::prelude::*;

use crate::world::{Chance, TICK, Troubles, World, policy, seconds};

fn policies() -> impl Strategy<Value = Policy> {
    (0..3_u32, 0..6_u32, 1..4_u32, 30..600_u64, 60..300_u64, prop::option::of(0..40_u64)).prop_map(
        |(least, more, tasks_per_machine, idle, timeout, budget)| Policy {
            least,
            most: least + more,
            tasks_per_machine,
            idle: seconds(idle),
            spawn_timeout: seconds(timeout),
            budget_per_hour: budget.map(|tenths| format!("0.{tenths}").parse().unwrap()),
            price_per_hour: "0.07".parse().unwrap(),
            ..policy()
        },
    )
}

fn troubles() -> impl Strategy<Value = Troubles> {
    (0..60_u64, 0..60_u64, 0..20_u64, 0..10_u64).prop_map(|(refused, dead, lost, takeovers)| Troubles {
        refused,
        dead,
        lost,
        takeovers,
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    /// Two hours of arrivals by chance, with starts that fail, workers that are lost, and scalers that take over.
    #[test]
    fn every_turn_keeps_the_laws(policy in policies(), troubles in troubles(), seed in any::<u64>()) {
        let (least, most, idle) = (policy.least, policy.most, policy.idle);
        let (bound, _) = policy.bound();
        let ticks = 7_200 / TICK.as_secs();
        let mut world = World::new(policy, seed, troubles);
        let mut arrivals = Chance(seed ^ 1);
        for _ in 0..ticks {
            if arrivals.below(40) == 0 {
                (0..arrivals.below(30)).for_each(|_| world.arrive(5 + arrivals.below(120)));
            }
            world.tick();
        }
        // A machine that came to live is ended when it was idle for its time, or when its worker was lost.
        let each = 1 + 7_200 / idle.as_secs();
        let starts = u64::from(most) * each + world.failures + world.losses;
        prop_assert!(world.spawns <= starts, "{} starts, at most {starts}", world.spawns);
        // Nothing comes any more: all that waits is done, and all but the least end.
        world.troubles = Troubles::default();
        let mut waited = 0;
        while bound > 0 && world.has_work() {
            world.tick();
            waited += 1;
            prop_assert!(waited < 100_000, "it is done at some time");
        }
        let last = (0..ticks).map(|_| world.tick()).last().unwrap();
        prop_assert_eq!(last.paid, least.min(bound), "{:?}", last);
        prop_assert_eq!(world.has_machines(), least.min(bound) > 0);
    }

    /// Work that comes and goes with every turn starts no more machines than the time to idle allows.
    #[test]
    fn flapping_is_bounded(seed in any::<u64>(), period in 1..40_u64) {
        let policy = Policy { idle: seconds(60), ..policy() };
        let most = u64::from(policy.most);
        let mut world = World::new(policy, seed, Troubles::default());
        let ticks = 3_600 / TICK.as_secs();
        for tick in 0..ticks {
            if tick / period % 2 == 0 && tick % period == 0 {
                (0..40).for_each(|_| world.arrive(5));
            }
            world.tick();
        }
        prop_assert!(world.spawns <= most * (1 + 3_600 / 60), "{} starts", world.spawns);
    }

    /// However many failures there were, the pause is never over the longest, and never shrinks.
    #[test]
    fn pauses_grow_to_their_bound(first in 1..1_000_u64, longest in 1..10_000_u64, failures in 1..u32::MAX) {
        let policy = Policy {
            failure_pause: seconds(first.min(longest)),
            longest_pause: seconds(longest),
            ..policy()
        };
        let pause = policy.pause_after(failures);
        prop_assert!(pause <= policy.longest_pause && pause >= policy.pause_after(failures - 1));
        prop_assert!(pause >= policy.failure_pause);
    }

    /// Wanted is what the tasks need, within the bounds, and says which bound it is at.
    #[test]
    fn what_is_wanted_is_within_the_bounds(policy in policies(), claimable in 0..100_u64, running in 0..100_u64) {
        let counts = Counts { claimable, running, ..Counts::default() };
        let wanted = Wanted::of(&policy, &counts);
        let (most, _) = policy.bound();
        let needed = counts.tasks().div_ceil(u64::from(policy.tasks_per_machine));
        prop_assert!(wanted.machines <= most && wanted.machines >= policy.least.min(most));
        match wanted.bound {
            None => prop_assert_eq!(u64::from(wanted.machines), needed),
            Some(Bound::Least) => prop_assert!(needed < u64::from(policy.least)),
            Some(Bound::Most | Bound::Budget) => prop_assert!(needed.max(policy.least.into()) > u64::from(most)),
        }
    }
}

/// A provider that refuses every start is asked less and less often.
#[test]
fn starts_that_all_fail_are_tried_ever_less_often() {
    let mut world = World::new(policy(), 7, Troubles { refused: 100, ..Troubles::default() });
    (0..100).for_each(|_| world.arrive(60));
    let mut paused = 0;
    for _ in 0..(86_400 / TICK.as_secs()) {
        let turn = world.tick();
        paused += u64::from(matches!(turn.held_back, Some(HeldBack::Pause { .. })));
    }
    // A first try for each that is wanted, and one each ten minutes of the day after that.
    assert!((140..=160).contains(&world.spawns), "{} starts", world.spawns);
    assert!(paused > 17_000, "{paused}");
}

/// A start of which no worker comes counts as a failure and is ended, and the next one is a single one.
#[test]
fn a_start_without_a_worker_is_ended_and_counts_as_failed() {
    let mut pool = Pool::new(policy());
    let counts = Counts { claimable: 4, ..Counts::default() };
    let start = baton_model::Timestamp::from_millis(crate::world::START);
    let seen = |now, machines| Seen { now, counts, machines };
    let turn = pool.turn(&seen(start, &[]));
    assert_eq!(turn.decisions[0].action, Action::Spawn { machines: 2 });
    assert_eq!(turn.wanted.why, Why::QueuedOnly);
    assert_eq!(
        turn.decisions[0].because.to_string(),
        "2 wanted, 0 there: queued only (4 to claim, 0 running)"
    );
    pool.spawned("a".to_owned(), start);
    pool.spawned("b".to_owned(), start);
    // Their provider does not tell of them yet: they are waited for, and paid for.
    let turn = pool.turn(&seen(start.plus(seconds(179)), &[]));
    assert_eq!((turn.decisions.len(), turn.have, turn.paid), (0, 2, 2));
    let late = start.plus(seconds(180));
    let turn = pool.turn(&seen(late, &[]));
    let told: Vec<String> =
        turn.decisions.iter().map(|one| format!("{}: {}", one.action, one.because)).collect();
    assert_eq!(
        told,
        [
            "end a: no worker on it came to live within 180 s",
            "end b: no worker on it came to live within 180 s"
        ]
    );
    assert_eq!(turn.held_back, Some(HeldBack::Pause { until: late.plus(seconds(60)), failures: 2 }));
    let turn = pool.turn(&seen(late.plus(seconds(60)), &[]));
    assert_eq!(turn.decisions[0].action, Action::Spawn { machines: 1 });
    assert_eq!(turn.held_back, Some(HeldBack::Probing));
}

/// What is over the most is drained whatever it runs, what holds least first; and it is never simply ended.
#[test]
fn what_is_over_the_bounds_is_drained_whatever_it_runs() {
    use baton_model::Directive;
    use baton_scaling::{SeenMachine, SeenWorker};
    let now = baton_model::Timestamp::from_millis(crate::world::START);
    let machine = |id: &str, holds| SeenMachine {
        id: id.to_owned(),
        price_per_hour: "0.5".parse().unwrap(),
        started_at: Some(now),
        is_stopping: false,
        workers: vec![SeenWorker {
            id: format!("w-{id}"),
            is_alive: true,
            is_gone: false,
            directive: Directive::Run,
            holds,
            heard_at: Some(now),
        }],
    };
    let machines = [machine("a", 2), machine("b", 1), machine("c", 2)];
    let counts = Counts { running: 5, ..Counts::default() };
    let told = |policy: Policy| {
        let turn = Pool::new(policy).turn(&Seen { now, counts, machines: &machines });
        turn.decisions.iter().map(|one| format!("{}: {}", one.action, one.because)).collect::<Vec<_>>()
    };
    assert_eq!(told(policy()), [""; 0]);
    assert_eq!(told(Policy { most: 2, ..policy() }), ["drain b (w-b): there are more than 2"]);
    let budget = Some("0.5".parse().unwrap());
    assert_eq!(
        told(Policy { budget_per_hour: budget, ..policy() }),
        [
            "drain b (w-b): they cost more than 0.50 an hour",
            "drain a (w-a): they cost more than 0.50 an hour"
        ]
    );
}
