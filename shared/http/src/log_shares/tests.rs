use proptest::prelude::*;

use super::*;

const SHARES: limits::LogShares =
    limits::LogShares { beat: Some(2_000), worker_minute: Some(6_000), project_minute: Some(10_000) };

fn at(millis: i64) -> Timestamp {
    Timestamp::from_millis(1_770_000_000_000 + millis)
}

fn worker(n: u8) -> WorkerId {
    format!("w{n}").parse().unwrap()
}

fn task(n: u8) -> TaskId {
    TaskId::from_bytes([n; 16])
}

/// A line that counts so many bytes.
fn line(n: u8, about: Option<TaskId>, bytes: usize) -> LogLine {
    LogLine {
        at: at(0),
        received_at: at(0),
        worker: worker(n),
        task: about,
        level: Level::Info,
        source: "s".to_owned(),
        message: "x".repeat(bytes - LogLine::AROUND_BYTES - 1),
        metadata: None,
    }
}

fn take(shares: &LogShares, n: u8, lines: Vec<LogLine>, millis: i64) -> Shipment {
    shares.take(&worker(n), &Owner::Unbound, lines, false, at(millis))
}

/// How many lines and bytes the log is told of, by whose they were.
fn told(lines: &[LogLine]) -> Vec<(Option<TaskId>, u64, u64)> {
    let numbers = |line: &LogLine| {
        let numbers: Vec<u64> =
            line.message.split(|c: char| !c.is_ascii_digit()).filter_map(|word| word.parse().ok()).collect();
        (line.task, numbers[0], numbers[1])
    };
    lines.iter().filter(|line| line.source == "baton").map(numbers).collect()
}

fn kept(shipment: &Shipment) -> usize {
    shipment.lines.iter().filter(|line| line.source != "baton").count()
}

#[test]
fn a_line_counts_its_texts_and_what_is_around_them() {
    let line = LogLine { metadata: Some(baton_model::Payload::parse("[1]").unwrap()), ..line(1, None, 150) };
    assert_eq!(line.bytes(), 153);
}

#[test]
fn one_heartbeat_brings_no_more_than_its_share_and_the_answer_counts_the_rest() {
    let shares = LogShares::new(SHARES);
    let shipment = take(&shares, 1, (0..5).map(|_| line(1, None, 500)).collect(), 0);
    assert_eq!((kept(&shipment), shipment.dropped), (4, Some(LogsDropped { lines: 1, bytes: 500 })));
    assert_eq!(told(&shipment.lines), [(None, 1, 500)]);
}

#[test]
fn a_workers_minute_is_full_and_fills_again_at_an_even_pace() {
    let shares = LogShares::new(limits::LogShares { beat: None, ..SHARES });
    let lines = |count: usize| (0..count).map(|_| line(1, None, 500)).collect::<Vec<_>>();
    assert_eq!(kept(&take(&shares, 1, lines(20), 0)), 12);
    assert_eq!(kept(&take(&shares, 2, lines(2), 0)), 2, "another worker has a share of its own");
    // 6,000 bytes a minute are 100 a second; what told of the drop counts, too.
    assert_eq!(kept(&take(&shares, 1, lines(20), 20_000)), 3);
    assert_eq!(
        kept(&take(&shares, 1, lines(20), 80_000)),
        12,
        "after a minute it is full again, and no fuller"
    );
}

#[test]
fn the_workers_of_a_project_share_its_minute_and_another_project_has_its_own() {
    let shares = LogShares::new(limits::LogShares { beat: None, ..SHARES });
    let of = |project: &str, n: u8| {
        let owner = Owner::Project(project.parse().unwrap());
        let lines = (0..20).map(|_| line(n, None, 500)).collect();
        kept(&shares.take(&worker(n), &owner, lines, false, at(0)))
    };
    assert_eq!((of("p", 1), of("p", 2), of("p", 3)), (12, 7, 0), "what told of the drop counts, too");
    // The same name under another project: a caller bound to that one cannot use up this worker's share.
    assert_eq!(of("q", 1), 12);
}

#[test]
fn what_is_over_is_told_in_the_log_of_its_task_once_a_minute_and_whole_at_the_end() {
    let shares = LogShares::new(limits::LogShares { worker_minute: None, project_minute: None, ..SHARES });
    let lines = || vec![line(1, Some(task(1)), 2_000), line(1, Some(task(2)), 300), line(1, None, 200)];
    let first = take(&shares, 1, lines(), 0);
    assert_eq!(told(&first.lines), [(None, 1, 200), (Some(task(2)), 1, 300)]);
    for second in 1..60 {
        let beat = take(&shares, 1, lines(), second * 1_000);
        assert!(told(&beat.lines).is_empty());
        assert_eq!(beat.dropped, Some(LogsDropped { lines: 2, bytes: 500 }), "each answer says so");
    }
    // A heartbeat without lines tells, too.
    let minute = take(&shares, 1, vec![], 60_000);
    assert_eq!(told(&minute.lines), [(None, 59, 59 * 200), (Some(task(2)), 59, 59 * 300)]);
    take(&shares, 1, lines(), 61_000);
    let last = shares.take(&worker(1), &Owner::Unbound, vec![], true, at(62_000));
    assert_eq!(told(&last.lines), [(None, 1, 200), (Some(task(2)), 1, 300)]);
}

