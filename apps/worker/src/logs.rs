//! Log lines on their way to the server: kept within bounds for each task and for all, so that a noisy task pushes out
//! no lines but its own.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use baton_api::heartbeat::LogFields;
use baton_api::text::keep_start;
use baton_model::{Level, TaskId, Timestamp, limits};

/// The most bytes of lines of one task that wait for heartbeats.
const TASK_BYTES: usize = 1024 * 1024;
/// The most bytes of lines of all tasks that wait for heartbeats: equal shares for eight tasks that are as noisy as they
/// may be, and 8 KiB for each of 1,000.
const ALL_BYTES: usize = 8 * 1024 * 1024;
/// The most bytes of lines in one heartbeat, of which the server keeps 1 MiB (its setting `limits.log_beat_bytes`): a beat
/// is to be quick, and what waits goes with the next.
const BEAT_BYTES: usize = 240 * 1024;
/// What a line takes besides its message and metadata: time, level, source and task, with their names.
const AROUND_BYTES: usize = 160;

/// Whose lines: a task's, or the worker's own.
type Owner = Option<TaskId>;

#[derive(Debug)]
pub(crate) struct LogBuffer {
    /// The most bytes that wait of one owner, and of all.
    bounds: (usize, usize),
    owners: BTreeMap<Owner, Waiting>,
    /// The owners by how much of them waits: the last has the most.
    sizes: BTreeSet<(usize, Owner)>,
    lines: usize,
    bytes: usize,
    /// The place of the next line that comes, and of the next that is put back: before all others.
    back: i64,
    front: i64,
    /// How many dropped lines the heartbeat that is under way tells of.
    telling: BTreeMap<Owner, u64>,
}

/// The lines of one owner, the oldest first.
#[derive(Debug, Default)]
struct Waiting {
    lines: VecDeque<Line>,
    bytes: usize,
    /// How many were dropped before these.
    dropped: u64,
}

#[derive(Debug)]
struct Line {
    /// Among all.
    place: i64,
    /// What it takes in a heartbeat.
    bytes: usize,
    fields: LogFields,
}

impl Default for LogBuffer {
    fn default() -> Self {
        Self::bounded(TASK_BYTES, ALL_BYTES)
    }
}

impl LogBuffer {
    fn bounded(task: usize, all: usize) -> Self {
        Self {
            bounds: (task, all),
            owners: BTreeMap::new(),
            sizes: BTreeSet::new(),
            lines: 0,
            bytes: 0,
            back: 0,
            front: 0,
            telling: BTreeMap::new(),
        }
    }

    pub(crate) fn push(&mut self, fields: LogFields) {
        let line = Line { place: self.back, bytes: cost(&fields), fields };
        self.back += 1;
        self.change(line.fields.task_id, |waiting| {
            waiting.bytes += line.bytes;
            waiting.lines.push_back(line);
        });
    }

    /// How many lines wait.
    pub(crate) fn len(&self) -> usize {
        self.lines
    }

    /// The lines for one heartbeat, in the order in which they came. Owners take turns by bytes, so that no owner has to
    /// wait until another's lines have gone. Where lines of an owner were dropped, a line of its own says how many.
    pub(crate) fn take(&mut self, now: Timestamp) -> Vec<LogFields> {
        // By what the owner has been given, then by the age of its next line: with more owners than a heartbeat has
        // room for, those who wait longest come first.
        let mut turns: BTreeSet<(usize, i64, Owner)> =
            self.owners.iter().map(|(&owner, waiting)| (0, waiting.place(), owner)).collect();
        let mut taken = Vec::new();
        let mut bytes = 0;
        self.telling.clear();
        while taken.len() < limits::LOG_LINES
            && let Some((given, place, owner)) = turns.pop_first()
        {
            let Some(waiting) = self.owners.get(&owner) else { continue };
            let next = match (waiting.dropped, waiting.lines.front()) {
                (0, None) => continue,
                (0, Some(line)) => line.fields.clone(),
                (dropped, _) => {
                    self.telling.insert(owner, dropped);
                    line(now, Level::Warn, "worker", owner, &of_dropped(dropped, owner))
                }
            };
            let cost = cost(&next);
            if bytes + cost > BEAT_BYTES {
                break;
            }
            bytes += cost;
            taken.push((place, next));
            self.change(owner, Waiting::advance);
            if let Some(waiting) = self.owners.get(&owner) {
                turns.insert((given + cost, waiting.place(), owner));
            }
        }
        // Stable: the word of dropped lines stays before the line that they came before.
        taken.sort_by_key(|(place, _)| *place);
        taken.into_iter().map(|(_, line)| line).collect()
    }

