//! Keys: where each item lies in the table, and where the next actor finds it in the index.
//!
//! Tasks and generations lie by the day that their UUIDv7 names, and within it by id, so that the table itself is the
//! list of them, the newest last: lists cost no index and no directory. A day is spread over several partitions, as
//! one takes no more than 1,000 write units a second. An id of another kind lies by its first digit.

use std::fmt::Display;

use baton_model::{
    AuditId, Head, Priority, QueueName, RequestKey, State, TaskId, Timestamp, TokenId, WorkerId,
};

use crate::attr::{Item, key};
use crate::codes::Code;
use crate::lane::Lane;

/// Milliseconds in a day.
pub(crate) const DAY_MS: i64 = 86_400_000;

/// Over how many partitions workers and queues are spread, each by its name.
pub(crate) const NAME_PARTS: u64 = 8;

/// Over how many partitions a day's log lines are spread, by their workers.
pub(crate) const LOG_PARTS: u64 = 4;

/// Over how many partitions claim requests are spread, by their workers. One takes 1,000 a second.
pub(crate) const REQUEST_PARTS: u64 = 32;

/// Over how many partitions tokens are spread. Each request reads one; a partition answers about 3,000 reads a second.
pub(crate) const TOKEN_PARTS: u64 = 8;

/// The partition of the index where tokens that have an end lie, by it.
pub(crate) const TOKEN_ENDS: &str = "K";

/// Over how many partitions the audit log is spread. One takes about 500 entries a second, written and settled.
pub(crate) const AUDIT_PARTS: u64 = 4;

/// The partition of the tick, by which the age of the counts is told while nothing happens. It begins as those of tasks
/// do, so that whoever hears of tasks alone hears of it; no day is called so.
pub(crate) const TICK: &str = "T#tick";

/// Over how many items the counts of a queue are spread, as are its durations of an hour: transactions of several shards
/// of the stream must not wait for each other.
pub(crate) const COUNT_PARTS: u64 = 4;

/// Over how many partitions the queue of tasks is spread that were removed by hand and are not archived yet. One takes 1,000 a second,
/// and each look at the queue asks them all.
pub(crate) const HAND_PARTS: u64 = 2;

/// Over how many partitions of the index idempotency keys are spread.
pub(crate) const IDEMPOTENCY_PARTS: u64 = 4;

/// What lies by day and id.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Kind {
    Task,
    Generation,
    Log,
}

impl Kind {
    /// The letter of its partitions.
    pub(crate) const fn letter(self) -> char {
        match self {
            Self::Task => 'T',
            Self::Generation => 'G',
            Self::Log => 'L',
        }
    }

    /// The letter of the partitions of ids that are no UUIDv7.
    pub(crate) const fn odd_letter(self) -> char {
        match self {
            Self::Task => 'X',
            Self::Generation => 'Y',
            Self::Log => 'Z',
        }
    }
}

/// The day that stands for all ids that name none.
pub(crate) const ODD: i64 = -1;

/// How many partitions the ids that name no day lie in: one a first digit.
pub(crate) const ODD_PARTS: u64 = 16;

