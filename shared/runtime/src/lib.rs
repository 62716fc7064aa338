//! What a running process brings along: the time and what it knows of it, fresh ids, settings, logs, the doorbell that wakes waiting claims,
//! and the word that it is time to stop.
//!
//! Clock, ids and doorbell are handed in wherever they are used, so that a test or a simulation can bring its own.

pub mod clock;
pub mod doorbell;
pub mod ids;
mod nearest;
mod process;
pub mod settings;
pub mod shutdown;
pub mod spans;
pub mod supplied;
pub mod telemetry;
pub mod timekeeper;

pub use clock::{Clock, ManualClock, Reading, SystemClock, WatchedClock};
pub use doorbell::{LocalDoorbell, Waiting};
pub use ids::{Ids, RandomIds};
pub use nearest::{nearest, nearest_within};
pub use process::{host_name, process_name};
pub use settings::{Settings, SettingsError, Sources};
pub use shutdown::Shutdown;
pub use spans::{Span, Spans};
pub use supplied::Supplied;
pub use timekeeper::Timekeeper;