    /// Takes lines back whose heartbeat did not come through: those of the last [`Self::take`].
    pub(crate) fn put_back(&mut self, lines: Vec<LogFields>) {
        let telling = std::mem::take(&mut self.telling);
        for fields in lines.into_iter().rev() {
            let owner = fields.task_id;
            // The word of dropped lines becomes their number again: as a line it would be the next to be dropped.
            if let Some(&dropped) = telling.get(&owner)
                && fields.message == of_dropped(dropped, owner)
            {
                self.change(owner, |waiting| waiting.dropped += dropped);
                continue;
            }
            self.front -= 1;
            let line = Line { place: self.front, bytes: cost(&fields), fields };
            self.change(owner, |waiting| {
                waiting.bytes += line.bytes;
                waiting.lines.push_front(line);
            });
        }
    }

    /// Changes what waits of one owner, and keeps the bounds: its own by its oldest lines, that of all by the oldest
    /// lines of whoever has the most. Who has less than an equal share loses nothing.
    fn change(&mut self, owner: Owner, change: impl FnOnce(&mut Waiting)) {
        let (of_one, of_all) = self.bounds;
        self.settle(owner, |waiting| {
            change(waiting);
            while waiting.bytes > of_one {
                waiting.drop_oldest();
            }
        });
        while self.bytes > of_all
            && let Some(&(_, largest)) = self.sizes.last()
        {
            self.settle(largest, Waiting::drop_oldest);
        }
    }

    /// Changes one owner's part, and the sums with it.
    fn settle(&mut self, owner: Owner, change: impl FnOnce(&mut Waiting)) {
        let waiting = self.owners.entry(owner).or_default();
        let (lines, bytes) = (waiting.lines.len(), waiting.bytes);
        change(waiting);
        self.lines = self.lines - lines + waiting.lines.len();
        self.bytes = self.bytes - bytes + waiting.bytes;
        self.sizes.remove(&(bytes, owner));
        if waiting.lines.is_empty() && waiting.dropped == 0 {
            self.owners.remove(&owner);
        } else {
            self.sizes.insert((waiting.bytes, owner));
        }
    }
}

impl Waiting {
    /// The place of the next line; a mere word of dropped ones waits no longer.
    fn place(&self) -> i64 {
        self.lines.front().map_or(i64::MIN, |line| line.place)
    }

    /// The next line, or the word of dropped ones, has been told.
    fn advance(&mut self) {
        if self.dropped > 0 {
            self.dropped = 0;
        } else if let Some(line) = self.lines.pop_front() {
            self.bytes -= line.bytes;
        }
    }

    fn drop_oldest(&mut self) {
        if let Some(line) = self.lines.pop_front() {
            self.bytes -= line.bytes;
            self.dropped += 1;
        }
    }
}

fn of_dropped(count: u64, owner: Owner) -> String {
    let whose = if owner.is_some() { "this task" } else { "this worker" };
    format!("{count} older log lines of {whose} were dropped: they came faster than they could be sent")
}

/// How many bytes a line takes in a heartbeat.
fn cost(line: &LogFields) -> usize {
    let message: usize = line.message.bytes().map(escaped).sum();
    message + line.metadata.as_ref().map_or(0, |metadata| metadata.size()) + AROUND_BYTES
}

