use std::sync::Arc;

use super::*;
use crate::clock::ManualClock;

const START: i64 = 1_800_000_000_000;

fn at(seconds: i64) -> Timestamp {
    Timestamp::from_millis(START + seconds * 1_000)
}

fn secs(n: u64) -> Duration {
    Duration::from_secs(n)
}

/// A server that has just begun, after a round of another process at a second, if there was one.
fn begun(last: Option<i64>) -> (Arc<ManualClock>, Timekeeper) {
    let clock = Arc::new(ManualClock::new(at(0)));
    let keeper = Timekeeper::new(Arc::clone(&clock) as _, LeasePolicy::default());
    let last = last.map(|second| {
        let (note, _) = RoundNote::after(None, at(second));
        RoundNote { doubt: None, ..note }
    });
    keeper.begin(last.as_ref());
    (clock, keeper)
}

/// Has time pass, as a server whose process runs and reaches its store.
fn run(clock: &ManualClock, keeper: &Timekeeper, seconds: u64) {
    for _ in 0..seconds {
        clock.advance(secs(1));
        keeper.runs();
        round(clock, keeper, true);
    }
}

/// A round, which reaches the store or not; the time that leases are judged by.
fn round(clock: &ManualClock, keeper: &Timekeeper, reached: bool) -> (Watch, RoundNote) {
    let (watch, note, _) = keeper.round(None);
    keeper.reached(clock.reading().passed, reached);
    if reached {
        keeper.made(note.clone(), None);
    }
    (watch, note)
}

#[test]
fn a_server_hears_its_workers_since_its_start() {
    let (clock, keeper) = begun(Some(-600));
    assert_eq!(keeper.watch(None).heard_since, at(0));
    run(&clock, &keeper, 100);
    let watch = keeper.watch(None);
    assert_eq!((watch.now, watch.heard_since, watch.steps), (at(100), at(0), vec![]));
}

#[test]
fn a_server_hears_anew_once_it_stood_still() {
    let (clock, keeper) = begun(None);
    run(&clock, &keeper, 100);
    clock.advance(secs(20));
    assert_eq!(keeper.watch(None).heard_since, at(0), "as long as between two heartbeats");
    run(&clock, &keeper, 1);
    clock.advance(secs(21));
    // Also if a request is faster than the pulse.
    assert_eq!(keeper.watch(None).heard_since, at(142));
    run(&clock, &keeper, 10);
    assert_eq!(keeper.watch(None).heard_since, at(142), "once");
}

#[test]
fn where_nobody_looks_a_process_does_not_seem_to_stand_still() {
    let (clock, keeper) = begun(None);
    clock.advance(secs(3_000));
    assert_eq!(keeper.watch(None).heard_since, at(0));
}

#[test]
fn a_server_hears_anew_once_its_clock_was_set_and_tells_spans_as_before() {
    for by in [30, -30, 3_600, -3_600, 315_360_000, -315_360_000] {
        let (clock, keeper) = begun(None);
        run(&clock, &keeper, 100);
        clock.set(at(100 + by));
        run(&clock, &keeper, 5);
        let watch = keeper.watch(None);
        assert_eq!((watch.now, watch.heard_since), (at(105 + by), at(101 + by)), "{by}");
        assert_eq!(watch.elapsed(at(-400)), secs(505), "{by}");
    }
}

#[test]
fn a_machine_that_slept_looks_as_if_its_clock_had_been_set_ahead() {
    let (clock, keeper) = begun(None);
    run(&clock, &keeper, 100);
    clock.set(at(7_300));
    let watch = keeper.watch(None);
    assert_eq!((watch.heard_since, watch.elapsed(at(90))), (at(7_300), secs(10)));
}

#[test]
fn a_server_hears_anew_once_its_store_was_out_of_reach() {
    let (clock, keeper) = begun(None);
    run(&clock, &keeper, 100);
    // A failure or two are nothing.
    for _ in 0..15 {
        clock.advance(secs(1));
        round(&clock, &keeper, false);
    }
    run(&clock, &keeper, 10);
    assert_eq!(keeper.watch(None).heard_since, at(0));
    for _ in 0..300 {
        clock.advance(secs(1));
        keeper.runs();
        round(&clock, &keeper, false);
    }
    clock.advance(secs(1));
    assert_eq!(
        round(&clock, &keeper, true).0.heard_since,
        at(426),
        "the first that succeeds takes nothing back"
    );
    run(&clock, &keeper, 10);
    assert_eq!(keeper.watch(None).heard_since, at(426));
}

