//! Clocks that are set, and clocks that differ: no worker is wronged by one, and nothing gets stuck by one.

use baton_model::{EventKind, LossReason, Priority, RoundNote, State, Step, Task, Timestamp, Watch};

use super::kit::*;
use crate::{Claim, Complete, Fail, Nothing, Reap, Redate, Redated, Taken};

const HOUR: i64 = 3_600;
const TEN_YEARS: i64 = 3_652 * 86_400;

/// A time by seconds from another.
fn off(from: Timestamp, seconds: i64) -> Timestamp {
    Timestamp::from_millis(from.as_millis() + seconds * 1_000)
}

/// The clock of one process, which hears its workers since its start and anew when its clock was set.
struct Wall {
    now: Timestamp,
    heard_since: Timestamp,
    steps: Vec<Step>,
    /// How many seconds have passed, whatever it tells.
    passed: u64,
}

impl Wall {
    fn new() -> Self {
        Self { now: at(0), heard_since: at(0), steps: Vec::new(), passed: 0 }
    }

    fn pass(&mut self, seconds: u64) {
        self.now = self.now.plus(secs(seconds));
        self.passed += seconds;
    }

    fn set(&mut self, by: i64) {
        let after = off(self.now, by);
        self.steps.insert(0, Step { before: self.now, after });
        self.now = after;
        self.heard_since = after;
    }

    fn watch(&self) -> Watch {
        Watch { heard_since: self.heard_since, steps: self.steps.clone(), ..Watch::at(self.now) }
    }
}

async fn reap_by(b: &Bench, watch: Watch) -> Vec<Taken> {
    b.settle().await;
    let report = b.store().reap(Reap { watch, ..reap(at(0)) }).await.expect("the reaping is taken");
    report.taken
}

fn reasons(taken: &[Taken]) -> Vec<(&str, LossReason)> {
    taken.iter().map(|one| (one.worker.as_str(), one.reason)).collect()
}

/// What one worker does in a round: it claims, beats, and completes what it has held for longest.
struct Turn {
    store: std::sync::Arc<dyn crate::Store>,
    claim: Claim,
    held: Vec<Task>,
    beats: bool,
    completion: Option<Complete>,
}

impl Turn {
    async fn run(mut self) -> Vec<Task> {
        self.held.extend(leased(self.store.claim(self.claim.clone()).await));
        if let Some(completion) = self.completion {
            self.store.complete(completion, None).await.expect("the completion is taken");
            self.held.remove(0);
        }
        if self.beats {
            let held: Vec<_> = self.held.iter().collect();
            let beat = beat(self.claim.worker.as_str(), self.claim.now).running(&held);
            let answer = self.store.heartbeat(beat).await.expect("the heartbeat is taken");
            assert_eq!(answer.lost, [], "what it runs is its own");
        }
        self.held
    }
}

