use std::collections::{BTreeMap, BTreeSet};

use baton_runtime::settings::RestartWhen;

use super::slot::pause;
use super::*;

mod laws;

const SECOND: Duration = Duration::from_secs(1);

fn plan(count: u32) -> Plan {
    Plan {
        count,
        restart: RestartWhen::Always,
        restart_pause: SECOND / 2,
        longest_pause: SECOND * 8,
        healthy_after: SECOND * 30,
        max_restarts: 3,
        restart_window: SECOND * 600,
        recycle_tasks: None,
        recycle_after: None,
        recycle_bytes: None,
        silence: SECOND * 15,
        stop_grace: SECOND * 20,
    }
}

fn name() -> GroupName {
    "g".parse().unwrap()
}

/// A supervisor with a world that does what it says, and holds the laws against it at each step.
struct World {
    core: Core,
    plan: Plan,
    now: Now,
    /// The processes that there are: their numbers in the group, and whether they have beaten.
    live: BTreeMap<Run, (u32, bool)>,
    told: BTreeMap<Run, Told>,
    /// When a worker may be started again at the earliest.
    not_before: BTreeMap<u32, Now>,
    /// How many restarts in a row there were of each.
    streak: BTreeMap<u32, (u32, Now)>,
    notes: Vec<(u32, Note)>,
    runs: BTreeSet<Run>,
    shut: bool,
}

impl World {
    fn new(plan: Plan) -> Self {
        let mut world = Self {
            core: Core::new(7),
            plan: plan.clone(),
            now: Duration::ZERO,
            live: BTreeMap::new(),
            told: BTreeMap::new(),
            not_before: BTreeMap::new(),
            streak: BTreeMap::new(),
            notes: Vec::new(),
            runs: BTreeSet::new(),
            shut: false,
        };
        world.hear(Event::Groups(vec![(name(), plan, false)]));
        world
    }

    fn group(&self) -> &Group {
        &self.core.groups()[&name()]
    }

    fn order(&mut self, order: Order) {
        self.hear(Event::Order(name(), order));
    }

    fn wanted(&self) -> u32 {
        self.core.groups().get(&name()).map_or(0, Group::wanted)
    }

    fn run_of(&self, number: u32) -> Option<Run> {
        self.live.iter().find(|(_, (of, _))| *of == number).map(|(run, _)| *run)
    }

    fn hear(&mut self, event: Event) {
        for action in self.core.hear(event, self.now) {
            match action {
                Action::Start { number, run, .. } => {
                    assert!(!self.shut, "a stop is final");
                    assert!(self.runs.insert(run), "no start has the name of another");
                    assert!(number >= 1 && number <= self.wanted(), "{number} is not wanted");
                    assert_eq!(self.run_of(number), None, "a worker has one process at once");
                    if let Some(at) = self.not_before.remove(&number) {
                        assert!(
                            self.now >= at,
                            "{number} started {:?} before its pause was over",
                            at - self.now
                        );
                    }
                    self.live.insert(run, (number, false));
                    // Those above the wanted number are on their way out.
                    let live = self.live.values().filter(|(number, _)| *number <= self.wanted()).count();
                    assert!(
                        live <= self.wanted() as usize,
                        "{live} processes, and {} are wanted",
                        self.wanted()
                    );
                }
                Action::Tell { run, told } => {
                    assert!(self.live.contains_key(&run), "what has ended is told nothing");
                    let before = self.told.insert(run, told);
                    assert!(before.is_none_or(|before| before < told), "an end only goes on");
                }
                Action::Note { number, note, .. } => self.notes.push((number, note)),
            }
        }
    }

    /// All that live say so.
    fn all_beat(&mut self) {
        for run in self.live.keys().copied().collect::<Vec<_>>() {
            self.beat(run, Beat::default());
        }
    }

    fn beat(&mut self, run: Run, beat: Beat) {
        if let Some((_, ready)) = self.live.get_mut(&run) {
            *ready = true;
        }
        self.hear(Event::Beat(run, beat));
    }

