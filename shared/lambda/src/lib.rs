//! A function on AWS Lambda: everything around its handlers. A binary names its routes and what else triggers it, and
//! runs:
//!
//! ```no_run
//! # use baton_lambda::Function;
//! # fn router() -> utoipa_axum::router::OpenApiRouter<baton_http::App> { Default::default() }
//! fn main() -> std::process::ExitCode {
//!     Function::new("query-tasks", router).run()
//! }
//! ```
//!
//! - [`mod@function`] is what a binary says of itself, [`mod@opened`] what it works with, [`host`] what is done about each
//!   event, and [`answer`] what comes of it: one function takes several kinds of events, told apart by their shape.
//! - [`doorbell`] carries rings from function to function through the queue `ready`; [`queues`] speaks to SQS.
//! - [`counted`] and [`metrics`] count what is done and tell CloudWatch.
//! - [`start`] reads the settings, starts the log and opens the store.
//!
//! All that a function has begun is ended before it answers: between two events its process is frozen, and may never
//! thaw.

pub mod answer;
pub mod api_gateway;
pub mod batch;
pub mod counted;
pub mod doorbell;
mod event;
pub mod function;
pub mod host;
pub mod metrics;
pub mod opened;
mod relay;
pub mod start;
#[cfg(feature = "stub")]
pub mod stub;

pub use answer::{Answer, Failed, Invocation};
pub use baton_aws::queues::{self, Queues};
pub use doorbell::QueueDoorbell;
pub use function::{Function, Notify, OpenArchive, OpenFiles, Tick};
pub use host::Host;
pub use opened::{Opened, Services};
