//! The word that it is time to stop, heard by all who hold a copy.

use std::sync::Arc;

use tokio::sync::watch;

/// Tells the parts of a process that it is about to stop. Copies speak of the same stop.
#[derive(Clone, Debug)]
pub struct Shutdown(Arc<watch::Sender<bool>>);

impl Shutdown {
    /// A process that is to run on.
    pub fn new() -> Self {
        Self(Arc::new(watch::Sender::new(false)))
    }

    /// Says that it is time to stop. Saying it again changes nothing.
    pub fn begin(&self) {
        self.0.send_replace(true);
    }

    /// Whether it has been said.
    pub fn begun(&self) -> bool {
        *self.0.borrow()
    }

    /// Waits until it is said.
    pub async fn wait(&self) {
        // The sender lives as long as `self`, so waiting cannot fail.
        let _ = self.0.subscribe().wait_for(|begun| *begun).await;
    }
}

impl Default for Shutdown {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn whoever_waits_hears_it_before_and_after() {
        let shutdown = Shutdown::new();
        let early = tokio::spawn({
            let shutdown = shutdown.clone();
            async move { shutdown.wait().await }
        });
        assert!(!shutdown.begun());
        shutdown.begin();
        early.await.unwrap();
        shutdown.wait().await;
        assert!(shutdown.begun());
    }
}
