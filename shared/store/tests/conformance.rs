//! The suite against the oracle: that every rule can be kept, and that the rules do not contradict one another.

use std::sync::Arc;

use async_trait::async_trait;
use baton_model::LeasePolicy;
use baton_store::conformance::{Oracle, World};
use baton_store::{Doorbell, Store};

/// Keeps one oracle for as long as the world lasts, whoever opens it.
#[derive(Default)]
struct Memory(std::sync::OnceLock<Arc<Oracle>>);

#[async_trait]
impl World for Memory {
    async fn open(&self, policy: LeasePolicy, doorbell: Arc<dyn Doorbell>) -> Arc<dyn Store> {
        let oracle = self.0.get_or_init(|| Arc::new(Oracle::new(policy, doorbell).with_room_for_tokens(30)));
        Arc::clone(oracle) as Arc<dyn Store>
    }
}

baton_store::conformance_tests!(Memory::default());
