//! What a process knows of the passing of time: how its clock was set, when it could hear nobody, and what the rounds of the
//! reaper before it have noted.

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use baton_model::round::Finding;
use baton_model::watch::STEPS;
use baton_model::{LeasePolicy, RoundNote, Step, Timestamp, Watch};

use crate::clock::{Clock, Reading};

/// The least time that a process must have stood still for it to count, however short the interval of heartbeats: a busy
/// machine stops every process now and then.
const LEAST_PAUSE: Duration = Duration::from_secs(1);

/// How often a server writes the note of its rounds.
const WRITTEN_EVERY: Duration = Duration::from_secs(60);

/// How much longer than the heartbeat timeout a function bears the silence of all workers at once, in heartbeat timeouts.
const PATIENCE: u32 = 5;

/// Keeps the time that leases are judged by.
///
/// A server hears its workers itself. It knows since when: since its start, or since it last stood still, slept, had its clock set,
/// or could not reach its store. From then on they have a whole heartbeat timeout to speak. A function hears nobody, and
/// goes by the note of the last round.
pub struct Timekeeper {
    clock: Arc<dyn Clock>,
    policy: LeasePolicy,
    state: Mutex<State>,
}

struct State {
    /// The last round that this process made, or took over.
    last: Option<RoundNote>,
    /// When that was written to the store; none if it was not.
    written_at: Option<Duration>,
    hears: Hears,
}

/// Who hears the workers.
enum Hears {
    /// This process.
    Itself(Hearing),
    /// Others.
    Others,
}

struct Hearing {
    since: Timestamp,
    /// The clock's latest setting as of then.
    set: Option<Step>,
    /// How it was set before this process began.
    earlier: Vec<Step>,
    /// When this process was last seen to run; none while nobody looks.
    ran_at: Option<Duration>,
    /// Since when the store is out of reach.
    unreached_since: Option<Duration>,
}

impl Hearing {
    fn begin(reading: &Reading) -> Self {
        Self {
            since: reading.now,
            set: reading.steps.first().copied(),
            earlier: Vec::new(),
            ran_at: None,
            unreached_since: None,
        }
    }
}

