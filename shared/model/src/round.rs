//! What the reaper knows from one round to the next: how its rounds followed each other by the clock, so that it notices
//! when the clock was set or when nobody could be heard, and removes nothing on the word of one reading of the clock.
//!
//! A server knows more of its own time (see `Timekeeper` in `baton-runtime`) and begins with the note of the process before it.
//! A function has no memory but the note. `docs/decisions/0010-a-time-that-has-jumped.md` says what else was possible.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::time::Timestamp;
use crate::watch::{STEPS, Step, Watch};

/// By how much the time may jump between two rounds and still be believed at once; and for how long a time that has jumped
/// must go on evenly before anything is removed by it.
pub const JUMP: Duration = Duration::from_secs(3_600);

/// How far the clocks of those who make rounds may differ without looking as if one had been set back.
pub const CLOCKS_DIFFER: Duration = Duration::from_secs(60);

/// The pace of rounds where two of them have not yet told it: that of the schedule.
const PACE: Duration = Duration::from_secs(60);

/// What a round of the reaper leaves for the next one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RoundNote {
    /// When it was made.
    pub at: Timestamp,
    /// Since when workers could be heard without a break.
    pub heard_since: Timestamp,
    /// How the clock was set, the latest first.
    pub steps: Vec<Step>,
    /// How many milliseconds after the one before it came this round, and the one before; none of the first.
    pub gaps: [Option<u64>; 2],
    /// Why nothing is removed.
    pub doubt: Option<Doubt>,
    /// Whether times that were reckoned by the clock before it was set back are still to be looked for.
    pub set_back: bool,
    /// Where the next look at blocked tasks begins; none for the beginning.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub blocked: Option<String>,
    /// Where the next look at batches begins; none for the beginning.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub batches: Option<String>,
    /// What rounds have done of late, the latest first, up to [`RECALLED`].
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub latest: Vec<RoundDone>,
}

/// What a round has done, for those who look after the reaper.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RoundDone {
    /// When it began.
    pub at: Timestamp,
    /// How many milliseconds it took; in the note of the very round, those until the note.
    pub millis: u64,
    /// Tasks taken back.
    #[serde(default, skip_serializing_if = "is_none")]
    pub taken: u64,
    /// Tasks that failed as they were not started in time.
    #[serde(default, skip_serializing_if = "is_none")]
    pub expired: u64,
    /// Workers that held some of these and no longer beat.
    #[serde(default, skip_serializing_if = "is_none")]
    pub workers_lost: u64,
    /// What was removed after its keeping.
    #[serde(default, skip_serializing_if = "is_none")]
    pub removed: u64,
    /// Whether time or bounds ran out before the work did.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub more: bool,
    /// Why it could not be made.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// Who made it: host and process; empty where no process lives from one round to the next.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub by: String,
}

impl RoundDone {
    /// Whether it is worth keeping for longer: it took something from somebody, or could not be made.
    pub const fn is_notable(&self) -> bool {
        self.taken + self.expired + self.workers_lost > 0 || self.more || self.error.is_some()
    }
}

/// How many rounds a note tells of: few enough that it stays a write unit of DynamoDB.
pub const RECALLED: usize = 8;

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde asks by reference")]
const fn is_none(count: &u64) -> bool {
    *count == 0
}

/// A time that is not believed yet, as it has jumped.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Doubt {
    /// Its first round.
    pub since: Timestamp,
    /// The last time that was believed; none if there was none.
    pub believed: Option<Timestamp>,
}

/// What a round finds out about the time, to be told in the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Finding {
    /// It is earlier than at the round before.
    SetBack(Step),
    /// It has jumped further than a round comes late.
    Jumped(Step),
    /// The round comes late.
    Late {
        /// How long after the one before it.
        gap: Duration,
        /// What was to be expected.
        pace: Duration,
    },
    /// Nothing is removed from now on, as the time is not believed.
    Doubted,
    /// A time that was not believed is from now on.
    Believed,
}

