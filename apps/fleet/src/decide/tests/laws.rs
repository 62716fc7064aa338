//! What holds whatever happens.

use proptest::prelude::*;

use super::*;

#[derive(Clone, Debug)]
enum Step {
    Pass(u64),
    Beat(usize),
    AllBeat,
    Crash(usize),
    EndClean(usize),
    Obey,
    Order(Order),
    NameHeld(usize),
    NotStarted(usize),
    Settings { count: u32, anew: bool },
    Shutdown,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        6 => (0u64..20_000).prop_map(Step::Pass),
        4 => (0usize..8).prop_map(Step::Beat),
        8 => Just(Step::AllBeat),
        4 => (0usize..8).prop_map(Step::Crash),
        1 => (0usize..8).prop_map(Step::EndClean),
        4 => Just(Step::Obey),
        1 => Just(Step::Order(Order::Start)),
        1 => Just(Step::Order(Order::Stop)),
        2 => any::<bool>().prop_map(|rolling| Step::Order(Order::Restart { rolling })),
        2 => (0u32..6).prop_map(|count| Step::Order(Order::Scale(count))),
        1 => (0usize..8).prop_map(Step::NameHeld),
        1 => (0usize..8).prop_map(Step::NotStarted),
        1 => (0u32..6, any::<bool>()).prop_map(|(count, anew)| Step::Settings { count, anew }),
        1 => Just(Step::Shutdown),
    ];
    proptest::collection::vec(step, 0..120)
}

fn do_step(world: &mut World, step: &Step) {
    let nth = |world: &World, at: usize| {
        let runs: Vec<Run> = world.live.keys().copied().collect();
        (!runs.is_empty()).then(|| runs[at % runs.len()])
    };
    match step {
        Step::Pass(millis) => world.pass(Duration::from_millis(*millis)),
        Step::AllBeat => world.all_beat(),
        Step::Beat(at) => drop(nth(world, *at).map(|run| world.beat(run, Beat::default()))),
        Step::Crash(at) => drop(nth(world, *at).map(|run| world.exit(run, false))),
        Step::EndClean(at) => drop(nth(world, *at).map(|run| world.exit(run, true))),
        Step::Obey => world.obey(),
        Step::Order(order) => {
            // Who is asked for by an operator does not wait for a pause.
            world.not_before.clear();
            world.streak.clear();
            world.order(*order);
        }
        Step::NameHeld(at) => {
            if let Some(run) = nth(world, *at).filter(|run| !world.live[run].1) {
                world.live.remove(&run);
                world.hear(Event::NameHeld(run));
            }
        }
        Step::NotStarted(at) => {
            if let Some(run) = nth(world, *at).filter(|run| !world.live[run].1) {
                let (number, _) = world.live.remove(&run).unwrap();
                if !world.told.contains_key(&run) {
                    world.not_before.insert(number, world.now + world.plan.restart_pause / 2);
                }
                world.hear(Event::NotStarted(run));
            }
        }
        Step::Settings { count, anew } => {
            world.not_before.clear();
            world.streak.clear();
            world.plan.count = *count;
            world.hear(Event::Groups(vec![(name(), world.plan.clone(), *anew)]));
        }
        Step::Shutdown => {
            world.shut = true;
            world.hear(Event::Shutdown);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    /// Whatever happens in whatever order, what [`World::hear`] asserts holds: one process a worker, never more than wanted, no
    /// start before its pause, none after a stop, an end only goes on.
    #[test]
    fn any_history_keeps_the_laws(steps in steps()) {
        let mut world = World::new(plan(3));
        for step in &steps {
            do_step(&mut world, step);
        }
        // And whatever has happened, all that are told to end and do so end it.
        world.shut = true;
        world.hear(Event::Shutdown);
        world.obey();
        let left: Vec<Run> = world.live.keys().copied().collect();
        prop_assert!(left.is_empty(), "{left:?}");
        prop_assert!(world.core.is_idle());
    }

    /// While all that are told to drain do, at random moments, and nothing else ends, no more than one is not working.
    #[test]
    fn a_rolling_restart_never_has_fewer_than_all_but_one_working(
        count in 1u32..8,
        moments in proptest::collection::vec((any::<bool>(), 0u64..2_000), 200),
    ) {
        let mut world = World::new(Plan { silence: SECOND * 10_000, ..plan(count) });
        world.all_beat();
        world.order(Order::Restart { rolling: true });
        for (obeys, millis) in moments {
            prop_assert!(world.working() + 1 >= count as usize);
            if obeys {
                world.obey();
                world.told.clear();
            } else {
                world.all_beat();
            }
            prop_assert!(world.working() + 1 >= count as usize);
            world.pass(Duration::from_millis(millis));
        }
    }

    /// However workers fail, one is started no more often within the window than it may be.
    #[test]
    fn restarts_stay_within_their_number(lives in proptest::collection::vec(0u64..40_000, 1..200)) {
        let mut world = World::new(plan(1));
        let mut starts: Vec<Now> = Vec::new();
        for life in lives {
            let Some(run) = world.run_of(1) else { break };
            world.beat(run, Beat::default());
            let end = world.now + Duration::from_millis(life);
            while world.now + SECOND * 10 < end {
                world.pass(SECOND * 10);
                world.beat(run, Beat::default());
            }
            world.pass(end.saturating_sub(world.now));
            world.exit(run, false);
            if world.core.next_at().is_some() {
                starts.push(world.now);
                world.until_next();
            }
        }
        for (at, start) in starts.iter().enumerate() {
            let within = starts[at..].iter().filter(|later| **later < *start + plan(1).restart_window).count();
            prop_assert!(within <= plan(1).max_restarts as usize, "{starts:?}");
        }
    }
}
