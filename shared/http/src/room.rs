//! Room for answers: how much memory all of them may hold together, from before they are made until their callers have taken them.
//!
//! A list that there is no room for is refused once it is known how large it is: nothing was done for it. What changes something cannot be
//! taken back, and its caller is to hear of it. So where such an answer may be large, as a claim's, room for the largest that it may come to
//! is kept before anything is done, and the request is refused if there is none.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use baton_api::{FieldError, ProblemCode};
use baton_model::Limits;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::error::ApiError;

/// Smaller answers are not counted: most are, and a connection's own buffers hold as much.
pub(crate) const COUNTED: usize = 16 * 1024;

/// How long a request waits for room that others keep while they are being done: each gives back what it does not need after some
/// milliseconds. Who waits that long meets a store that hangs.
const PATIENCE: Duration = Duration::from_secs(5);

/// By how many bytes room is kept.
const UNIT: usize = 1024;

/// What a task is told with besides its params, the details of its latest failure and its inputs. The message of a failure may be of 16 KiB,
/// which are 96 KiB as text if each byte of it must be escaped.
const TASK: usize = 128 * 1024;

/// What one of many items is told with, as a created task or an attempt that has ended: mostly 200 bytes, and less than this with a problem.
pub const ITEM: usize = 1024;

/// What a wrong field is told with besides its words.
const FIELD: usize = 64;

/// The most that one task is told with.
const fn of_task(limits: &Limits) -> usize {
    limits.params_bytes.saturating_mul(2).saturating_add(TASK)
}

/// Of how many tasks of the largest kind room is kept for one that is told beside another, whatever they came to of late: of a hundred,
/// as much as six of the largest need.
const BESIDE: usize = 20;

/// The most that these items are told with, each of which was read, or has fields that are wrong.
pub fn of_items<T>(items: &[Result<T, Vec<FieldError>>]) -> usize {
    let wrong = |FieldError { field, expected, got }: &FieldError| {
        // Quotes among the words are escaped.
        FIELD + 2 * (field.len() + expected.len() + got.len())
    };
    let one = |item: &Result<T, Vec<FieldError>>| {
        ITEM + item.as_ref().err().map_or(0, |errors| errors.iter().map(wrong).sum::<usize>())
    };
    items.iter().map(one).sum()
}

/// The bytes of all answers that are not taken yet, and those that are kept for answers to come.
#[derive(Debug)]
pub struct Room {
    held: AtomicUsize,
    most: usize,
    /// What may still be kept, in units: a half of all, so that lists find room however much is being claimed.
    to_keep: Arc<Semaphore>,
    units: u32,
    /// The most that a task came to of those that were told of late.
    usual: AtomicUsize,
}

/// A part of those bytes, as long as it lives.
#[derive(Debug)]
pub(crate) struct Held {
    of: Arc<Room>,
    bytes: usize,
}

