//! The suite against the oracle: that every rule can be kept, and that the rules do not contradict one another.

use std::sync::Arc;

use async_trait::async_trait;
use baton_model::LeasePolicy;
use baton_store::conformance::{Oracle, World};
use baton_store::{Doorbell, TaskStore};

/// Keeps one oracle for as long as the world lasts, whoever opens it.
#[derive(Default)]
struct Memory(std::sync::OnceLock<Arc<Oracle>>);

#[async_trait]
impl World for Memory {
    async fn open(&self, policy: LeasePolicy, doorbell: Arc<dyn Doorbell>) -> Arc<dyn TaskStore> {
        let oracle = self.0.get_or_init(|| Arc::new(Oracle::new(policy, doorbell)));
        Arc::clone(oracle) as Arc<dyn TaskStore>
    }
}

baton_store::conformance_tests!(Memory::default());
