//! Who asks, and what they may: tokens, scopes, limits, and the log of what operators did.
//!
//! [`Authenticate`] stands around a router, inside the [`crate::Envelope`]. It finds the route's [`Rule`], asks the
//! [`Authenticator`] who the caller is, and hands the [`Caller`] to the handler, whose business the caller's bounds are:
//! which tasks a token reaches is known only to those who read the task. What has no rule is refused.

mod authenticate;
mod authenticator;
mod bounds;
mod caller;
mod header;
mod rates;
mod rules;

pub use authenticate::Authenticate;
pub use authenticator::{Admitted, Authenticator};
pub use caller::Caller;
pub use rules::{Access, RULES, Rule};