/// How many bytes a byte of text takes in JSON at most: control characters become `\u001b`.
fn escaped(byte: u8) -> usize {
    match byte {
        0..0x20 => 6,
        b'"' | b'\\' => 2,
        _ => 1,
    }
}

/// One line, made to fit what the server takes.
pub(crate) fn line(
    at: Timestamp,
    level: Level,
    source: &str,
    task: Option<TaskId>,
    message: &str,
) -> LogFields {
    LogFields {
        at: Some(at),
        level: Some(level),
        source: Some(source.to_owned()),
        task_id: task,
        message: keep_start(printable(message), limits::LOG_BYTES),
        metadata: None,
    }
}

/// The text without NUL, which the server does not take in texts.
pub(crate) fn printable(text: &str) -> String {
    text.replace('\0', "\u{2400}")
}

/// A text in parts of at most `most` bytes, cut between letters.
pub(crate) fn within(mut text: &str, most: usize) -> impl Iterator<Item = &str> {
    std::iter::from_fn(move || {
        let (part, rest) = text.split_at(text.floor_char_boundary(most));
        text = rest;
        (!part.is_empty()).then_some(part)
    })
}

#[cfg(test)]
mod tests {
    use baton_runtime::{Ids as _, RandomIds};
    use proptest::prelude::*;

    use super::*;

    fn of(task: Owner, message: &str) -> LogFields {
        line(Timestamp::default(), Level::Info, "stderr", task, message)
    }

    fn task() -> Owner {
        Some(TaskId::from_uuid(RandomIds.uuid()))
    }

    /// Takes until nothing waits.
    fn all(buffer: &mut LogBuffer) -> Vec<LogFields> {
        let mut lines = Vec::new();
        loop {
            let taken = buffer.take(Timestamp::default());
            if taken.is_empty() {
                assert_eq!((buffer.len(), buffer.bytes, buffer.owners.len()), (0, 0, 0));
                return lines;
            }
            assert!(taken.len() <= limits::LOG_LINES && taken.iter().map(cost).sum::<usize>() <= BEAT_BYTES);
            lines.extend(taken);
        }
    }

    fn dropped(line: &LogFields) -> Option<usize> {
        let (count, rest) = line.message.split_once(' ')?;
        rest.starts_with("older log lines").then(|| count.parse().unwrap())
    }

    #[test]
    fn a_noisy_task_pushes_out_its_own_lines_alone_and_its_own_log_tells_how_many() {
        let (noisy, quiet) = (task(), task());
        let mut buffer = LogBuffer::default();
        buffer.push(of(quiet, "first"));
        for n in 0..8_000 {
            buffer.push(of(noisy, &format!("{n} {}", "x".repeat(200))));
        }
        buffer.push(of(quiet, "last"));
        // The quiet one's lines go with the first heartbeat, however many wait before them.
        let first = buffer.take(Timestamp::default());
        let of_quiet = |lines: &[LogFields]| -> Vec<String> {
            lines.iter().filter(|line| line.task_id == quiet).map(|line| line.message.clone()).collect()
        };
        assert_eq!(of_quiet(&first), ["first", "last"]);
        let rest = all(&mut buffer);
        assert!(of_quiet(&rest).is_empty());
        let noisy: Vec<_> = first.iter().chain(&rest).filter(|line| line.task_id == noisy).collect();
        let gone = dropped(noisy[0]).unwrap_or_else(|| panic!("{:?}", noisy[0].message));
        assert!(noisy[0].message.contains("of this task"), "{}", noisy[0].message);
        assert!(noisy[1].message.starts_with(&format!("{gone} ")), "{}", noisy[1].message);
        assert_eq!(noisy.len() - 1 + gone, 8_000);
    }