#[test]
fn a_long_break_counts_for_no_span_and_a_short_one_does() {
    let (_, keeper) = begun(Some(-1_800));
    assert_eq!(keeper.watch(None).elapsed(at(-2_000)), secs(2_000));
    let (_, keeper) = begun(Some(-86_400));
    assert_eq!(keeper.watch(None).elapsed(at(-86_500)), secs(100));
    let (_, keeper) = begun(Some(86_400));
    assert_eq!(keeper.watch(None).elapsed(at(86_300)), secs(100), "the clock is behind the last process's");
}

#[test]
fn a_server_removes_nothing_by_a_time_that_has_jumped() {
    let (clock, keeper) = begun(Some(-10));
    run(&clock, &keeper, 100);
    assert!(round(&clock, &keeper, true).1.may_remove());
    let days = 35 * 86_400;
    clock.set(at(100 + days));
    for _ in 0..3 {
        assert!(!round(&clock, &keeper, true).1.may_remove());
        clock.advance(secs(1));
    }
    clock.set(at(103));
    assert!(round(&clock, &keeper, true).1.may_remove(), "it is back where it was");

    clock.set(at(200 + days));
    run(&clock, &keeper, 3_600);
    assert!(!round(&clock, &keeper, true).1.may_remove());
    run(&clock, &keeper, 1);
    assert!(round(&clock, &keeper, true).1.may_remove(), "it has gone on evenly for an hour");
}

#[test]
fn a_server_looks_for_times_ahead_once_its_clock_was_set_back_and_as_long_as_that_is_not_done() {
    let (clock, keeper) = begun(Some(-10));
    run(&clock, &keeper, 10);
    clock.set(at(3_610));
    assert!(!round(&clock, &keeper, true).1.set_back, "ahead");
    clock.set(at(20));
    for _ in 0..3 {
        clock.advance(secs(1));
        let note = round(&clock, &keeper, true).1;
        assert!(note.set_back);
    }
    let (_, note, _) = keeper.round(None);
    keeper.made(RoundNote { set_back: false, ..note }, None);
    run(&clock, &keeper, 10);
    assert!(!round(&clock, &keeper, true).1.set_back, "once it is done it is done");
    // Back and ahead again between two rounds.
    clock.set(at(-500));
    clock.set(at(50));
    assert!(round(&clock, &keeper, true).1.set_back);
}

#[test]
fn a_server_writes_its_note_now_and_then_and_when_it_says_something_new() {
    let (clock, keeper) = begun(Some(-10));
    let due = |keeper: &Timekeeper| {
        let (_, note, _) = keeper.round(None);
        let due = keeper.is_to_be_written(&note);
        keeper.made(note, due.then_some(true));
        due
    };
    assert!(due(&keeper));
    let mut written = 0;
    for _ in 0..600 {
        clock.advance(secs(1));
        written += u32::from(due(&keeper));
    }
    assert_eq!(written, 10, "once a minute");
    clock.set(at(999_999));
    assert!(due(&keeper), "a doubt");
}

#[test]
fn who_hears_nobody_goes_by_the_note_of_the_last_round() {
    let (clock, keeper) = begun(None);
    keeper.hear_by_others();
    let mut stored: Option<RoundNote> = None;
    for minute in 0..10 {
        let (watch, note, _) = keeper.round(stored.as_ref());
        assert_eq!(watch.heard_since, at(0), "{minute}");
        assert_eq!(watch.patience, secs(300));
        assert!(keeper.is_to_be_written(&note), "each");
        keeper.made(note.clone(), Some(true));
        stored = Some(note);
        clock.advance(secs(60));
    }
    assert_eq!(keeper.watch(stored.as_ref()).heard_since, at(0));
    clock.advance(secs(120));
    assert_eq!(keeper.watch(stored.as_ref()).heard_since, at(720), "a round was left out");
}

#[test]
fn a_note_that_cannot_be_written_is_remembered() {
    let (clock, keeper) = begun(None);
    keeper.hear_by_others();
    for _ in 0..10 {
        let (_, note, _) = keeper.round(None);
        keeper.made(note, Some(false));
        clock.advance(secs(60));
    }
    assert_eq!(keeper.round(None).0.heard_since, at(0));
}