    fn exit(&mut self, run: Run, clean: bool) {
        let Some((number, _)) = self.live.remove(&run) else { return };
        if !self.told.contains_key(&run) {
            // The law's own count of restarts in a row, which resets no sooner than the plan says.
            let (streak, started) = self.streak.get(&number).copied().unwrap_or_default();
            let streak = if self.now >= started + self.plan.healthy_after { 0 } else { streak };
            self.not_before.insert(number, self.now + pause(&self.plan, streak) / 2);
            self.streak.insert(number, (streak + 1, self.now));
        }
        self.hear(Event::Exited { run, clean });
    }

    fn pass(&mut self, time: Duration) {
        self.now += time;
        self.hear(Event::Tick);
    }

    /// Goes to the next time at which something is due.
    fn until_next(&mut self) {
        self.now = self.core.next_at().unwrap().max(self.now);
        self.hear(Event::Tick);
    }

    /// Those that were told to end do so.
    fn obey(&mut self) {
        for run in self.told.keys().copied().collect::<Vec<_>>() {
            self.exit(run, true);
        }
    }

    fn working(&self) -> usize {
        self.group().slots().values().filter(|slot| slot.works()).count()
    }
}

#[test]
fn all_workers_of_a_group_start_at_once() {
    let world = World::new(plan(3));
    assert_eq!(world.live.values().map(|(number, _)| *number).collect::<Vec<_>>(), [1, 2, 3]);
    assert_eq!(world.group().status(), Status::Running);
}

#[test]
fn pauses_grow_to_the_longest_and_begin_anew_after_a_healthy_life() {
    let mut world = World::new(Plan { max_restarts: 100, ..plan(1) });
    for bound in [0.5, 1.0, 2.0, 4.0, 8.0, 8.0] {
        let run = world.run_of(1).unwrap();
        let died = world.now;
        world.exit(run, false);
        assert!(world.live.is_empty());
        world.until_next();
        let pause = (world.now - died).as_secs_f64();
        assert!(bound / 2.0 <= pause && pause <= bound, "{pause} of {bound}");
    }
    world.all_beat();
    for _ in 0..6 {
        world.pass(SECOND * 5);
        world.all_beat();
    }
    let run = world.run_of(1).unwrap();
    let died = world.now;
    world.exit(run, false);
    world.until_next();
    assert!(world.now - died <= SECOND / 2);
}

#[test]
fn a_worker_that_used_up_its_restarts_has_failed_and_the_others_go_on() {
    let mut world = World::new(plan(2));
    for _ in 0..3 {
        let run = world.run_of(1).unwrap();
        world.exit(run, false);
        world.pass(SECOND * 8);
        world.all_beat();
    }
    let run = world.run_of(1).unwrap();
    world.exit(run, false);
    assert_eq!(world.group().slots()[&1].state, State::Failed);
    assert_eq!((world.group().status(), world.working()), (Status::Degraded, 1));
    for _ in 0..100 {
        world.pass(SECOND * 10);
        world.all_beat();
    }
    assert_eq!((world.run_of(1), world.live.len()), (None, 1), "it stays so");
    world.order(Order::Start);
    assert_eq!(world.live.len(), 2);
    assert_eq!(world.group().status(), Status::Running);
}

#[test]
fn restarts_that_lie_behind_the_window_do_not_count() {
    let mut world = World::new(plan(1));
    for _ in 0..20 {
        let run = world.run_of(1).unwrap();
        world.exit(run, false);
        world.pass(SECOND * 8);
        for _ in 0..30 {
            world.all_beat();
            world.pass(SECOND * 10);
        }
        assert_eq!(world.live.len(), 1);
    }
}

#[test]
fn how_it_ended_says_whether_it_is_started_again() {
    for (restart, clean, again) in [
        (RestartWhen::Always, true, true),
        (RestartWhen::Always, false, true),
        (RestartWhen::OnFailure, true, false),
        (RestartWhen::OnFailure, false, true),
        (RestartWhen::Never, true, false),
        (RestartWhen::Never, false, false),
    ] {
        let mut world = World::new(Plan { restart, ..plan(1) });
        let run = world.run_of(1).unwrap();
        world.exit(run, clean);
        world.pass(SECOND);
        assert_eq!(!world.live.is_empty(), again, "{restart:?} {clean}");
        if !again {
            assert_eq!(world.group().slots()[&1].state, State::Done);
        }
    }
}