    #[test]
    fn with_more_tasks_than_a_heartbeat_has_room_for_none_waits_for_ever() {
        let tasks: Vec<Owner> = (0..limits::LOG_LINES + 200).map(|_| task()).collect();
        let mut buffer = LogBuffer::default();
        for round in 0..3 {
            for task in &tasks {
                buffer.push(of(*task, &round.to_string()));
            }
        }
        let mut heard = BTreeSet::new();
        for _ in 0..2 {
            heard.extend(buffer.take(Timestamp::default()).iter().map(|line| line.task_id));
        }
        assert_eq!(heard.len(), tasks.len());
    }

    #[test]
    fn lines_that_were_put_back_come_first_again() {
        let mut buffer = LogBuffer::default();
        (0..3).for_each(|n| buffer.push(of(None, &n.to_string())));
        let taken = buffer.take(Timestamp::default());
        buffer.push(of(None, "3"));
        buffer.put_back(taken);
        let messages: Vec<_> =
            buffer.take(Timestamp::default()).into_iter().map(|line| line.message).collect();
        assert_eq!(messages, ["0", "1", "2", "3"]);
    }

    #[test]
    fn a_line_is_made_to_fit() {
        let long =
            line(Timestamp::default(), Level::Info, "stderr", None, &format!("a\0{}", "x".repeat(10_000)));
        assert!(long.message.starts_with("a\u{2400}x") && long.message.len() <= limits::LOG_BYTES + 3);
    }

    #[test]
    fn a_text_is_parted_between_letters() {
        assert_eq!(within("aéé", 3).collect::<Vec<_>>(), ["aé", "é"]);
        assert_eq!(within("", 3).count(), 0);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        /// Whatever comes and goes: each line is told once, in its task's order, or counted as dropped in its task's log;
        /// and a task that never had more than an equal share waiting loses nothing.
        #[test]
        fn each_line_is_told_or_counted_and_who_takes_no_more_than_an_equal_share_loses_none(
            steps in prop::collection::vec((0_usize..6, 1_usize..20, 0_usize..200, 0_u8..10), 1..60),
        ) {
            let (of_one, of_all) = (4_000, 12_000);
            let tasks: Vec<Owner> = std::iter::once(None).chain((1..6).map(|_| task())).collect();
            let mut buffer = LogBuffer::bounded(of_one, of_all);
            let mut pushed = vec![0_usize; tasks.len()];
            let mut most = vec![0_usize; tasks.len()];
            let mut told = Vec::new();
            for (whose, count, length, then) in steps {
                for _ in 0..count {
                    buffer.push(of(tasks[whose], &format!("{} {}", pushed[whose], "x".repeat(length))));
                    pushed[whose] += 1;
                }
                prop_assert!(buffer.bytes <= of_all);
                for (task, most) in tasks.iter().zip(&mut most) {
                    *most = buffer.owners.get(task).map_or(0, |waiting| waiting.bytes).max(*most);
                }
                match then {
                    0..4 => told.extend(buffer.take(Timestamp::default())),
                    4 => {
                        let taken = buffer.take(Timestamp::default());
                        buffer.put_back(taken);
                    }
                    _ => {}
                }
            }
            told.extend(all(&mut buffer));
            for (whose, task) in tasks.iter().enumerate() {
                let (mut heard, mut gone, mut last) = (0, 0, None);
                for line in told.iter().filter(|line| line.task_id == *task) {
                    if let Some(count) = dropped(line) {
                        gone += count;
                        continue;
                    }
                    let number: usize = line.message.split(' ').next().unwrap().parse().unwrap();
                    prop_assert!(last < Some(number), "{last:?} {number}");
                    last = Some(number);
                    heard += 1;
                }
                // Less than an equal share by a line, as lines are dropped whole.
                if most[whose] + 400 < of_one.min(of_all / tasks.len()) {
                    prop_assert_eq!(gone, 0);
                }
                prop_assert_eq!(heard + gone, pushed[whose]);
            }
        }
    }
}
