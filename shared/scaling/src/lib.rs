//! How many machines a pool of queues should have, and what is to be done about it: pure rules of what waits, of which machines there
//! are, and of the time, which is handed in.
//!
//! A [`Policy`] is what an operator has set. [`Wanted`] follows from it and from what waits ([`Counts`]), and is what `GET /v1/scaling`
//! tells. A [`Pool`] decides turn by turn what `baton scale run` does: spawn, drain, terminate.

mod decision;
mod demand;
mod machine;
mod policy;
mod pool;

pub use decision::{Action, Because, Decision, HeldBack, Turn};
pub use demand::{Bound, Counts, QueueFacts, Wanted, Why};
pub use machine::{SeenMachine, SeenWorker};
pub use policy::Policy;
pub use pool::{Pool, Seen};
