//! The state that all handlers share.

use std::ops::Deref;
use std::sync::Arc;

use baton_files::Files;
use baton_model::{LeasePolicy, ReadingRule, Timestamp};
use baton_runtime::{Clock, Ids, LocalDoorbell, Settings, Shutdown, Timekeeper};
use baton_scaling::Policy;
use baton_store::Store;

use crate::courses::Courses;
use crate::fleet::Fleet;
use crate::held_back::HeldBack;
use crate::in_force::InForce;
use crate::live::Live;
use crate::log_shares::LogShares;
use crate::meters::Meters;
use crate::minutes::Minutes;
use crate::notices::Notices;
use crate::room::Room;
use crate::rounds::Rounds;
use crate::untaken::Untaken;

/// What handlers work with. Copies share the same parts.
#[derive(Clone)]
pub struct App(Arc<Parts>);

/// The parts of an [`App`].
pub struct Parts {
    /// The one truth.
    pub store: Arc<dyn Store>,
    /// The time.
    pub clock: Arc<dyn Clock>,
    /// The time as leases are judged by it.
    pub timekeeper: Timekeeper,
    /// Fresh ids.
    pub ids: Arc<dyn Ids>,
    /// Wakes waiting claims; the same that the store rings.
    pub doorbell: Arc<LocalDoorbell>,
    /// The settings in force: those that may change while it runs are asked of the app, each time.
    pub in_force: InForce,
    /// How much of the workers' log lines is kept.
    pub log_shares: LogShares,
    /// When leases are lost.
    pub leases: LeasePolicy,
    /// Where files lie; none if the server has no place for any.
    pub files: Option<Arc<dyn Files>>,
    /// The workers that are supervised beside the server; none if it supervises none.
    pub fleet: Option<Arc<dyn Fleet>>,
    /// How much memory answers may hold together, on whatever address they are asked for.
    pub room: Arc<Room>,
    /// Who listens to events.
    pub live: Live,
    /// Work that no worker takes, as the server has found it.
    pub untaken: Untaken,
    /// The rules of alerts and the webhooks of the settings, and who is to hear when there is something new.
    pub notices: Notices,
    /// What this process counts of its own work.
    pub meters: Meters,
    /// What waited and ran at each minute of the last day.
    pub minutes: Minutes,
    /// The rounds that its reaper has made.
    pub rounds: Rounds,
    /// How readings of workers went of late.
    pub courses: Courses,
    /// Whose requests were too many.
    pub held_back: HeldBack,
    /// The pools of queues that machines are scaled for.
    pub scaling: Vec<Policy>,
    /// What readings of workers are to be within.
    pub readings: Vec<ReadingRule>,
    /// Says when to stop; waiting claims then answer at once.
    pub shutdown: Shutdown,
}

impl App {
    /// An app of these parts.
    pub fn new(parts: Parts) -> Self {
        Self(Arc::new(parts))
    }

    /// An app as `settings` say, with what only the program can bring.
    pub fn configured(
        settings: &Settings,
        store: Arc<dyn Store>,
        doorbell: Arc<LocalDoorbell>,
        clock: Arc<dyn Clock>,
        ids: Arc<dyn Ids>,
    ) -> Self {
        Self::new(Parts::configured(settings, store, doorbell, clock, ids))
    }

    /// The present time.
    pub fn now(&self) -> Timestamp {
        self.clock.now()
    }
}

impl Parts {
    /// Parts as `settings` say, without a place for files, and without workers beside the server.
    pub fn configured(
        settings: &Settings,
        store: Arc<dyn Store>,
        doorbell: Arc<LocalDoorbell>,
        clock: Arc<dyn Clock>,
        ids: Arc<dyn Ids>,
    ) -> Self {
        let shutdown = Shutdown::new();
        Self {
            live: Live::new(Arc::clone(&store), shutdown.clone()),
            store,
            timekeeper: Timekeeper::new(Arc::clone(&clock), settings.leases),
            clock,
            ids,
            doorbell,
            in_force: InForce::new(settings),
            log_shares: LogShares::new(settings.limits.logs),
            leases: settings.leases,
            files: None,
            fleet: None,
            room: Room::new(usize::try_from(settings.server.answers_bytes).unwrap_or(usize::MAX)),
            untaken: Untaken::default(),
            notices: Notices::configured(settings),
            meters: Meters::default(),
            minutes: Minutes::default(),
            rounds: Rounds::default(),
            courses: Courses::default(),
            held_back: HeldBack::default(),
            scaling: settings.scaling.clone(),
            readings: settings.readings.clone(),
            shutdown,
        }
    }
}

impl Deref for App {
    type Target = Parts;

    fn deref(&self) -> &Parts {
        &self.0
    }
}
