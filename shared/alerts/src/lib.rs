//! Alerts and webhooks: rules without I/O and without a clock.
//!
//! A [`Rule`] says which figure must not be beyond what for how long; [`Standing`] is how it stands, and turns figures into
//! [`Turn`]s: a firing, and the one end of each. A [`Webhook`] says who is told of what; [`Delivery`] is one message on its way
//! there, [`sign`] signs it, [`retry`] says when it is tried again, [`address`] where it may go. `docs/alerts.md` is for users.

pub mod address;
mod delivery;
mod event;
mod kind;
mod rate;
pub mod retry;
mod rule;
pub mod sign;
mod standing;
mod webhook;

pub use delivery::{Delivery, Outcome, Standing as HookStanding};
pub use event::{Event, EventName, message_id};
pub use kind::{Beyond, Kind};
pub use rate::Rate;
pub use rule::{Command, Rule};
pub use standing::{Ended, Figure, Figures, Firing, Standing, Turn};
pub use webhook::{SecretText, Webhook, WebhookUrl};
