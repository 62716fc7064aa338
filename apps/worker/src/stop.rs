//! The word to drain or to stop.

use std::sync::Arc;

use tokio::sync::watch;

/// How far a worker's end has come.
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
///
/// What is told here stands: a worker's end only ever goes on. What an operator asks by way of the server is kept apart, as that may be
/// called off until the worker has ended; what is further counts.
#[derive(Clone, Debug, Default)]
pub struct Stop(Arc<watch::Sender<Told>>);

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Told {
    /// By whoever runs the worker: a signal, a supervisor, the worker itself.
    here: Phase,
    /// By an operator, as the server has said last.
    asked: Phase,
}

impl Told {
    fn phase(self) -> Phase {
        self.here.max(self.asked)
    }
}

impl Stop {
    /// A worker that is to run on.
    pub fn new() -> Self {
        Self::default()
    }

    /// Asks it to claim nothing more and to end once what runs has finished.
    pub fn drain(&self) {
        self.change(|told| told.here = told.here.max(Phase::Drain));
    }

    /// Asks it to end the commands, to give their tasks back, and to end.
    pub fn stop(&self) {
        self.change(|told| told.here = Phase::Stop);
    }

    /// How far its end has come.
    pub fn phase(&self) -> Phase {
        self.0.borrow().phase()
    }

    /// Waits until its end has come as far as `phase`.
    pub async fn reached(&self, phase: Phase) {
        // The sender lives as long as `self`, so waiting cannot fail.
        let _ = self.0.subscribe().wait_for(|told| told.phase() >= phase).await;
    }

    /// Does as an operator asks, by the server's latest word: a drain or a stop is called off by `Run`.
    pub(crate) fn ask(&self, asked: Phase) {
        self.change(|told| told.asked = asked);
    }

    /// The same by a word that may be older than the latest: it calls nothing off.
    pub(crate) fn ask_further(&self, asked: Phase) {
        self.change(|told| told.asked = told.asked.max(asked));
    }

    /// Waits until it is to run on.
    pub(crate) async fn called_off(&self) {
        let _ = self.0.subscribe().wait_for(|told| told.phase() == Phase::Run).await;
    }

    fn change(&self, change: impl FnOnce(&mut Told)) {
        self.0.send_if_modified(|told| {
            let before = *told;
            change(told);
            *told != before
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

    #[tokio::test]
    async fn what_an_operator_asked_is_called_off_by_the_latest_word_alone() {
        let stop = Stop::new();
        stop.ask(Phase::Stop);
        stop.ask_further(Phase::Drain);
        assert_eq!(stop.phase(), Phase::Stop);
        stop.ask(Phase::Drain);
        assert_eq!(stop.phase(), Phase::Drain, "what is asked now counts");
        stop.ask_further(Phase::Run);
        assert_eq!(stop.phase(), Phase::Drain);
        stop.ask(Phase::Run);
        stop.called_off().await;
    }

    #[test]
    fn what_was_told_here_is_not_called_off() {
        let stop = Stop::new();
        stop.ask(Phase::Stop);
        stop.drain();
        stop.ask(Phase::Run);
        assert_eq!(stop.phase(), Phase::Drain);
    }
}
