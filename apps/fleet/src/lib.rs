//! Workers that are started, watched and started again: groups of them, as the settings say.
//!
//! A worker is a child process that runs `baton worker run`: leases, heartbeats and the end of its commands are its own. The
//! supervisor starts it, hears that it lives, and has another start take its place where that is due.
//!
//! - [`Fleet`] is the supervisor. What it decides is a pure function (`decide`) of what has happened and the time.
//! - [`Supervised`] is the worker's side: its name's lock, what it is told, its word that it lives.
//!
//! The two speak by pipes that only they hold (`words.rs`), so that no number of a process that was used again misleads either. When
//! a supervisor is killed, its workers notice by the end of that pipe; they drain and end, and each holds the lock of its name until
//! then, so that the next supervisor starts none twice.

mod crew;
mod decide;
mod launch;
mod names;
mod plan;
mod process;
mod report;
mod supervised;
mod supervisor;
mod tell;
mod words;

pub use decide::Order;
pub use launch::Common;
pub use plan::Plan;
pub use process::Lines;
pub use report::{Counts, GroupReport, Report, WorkerReport};
pub use supervised::{Heard, Supervised, Voice};
pub use supervisor::{Changes, Fleet, FleetError, FleetOptions};
pub use words::Beat;