/// FNV-1a, finished by SplitMix64's mixer: the same in every version, as stored keys depend on it.
pub(crate) fn hash(bytes: &[u8]) -> u64 {
    let hash = bytes.iter().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3)
    });
    let mixed = (hash ^ (hash >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}

/// The day that a UUID names; [`ODD`] if it is no UUIDv7.
pub(crate) fn day_of(id: &[u8; 16]) -> i64 {
    if id[6] >> 4 != 7 {
        return ODD;
    }
    day_within(id)
}

/// The day that an id's first bits name, whatever kind of id it is.
pub(crate) fn day_within(id: &[u8; 16]) -> i64 {
    id[..6].iter().fold(0_i64, |all, byte| all << 8 | i64::from(*byte)) / DAY_MS
}

/// Whether a day is over, so that only chosen ids and late log lines are still added to it.
pub(crate) fn is_over(day: i64, now: Timestamp) -> bool {
    day != ODD && day < now.as_millis() / DAY_MS - 1
}

/// The attribute that says since when a day has been seen empty.
pub(crate) fn seen_empty(day: i64) -> String {
    format!("z{day}")
}

/// A partition of a day, or of the odd ids.
pub(crate) fn partition(kind: Kind, day: i64, part: u64) -> String {
    if day == ODD {
        format!("{}#{part:x}", kind.odd_letter())
    } else {
        format!("{}#{day}#{part:x}", kind.letter())
    }
}

/// The key of what has a UUID.
pub(crate) fn by_id(kind: Kind, id: &[u8; 16], text: &impl Display, spread: u64) -> Item {
    let day = day_of(id);
    let part = if day == ODD { u64::from(id[0] >> 4) } else { hash(id) % spread };
    key(&partition(kind, day, part), &text.to_string())
}

/// The partition of what belongs to a task or generation and is kept apart from it: payloads, spilled history.
pub(crate) fn apart(owner: &impl Display) -> String {
    format!("P#{owner}")
}

/// A worker's record.
pub(crate) fn worker(id: &WorkerId) -> Item {
    key(&worker_partition(hash(id.as_str().as_bytes()) % NAME_PARTS), id.as_str())
}

pub(crate) fn worker_partition(part: u64) -> String {
    format!("W#{part:x}")
}

/// A queue's record.
pub(crate) fn queue(name: &QueueName) -> Item {
    key(&queue_partition(hash(name.as_str().as_bytes()) % NAME_PARTS), name.as_str())
}

/// The note that somebody waits for tasks of a queue. It lies beside the queues' records, in partitions of its own.
pub(crate) fn waited(name: &QueueName) -> Item {
    key(&format!("Q#w{:x}", hash(name.as_str().as_bytes()) % NAME_PARTS), name.as_str())
}

pub(crate) fn queue_partition(part: u64) -> String {
    format!("Q#{part:x}")
}

/// A queue's counts, and its durations by hour.
pub(crate) fn statistics(queue: &QueueName) -> String {
    format!("S#{queue}")
}

/// Whose counts a partition holds; the other way round.
pub(crate) fn counted_queue(partition: &str) -> Option<QueueName> {
    partition.strip_prefix("S#").map(QueueName::from_stored)
}

/// The sort key of a part of a queue's counts in an epoch of the stream's.
pub(crate) fn counts(epoch: u32, part: u64) -> String {
    format!("C#{epoch:010}#{part:x}")
}

/// The sort keys of all parts of a queue's counts in an epoch: the first that may be and one behind the last.
pub(crate) fn counts_of(epoch: u32) -> (String, String) {
    (format!("C#{epoch:010}#"), format!("C#{epoch:010}#~"))
}

/// Which types of a queue are counted by name in an epoch of the stream's, or by the processes.
pub(crate) fn named_types(queue: &QueueName, epoch: u32) -> Item {
    key(&statistics(queue), &named_types_of(epoch))
}

/// The sort key of that.
pub(crate) fn named_types_of(epoch: u32) -> String {
    format!("T#{epoch:010}")
}

/// The sort key of a part of a queue's durations of an hour, as the stream counts them.
pub(crate) fn durations(hour: i64, part: u64) -> String {
    format!("H{hour:08}#{part:x}")
}

/// How many tasks were counted that a rebuild has touched for an epoch: a part of that number.
pub(crate) fn touched(epoch: u32, part: u64) -> Item {
    meta(&format!("touched#{epoch:010}#{part:x}"))
}

/// The sort keys of all parts of the number of touched tasks: the first that may be and one behind the last.
pub(crate) fn touched_of(epoch: u32) -> (String, String) {
    (format!("touched#{epoch:010}#"), format!("touched#{epoch:010}#~"))
}

/// The item that the reaper writes while the stream keeps the counts.
pub(crate) fn tick() -> Item {
    key(TICK, "tick")
}

/// Whether a partition is that of the tick.
pub(crate) fn is_tick(partition: &str) -> bool {
    partition == TICK
}

/// The names of records that were counted: of a level of spans, that which begins with this second, and a part of it.
pub(crate) fn counted_records(level: usize, second: i64, part: u64) -> Item {
    key(&format!("N#{level}#{second}#{part:x}"), "N")
}

/// The days on which something of a kind lies.
pub(crate) fn days(kind: Kind) -> Item {
    key("D", &kind.letter().to_string())
}

/// What the table is, and the store's notes about it.
pub(crate) fn meta(what: &str) -> Item {
    key("M", what)
}

/// Which kinds of documents there are, or were.
pub(crate) fn document_kinds() -> Item {
    meta("documents")
}

/// The partition of the documents of a kind.
pub(crate) fn documents(kind: &str) -> String {
    format!("DO#{kind}")
}

/// What tells by its staying how far DynamoDB is behind with removing: one an hour.
pub(crate) fn probe(at: Timestamp) -> Item {
    meta(&format!("probe#{}", sortable(at)))
}

/// The sort keys of all of these: the first that may be and one behind the last.
pub(crate) fn probes() -> (String, String) {
    ("probe#".to_owned(), "probe#~".to_owned())
}

/// An idempotency key.
pub(crate) fn idempotency(name: &str) -> Item {
    key(&format!("I#{name}"), "I")
}

/// The partition of the index where idempotency keys lie by their age.
pub(crate) fn idempotency_index(part: u64) -> String {
    format!("I#{part:x}")
}

pub(crate) fn request_partition(part: u64) -> String {
    format!("C#{part:x}")
}

/// A claim request's name.
pub(crate) fn request(worker: &WorkerId, name: &RequestKey) -> Item {
    let part = hash(worker.as_str().as_bytes()) % REQUEST_PARTS;
    key(&request_partition(part), &format!("{worker}#{name}"))
}

/// The partition of the index where the tasks of a queue's lane wait.
pub(crate) fn ready(queue: &QueueName, priority: Priority, shard: u64, lane: Lane) -> String {
    match lane {
        Lane::Common => format!("R#{queue}#{}#{shard}", priority.code()),
        lane => format!("R#{queue}#{}#{shard}#{}", priority.code(), lane.code()),
    }
}

/// The partition of the index where tasks of a queue lie that wait at limits: claims do not look there for what to take.
pub(crate) fn put_aside(queue: &QueueName, priority: Priority, shard: u64) -> String {
    format!("R#{queue}#w{}#{shard}", priority.code())
}

/// Whether a partition of the index is one of those.
pub(crate) fn is_put_aside(partition: &str) -> bool {
    partition.starts_with("R#") && partition.split('#').nth(2).is_some_and(|part| part.starts_with('w'))
}

/// The place of a task in its partition of the index: by the time that its state is sorted by, then by id.
pub(crate) fn place(at: Timestamp, id: TaskId) -> String {
    format!("{}#{id}", sortable(at))
}

/// What the place of a task that is given out alone ends with.
pub(crate) const ALONE: &str = "!";

/// What stands in the place of a task before the time until which it is to be started.
const EXPIRES: char = 'x';

/// The place of a task that waits. One that is given out alone, or is to be started by a time, has its place among the others,
/// and says so.
pub(crate) fn waiting_place(head: &Head) -> String {
    let mark = if head.runs_alone() { ALONE } else { "" };
    let mut place = place(head.run_after, head.id);
    if let Some(at) = head.expires_at {
        place.extend([EXPIRES.to_string(), sortable(at)]);
    }
    format!("{place}{mark}")
}

/// Until when a task that waits is to be started, as its place says.
pub(crate) fn expiry_in(place: &str) -> Option<Timestamp> {
    let (_, after) = place.split_once('#')?;
    let (_, at) = after.split_once(EXPIRES)?;
    at.trim_end_matches(ALONE).parse().ok().map(Timestamp::from_millis)
}

/// A partition of the index where blocked tasks lie, by when they came to be so.
pub(crate) fn blocked(part: u64) -> String {
    format!("B#{part:x}")
}

/// The partition of the table that lists who depends on a task.
pub(crate) fn dependants(dependency: TaskId) -> String {
    format!("E#{dependency}")
}

/// A partition of the list of tasks that are kept because others depend on them.
pub(crate) fn kept(part: u64) -> String {
    format!("U#{part:x}")
}

/// A partition of the queue of tasks that were removed by hand and are not archived yet. No part of the list before it is called so.
pub(crate) fn by_hand(part: u64) -> String {
    format!("U#h{part:x}")
}

/// A partition of the index where tasks lie that failed for good, or were cancelled, by when they did.
pub(crate) fn given_up(state: State, part: u64) -> String {
    format!("F{}#{part:x}", state.code())
}

/// The partition of the index where the tasks that a worker holds lie.
pub(crate) fn held(worker: &WorkerId) -> String {
    format!("W#{worker}")
}

/// A token's record.
pub(crate) fn token(id: TokenId) -> Item {
    key(&token_partition(hash(id.as_bytes()) % TOKEN_PARTS), &id.to_string())
}

pub(crate) fn token_partition(part: u64) -> String {
    format!("K#{part:x}")
}

/// An entry of the audit log.
pub(crate) fn audit(id: AuditId) -> Item {
    key(&audit_partition(hash(id.as_bytes()) % AUDIT_PARTS), &id.to_string())
}

pub(crate) fn audit_partition(part: u64) -> String {
    format!("A#{part:x}")
}

/// The text that the UUIDv7s made at a time or later sort behind, and those made before it do not.
pub(crate) fn first_id(at: Timestamp) -> String {
    let mut bytes = [0; 16];
    bytes[..6].copy_from_slice(&at.as_millis().to_be_bytes()[2..]);
    AuditId::from_bytes(bytes).to_string()
}

/// A time as a text that sorts by it.
pub(crate) fn sortable(at: Timestamp) -> String {
    format!("{:015}", at.as_millis())
}

/// The shard of a queue that a task waits in.
pub(crate) fn shard(id: TaskId, shards: u64) -> u64 {
    hash(id.as_bytes()) % shards.max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_lie_by_the_day_that_they_name() {
        let id: TaskId = "01980a6e-5b7c-7cc3-98c4-dc0c0c07398f".parse().unwrap();
        let day = day_of(id.as_bytes());
        assert_eq!(day, 0x0198_0a6e_5b7c / DAY_MS);
        let item = by_id(Kind::Task, id.as_bytes(), &id, 8);
        assert!(item["pk"].as_s().unwrap().starts_with(&format!("T#{day}#")));
        assert_eq!(item["sk"].as_s().unwrap(), &id.to_string());
    }

    #[test]
    fn an_id_without_time_lies_by_its_first_digit() {
        let id: TaskId = "ff980a6e-5b7c-4cc3-98c4-dc0c0c07398f".parse().unwrap();
        assert_eq!(by_id(Kind::Task, id.as_bytes(), &id, 8)["pk"].as_s().unwrap(), "X#f");
    }

    #[test]
    fn ids_sort_behind_the_time_of_their_making() {
        let at = Timestamp::from_millis(0x0198_0a6e_5b7c);
        let id = "01980a6e-5b7c-7cc3-98c4-dc0c0c07398f";
        assert!(first_id(at).as_str() < id);
        assert!(first_id(at.plus(std::time::Duration::from_millis(1))).as_str() > id);
    }

    #[test]
    fn stored_keys_depend_on_this_hash() {
        assert_eq!(hash(b""), 0xf52a_15e9_a9b5_e89b, "keys of existing tables would move");
    }
}