impl RoundNote {
    /// A round at `now` by one who knows nothing but the note of the round before, and what it finds.
    ///
    /// Workers count as heard since the round before, unless that was longer ago than rounds are: then nobody may have
    /// been able to speak, as the store or the functions were out of reach, and they have their whole time anew.
    pub fn after(before: Option<&Self>, now: Timestamp) -> (Self, Vec<Finding>) {
        let (mut note, mut found) = Self::begun(before, now);
        if let Some(before) = before {
            let (gap, pace) = (now.since(before.at), before.pace());
            let late = gap > pace + pace * 3 / 4;
            if late {
                found.push(Finding::Late { gap, pace });
            }
            let set = note.steps.first() != before.steps.first();
            if !late && !set {
                note.heard_since = before.heard_since;
            }
        }
        (note, found)
    }

    /// The first round of a process that begins at `now`: it has not heard anybody yet.
    pub fn begun(before: Option<&Self>, now: Timestamp) -> (Self, Vec<Finding>) {
        let doubt = doubt(before, now);
        let Some(before) = before else {
            let note = Self {
                at: now,
                heard_since: now,
                steps: Vec::new(),
                gaps: [None; 2],
                doubt,
                set_back: false,
                blocked: None,
                batches: None,
                latest: Vec::new(),
            };
            // There was nothing yet that could be removed.
            return (note, Vec::new());
        };
        let mut found = changed(before.doubt, doubt);
        let mut steps = before.steps.clone();
        let step = Step { before: before.at, after: now };
        let is_back = before.at.since(now) > CLOCKS_DIFFER;
        let is_ahead = now.since(before.at) > JUMP + before.pace();
        if is_back || is_ahead {
            found.push(if is_back { Finding::SetBack(step) } else { Finding::Jumped(step) });
            // Nobody knows how long it really was: a lease is not to end by it.
            steps.insert(0, step);
            steps.truncate(STEPS);
        }
        let gap = u64::try_from(now.since(before.at).as_millis()).unwrap_or(u64::MAX);
        let note = Self {
            at: now,
            heard_since: now,
            steps,
            gaps: [Some(gap).filter(|_| !is_back && !is_ahead), before.gaps[0]],
            doubt,
            set_back: before.set_back || is_back,
            blocked: before.blocked.clone(),
            batches: before.batches.clone(),
            latest: before.latest.clone(),
        };
        (note, found)
    }

    /// The next round of the same process, which knows itself how its clock was set and since when it hears.
    pub fn goes_on(&self, watch: &Watch) -> (Self, Vec<Finding>) {
        let doubt = doubt(Some(self), watch.now);
        let found = changed(self.doubt, doubt);
        let gap = u64::try_from(watch.now.since(self.at).as_millis()).unwrap_or(u64::MAX);
        let note = Self {
            at: watch.now,
            heard_since: watch.heard_since,
            steps: watch.steps.clone(),
            gaps: [Some(gap), self.gaps[0]],
            doubt,
            set_back: self.set_back,
            blocked: self.blocked.clone(),
            batches: self.batches.clone(),
            latest: Vec::new(),
        };
        (note, found)
    }

    /// The time of the round as leases are judged by it.
    pub fn watch(&self) -> Watch {
        Watch { heard_since: self.heard_since, steps: self.steps.clone(), ..Watch::at(self.at) }
    }

    /// Whether what is past its keeping may be removed: not by a time that has jumped.
    pub const fn may_remove(&self) -> bool {
        self.doubt.is_none()
    }

    /// How long after a round the next is to be expected: as long as it was lately, so that rounds of any pace are not taken
    /// for late ones for ever.
    pub fn pace(&self) -> Duration {
        let longest = self.gaps.iter().flatten().max().copied().map(Duration::from_millis);
        // A gap of days was an outage, and no pace.
        longest.map_or(PACE, |gap| gap.clamp(PACE, JUMP))
    }
}