/// Has several workers work at the same time while the clock is set, by seconds, at these rounds of ten seconds; one worker
/// dies just before. The living keep all that they hold, the dead one loses its task in time.
async fn work_while_it_is_set(b: &Bench, sets: &[(u32, i64)]) {
    const WORKERS: [&str; 2] = ["w1", "w2"];
    let mut wall = Wall::new();
    let mut held: Vec<Vec<Task>> = vec![Vec::new(); WORKERS.len()];
    let spec = |queue: &str| b.spec("render").queue(queue).attempts(1).timeout(secs(900));
    let fixed = b.running_by(wall.now, claim("f1", wall.now).fixed(secs(900)), spec("fixed")).await;
    let dead = b.running(wall.now, "dead", spec("dead").attempts(3)).await;
    let (mut died_at, mut lost_at) = (0, None);
    for round in 0..18 {
        for (_, by) in sets.iter().filter(|(at, _)| *at == round) {
            wall.set(*by);
        }
        if round < sets[0].0 {
            b.beat(beat("dead", wall.now).running(&[&dead])).await;
            died_at = wall.passed;
        }
        let mut turns = Vec::new();
        for (worker, held) in WORKERS.iter().zip(&mut held) {
            b.create(wall.now, spec(worker)).await;
            let completion = (held.len() > 2).then(|| b.completion(wall.now, &held[0]));
            let claim = claim(worker, wall.now).queues(&[worker]);
            let held = std::mem::take(held);
            turns.push(Turn { store: b.store(), claim, held, beats: round % 2 == 0, completion }.run());
        }
        held = at_once(turns).await;
        for taken in reap_by(b, wall.watch()).await {
            assert_eq!((taken.task, taken.reason), (dead.head.id, LossReason::HeartbeatMissed), "{taken:?}");
            lost_at = Some(wall.passed);
        }
        wall.pass(10);
    }
    let silent = lost_at.expect("the dead worker's task is taken back") - died_at;
    assert!((61..=140).contains(&silent), "it was silent for {silent} s");
    for task in held.iter().flatten().chain([&fixed]) {
        b.complete(wall.now, task).await;
    }
    for id in b.created().into_iter().filter(|id| *id != dead.head.id) {
        let task = b.task(id).await.task;
        assert_eq!((task.head.state.state(), task.head.attempt), (State::Completed, 1));
    }
    b.check(wall.now).await;
}

/// Workers keep what they hold, and dead ones lose it, while the clock is set by half a minute.
pub async fn work_goes_on_while_the_clock_is_set_by_half_a_minute(b: Bench) {
    work_while_it_is_set(&b, &[(4, 30), (9, -30)]).await;
}

/// The same, when it is set back first.
pub async fn work_goes_on_while_the_clock_is_set_back_by_half_a_minute(b: Bench) {
    work_while_it_is_set(&b, &[(4, -30)]).await;
}

/// The same by an hour.
pub async fn work_goes_on_while_the_clock_is_set_by_an_hour(b: Bench) {
    work_while_it_is_set(&b, &[(4, HOUR)]).await;
}

/// The same by an hour back.
pub async fn work_goes_on_while_the_clock_is_set_back_by_an_hour(b: Bench) {
    work_while_it_is_set(&b, &[(4, -HOUR)]).await;
}

/// The same by ten years.
pub async fn work_goes_on_while_the_clock_is_set_by_ten_years(b: Bench) {
    work_while_it_is_set(&b, &[(4, TEN_YEARS)]).await;
}

/// The same by ten years back.
pub async fn work_goes_on_while_the_clock_is_set_back_by_ten_years(b: Bench) {
    work_while_it_is_set(&b, &[(4, -TEN_YEARS)]).await;
}

/// The same when it is far ahead for a moment only.
pub async fn work_goes_on_while_the_clock_is_wrong_for_a_moment(b: Bench) {
    work_while_it_is_set(&b, &[(4, 35 * 86_400), (5, -35 * 86_400)]).await;
}

/// Timeouts and fixed leases end when so much time has passed, however the clock was set meanwhile.
pub async fn timeouts_and_fixed_leases_count_the_time_that_has_passed(b: Bench) {
    for by in [30, -30, HOUR, -HOUR, TEN_YEARS, -TEN_YEARS] {
        let mut wall = Wall::new();
        let timed = b.running(wall.now, "w1", b.spec("render").timeout(secs(110))).await;
        let held = claim("w2", wall.now).fixed(secs(120));
        let fixed = b.running_by(wall.now, held, b.spec("render")).await;
        wall.pass(40);
        wall.set(by);
        wall.pass(69);
        b.beat(beat("w1", wall.now).running(&[&timed])).await;
        assert_eq!(reap_by(&b, wall.watch()).await, [], "{by}: after 109 s");
        wall.pass(1);
        assert_eq!(reasons(&reap_by(&b, wall.watch()).await), [("w1", LossReason::TimedOut)], "{by}: 110 s");
        wall.pass(9);
        assert_eq!(reap_by(&b, wall.watch()).await, [], "{by}: after 119 s");
        wall.pass(1);
        assert_eq!(
            reasons(&reap_by(&b, wall.watch()).await),
            [("w2", LossReason::LeaseExpired)],
            "{by}: 120 s"
        );
        for task in [timed, fixed] {
            b.cancel(wall.now, task.head.id).await;
        }
    }
}

