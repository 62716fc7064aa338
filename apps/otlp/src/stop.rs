//! The end of an export: until when what is left may be sent.

use std::time::Duration;

use tokio::sync::watch;
use tokio::time::{Instant, sleep_until};

/// Says that the export ends. Dropping it says so too, and sets no time.
pub(crate) struct Stop(watch::Sender<Option<Instant>>);

/// Hears of that.
#[derive(Clone)]
pub(crate) struct Stopped(watch::Receiver<Option<Instant>>);

impl Stop {
    pub(crate) fn new() -> (Self, Stopped) {
        let (stop, stopped) = watch::channel(None);
        (Self(stop), Stopped(stopped))
    }

    /// Has it end: what is left may be sent for as long as `within`.
    pub(crate) fn within(&self, within: Duration) {
        self.0.send_replace(Some(Instant::now() + within));
    }
}

impl Stopped {
    pub(crate) fn is_stopped(&self) -> bool {
        self.0.borrow().is_some() || self.0.has_changed().is_err()
    }

    /// Waits until it ends.
    pub(crate) async fn wait(&self) {
        let _ = self.0.clone().wait_for(Option::is_some).await;
    }

    /// Waits until nothing may be sent any more.
    pub(crate) async fn too_late(&self) {
        let mut stopped = self.0.clone();
        let at = stopped.wait_for(Option::is_some).await.ok().and_then(|at| *at);
        match at {
            Some(at) => sleep_until(at).await,
            None => std::future::pending().await,
        }
    }
}
