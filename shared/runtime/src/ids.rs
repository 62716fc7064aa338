//! Fresh ids, as something that is handed in.

use std::io;

use baton_model::{AuditId, BatchId, BulkId, GenerationId, TaskId, TokenId, TokenSecret};
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

    /// The id of a new bulk command.
    fn bulk(&self) -> BulkId {
        BulkId::from_uuid(self.uuid())
    }

    /// The id of a new batch.
    fn batch(&self) -> BatchId {
        BatchId::from_uuid(self.uuid())
    }

    /// The id of a new entry of the audit log.
    fn audit(&self) -> AuditId {
        AuditId::from_uuid(self.uuid())
    }

    /// A new token's id and secret, which nobody can guess.
    ///
    /// # Errors
    /// If the system gives no random bytes.
    fn token(&self) -> io::Result<TokenSecret> {
        let mut secret = [0; TokenSecret::BYTES];
        getrandom::fill(&mut secret)?;
        Ok(TokenSecret::new(TokenId::from_uuid(self.uuid()), secret))
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
    fn no_two_tokens_share_their_secret() {
        let (a, b) = (RandomIds.token().unwrap(), RandomIds.token().unwrap());
        assert!(a.id() != b.id() && a.reveal()[39..] != b.reveal()[39..]);
    }

    #[test]
    fn ids_sort_in_the_order_of_their_making() {
        let ids: Vec<_> = (0..10_000).map(|_| RandomIds.task()).collect();
        assert!(ids.is_sorted());
        let distinct: std::collections::BTreeSet<_> = ids.iter().collect();
        assert_eq!(distinct.len(), ids.len());
    }
}
