//! The word to drain or to stop.

use std::sync::Arc;

use tokio::sync::watch;

/// How far a worker's end has come. It only ever goes on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Phase {
    /// Claim and run.
    #[default]
    Run,
    /// Claim nothing more, finish what runs.
    Drain,
    /// End the commands, give their tasks back.
    Stop,
}

/// Tells a worker to drain or to stop. Copies speak to the same worker.
#[derive(Clone, Debug, Default)]
pub struct Stop(Arc<watch::Sender<Phase>>);

impl Stop {
    /// A worker that is to run on.
    pub fn new() -> Self {
        Self::default()
    }

    /// Asks it to claim nothing more and to end once what runs has finished.
    pub fn drain(&self) {
        self.reach(Phase::Drain);
    }

    /// Asks it to end the commands, to give their tasks back, and to end.
    pub fn stop(&self) {
        self.reach(Phase::Stop);
    }

    /// How far its end has come.
    pub fn phase(&self) -> Phase {
        *self.0.borrow()
    }

    /// Waits until its end has come as far as `phase`.
    pub async fn reached(&self, phase: Phase) {
        // The sender lives as long as `self`, so waiting cannot fail.
        let _ = self.0.subscribe().wait_for(|now| *now >= phase).await;
    }

    fn reach(&self, phase: Phase) {
        self.0.send_if_modified(|now| {
            let further = phase > *now;
            *now = phase.max(*now);
            further
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_worker_that_was_told_to_stop_does_not_go_back_to_draining() {
        let stop = Stop::new();
        assert_eq!(stop.phase(), Phase::Run);
        stop.drain();
        stop.reached(Phase::Drain).await;
        stop.stop();
        stop.drain();
        assert_eq!(stop.phase(), Phase::Stop);
        stop.reached(Phase::Drain).await;
    }
}
