//! When the reaper of this process has seen each worker's heartbeats, by its own clock.
//!
//! A heartbeat's time is told by the process that heard it, whose clock may differ from the reaper's. But a record that has
//! changed between two looks was changed between them: so its time is believed as far as it lies there. Workers that beat are
//! thus never taken for silent, however far the clocks are apart. It costs no request: each round reads all workers' records.
//! Where nothing is remembered, as at the first look of a process, the record's own time is believed, up to the present.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use baton_model::{SessionId, Timestamp, WorkerId};

use crate::worker::StoredWorker;

/// What is remembered of the last look.
#[derive(Debug, Default)]
pub(crate) struct Sightings(Mutex<Seen>);

#[derive(Debug, Default)]
struct Seen {
    looked_at: Option<Timestamp>,
    beats: HashMap<WorkerId, Sighting>,
}

#[derive(Debug)]
struct Sighting {
    mark: Mark,
    /// When the heartbeat was, by this process's clock.
    at: Timestamp,
}

/// What changes with each heartbeat.
type Mark = (u64, Option<SessionId>, Timestamp);

impl Seen {
    /// When a worker's last heartbeat was.
    fn believed(&self, id: &WorkerId, mark: Mark, now: Timestamp) -> Timestamp {
        match self.beats.get(id) {
            Some(seen) if seen.mark == mark => seen.at,
            _ => {
                let (_, _, told) = mark;
                // A look in the future was before the clock was set back.
                let looked_at = self.looked_at.filter(|at| *at <= now);
                if told <= now && looked_at.is_none_or(|at| at <= told) { told } else { now }
            }
        }
    }
}

fn mark(worker: &StoredWorker) -> Option<Mark> {
    worker.worker.last_beat_at.map(|at| (worker.worker.beats, worker.worker.session, at))
}

impl Sightings {
    fn lock(&self) -> MutexGuard<'_, Seen> {
        // What is in it only delays what the reaper takes.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Looks at all workers: their last heartbeats are told by this process's clock then.
    pub(crate) fn look<'a>(&self, workers: impl Iterator<Item = &'a mut StoredWorker>, now: Timestamp) {
        let mut seen = self.lock();
        let mut beats = HashMap::new();
        for worker in workers {
            if let Some(mark) = mark(worker) {
                let at = seen.believed(&worker.worker.id, mark, now);
                worker.worker.last_beat_at = Some(at);
                beats.insert(worker.worker.id.clone(), Sighting { mark, at });
            }
        }
        *seen = Seen { looked_at: Some(now), beats };
    }

    /// Looks at one worker, whom it need not have seen before.
    pub(crate) fn look_at(&self, worker: &mut StoredWorker, now: Timestamp) {
        if let Some(mark) = mark(worker) {
            worker.worker.last_beat_at = Some(self.lock().believed(&worker.worker.id, mark, now));
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_millis(1_800_000_000_000 + seconds * 1_000)
    }

    /// A worker whose n-th heartbeat is told to have been at a second.
    fn beaten(beats: u64, told: i64) -> StoredWorker {
        let mut worker = StoredWorker::new(&"w1".parse().unwrap(), &baton_model::Owner::Unbound, None, at(0));
        (worker.worker.beats, worker.worker.last_beat_at) = (beats, Some(at(told)));
        worker
    }

    /// When it was, to who looks at a second.
    fn seen(sightings: &Sightings, now: i64, mut worker: StoredWorker) -> Option<Timestamp> {
        sightings.look([&mut worker].into_iter(), at(now));
        worker.worker.last_beat_at
    }

    #[test]
    fn a_time_between_two_looks_is_believed() {
        let sightings = Sightings::default();
        assert_eq!(seen(&sightings, 100, beaten(1, 70)), Some(at(70)), "whatever was before the first look");
        assert_eq!(seen(&sightings, 105, beaten(1, 70)), Some(at(70)));
        assert_eq!(seen(&sightings, 110, beaten(2, 107)), Some(at(107)));
    }

    #[test]
    fn a_heartbeat_is_as_old_as_the_look_that_sees_it_where_its_clock_is_wrong() {
        for told in [-3_600, 40, 500, 10 * 365 * 86_400] {
            let sightings = Sightings::default();
            seen(&sightings, 100, beaten(1, 90));
            assert_eq!(seen(&sightings, 105, beaten(2, told)), Some(at(105)), "{told}");
            assert_eq!(seen(&sightings, 165, beaten(2, told)), Some(at(105)), "and stays so");
            let mut later = beaten(3, told);
            sightings.look_at(&mut later, at(166));
            assert_eq!(later.worker.last_beat_at, Some(at(166)), "{told}");
        }
    }

    #[test]
    fn at_the_first_look_a_time_ahead_is_the_present() {
        assert_eq!(seen(&Sightings::default(), 100, beaten(1, 9_999)), Some(at(100)));
    }

    #[test]
    fn a_look_before_the_clock_was_set_back_bounds_nothing() {
        let sightings = Sightings::default();
        seen(&sightings, 3_700, beaten(1, 3_690));
        let now = at(100).plus(Duration::from_secs(5));
        let mut worker = beaten(2, 102);
        sightings.look([&mut worker].into_iter(), now);
        assert_eq!(worker.worker.last_beat_at, Some(at(102)));
    }

    #[test]
    fn workers_that_are_gone_are_forgotten() {
        let sightings = Sightings::default();
        seen(&sightings, 100, beaten(1, 70));
        sightings.look(std::iter::empty(), at(105));
        assert!(sightings.lock().beats.is_empty());
    }
}
