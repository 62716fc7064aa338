//! Whose a process is: which of a worker's attempts has started it, directly or through others.
//!
//! A pure function over what the system tells, so that its laws can be tried on any history of processes.

use std::collections::{BTreeMap, BTreeSet};

use baton_processes::Process;

use crate::mark::Mark;

/// An attempt, from its program's start until all of it has ended.
#[derive(Clone, Debug)]
pub(crate) struct Attempt {
    pub(crate) mark: Mark,
    /// When its program started; zero if that is not to be seen.
    pub(crate) started: u64,
    /// Whether its program has not been waited for, so that its number is still its own.
    pub(crate) led: bool,
    /// Whether all of it is to end.
    pub(crate) ending: bool,
}

/// The attempts of a worker, by the process ids of their programs.
pub(crate) type Attempts = BTreeMap<i32, Attempt>;

/// Whose a process is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Owner {
    /// Of the attempt whose program has this number.
    Attempt(i32),
    /// Of an attempt that is over.
    Over,
    /// Of one of the attempts that ran when the first of its line started, which tells no more.
    Unknown { started: u64 },
    /// None of the worker's.
    Other,
}

/// What is to be known besides.
pub(crate) struct Place<'a> {
    /// The worker's own process.
    pub(crate) worker: i32,
    /// Those that the worker has started for itself: its guard.
    pub(crate) apart: Option<i32>,
    pub(crate) attempts: &'a Attempts,
    /// Whether whatever loses its parent becomes the worker's child, and nothing else does.
    pub(crate) adopts: bool,
}

impl Place<'_> {
    /// Which of `processes` are to end with the attempt whose program is `leader` (or, with none of this number, with what
    /// is over): all that it has started and, if the worker adopts, all that no attempt can have started which goes on.
    pub(crate) fn doomed(
        &self,
        processes: &[Process],
        leader: i32,
        mark_of: impl FnMut(i32) -> Option<Mark>,
    ) -> Vec<Process> {
        let mut judge = Judge {
            place: self,
            by_id: processes.iter().map(|process| (process.id, *process)).collect(),
            owners: BTreeMap::new(),
            mark_of,
        };
        // What started before every attempt that goes on was started by none of them.
        let goes_on = self.attempts.iter().filter(|(id, attempt)| **id != leader && !attempt.ending);
        let first = goes_on.map(|(_, attempt)| attempt.started).min().unwrap_or(u64::MAX);
        let mut doomed = Vec::new();
        for process in processes {
            let ends = match judge.owner(*process) {
                Owner::Attempt(owner) => owner == leader,
                Owner::Over => self.adopts,
                Owner::Unknown { started } => self.adopts && started < first,
                Owner::Other => false,
            };
            if ends && !process.ended {
                doomed.push(*process);
            }
        }
        doomed
    }
}

struct Judge<'a, F> {
    place: &'a Place<'a>,
    by_id: BTreeMap<i32, Process>,
    owners: BTreeMap<i32, Owner>,
    mark_of: F,
}

