//! A ring: the message that says that tasks have become claimable. Functions put rings into the queue `ready`; claims that
//! wait take them out, in a function or in a worker.
//!
//! Rings are hints. A lost one costs a claim until its own next look, a repeated one costs one look.

use baton_model::{QueueName, TaskType, Timestamp};
use serde::{Deserialize, Serialize};

/// How often a ring may be received before who receives it drops it, unless it is of use there.
///
/// A queue gives each message to one receiver, whomever it concerns. Who cannot use a ring gives it back, or it would be lost
/// for those who can; ten receivers later nobody may be there who can, and to go on would be paid for without end.
pub const MOST_RECEIVED: u32 = 10;

/// Tasks of one queue that have become claimable.
#[derive(Clone, Debug, Serialize, Deserialize, PartialEq, Eq)]
pub struct Ring {
    /// The tasks' queue.
    pub queue: QueueName,
    /// Their type; none for tasks of any type.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub task_type: Option<TaskType>,
    /// How many there are: at most so many claims are to look.
    pub count: u32,
    /// From when on they may be claimed.
    pub run_after: Timestamp,
}

impl Ring {
    /// Whether a claim of these queues and types, of all types if there are none, may bring what the ring is about.
    pub fn concerns(&self, queues: &[QueueName], types: &[TaskType]) -> bool {
        let of_type = |rung: &TaskType| types.is_empty() || types.contains(rung);
        queues.contains(&self.queue) && self.task_type.as_ref().is_none_or(of_type)
    }

    /// The same ring cut into `most` at the most, so that several hear it at once; none if it counts nothing.
    pub fn parts(&self, most: u32) -> Vec<Self> {
        let parts = self.count.min(most);
        let count = |place: u32| self.count / parts + u32::from(place < self.count % parts);
        (0..parts).map(|place| Self { count: count(place), ..self.clone() }).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ring(queue: &str, task_type: Option<&str>, count: u32) -> Ring {
        let task_type = task_type.map(|name| name.parse().unwrap());
        Ring { queue: queue.parse().unwrap(), task_type, count, run_after: Timestamp::from_millis(0) }
    }

    #[test]
    fn a_ring_concerns_claims_of_its_queue_that_take_its_type() {
        let (queues, types) = (["gpu".parse().unwrap()], ["render".parse().unwrap()]);
        for (rung, concerned) in [
            (ring("gpu", Some("render"), 1), true),
            (ring("gpu", None, 1), true),
            (ring("gpu", Some("thumb"), 1), false),
            (ring("cpu", Some("render"), 1), false),
        ] {
            assert_eq!(rung.concerns(&queues, &types), concerned, "{rung:?}");
        }
        assert!(ring("gpu", Some("thumb"), 1).concerns(&queues, &[]));
    }

    #[test]
    fn parts_count_as_much_as_the_whole() {
        for count in [0, 1, 7, 10, 23, u32::MAX] {
            for most in [0, 1, 10] {
                let parts = ring("gpu", None, count).parts(most);
                assert!(parts.len() as u32 <= most && parts.iter().all(|part| part.count > 0));
                if most > 0 {
                    let sum: u64 = parts.iter().map(|part| u64::from(part.count)).sum();
                    assert_eq!(sum, u64::from(count), "{count} in {most}");
                }
            }
        }
    }
}
