//! The settings as they are in force: those that the server was started with, over what the store keeps of those that may change while
//! it runs.
//!
//! A server looks into the store every other second, and a function before an event if its last look is older than that. While the
//! store is out of reach, what was in force stays so.

use std::sync::Arc;
use std::time::Duration;

use baton_files::Bounds;
use baton_model::{Limits, StoredSettings};
use baton_runtime::settings::{PassedOver, Retention};
use baton_runtime::{Settings, Shutdown, telemetry};
use baton_store::{Keeping, StoreError};
use tokio::sync::watch;

use crate::app::App;

/// How old a look into the store may be: with the time that a look takes, less than the 5 s within which a change is to be in force.
pub const LOOK_EVERY: Duration = Duration::from_secs(2);

/// The settings in force.
#[derive(Debug)]
pub struct InForce {
    /// As the server was started, without what the store keeps.
    started: Settings,
    now: watch::Sender<Arc<Taken>>,
}

/// The settings at one moment.
#[derive(Clone, Debug)]
pub struct Taken {
    /// As they are in force.
    pub settings: Settings,
    /// What the store keeps.
    pub stored: StoredSettings,
    /// What of it is passed over.
    pub passed_over: Vec<PassedOver>,
}

impl InForce {
    /// The settings of a server that has not looked into its store.
    pub fn new(started: &Settings) -> Self {
        let taken =
            Taken { settings: started.clone(), stored: StoredSettings::default(), passed_over: Vec::new() };
        Self { started: started.clone(), now: watch::Sender::new(Arc::new(taken)) }
    }

    /// As they are now.
    pub fn taken(&self) -> Arc<Taken> {
        Arc::clone(&self.now.borrow())
    }

    /// Hears of each change.
    pub fn changes(&self) -> watch::Receiver<Arc<Taken>> {
        self.now.subscribe()
    }

    /// A part of them.
    fn part<T>(&self, of: impl FnOnce(&Settings) -> T) -> T {
        of(&self.now.borrow().settings)
    }
}

impl App {
    /// What is taken and what refused.
    pub fn limits(&self) -> Limits {
        self.in_force.part(|settings| settings.limits)
    }

    /// How many tasks a worker may hold that states no capacity.
    pub fn worker_cap(&self) -> u32 {
        self.in_force.part(|settings| settings.worker_cap)
    }

    /// How long what is over is kept.
    pub fn retention(&self) -> Retention {
        self.in_force.part(|settings| settings.retention)
    }

    /// How much may be put into files.
    pub fn file_bounds(&self) -> Bounds {
        self.in_force.part(|settings| Bounds {
            file_bytes: settings.files.file_bytes,
            project_bytes: settings.files.project_bytes,
        })
    }

    /// How often lost leases are looked for.
    pub fn reaper_interval(&self) -> Duration {
        self.in_force.part(|settings| settings.reaper_interval)
    }

    /// How long a request may take.
    pub fn request_timeout(&self) -> Duration {
        self.in_force.part(|settings| settings.server.request_timeout)
    }

    /// How many requests a second a token may make that has no limit of its own.
    pub fn requests_per_second(&self) -> Option<u32> {
        self.in_force.part(|settings| settings.tokens.requests_per_second)
    }

    /// How many may listen to events at once.
    pub fn max_listeners(&self) -> u32 {
        self.in_force.part(|settings| settings.server.max_listeners)
    }

    /// Looks into the store, and goes by what it keeps.
    ///
    /// # Errors
    /// The store's own failures; what was in force stays so.
    pub async fn look_at_settings(&self) -> Result<(), StoreError> {
        self.go_by(self.store.settings().await?);
        Ok(())
    }

    /// Goes by what the store keeps from now on. Of two looks that overtake each other, the later version stands.
    pub fn go_by(&self, stored: StoredSettings) {
        let is_known = |taken: &Taken| taken.stored == stored || taken.stored.version > stored.version;
        if is_known(&self.in_force.now.borrow()) {
            return;
        }
        let (settings, passed_over) = self.in_force.started.with_stored(&stored);
        let taken = Arc::new(Taken { settings, stored, passed_over });
        let mut before = None;
        let is_taken = self.in_force.now.send_if_modified(|now| {
            let is_later = taken.stored.version > now.stored.version;
            if is_later {
                before = Some(std::mem::replace(now, Arc::clone(&taken)));
            }
            is_later
        });
        if let Some(before) = before.filter(|_| is_taken) {
            self.follow(&before, &taken);
        }
    }

    /// Has those go by the settings that hold something of them, and tells the log what has changed.
    fn follow(&self, before: &Taken, now: &Taken) {
        let Retention { finished, logs, .. } = now.settings.retention;
        self.store.keep(Keeping { finished, logs });
        self.log_shares.go_by(now.settings.limits.logs);
        telemetry::go_by(&now.settings.log.level);
        let values = before.settings.running_values().zip(now.settings.running_values());
        for ((key, from, _), (_, to, layer)) in values.filter(|((_, from, _), (_, to, _))| from != to) {
            tracing::info!(key, from, to, layer = layer.as_str(), "a setting changed while the server runs");
        }
        let is_new = |(key, stored): &(&String, &_)| before.stored.values.get(*key) != Some(*stored);
        for (key, stored) in now.stored.values.iter().filter(is_new) {
            let is_known = !now.passed_over.iter().any(|one| one.key == *key);
            if let Some(why) = now.settings.not_in_force(key, stored).filter(|_| is_known) {
                tracing::info!(key, why, "a setting of the store is not in force");
            }
        }
        for one in now.passed_over.iter().filter(|one| !before.passed_over.contains(one)) {
            let PassedOver { key, value, why } = one;
            tracing::warn!(
                key,
                value,
                why,
                "a setting of the store is passed over; unset it with `baton config unset`"
            );
        }
    }
}

/// Looks into the store again and again, until `shutdown` begins.
pub async fn run_settings(app: App, shutdown: Shutdown) {
    let mut told = false;
    loop {
        tokio::select! {
            biased;
            () = shutdown.wait() => return,
            () = tokio::time::sleep(LOOK_EVERY) => {}
        }
        match app.look_at_settings().await {
            Ok(()) => told = false,
            // Once, until it could be read again: others tell that the store is out of reach.
            Err(error) if !told => {
                told = true;
                tracing::warn!(
                    error = error.report(),
                    "the settings of the store could not be read; those in force stay so"
                );
            }
            Err(_) => {}
        }
    }
}