/// What is to be told of a doubt.
fn changed(before: Option<Doubt>, doubt: Option<Doubt>) -> Vec<Finding> {
    match (before, doubt) {
        (None, Some(_)) => vec![Finding::Doubted],
        (Some(_), None) => vec![Finding::Believed],
        _ => Vec::new(),
    }
}

/// Whether the time of a round is to be doubted, by the round before.
fn doubt(before: Option<&RoundNote>, now: Timestamp) -> Option<Doubt> {
    let Some(before) = before else { return Some(Doubt { since: now, believed: None }) };
    let is_near =
        |expected: Timestamp| now.since(expected) <= JUMP + before.pace() && expected.since(now) <= JUMP;
    match (before.doubt, is_near(before.at)) {
        (None, true) => None,
        (None, false) => Some(Doubt { since: now, believed: Some(before.at) }),
        (Some(doubt), true) => (now.since(doubt.since) < JUMP).then_some(doubt),
        (Some(doubt), false) => {
            // As long as it was told by the doubted time, it was by the believed one, too.
            let expected = doubt.believed.map(|believed| believed.plus(before.at.since(doubt.since)));
            match expected {
                Some(expected) if is_near(expected) => None,
                believed => Some(Doubt { since: now, believed }),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINUTE: i64 = 60;
    const DAY: i64 = 86_400;

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_millis(1_800_000_000_000 + seconds * 1_000)
    }

    fn secs(n: i64) -> Duration {
        Duration::from_secs(n.unsigned_abs())
    }

    /// Rounds of a function at these seconds; the last one, and what it found.
    fn rounds(times: impl IntoIterator<Item = i64>) -> (RoundNote, Vec<Finding>) {
        let mut last: Option<RoundNote> = None;
        let mut found = Vec::new();
        for time in times {
            let (note, findings) = RoundNote::after(last.as_ref(), at(time));
            (last, found) = (Some(note), findings);
        }
        (last.unwrap(), found)
    }

    /// Rounds each minute, from one minute to another.
    fn minutes(from: i64, to: i64) -> impl Iterator<Item = i64> {
        (from..to).map(|minute| minute * MINUTE)
    }

    #[test]
    fn rounds_that_follow_each_other_hear_on() {
        let (note, found) = rounds(minutes(0, 30));
        assert_eq!((note.heard_since, found), (at(0), vec![]));
        assert_eq!(note.watch().heard_for(), secs(29 * MINUTE));
    }

    #[test]
    fn after_a_gap_in_which_nobody_could_speak_everybody_is_heard_anew() {
        // One round is missing.
        let (note, found) = rounds(minutes(0, 10).chain([11 * MINUTE]));
        let late = Finding::Late { gap: secs(2 * MINUTE), pace: secs(MINUTE) };
        assert_eq!((note.heard_since, found), (at(11 * MINUTE), vec![late]));
    }

    #[test]
    fn rounds_of_any_even_pace_are_not_late_for_ever() {
        for pace in [1, 30, 60, 300, 3_600] {
            let (note, found) = rounds((0..20).map(|round| round * pace));
            assert_eq!(found, [], "{pace}");
            assert!(note.watch().heard_for() >= secs(16 * pace), "{pace}");
        }
        // Nor those of which every second one fails.
        let (note, _) = rounds((0..20).map(|round| round / 2 * 180 + round % 2 * 60));
        assert!(note.watch().heard_for() > secs(20 * MINUTE));
    }

    #[test]
    fn one_round_by_a_clock_far_ahead_removes_nothing_and_takes_nothing_back() {
        let month = 35 * DAY;
        let before = || minutes(0, 100);
        let (note, found) = rounds(before().chain([100 * MINUTE + month]));
        assert!(!note.may_remove());
        assert_eq!(note.watch().heard_for(), Duration::ZERO);
        assert!(
            matches!(found[..], [Finding::Doubted, Finding::Jumped(_), Finding::Late { .. }]),
            "{found:?}"
        );
        let (note, found) = rounds(before().chain([100 * MINUTE + month, 101 * MINUTE]));
        assert!(note.may_remove(), "it is where it was");
        assert!(matches!(found[..], [Finding::Believed, Finding::SetBack(_)]), "{found:?}");
        assert_eq!(note.watch().heard_for(), Duration::ZERO);
        // A lease of before is as old as it is.
        assert_eq!(note.watch().elapsed(at(50 * MINUTE)), secs(49 * MINUTE));
    }

    #[test]
    fn a_time_that_has_jumped_is_believed_after_an_hour() {
        for jump in [35 * DAY, -35 * DAY, 2 * 3_600, -2 * 3_600] {
            let later = |from, to| minutes(from, to).map(move |time| time + jump);
            let (note, _) = rounds(minutes(0, 100).chain(later(100, 160)));
            assert!(!note.may_remove(), "{jump}");
            let (note, found) = rounds(minutes(0, 100).chain(later(100, 161)));
            assert_eq!((note.may_remove(), found), (true, vec![Finding::Believed]), "{jump}");
        }
    }

    #[test]
    fn up_to_an_hour_nothing_is_doubted() {
        for jump in [3_600, -3_600, 30, -30] {
            let (note, _) = rounds(minutes(0, 100).chain([100 * MINUTE + jump]));
            assert!(note.may_remove(), "{jump}");
        }
    }

    #[test]
    fn the_first_round_of_all_has_nothing_to_believe_the_clock_by() {
        let (note, _) = rounds([0]);
        assert_eq!((note.may_remove(), note.heard_since), (false, at(0)));
        let (note, _) = rounds(minutes(0, 61));
        assert!(note.may_remove());
    }

    #[test]
    fn a_clock_that_was_set_back_is_noticed_and_remembered_until_it_is_seen_to() {
        let (note, found) = rounds(minutes(0, 100).chain([50 * MINUTE]));
        assert!(matches!(found[..], [Finding::SetBack(step)] if step.millis() == -49 * 60_000), "{found:?}");
        assert!(note.set_back);
        let (next, _) = RoundNote::after(Some(&note), at(51 * MINUTE));
        assert!(next.set_back);
        // The clocks of two who make rounds may differ.
        let (note, found) = rounds(minutes(0, 100).chain([99 * MINUTE - 60]));
        assert_eq!((note.set_back, found), (false, vec![]));
    }

    #[test]
    fn a_note_reads_back() {
        let (note, _) = rounds(minutes(0, 10).chain([DAY, 0]));
        let text = serde_json::to_string(&note).unwrap();
        assert_eq!(serde_json::from_str::<RoundNote>(&text).unwrap(), note);
    }

    #[test]
    fn a_note_tells_of_some_rounds_in_little_room() {
        let (mut note, _) = rounds(minutes(0, 10));
        let done = |n| RoundDone { at: at(n), millis: 1_234, taken: 256, ..RoundDone::default() };
        note.latest = (0..RECALLED as i64).map(done).collect();
        let text = serde_json::to_string(&note).unwrap();
        assert!(text.len() < 950, "{} bytes, of which a write unit has 1024: {text}", text.len());
        assert_eq!(serde_json::from_str::<RoundNote>(&text).unwrap(), note);
        assert_eq!(RoundNote::after(Some(&note), at(600)).0.latest, note.latest);
        assert!(note.latest[0].is_notable() && !RoundDone::default().is_notable());
    }

    #[test]
    fn a_process_that_begins_has_heard_nobody() {
        let (last, _) = rounds(minutes(0, 100));
        let (note, found) = RoundNote::begun(Some(&last), at(99 * MINUTE + 5));
        assert_eq!((note.heard_since, found), (at(99 * MINUTE + 5), vec![]));
        assert!(note.may_remove());
        assert_eq!(note.watch().elapsed(at(0)), secs(99 * MINUTE + 5), "a short break counts");
        let (note, _) = RoundNote::begun(Some(&last), at(3 * DAY));
        assert!(!note.may_remove());
        assert_eq!(note.watch().elapsed(at(0)), secs(99 * MINUTE), "a long one does not");
    }
}