/// Whoever begins to judge after a while in which nobody could speak gives all workers their whole time first, whatever else
/// has run out; what had finished meanwhile is taken.
pub async fn nothing_is_lost_before_workers_could_speak(b: Bench) {
    let beating = b.running(at(0), "w1", b.spec("render")).await;
    b.beat(beat("w1", at(1)).running(&[&beating])).await;
    let timed = b.running(at(0), "w2", b.spec("render").timeout(secs(30))).await;
    let fixed = b.running_by(at(0), claim("w3", at(0)).fixed(secs(30)), b.spec("render")).await;
    let dead = b.running(at(0), "w4", b.spec("render")).await;
    let heard = |now| Watch { heard_since: at(9_000), ..Watch::at(at(now)) };
    for now in [9_000, 9_030, 9_059] {
        assert_eq!(reap_by(&b, heard(now)).await, []);
    }
    for task in [&beating, &timed, &fixed] {
        b.complete(at(9_059), task).await;
    }
    assert_eq!(reap_by(&b, heard(9_060)).await, []);
    let taken = reap_by(&b, heard(9_061)).await;
    assert_eq!(reasons(&taken), [("w4", LossReason::HeartbeatMissed)]);
    assert_eq!(taken[0].task, dead.head.id);
    b.check(at(9_061)).await;
}

/// While no worker at all is heard, patience bears their silence; one that is heard shows that the others are gone.
pub async fn while_nobody_is_heard_silence_is_borne_for_longer(b: Bench) {
    let (one, two) =
        (b.running(at(0), "w1", b.spec("render")).await, b.running(at(0), "w2", b.spec("render")).await);
    b.beat(beat("w1", at(1)).running(&[&one])).await;
    b.beat(beat("w2", at(1)).running(&[&two])).await;
    let patient = |now| Watch { patience: secs(300), ..Watch::at(at(now)) };
    for now in [62, 200, 361] {
        assert_eq!(reap_by(&b, patient(now)).await, [], "at {now} s");
    }
    b.beat(beat("w1", at(361)).running(&[&one])).await;
    assert_eq!(reasons(&reap_by(&b, patient(362)).await), [("w2", LossReason::HeartbeatMissed)]);
    assert_eq!(reap_by(&b, patient(660)).await, []);
    assert_eq!(
        reasons(&reap_by(&b, patient(722)).await),
        [("w1", LossReason::HeartbeatMissed)],
        "it has an end"
    );
}

/// Heartbeats count in the order of their arrival: one that tells an earlier time takes the place of the one before.
pub async fn heartbeats_count_in_the_order_of_their_arrival(b: Bench) {
    for back in [30, HOUR, TEN_YEARS] {
        let before = at(500_000);
        let old = b.running(before, "w1", b.spec("render")).await;
        b.beat(beat("w1", before).running(&[&old])).await;
        let now = off(before, -back);
        b.complete(now, &old).await;
        let new = b.running(now, "w1", b.spec("render")).await;
        b.beat(beat("w1", now).running(&[&new])).await;
        let worker = b.worker("w1").await.worker;
        assert_eq!((worker.last_beat_at, worker.running), (Some(now), Some(vec![listed(&new)])), "{back}");
        b.complete(now, &new).await;
    }
}

/// What a heartbeat listed before a claim says nothing of what was claimed, whatever times the two tell.
pub async fn a_list_of_before_a_claim_forgets_nothing_of_it(b: Bench) {
    b.beat(beat("w1", at(100)).running(&[])).await;
    let held = b.running(at(70), "w1", b.spec("render")).await;
    assert_eq!(b.reap(at(101)).await, [], "it was claimed after the list was given");
    b.beat(beat("w1", at(102)).running(&[])).await;
    let taken = b.reap(at(103)).await;
    assert_eq!(reasons(&taken), [("w1", LossReason::Forgotten)], "not after the next list");
    assert_eq!(taken[0].task, held.head.id);
}