#[test]
fn dropped_lines_of_many_tasks_are_told_in_few_lines() {
    let shares = LogShares::new(limits::LogShares { beat: Some(101), ..SHARES });
    let lines: Vec<_> = (0..200).map(|n| line(1, Some(task(n)), 102)).collect();
    let told = told(&take(&shares, 1, lines, 0).lines);
    assert_eq!(told.len(), TOLD_APART + 1);
    assert_eq!(told.iter().map(|(_, lines, _)| lines).sum::<u64>(), 200);
}

#[test]
fn a_heartbeat_that_the_store_refuses_has_used_up_nothing() {
    let shares = LogShares::new(SHARES);
    let lines = || (0..5).map(|_| line(1, Some(task(1)), 500)).collect::<Vec<_>>();
    for _ in 0..10 {
        let (_, _, counted) = take(&shares, 1, lines(), 0).parts();
        shares.refused(counted);
    }
    let taken = take(&shares, 1, lines(), 0);
    assert_eq!(kept(&taken), 4);
    assert_eq!(told(&taken.lines), [(Some(task(1)), 1, 500)], "counted once");
}

#[test]
fn what_other_processes_took_of_a_worker_counts_from_the_second_heartbeat_on() {
    let shares = LogShares::new(limits::LogShares { beat: None, ..SHARES });
    let beat = |count: usize, shipped: u64| {
        let shipment = take(&shares, 1, (0..count).map(|_| line(1, None, 500)).collect(), 0);
        let kept = kept(&shipment);
        shares.heard(&shipment.parts().2, Some(shipped));
        kept
    };
    // The first record that is seen says nothing of when it came.
    assert_eq!(beat(2, 1_000_000), 2);
    assert_eq!(beat(2, 1_001_000), 2, "its own lines count once");
    assert_eq!(beat(1, 1_004_500), 1, "3,000 bytes came elsewhere");
    assert_eq!(beat(1, 1_005_000), 1);
    assert_eq!(beat(1, 1_005_000), 0, "6,000 bytes are used up");
}

#[test]
fn a_clock_that_was_set_back_shuts_nobody_out_for_longer_than_a_minute() {
    let shares = LogShares::new(limits::LogShares { beat: None, ..SHARES });
    let lines = |millis| kept(&take(&shares, 1, (0..12).map(|_| line(1, None, 500)).collect(), millis));
    assert_eq!(lines(36_000_000), 12);
    lines(0);
    assert_eq!(lines(60_000), 12);
}

#[test]
fn workers_that_are_no_longer_heard_are_forgotten() {
    let shares = LogShares::new(SHARES);
    for n in 0..200 {
        take(&shares, n, vec![line(n, None, 200)], 0);
    }
    take(&shares, 1, vec![line(1, None, 200)], 120_000);
    let state = shares.state();
    assert_eq!(state.projects.values().map(|of| of.workers.len()).sum::<usize>(), 1);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    /// Whatever workers ship, and whatever the store refuses of it: over any time, no more is kept than the shares of that
    /// time and one minute's worth; and each line is kept, or told of once.
    #[test]
    fn no_more_is_kept_than_the_shares_and_each_line_is_kept_or_told_of(
        beats in prop::collection::vec(
            (0_u8..3, 0_u8..4, 0_usize..12, 102_usize..900, 0_i64..1_400, any::<bool>()),
            1..80,
        ),
    ) {
        let shares = LogShares::new(SHARES);
        let mut now = 0;
        let (mut came, mut heard, mut gone, mut bytes) = (0, 0, 0, [0_u64; 3]);
        for (who, about, count, length, later, refused) in beats {
            now += later;
            let about = (about > 0).then(|| task(about));
            let lines: Vec<_> = (0..count).map(|_| line(who, about, length)).collect();
            let shipment = take(&shares, who, lines, now);
            if refused {
                shares.refused(shipment.counted);
                continue;
            }
            came += count;
            heard += kept(&shipment);
            gone += told(&shipment.lines).iter().map(|(_, lines, _)| *lines).sum::<u64>();
            let of_beat: u64 =
                shipment.lines.iter().filter(|line| line.source != "baton").map(LogLine::bytes).sum();
            prop_assert!(of_beat <= SHARES.beat.unwrap());
            bytes[who as usize] += of_beat;
        }
        let most = |share: Option<u64>| share.unwrap() + share.unwrap() * u64::try_from(now).unwrap() / 60_000;
        prop_assert!(bytes.iter().all(|bytes| *bytes <= most(SHARES.worker_minute)));
        prop_assert!(bytes.iter().sum::<u64>() <= most(SHARES.project_minute));
        for who in 0..3 {
            let last = shares.take(&worker(who), &Owner::Unbound, vec![], true, at(now));
            gone += told(&last.lines).iter().map(|(_, lines, _)| *lines).sum::<u64>();
        }
        prop_assert_eq!(heard as u64 + gone, came as u64);
    }
}
