//! Fresh ids, as something that is handed in.

use baton_model::{GenerationId, TaskId};
use uuid::Uuid;

/// Makes ids that nobody has used before.
pub trait Ids: Send + Sync {
    /// A fresh UUID. Later ones sort after earlier ones of the same process.
    fn uuid(&self) -> Uuid;

    /// The id of a new task.
    fn task(&self) -> TaskId {
        TaskId::from_uuid(self.uuid())
    }

    /// The id of a new generation.
    fn generation(&self) -> GenerationId {
        GenerationId::from_uuid(self.uuid())
    }
}

/// UUIDv7 (RFC 9562 §5.7): the time, a counter within the millisecond, and random bits. The counter keeps the tasks of
/// one process in the order of their creation, also within a millisecond.
#[derive(Clone, Copy, Debug, Default)]
pub struct RandomIds;

impl Ids for RandomIds {
    #[expect(clippy::disallowed_methods, reason = "this is the one place that draws ids")]
    fn uuid(&self) -> Uuid {
        Uuid::now_v7()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_sort_in_the_order_of_their_making() {
        let ids: Vec<_> = (0..10_000).map(|_| RandomIds.task()).collect();
        assert!(ids.is_sorted());
        let distinct: std::collections::BTreeSet<_> = ids.iter().collect();
        assert_eq!(distinct.len(), ids.len());
    }
}