#[test]
fn a_silent_worker_is_told_to_stop_then_killed_then_replaced() {
    let mut world = World::new(plan(1));
    world.all_beat();
    let run = world.run_of(1).unwrap();
    world.pass(SECOND * 14);
    assert!(world.told.is_empty());
    world.until_next();
    assert_eq!((world.now, world.told[&run]), (SECOND * 15, Told::Stop));
    assert_eq!(world.notes, [(1, Note::Hung)]);
    world.until_next();
    assert_eq!((world.now, world.told[&run]), (SECOND * 20, Told::Kill));
    world.exit(run, false);
    world.until_next();
    assert!(world.run_of(1).is_some_and(|next| next != run));
    assert_eq!(world.group().slots()[&1].restarts, 1);
}

#[test]
fn what_a_dead_process_is_said_to_have_said_changes_nothing() {
    let mut world = World::new(plan(1));
    let run = world.run_of(1).unwrap();
    world.exit(run, false);
    world.until_next();
    world.hear(Event::Beat(run, Beat::default()));
    world.hear(Event::Exited { run, clean: false });
    assert_eq!(world.working(), 0, "the new one has not spoken yet");
    assert_eq!(world.live.len(), 1);
}

#[test]
fn a_rolling_restart_takes_one_after_the_other() {
    let mut world = World::new(plan(4));
    world.all_beat();
    let before: BTreeSet<Run> = world.live.keys().copied().collect();
    world.order(Order::Restart { rolling: true });
    assert_eq!(world.group().status(), Status::Restarting);
    for _ in 0..4 {
        assert_eq!(
            (world.working(), world.told.values().filter(|told| **told == Told::Drain).count()),
            (3, 1)
        );
        world.obey();
        world.told.clear();
        assert_eq!(world.working(), 3, "the next one waits until this one has spoken");
        world.all_beat();
    }
    assert!(world.told.is_empty() && world.working() == 4);
    assert!(before.is_disjoint(&world.live.keys().copied().collect()));
    assert_eq!(world.group().status(), Status::Running);
    assert!(
        world.group().slots().values().all(|slot| slot.restarts == 0),
        "what was asked for is no restart"
    );
}

#[test]
fn a_rolling_restart_ends_where_the_new_one_fails() {
    let mut world = World::new(plan(3));
    world.all_beat();
    world.order(Order::Restart { rolling: true });
    world.obey();
    world.told.clear();
    for _ in 0..4 {
        if let Some(run) = world.run_of(1) {
            world.exit(run, false);
        }
        world.pass(SECOND * 8);
        for run in [world.run_of(2), world.run_of(3)].into_iter().flatten() {
            world.beat(run, Beat::default());
        }
    }
    assert_eq!(world.group().slots()[&1].state, State::Failed);
    assert_eq!((world.working(), world.told.len()), (2, 0), "the others are left as they were");
}

#[test]
fn a_restart_that_is_not_rolling_takes_all_at_once() {
    let mut world = World::new(plan(3));
    world.all_beat();
    world.order(Order::Restart { rolling: false });
    assert_eq!(world.told.len(), 3);
    world.obey();
    world.told.clear();
    assert_eq!(world.live.len(), 3);
}

#[test]
fn a_worker_that_has_done_or_held_enough_is_drained_and_replaced_one_at_a_time() {
    let plan = Plan {
        recycle_tasks: Some(10),
        recycle_bytes: Some(100),
        recycle_after: Some(SECOND * 60),
        ..plan(3)
    };
    let mut world = World::new(plan);
    world.all_beat();
    let [a, b, c] = [1, 2, 3].map(|number| world.run_of(number).unwrap());
    world.beat(a, Beat { tasks: 9, bytes: 99, running: 1 });
    assert!(world.told.is_empty());
    world.beat(a, Beat { tasks: 10, bytes: 0, running: 1 });
    world.beat(b, Beat { tasks: 0, bytes: 100, running: 0 });
    assert_eq!(world.told, BTreeMap::from([(a, Told::Drain)]));
    world.exit(a, true);
    world.all_beat();
    assert_eq!(world.told[&b], Told::Drain);
    world.exit(b, true);
    world.all_beat();
    for _ in 0..7 {
        world.pass(SECOND * 10);
        world.all_beat();
    }
    let old = world.told.keys().filter(|run| ![a, b].contains(run)).count();
    assert!(old == 1 && world.live.contains_key(&c), "all have come to their age, and one is drained");
    assert_eq!(world.group().slots()[&1].restarts, 0);
}