impl Timekeeper {
    /// A process that hears its workers itself, from now on.
    pub fn new(clock: Arc<dyn Clock>, policy: LeasePolicy) -> Self {
        let hears = Hears::Itself(Hearing::begin(&clock.reading()));
        Self { clock, policy, state: Mutex::new(State { last: None, written_at: None, hears }) }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // What is in it is whole after each statement.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// From now on it goes by notes alone: others hear the workers, and make rounds in turns with this process.
    pub fn hear_by_others(&self) {
        self.lock().hears = Hears::Others;
    }

    /// Whether it hears the workers itself.
    pub fn hears_itself(&self) -> bool {
        matches!(self.lock().hears, Hears::Itself(_))
    }

    /// Goes on from what the process before it has noted, if it hears itself.
    pub fn begin(&self, before: Option<&RoundNote>) -> Vec<Finding> {
        let reading = self.clock.reading();
        let mut state = self.lock();
        let Hears::Itself(hearing) = &mut state.hears else { return Vec::new() };
        let (note, findings) = RoundNote::begun(before, reading.now);
        *hearing = Hearing { earlier: note.steps.clone(), ..Hearing::begin(&reading) };
        state.last = Some(note);
        findings
    }

    /// The time as it judges leases now, if it hears itself; else by the note of the last round.
    pub fn watch(&self, last: Option<&RoundNote>) -> Watch {
        let reading = self.clock.reading();
        match &mut self.lock().hears {
            Hears::Itself(hearing) => self.own_watch(hearing, &reading),
            Hears::Others => self.watch_of(&RoundNote::after(last, reading.now).0),
        }
    }

    fn own_watch(&self, hearing: &mut Hearing, reading: &Reading) -> Watch {
        self.notice(hearing, reading);
        let mut steps = reading.steps.clone();
        steps.extend(&hearing.earlier);
        steps.truncate(STEPS);
        Watch { heard_since: hearing.since, steps, ..Watch::at(reading.now) }
    }

    fn watch_of(&self, note: &RoundNote) -> Watch {
        Watch { patience: self.policy.heartbeat_timeout * PATIENCE, ..note.watch() }
    }

    /// Notices what has happened since it last looked: that the clock was set, or that the process stood still.
    fn notice(&self, hearing: &mut Hearing, reading: &Reading) {
        let set = reading.steps.first().copied();
        if set != hearing.set {
            hearing.set = set;
            // A machine that slept looks as if its clock had been set ahead.
            hearing.since = reading.now;
        }
        let stood = hearing.ran_at.map_or(Duration::ZERO, |ran_at| reading.passed.saturating_sub(ran_at));
        if stood > self.longest_pause() {
            hearing.since = reading.now;
            tracing::warn!(
                seconds = stood.as_secs_f64(),
                "the server stood still; its workers have a whole heartbeat timeout again"
            );
        }
        hearing.ran_at = hearing.ran_at.map(|_| reading.passed);
    }

    /// How long nobody may have been heard without a worker being wronged that misses a beat by it and then beats again.
    fn longest_pause(&self) -> Duration {
        self.policy.heartbeat_interval.max(LEAST_PAUSE)
    }

    /// How often [`Self::runs`] is to be said.
    pub fn pulse(&self) -> Duration {
        self.longest_pause() / 4
    }

    /// Says that the process runs. Once said, it is to be said every [`Self::pulse`].
    pub fn runs(&self) {
        let reading = self.clock.reading();
        if let Hears::Itself(hearing) = &mut self.lock().hears {
            self.notice(hearing, &reading);
            hearing.ran_at = Some(reading.passed);
        }
    }

    /// Says whether the store was in reach for a round that began when `began` had passed (see [`Reading::passed`]). Where it is
    /// not, no heartbeat is heard either.
    pub fn reached(&self, began: Duration, reached: bool) {
        let reading = self.clock.reading();
        let Hears::Itself(hearing) = &mut self.lock().hears else { return };
        if !reached {
            hearing.unreached_since.get_or_insert(began);
            return;
        }
        if let Some(since) = hearing.unreached_since.take()
            && let unreached = reading.passed.saturating_sub(since)
            && unreached > self.longest_pause()
        {
            hearing.since = reading.now;
            let seconds = unreached.as_secs_f64();
            tracing::warn!(
                seconds,
                "the store was out of reach; workers have a whole heartbeat timeout again"
            );
        }
    }

    /// The time of a round that begins now, by what is known and by the note of the last round, and what it finds. The note is
    /// to be kept with [`Self::made`] once leases were judged by it.
    pub fn round(&self, stored: Option<&RoundNote>) -> (Watch, RoundNote, Vec<Finding>) {
        let reading = self.clock.reading();
        let mut state = self.lock();
        let State { last, written_at, hears } = &mut *state;
        match hears {
            Hears::Itself(hearing) => {
                let mut watch = self.own_watch(hearing, &reading);
                // While it is out of reach, and at the first look afterwards, nothing is lost by time.
                if hearing
                    .unreached_since
                    .is_some_and(|since| reading.passed.saturating_sub(since) > self.longest_pause())
                {
                    watch.heard_since = watch.now;
                }
                let (mut note, findings) = match last {
                    Some(last) => last.goes_on(&watch),
                    None => RoundNote::begun(None, watch.now),
                };
                let known = last.as_ref().and_then(|last| last.steps.first());
                let mut new = watch.steps.iter().take_while(|step| Some(*step) != known);
                note.set_back |= new.any(|step| step.millis() < 0);
                (watch, note, findings)
            }
            Hears::Others => {
                // A note that could not be written is not forgotten while this process lives: else workers would have their
                // whole time anew at each round.
                let unwritten = last.as_ref().filter(|_| written_at.is_none());
                let (note, findings) = RoundNote::after(unwritten.or(stored), reading.now);
                (self.watch_of(&note), note, findings)
            }
        }
    }

    /// Whether the note of a round is to be written to the store: of each where rounds are made in turns, else now and then,
    /// for the process after this one.
    pub fn is_to_be_written(&self, note: &RoundNote) -> bool {
        let passed = self.clock.reading().passed;
        let state = self.lock();
        let changed = || {
            state.last.as_ref().is_none_or(|last| (last.doubt, last.set_back) != (note.doubt, note.set_back))
        };
        matches!(state.hears, Hears::Others)
            || state.written_at.is_none_or(|at| passed.saturating_sub(at) >= WRITTEN_EVERY)
            || changed()
    }

    /// Has the note of the next round be written: something happened that the process after this one is to know.
    pub fn write_next(&self) {
        self.lock().written_at = None;
    }

    /// The time of the last round, if what is past its keeping may be removed by it.
    pub fn removes_at(&self) -> Option<Timestamp> {
        self.lock().last.as_ref().filter(|note| note.may_remove()).map(|note| note.at)
    }

    /// The note of the last round that this process has made or taken over.
    pub fn last(&self) -> Option<RoundNote> {
        self.lock().last.clone()
    }

    /// Keeps the note of a round that was made. `written` says whether the store has it; none if that was not tried.
    pub fn made(&self, note: RoundNote, written: Option<bool>) {
        let passed = self.clock.reading().passed;
        let mut state = self.lock();
        state.last = Some(note);
        match written {
            Some(true) => state.written_at = Some(passed),
            Some(false) => state.written_at = None,
            None => {}
        }
    }
}

impl fmt::Debug for Timekeeper {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Timekeeper").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
