//! A day of bursts: how long tasks wait with the scaler, and with a fixed fleet of as many machine hours.

use std::collections::VecDeque;

use baton_scaling::Policy;

use crate::world::{Chance, TICK, Troubles, World, policy, seconds};

const DAY: u64 = 86_400;

/// When tasks come, and how long each runs: some all day, and a dozen bursts.
fn arrivals(seed: u64) -> Vec<(u64, u64)> {
    let mut chance = Chance(seed);
    let mut all = Vec::new();
    for second in (0..DAY).step_by(60) {
        if chance.below(10) == 0 {
            all.push((second, 20 + chance.below(70)));
        }
    }
    for _ in 0..12 {
        let begins = chance.below(DAY - 3_600);
        for _ in 0..(100 + chance.below(200)) {
            all.push((begins + chance.below(120), 20 + chance.below(70)));
        }
    }
    all.sort_unstable();
    all
}

fn percentile(waits: &mut [u64], percent: usize) -> u64 {
    waits.sort_unstable();
    waits[(waits.len() * percent / 100).min(waits.len() - 1)]
}

/// The waits of the same tasks at machines that are always there.
fn fixed(arrivals: &[(u64, u64)], slots: u64) -> Vec<u64> {
    let mut free: VecDeque<u64> = (0..slots).map(|_| 0).collect();
    let mut waits = Vec::new();
    for (came, task_seconds) in arrivals {
        let at = (0..free.len()).min_by_key(|slot| free[*slot]).unwrap();
        let begins = free[at].max(*came);
        free[at] = begins + task_seconds;
        waits.push(begins - came);
    }
    waits
}

#[test]
fn a_day_of_bursts_waits_less_than_with_a_fixed_fleet_of_as_many_machine_hours() {
    for seed in [1, 2, 3] {
        let arrivals = arrivals(seed);
        let policy = Policy { most: 20, idle: seconds(300), ..policy() };
        let slots_each = u64::from(policy.tasks_per_machine);
        let troubles = Troubles { refused: 5, dead: 5, lost: 1, takeovers: 1 };
        let mut world = World::new(policy, seed, troubles);
        let mut left = arrivals.iter().peekable();
        for second in (0..DAY).step_by(usize::try_from(TICK.as_secs()).unwrap()) {
            while let Some((_, task_seconds)) = left.next_if(|(came, _)| *came <= second) {
                world.arrive(*task_seconds);
            }
            world.tick();
        }
        let hours = world.machine_seconds as f64 / 3_600.0;
        let fleet = world.machine_seconds.div_ceil(DAY).max(1);
        let scaled = percentile(&mut world.waits, 95);
        let fixed = percentile(&mut fixed(&arrivals, fleet * slots_each), 95);
        println!(
            "seed {seed}: {} tasks; scaled: {hours:.1} machine hours, {} starts ({} failed, {} workers lost, {} takeovers), \
             wait p95 {scaled} s; fixed fleet of {fleet}: {} machine hours, wait p95 {fixed} s",
            arrivals.len(),
            world.spawns,
            world.failures,
            world.losses,
            world.takeovers,
            fleet * 24,
        );
        assert!(world.waits.len() >= arrivals.len(), "all were begun");
        assert!(scaled * 2 < fixed, "{scaled} s beside {fixed} s");
    }
}
