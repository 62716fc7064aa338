//! How long ready tasks wait, over all queues: what an operator is woken by.

use std::time::Duration;

use baton_model::{QueueName, Timestamp};

/// The longest wait of all tasks that are ready.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Waiting {
    /// How long the task has been ready that is first due, and its queue; none if no task is ready.
    pub longest: Option<(QueueName, Duration)>,
    /// How many places were left for another time, as there are more than [`Waiting::LOOKS`].
    pub unseen: usize,
}

impl Waiting {
    /// In how many places one answer looks at most. A place holds the tasks of one queue and priority, or one shard of
    /// these.
    pub const LOOKS: usize = 1_000;

    /// How long one turn lasts, where places are looked at in turns.
    const TURN_MS: i64 = 60_000;

    /// Those of the places that are looked at now, and how many are not. Where there are too many for one answer, each
    /// minute's answers look at the next ones.
    pub fn in_turn<T>(mut places: Vec<T>, now: Timestamp) -> (Vec<T>, usize) {
        let unseen = places.len().saturating_sub(Self::LOOKS);
        if unseen > 0 {
            let turns = places.len().div_ceil(Self::LOOKS);
            let turn = usize::try_from(now.as_millis() / Self::TURN_MS).unwrap_or(0) % turns;
            let all = places.len();
            places.rotate_left(turn * Self::LOOKS % all);
            places.truncate(Self::LOOKS);
        }
        (places, unseen)
    }

    /// Takes in what one place has: when its first task was ready.
    #[must_use]
    pub fn and(mut self, queue: &QueueName, ready_since: Option<Timestamp>, now: Timestamp) -> Self {
        if let Some(age) = ready_since.map(|since| now.since(since))
            && self.longest.as_ref().is_none_or(|(_, longest)| age > *longest)
        {
            self.longest = Some((queue.clone(), age));
        }
        self
    }
}
