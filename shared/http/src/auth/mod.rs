//! Who asks, and what they may: tokens, scopes, limits, and the log of what operators did.
//!
//! [`Authenticate`] stands around a router, inside the [`crate::Envelope`]. It finds the route's [`Rule`], asks the
//! [`Authenticator`] who the caller is, and hands the [`Caller`] to the handler, whose business the caller's bounds are:
//! which tasks a token reaches is known only to those who read the task. What has no rule is refused.
//!
//! Who says who asks is an [`Authority`]: the process itself, by the token in the header; or an authorizer in front of it,
//! which has asked an [`Authenticator`] of its own and vouches for the caller ([`Vouched`]).

mod authenticate;
mod authenticator;
mod authority;
mod bounds;
mod caller;
mod door;
mod header;
mod rates;
pub(crate) mod rules;
mod vouched;

pub use authenticate::Authenticate;
pub use authenticator::{Admitted, Authenticator};
pub use authority::Authority;
pub use caller::{Caller, trace_of};
pub use door::{Credentials, Door, Guests};
pub use rules::{
    ALERT_RULES, Access, FILE_RULES, FLEET_RULES, METRICS_RULES, RULES, Rule, Rules, SCALING_RULES,
};
pub use vouched::{BehindAuthorizer, Vouched};