impl<F: FnMut(i32) -> Option<Mark>> Judge<'_, F> {
    fn owner(&mut self, process: Process) -> Owner {
        // From the first of the line whose owner is known down to `process`; a list, as a line may be long.
        let mut line = Vec::new();
        let mut above = Some(process);
        let mut on_line = BTreeSet::new();
        while let Some(next) = above
            && !self.owners.contains_key(&next.id)
            // Numbers that were used again while processes were looked at may go round in a circle.
            && on_line.insert(next.id)
        {
            line.push(next);
            above = self.by_id.get(&next.parent).copied();
        }
        let mut owner = above.and_then(|above| self.owners.get(&above.id).copied());
        for next in line.into_iter().rev() {
            let own = self.alone(next, owner);
            self.owners.insert(next.id, own);
            owner = Some(own);
        }
        owner.unwrap_or(Owner::Other)
    }

    /// The owner of a process whose parent's owner is known, if the parent is.
    fn alone(&mut self, process: Process, parent: Option<Owner>) -> Owner {
        let place = self.place;
        if process.id == place.worker || Some(process.id) == place.apart {
            return Owner::Other;
        }
        if place.attempts.contains_key(&process.group) {
            return Owner::Attempt(process.group);
        }
        if place.attempts.get(&process.id).is_some_and(|attempt| attempt.led) {
            return Owner::Attempt(process.id);
        }
        match parent {
            Some(owner @ (Owner::Attempt(_) | Owner::Over)) => return owner,
            // What the guard starts is the guard's.
            Some(Owner::Other) if Some(process.parent) == place.apart => return Owner::Other,
            _ => {}
        }
        if let Some(mark) = (self.mark_of)(process.id) {
            let its = place.attempts.iter().find(|(_, attempt)| attempt.mark == mark);
            return its.map_or(Owner::Over, |(id, _)| Owner::Attempt(*id));
        }
        match parent {
            Some(owner @ Owner::Unknown { .. }) => owner,
            _ if place.adopts && process.parent == place.worker => {
                Owner::Unknown { started: process.started }
            }
            _ => Owner::Other,
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const WORKER: i32 = 2;
    const GUARD: i32 = 3;

    /// A machine with a worker on it: processes start others, leave their groups, change their environments and end; who
    /// loses its parent is adopted by the worker.
    #[derive(Default)]
    struct Machine {
        processes: BTreeMap<i32, Process>,
        marks: BTreeMap<i32, Mark>,
        /// The attempt that each process truly belongs to, by its number.
        truth: BTreeMap<i32, usize>,
        /// What the worker knows.
        attempts: Attempts,
        /// The attempts that were ever begun: the leader of each, and whether it goes on.
        begun: Vec<(i32, bool)>,
        next: i32,
    }

    impl Machine {
        fn new() -> Self {
            let process = |id, parent| Process { id, started: 0, parent, group: id, ended: false };
            let processes =
                [(WORKER, process(WORKER, 1)), (GUARD, process(GUARD, WORKER)), (4, process(4, 1))];
            Self { processes: processes.into(), next: 10, ..Self::default() }
        }

        fn born(&mut self, parent: i32, group: Option<i32>, truth: usize) -> i32 {
            let id = self.next;
            self.next += 1;
            // Two births in one tick, now and then.
            let started = u64::try_from(id / 2).unwrap();
            self.processes
                .insert(id, Process { id, started, parent, group: group.unwrap_or(id), ended: false });
            self.truth.insert(id, truth);
            id
        }

        fn mark(attempt: usize) -> Mark {
            let session = "01a2014a-d841-7074-8449-f8327c616bff".parse().unwrap();
            let task = "01a2014b-38c6-76e1-b33a-2baac33a6840".parse().unwrap();
            Mark::new(session, task, u32::try_from(attempt).unwrap())
        }

        fn begin(&mut self) {
            let attempt = self.begun.len();
            let id = self.born(WORKER, None, attempt);
            self.marks.insert(id, Self::mark(attempt));
            let started = self.processes[&id].started;
            self.attempts
                .insert(id, Attempt { mark: Self::mark(attempt), started, led: true, ending: false });
            self.begun.push((id, true));
        }

        fn any(&self, pick: usize) -> Option<i32> {
            let living: Vec<i32> =
                self.truth.keys().copied().filter(|id| self.processes.contains_key(id)).collect();
            (!living.is_empty()).then(|| living[pick % living.len()])
        }

        fn ends(&mut self, id: i32) {
            self.processes.remove(&id);
            self.marks.remove(&id);
            for process in self.processes.values_mut().filter(|process| process.parent == id) {
                process.parent = WORKER;
            }
            if let Some(attempt) = self.attempts.get_mut(&id) {
                attempt.led = false;
            }
        }

        fn doomed(&self, leader: i32) -> Vec<i32> {
            let place = Place { worker: WORKER, apart: Some(GUARD), attempts: &self.attempts, adopts: true };
            let processes: Vec<Process> = self.processes.values().copied().collect();
            let doomed = place.doomed(&processes, leader, |id| self.marks.get(&id).cloned());
            doomed.into_iter().map(|process| process.id).collect()
        }

        /// Ends an attempt as the worker does; the answer is what was ended that was another's which goes on.
        fn finish(&mut self, pick: usize) -> Vec<i32> {
            let going: Vec<usize> = (0..self.begun.len()).filter(|attempt| self.begun[*attempt].1).collect();
            let Some(&attempt) = going.get(pick % going.len().max(1)) else { return Vec::new() };
            let leader = self.begun[attempt].0;
            self.begun[attempt].1 = false;
            let doomed = self.doomed(leader);
            let wronged = doomed.iter().copied().filter(|id| self.begun[self.truth[id]].1).collect();
            doomed.into_iter().for_each(|id| self.ends(id));
            self.attempts.remove(&leader);
            wronged
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(512))]

        /// However processes come, hide and go: none of an attempt that goes on is ended; of an attempt that is over, all that
        /// descend from its program, are in its group or carry its mark end with it; and once nothing goes on, nothing is
        /// left.
        #[test]
        fn what_an_attempt_has_started_ends_with_it_and_nothing_else_does(
            steps in prop::collection::vec((0_u8..16, any::<prop::sample::Index>()), 1..80),
        ) {
            let mut machine = Machine::new();
            machine.begin();
            for (step, pick) in steps {
                let pick = pick.index(10_000);
                match (step, machine.any(pick)) {
                    (0 | 1, _) => machine.begin(),
                    (2..=7, Some(parent)) => {
                        let truth = machine.truth[&parent];
                        let group = machine.processes[&parent].group;
                        let child = machine.born(parent, (step < 5).then_some(group), truth);
                        if let Some(mark) = machine.marks.get(&parent).cloned() {
                            machine.marks.insert(child, mark);
                        }
                    }
                    // It cleans its environment, as `env -i` and programs that write their title over it.
                    (8, Some(id)) => drop(machine.marks.remove(&id)),
                    (9, Some(id)) => machine.processes.get_mut(&id).unwrap().group = id,
                    (10..=13, Some(id)) => machine.ends(id),
                    _ => {
                        let wronged = machine.finish(pick);
                        prop_assert!(wronged.is_empty(), "{wronged:?}");
                    }
                }
            }
            while machine.begun.iter().any(|(_, goes_on)| *goes_on) {
                let wronged = machine.finish(0);
                prop_assert!(wronged.is_empty(), "{wronged:?}");
                let left = |id: &&i32| machine.processes.contains_key(*id) && !machine.begun[machine.truth[*id]].1;
                for id in machine.truth.keys().filter(left) {
                    // It hides: its parents have gone, and so has its mark.
                    prop_assert!(!machine.marks.contains_key(id), "{id}");
                }
            }
            let left: Vec<i32> = machine.processes.keys().copied().collect();
            prop_assert_eq!(left, [WORKER, GUARD, 4]);
        }
    }

    #[test]
    fn a_worker_that_adopts_nothing_ends_what_descends_or_carries_the_mark_alone() {
        let mut machine = Machine::new();
        machine.begin();
        let leader = machine.begun[0].0;
        let child = machine.born(leader, None, 0);
        // What belongs to the program that the worker is a part of, and to others.
        let (other, foreign) = (machine.born(WORKER, None, 0), machine.born(4, None, 0));
        let escaped = machine.born(1, None, 0);
        machine.marks.insert(escaped, Machine::mark(0));
        let place = Place { worker: WORKER, apart: Some(GUARD), attempts: &machine.attempts, adopts: false };
        let processes: Vec<Process> = machine.processes.values().copied().collect();
        let doomed = place.doomed(&processes, leader, |id| machine.marks.get(&id).cloned());
        let doomed: Vec<i32> = doomed.iter().map(|process| process.id).collect();
        assert_eq!(doomed, [leader, child, escaped]);
        assert!(!doomed.contains(&other) && !doomed.contains(&foreign));
    }
}