/// One heartbeat that was heard by a clock ten years ahead does not keep a worker's tasks for ten years, nor stands in the way
/// of its later ones.
pub async fn a_heartbeat_from_the_future_spoils_no_name(b: Bench) {
    let heard = |now| Watch { heard_since: at(0), ..Watch::at(at(now)) };
    let first = b.running(at(1), "w1", b.spec("render")).await;
    b.beat(beat("w1", off(at(2), TEN_YEARS)).running(&[&first])).await;
    assert_eq!(reap_by(&b, heard(10)).await, []);
    b.beat(beat("w1", at(20)).running(&[&first])).await;
    assert_eq!(b.worker("w1").await.worker.last_beat_at, Some(at(20)));
    assert_eq!(reap_by(&b, heard(80)).await, []);
    assert_eq!(reasons(&reap_by(&b, heard(81)).await), [("w1", LossReason::HeartbeatMissed)]);

    let second = b.running(at(90), "w2", b.spec("render").queue("second")).await;
    b.beat(beat("w2", off(at(91), TEN_YEARS)).running(&[&second])).await;
    let later = |now| Watch { heard_since: at(90), ..Watch::at(at(now)) };
    assert_eq!(reap_by(&b, later(95)).await, []);
    assert_eq!(reasons(&reap_by(&b, later(156)).await), [("w2", LossReason::HeartbeatMissed)]);
}

/// A history does not run backwards: each event is dated no earlier than the one before it.
pub async fn a_history_never_runs_backwards(b: Bench) {
    let created = b.create(at(900), b.spec("render").due(at(10))).await;
    let held = b.claim_one(claim("w1", at(20))).await;
    assert_eq!(lease(&held).claimed_at, at(20), "the lease is by the clock as it is");
    b.fail(failing(at(30), &held)).await;
    assert_eq!(b.task(created).await.task.head.run_after, at(40), "and so is what it waits for");
    let held = b.claim_one(claim("w1", at(50))).await;
    let generation = b.complete(at(60), &held).await;
    let detail = b.task(created).await;
    let kinds: Vec<_> = detail.history.iter().map(|event| event.kind).collect();
    let expected = [
        EventKind::Created,
        EventKind::Claimed,
        EventKind::AttemptFailed,
        EventKind::Claimed,
        EventKind::Completed,
    ];
    assert_eq!(kinds, expected);
    assert!(detail.history.iter().all(|event| event.at == at(900)), "{:?}", detail.history);
    assert_eq!((detail.task.updated_at, detail.task.finished_at), (at(900), Some(at(900))));
    let spans = (generation.created_at, generation.started_at, generation.finished_at);
    assert_eq!(spans, (at(900), at(900), at(900)));

    let given_up = b.create(at(900), b.spec("render")).await;
    b.cancel(at(100), given_up).await;
    b.retry(at(50), given_up).await;
    let again = b.claim_one(claim("w1", at(50))).await;
    b.release(releasing(at(800), &again)).await;
    b.cancel(at(950), given_up).await;
    let times: Vec<_> = b.task(given_up).await.history.iter().map(|event| event.at).collect();
    assert_eq!(times, [at(900), at(900), at(900), at(900), at(900), at(950)]);
    b.check(at(1_000)).await;
}