impl Drop for Held {
    fn drop(&mut self) {
        self.of.held.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

/// Room that is kept for an answer which is not made yet. In a response's extensions it says that the answer tells of a change.
#[derive(Debug)]
pub(crate) struct Kept {
    /// For how large an answer.
    pub(crate) bytes: usize,
    _held: Held,
    _turn: OwnedSemaphorePermit,
}

/// In a response's extensions: nothing was changed for it, whatever the method of its request, so that it may be refused for want of room.
#[derive(Clone, Copy, Debug)]
pub struct Unchanged;

impl Room {
    /// Room for answers of up to `most` bytes in all.
    pub fn new(most: usize) -> Arc<Self> {
        let units = u32::try_from(most / 2 / UNIT).unwrap_or(u32::MAX).max(1);
        let to_keep = Arc::new(Semaphore::new(units as usize));
        Arc::new(Self { held: AtomicUsize::new(0), most, to_keep, units, usual: AtomicUsize::new(0) })
    }

    /// For how much room is kept where up to so many tasks are told: for one of them as large as a task may be, and for the others as large
    /// as tasks were of late. If all were as large as they may be, one claim of a hundred would be done at a time.
    pub fn for_tasks(&self, number: usize, limits: &Limits) -> usize {
        let most = of_task(limits);
        let usual = self.usual.load(Ordering::Relaxed).clamp(most / BESIDE, most);
        if number == 0 { 0 } else { most.saturating_add(usual.saturating_mul(number - 1)) }
    }

    /// Notes what tasks come to that are told. Many smaller ones must come before a large one is forgotten.
    pub(crate) fn tells(&self, tasks: impl Iterator<Item = usize>) {
        let Some(most) = tasks.max() else { return };
        // A note that is lost to another one is made by the next task.
        let usual = self.usual.load(Ordering::Relaxed);
        self.usual.store(most.max(usual - usual / 64), Ordering::Relaxed);
    }

    /// Counts an answer in. One alone may be as large as it is, as it could never be given otherwise.
    pub(crate) fn hold(self: &Arc<Self>, bytes: usize, beyond: bool) -> Option<Held> {
        let before = self.held.fetch_add(bytes, Ordering::Relaxed);
        let held = Held { of: Arc::clone(self), bytes };
        (beyond || before == 0 || before.saturating_add(bytes) <= self.most).then_some(held)
    }

    /// Keeps room for an answer of up to so many bytes, of which a half of all counts at most: else it could never be made. Waits
    /// while others that are being done keep what it needs, and not while answers hold it that nobody takes.
    ///
    /// # Errors
    /// 503: nothing may be done.
    pub(crate) async fn keep(self: &Arc<Self>, bytes: usize) -> Result<Kept, ApiError> {
        let counted = bytes.min(self.most / 2);
        let units = u32::try_from(counted.div_ceil(UNIT)).unwrap_or(u32::MAX).min(self.units);
        let turn = match Arc::clone(&self.to_keep).try_acquire_many_owned(units) {
            Ok(turn) => turn,
            Err(_) => {
                let turn = Arc::clone(&self.to_keep).acquire_many_owned(units);
                match tokio::time::timeout(PATIENCE, turn).await {
                    Ok(Ok(turn)) => turn,
                    Ok(Err(_)) | Err(_) => return Err(no_room()),
                }
            }
        };
        let held = self.hold(counted, false).ok_or_else(no_room)?;
        Ok(Kept { bytes, _held: held, _turn: turn })
    }

    #[cfg(test)]
    pub(crate) fn held(&self) -> usize {
        self.held.load(Ordering::Relaxed)
    }
}

/// What to answer where there is no room for more.
pub(crate) fn no_room() -> ApiError {
    ApiError::new(
        ProblemCode::Busy,
        "large answers that are being made, or that wait for their callers to take them, hold all the memory that there is \
         for them, and nothing was done; try again in a second, or ask for less at once",
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: usize = 1 << 20;

    #[tokio::test]
    async fn a_half_of_the_room_is_kept_at_most_and_given_back() {
        let room = Room::new(4 * MIB);
        let first = room.keep(MIB).await.unwrap();
        let second = room.keep(MIB).await.unwrap();
        assert_eq!(room.held(), 2 * MIB);
        // A third one waits for these, and what waits is not counted.
        let waiting = {
            let room = Arc::clone(&room);
            tokio::spawn(async move { room.keep(100 * MIB).await.map(|kept| kept.bytes) })
        };
        tokio::task::yield_now().await;
        assert!(!waiting.is_finished() && room.held() == 2 * MIB);
        // Lists find the other half.
        drop(room.hold(2 * MIB, false).unwrap());
        drop((first, second));
        assert_eq!(waiting.await.unwrap().unwrap(), 100 * MIB, "one alone counts as a half of all");
        assert_eq!(room.held(), 0);
    }

    #[tokio::test]
    async fn what_answers_hold_that_nobody_takes_is_not_waited_for() {
        let room = Room::new(4 * MIB);
        let untaken = room.hold(3 * MIB + 1, false).unwrap();
        let began = std::time::Instant::now();
        let refused = room.keep(MIB).await.unwrap_err();
        assert_eq!((refused.code(), began.elapsed() < PATIENCE), (ProblemCode::Busy, true));
        assert_eq!(room.held(), 3 * MIB + 1, "nothing is left of it");
        drop(untaken);
        assert!(room.keep(MIB).await.is_ok());
    }

    #[tokio::test(start_paused = true)]
    async fn room_that_others_keep_is_waited_for_no_longer_than_patience_lasts() {
        let room = Room::new(4 * MIB);
        let all = room.keep(2 * MIB).await.unwrap();
        let began = tokio::time::Instant::now();
        assert_eq!(room.keep(1).await.unwrap_err().code(), ProblemCode::Busy);
        assert!(began.elapsed() >= PATIENCE);
        drop(all);
    }

    #[test]
    fn room_is_kept_for_tasks_as_large_as_they_were_of_late() {
        let (room, limits) = (Room::new(128 * MIB), Limits::default());
        const ONE: usize = 640 * 1024;
        assert_eq!([0, 1, 101].map(|number| room.for_tasks(number, &limits)), [0, ONE, 6 * ONE]);
        room.tells([1_000, ONE / 2].into_iter());
        assert_eq!(room.for_tasks(101, &limits), 51 * ONE);
        room.tells(std::iter::once(2 * ONE));
        assert_eq!(room.for_tasks(101, &limits), 101 * ONE, "no more than they may be");
        room.tells(std::iter::empty());
        assert_eq!(room.for_tasks(101, &limits), 101 * ONE);
        for _ in 0..250 {
            room.tells(std::iter::once(1_000));
        }
        assert_eq!(room.for_tasks(101, &limits), 6 * ONE);
    }

    #[test]
    fn what_is_kept_for_items_is_the_most_that_they_come_to() {
        let wrong = FieldError { field: "a".repeat(10), expected: "b".repeat(20), got: "c".repeat(30) };
        assert_eq!(of_items(&[Ok(()), Err(vec![wrong.clone(), wrong])]), 2 * 1024 + 2 * (64 + 120));
    }
}
