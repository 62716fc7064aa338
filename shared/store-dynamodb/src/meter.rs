//! What requests cost: for tests that hold the store to its figures, and for metrics.

use aws_sdk_dynamodb::types::ConsumedCapacity;

/// Hears of every request that was answered.
pub trait Meter: Send + Sync {
    /// Takes note of a request. Must not block.
    fn record(&self, request: Request);
}

/// A request and its cost, as DynamoDB told it.
#[derive(Clone, Debug, PartialEq)]
pub struct Request {
    /// The operation's name, such as `UpdateItem`.
    pub operation: &'static str,
    /// Whether its units are write units; else they are read units.
    pub writes: bool,
    /// How many items it named, or, of a query, looked at.
    pub items: usize,
    /// Units of the table. A transaction's are doubled.
    pub table: f64,
    /// Units of the index.
    pub index: f64,
    /// Whether its condition did not hold; DynamoDB tells no units then, and bills a write.
    pub refused: bool,
}

impl Request {
    pub(crate) fn new(
        operation: &'static str,
        writes: bool,
        items: usize,
        used: &[ConsumedCapacity],
    ) -> Self {
        let mut request = Self { operation, writes, items, table: 0.0, index: 0.0, refused: false };
        for used in used {
            let units = |capacity: &aws_sdk_dynamodb::types::Capacity| capacity.capacity_units.unwrap_or(0.0);
            let index: f64 =
                used.global_secondary_indexes.iter().flatten().map(|(_, index)| units(index)).sum();
            request.index += index;
            request.table += match &used.table {
                Some(table) => units(table),
                None => used.capacity_units.unwrap_or(0.0) - index,
            };
        }
        request
    }

    /// What is billed, in read or write units. Of a transaction, those of the table are at least two for each item, as the
    /// published rule says; an engine that tells less is not believed.
    pub fn units(&self) -> f64 {
        match self.operation {
            "TransactWriteItems" => self.table.max(2.0 * self.items as f64) + self.index,
            _ => self.table + self.index,
        }
    }

    pub(crate) fn refused(operation: &'static str) -> Self {
        Self { operation, writes: true, items: 1, table: 1.0, index: 0.0, refused: true }
    }
}