#[test]
fn what_is_scaled_down_is_drained_and_what_is_scaled_up_is_started() {
    let mut world = World::new(plan(2));
    world.all_beat();
    world.order(Order::Scale(4));
    assert_eq!(world.live.len(), 4);
    world.order(Order::Scale(1));
    assert_eq!(world.told.values().collect::<Vec<_>>(), [&Told::Drain; 3]);
    world.obey();
    world.told.clear();
    assert_eq!((world.live.len(), world.group().slots().len()), (1, 1));
    world.order(Order::Scale(0));
    world.order(Order::Scale(1));
    assert_eq!(world.told.len(), 1);
    world.obey();
    assert_eq!(world.live.len(), 1, "wanted again while it drained");
}

#[test]
fn one_that_does_not_end_is_stopped_and_then_killed() {
    let mut world = World::new(Plan { stop_grace: SECOND * 4, ..plan(1) });
    world.all_beat();
    let run = world.run_of(1).unwrap();
    world.order(Order::Stop);
    let mut told = vec![(world.now, world.told[&run])];
    for _ in 0..2 {
        world.until_next();
        told.push((world.now, world.told[&run]));
    }
    assert_eq!(told, [(Duration::ZERO, Told::Drain), (SECOND * 4, Told::Stop), (SECOND * 19, Told::Kill)]);
    assert_eq!(world.core.next_at(), None);
    world.exit(run, false);
    assert_eq!((world.group().status(), world.core.is_idle()), (Status::Stopped, true));
    world.order(Order::Start);
    assert_eq!(world.live.len(), 1);
}

#[test]
fn who_is_in_a_hurry_stops_those_that_drain() {
    let mut world = World::new(plan(1));
    world.hear(Event::Shutdown);
    world.shut = true;
    let run = world.run_of(1).unwrap();
    assert_eq!(world.told[&run], Told::Drain);
    world.hear(Event::Hasten);
    assert_eq!(world.told[&run], Told::Stop);
}

#[test]
fn a_name_that_another_process_has_is_waited_for_without_an_end() {
    let mut world = World::new(Plan { max_restarts: 0, ..plan(1) });
    for _ in 0..50 {
        let run = world.run_of(1).unwrap();
        world.live.remove(&run);
        world.hear(Event::NameHeld(run));
        assert!(matches!(world.group().slots()[&1].state, State::Waiting { wait: Wait::Name, .. }));
        world.until_next();
    }
    assert_eq!((world.live.len(), world.group().slots()[&1].restarts), (1, 0));
}

#[test]
fn new_settings_change_what_has_changed() {
    let mut world = World::new(plan(2));
    world.all_beat();
    let other: GroupName = "h".parse().unwrap();
    // Only how it is kept: no process ends.
    world.hear(Event::Groups(vec![
        (name(), Plan { max_restarts: 9, ..plan(2) }, false),
        (other.clone(), plan(0), false),
    ]));
    assert!(world.told.is_empty() && world.live.len() == 2);
    // Another number.
    world.hear(Event::Groups(vec![(name(), plan(3), false), (other.clone(), plan(0), false)]));
    assert!(world.told.is_empty() && world.live.len() == 3);
    world.all_beat();
    // What an operator has set stays, as long as the settings' own number does.
    world.order(Order::Scale(2));
    world.obey();
    world.told.clear();
    world.hear(Event::Groups(vec![(name(), plan(3), true), (other.clone(), plan(0), false)]));
    assert_eq!((world.wanted(), world.told.len(), world.working()), (2, 1, 1), "one after the other");
    world.obey();
    world.told.clear();
    world.all_beat();
    world.obey();
    world.told.clear();
    world.all_beat();
    assert_eq!((world.working(), world.group().status()), (2, Status::Running));
    // Not named any more.
    world.hear(Event::Groups(vec![(other, plan(0), false)]));
    assert_eq!(world.told.len(), 2);
    world.obey();
    assert!(!world.core.groups().contains_key(&name()));
}
