//! What is wrong with a Baton, judged from what its routes tell. Nothing is asked for here: the command line and the dashboard gather
//! the facts, each in its own way, and tell the same findings of the same facts.
//! What else they tell in the same words is here, too: spans, attempts, and the text of others made harmless.

mod arrival;
mod attempts;
mod failures;
mod finding;
mod findings;
pub mod harmless;
mod headline;
mod kinds;
mod late;
mod likeness;
mod next;
mod reaper;
pub mod words;

pub use arrival::dated;
pub use attempts::{Attempt, attempts};
pub use failures::{Ended, HOURS, NAMED, failing_type, failing_worker, failures_from};
pub use finding::{Finding, Weight};
pub use findings::{Facts, PATIENCE, at_limit, findings};
pub use headline::headline;
pub use kinds::{Counted, cause, coded, counted, kind_of};
pub use late::{Late, late};
pub use likeness::likeness;
pub use next::{Next, next};
pub use reaper::reaper;
