//! What requests have cost.

use std::collections::BTreeMap;
use std::sync::Mutex;

use baton_store_dynamodb::{Meter, Request};

/// What a command has cost.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Cost {
    pub(crate) requests: usize,
    pub(crate) read: f64,
    pub(crate) write: f64,
    /// How often each operation was asked for.
    pub(crate) operations: BTreeMap<&'static str, usize>,
}

impl Cost {
    /// How often an operation was asked for.
    pub(crate) fn times(&self, operation: &str) -> usize {
        self.operations.get(operation).copied().unwrap_or_default()
    }
}

/// Hears what the requests of stores cost.
#[derive(Default)]
pub(crate) struct Heard(Mutex<Cost>);

impl Meter for Heard {
    fn record(&self, request: Request) {
        let mut cost = self.0.lock().unwrap();
        cost.requests += 1;
        *cost.operations.entry(request.operation).or_default() += 1;
        let units = if request.writes { &mut cost.write } else { &mut cost.read };
        *units += request.units();
    }
}

impl Heard {
    /// What it heard since it was last asked.
    pub(crate) fn take(&self) -> Cost {
        std::mem::take(&mut self.0.lock().unwrap())
    }
}
