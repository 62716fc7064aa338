//! What every function needs to speak HTTP: the state that handlers share, requests read with all that is wrong in
//! them, problems as RFC 9457 tells them, callers known by their tokens ([`auth`]), and the envelope around every request (its
//! id, its span, its time limit, its panics). [`serve()`] puts a whole router on a socket.

pub mod app;
pub mod auth;
pub mod body;
pub mod dialect;
pub mod envelope;
pub mod error;
pub mod fastapi;
pub mod fleet;
mod foreign;
mod head;
pub mod health;
pub mod idempotency;
pub mod in_force;
pub mod inputs;
pub mod inside;
pub mod list;
pub mod live;
pub mod log_shares;
pub mod message;
pub mod meters;
pub mod path;
pub mod query;
pub mod reply;
pub mod request_id;
pub mod routes;
pub mod serve;
mod slow;
pub mod spec;
pub mod untaken;
pub mod wire;

pub use app::{App, Parts};
pub use auth::{Authenticate, Authenticator, Caller};
pub use body::{Body, BodyLimit, JsonBody, OptionalBody};
pub use dialect::{Dialect, Dialects};
pub use envelope::{Envelope, Timeout};
pub use error::{ApiError, ApiResult};
pub use idempotency::IdempotencyKey;
pub use in_force::{InForce, Taken, run_settings};
pub use inside::Inside;
pub use list::list;
pub use live::Live;
pub use message::Message;
pub use meters::Meters;
pub use path::PathId;
pub use query::QueryFields;
pub use reply::{created, json, ok};
pub use routes::routes;
pub use serve::{ServeOptions, serve};
