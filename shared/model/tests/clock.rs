//! Laws of spans that are told by a clock that is set meanwhile.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "test code")]

use std::time::Duration;

use baton_model::watch::STEPS;
use baton_model::{Step, Timestamp, Watch};
use proptest::prelude::*;

/// What happens to a clock.
#[derive(Clone, Copy, Debug)]
enum Act {
    /// Time passes, in milliseconds.
    Pass(u64),
    /// It is set, by milliseconds.
    Set(i64),
    /// Something is noted with the time that it tells.
    Note,
}

fn acts() -> impl Strategy<Value = Vec<Act>> {
    let far = 10 * 365 * 86_400_000_i64;
    let act = prop_oneof![
        4 => (0_u64..200_000).prop_map(Act::Pass),
        4 => Just(Act::Note),
        1 => (-60_000_i64..60_000).prop_map(Act::Set),
        1 => (-7_200_000_i64..7_200_000).prop_map(Act::Set),
        1 => prop_oneof![Just(far), Just(-far)].prop_map(Act::Set),
    ];
    prop::collection::vec(act, 1..60)
}

/// A clock with the time that has really passed, which nothing sets.
struct Sim {
    told: Timestamp,
    passed: u64,
    steps: Vec<Step>,
    /// What was noted: by the clock, and really.
    notes: Vec<(Timestamp, u64)>,
}

impl Sim {
    fn run(acts: &[Act]) -> Self {
        let told = Timestamp::from_millis(1_800_000_000_000);
        let mut sim = Self { told, passed: 0, steps: Vec::new(), notes: Vec::new() };
        for act in acts {
            match *act {
                Act::Pass(millis) => {
                    sim.told = sim.told.plus(Duration::from_millis(millis));
                    sim.passed += millis;
                }
                Act::Set(by) if sim.steps.len() < STEPS => {
                    let after = Timestamp::from_millis(sim.told.as_millis() + by);
                    sim.steps.insert(0, Step { before: sim.told, after });
                    sim.told = after;
                }
                Act::Set(_) => {}
                Act::Note => sim.notes.push((sim.told, sim.passed)),
            }
        }
        sim
    }

    fn watch(&self) -> Watch {
        Watch { steps: self.steps.clone(), ..Watch::at(self.told) }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 500, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn no_span_is_told_longer_than_it_was(acts in acts()) {
        let sim = Sim::run(&acts);
        for (noted, really) in &sim.notes {
            let told = sim.watch().elapsed(*noted);
            prop_assert!(told <= Duration::from_millis(sim.passed - really), "{told:?} since {noted:?}");
        }
    }

    #[test]
    fn a_span_is_told_exactly_unless_the_clock_told_its_beginning_twice(acts in acts()) {
        let sim = Sim::run(&acts);
        for (noted, really) in &sim.notes {
            let mut end = sim.told;
            let mut told = 0;
            for step in &sim.steps {
                told += u32::from((step.after..=end).contains(noted));
                end = step.before;
            }
            told += u32::from(*noted <= end);
            if told == 1 {
                prop_assert_eq!(sim.watch().elapsed(*noted), Duration::from_millis(sim.passed - really));
            }
        }
    }

    #[test]
    fn a_clock_that_is_never_set_back_tells_every_span_exactly(acts in acts()) {
        let forwards: Vec<_> = acts
            .into_iter()
            .map(|act| if let Act::Set(by) = act { Act::Set(by.abs() + 1) } else { act })
            .collect();
        let sim = Sim::run(&forwards);
        for (noted, really) in &sim.notes {
            prop_assert_eq!(sim.watch().elapsed(*noted), Duration::from_millis(sim.passed - really));
        }
    }

    #[test]
    fn nothing_is_told_older_than_the_clock_could_hear_it(ahead in 3_600_001_i64..400_000_000_000, heard in 0_u64..1_000_000) {
        let now = Timestamp::from_millis(1_800_000_000_000);
        let watch = Watch { heard_since: now.minus(Duration::from_millis(heard)), ..Watch::at(now) };
        let then = Timestamp::from_millis(now.as_millis() + ahead);
        prop_assert_eq!(watch.elapsed(then), Duration::from_millis(heard));
    }
}