/// After the clock was set back, what waits for a time that it had told waits no longer for that time: new tasks are due at
/// once, tried ones after what is left of their wait; what was made to wait waits for the time that was named.
pub async fn what_waits_for_a_time_ahead_is_dated_anew(b: Bench) {
    let mut wall = Wall::new();
    wall.set(TEN_YEARS);
    let new = b.create(wall.now, b.spec("render").priority(Priority::Low)).await;
    let named = b.create(wall.now, b.spec("render").due(off(wall.now, 300))).await;
    let tried = b.running(wall.now, "w1", b.spec("render").queue("tried")).await;
    b.fail(Fail { retry_after: Some(secs(100)), ..failing(wall.now, &tried) }).await;
    let (tried, steady) = (tried.head.id, b.create(at(0), b.spec("render").due(at(9_999))).await);
    wall.pass(30);
    wall.set(-TEN_YEARS);
    assert_eq!(wall.now, at(30));
    wall.pass(1);
    let history = b.task(tried).await.history;

    let redate = |limit| Redate { watch: wall.watch(), limit };
    b.settle().await;
    let first = b.store().redate(redate(1)).await.unwrap();
    assert_eq!((first.tasks, first.workers, first.more), (1, 1, true));
    b.settle().await;
    let second = b.store().redate(redate(10)).await.unwrap();
    assert_eq!((second.tasks, second.workers, second.more), (1, 0, false));
    b.settle().await;
    assert_eq!(b.store().redate(redate(10)).await.unwrap(), Redated::default(), "once is enough");

    let due = async |id| b.task(id).await.task.head.run_after;
    assert_eq!((due(new).await, due(tried).await), (at(31), at(100)));
    assert_eq!((due(named).await, due(steady).await), (off(at(300), TEN_YEARS), at(9_999)));
    assert_eq!(b.task(tried).await.history, history, "nothing has happened to it");
    assert_eq!(b.claim_one(claim("w2", at(31))).await.head.id, new);
    assert_eq!(b.nothing(claim("w2", at(31))).await, Nothing::Scheduled { next_at: at(9_999) });
    let waits = claim("w2", at(99)).queues(&["tried"]);
    assert_eq!(b.nothing(waits).await, Nothing::Scheduled { next_at: at(100) });
    assert_eq!(b.claim_one(claim("w2", at(100)).queues(&["tried"])).await.head.id, tried);
    b.check(at(101)).await;
}

/// A task that became due again by redating rings.
pub async fn a_task_that_is_dated_anew_rings(mut b: Bench) {
    let far = off(at(0), TEN_YEARS);
    b.create(far, b.spec("render")).await;
    b.hush();
    b.settle().await;
    let watch = Watch { steps: vec![Step { before: far, after: at(0) }], ..Watch::at(at(5)) };
    b.store().redate(Redate { watch, limit: 10 }).await.unwrap();
    b.hear("for the task", |ready| ready.run_after == at(5)).await;
}

/// A worker whose times lie ahead is dated anew, so that it is shown as what it is.
pub async fn a_worker_whose_times_lie_ahead_is_dated_anew(b: Bench) {
    let far = off(at(0), TEN_YEARS);
    b.beat(beat("w1", far)).await;
    b.beat(beat("w2", at(0))).await;
    let watch = Watch { steps: vec![Step { before: off(far, 10), after: at(10) }], ..Watch::at(at(100)) };
    b.settle().await;
    let redated = b.store().redate(Redate { watch, limit: 10 }).await.unwrap();
    assert_eq!((redated.tasks, redated.workers), (0, 1));
    let worker = b.worker("w1").await.worker;
    assert_eq!((worker.started_at, worker.last_beat_at, worker.beats), (at(0), Some(at(0)), 1));
    assert_eq!(b.worker("w2").await.worker.last_beat_at, Some(at(0)));
}

/// The note of a round of the reaper is kept as it was written, the latest one.
pub async fn the_note_of_a_round_is_kept(mut b: Bench) {
    assert_eq!(b.store().last_round().await.unwrap(), None);
    let (first, _) = RoundNote::after(None, at(0));
    let (second, _) = RoundNote::after(Some(&first), off(at(60), TEN_YEARS));
    for note in [first, second] {
        b.store().note_round(note.clone()).await.unwrap();
        assert_eq!(b.store().last_round().await.unwrap(), Some(note.clone()));
        b.reopen().await;
        assert_eq!(b.store().last_round().await.unwrap(), Some(note));
    }
}
