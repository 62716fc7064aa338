//! `baton top`: queues, workers and tasks of a server on a terminal, with keys to look into one and to act on it.
//!
//! What happens (a key, an answer, time) makes a new state of the one before, and requests (`update`); what is known is drawn
//! (`view`). Both are pure. Around them, [`run`](run()) reads the terminal, sends requests beside the drawing and draws; and
//! `screen` gives the terminal back as it was.

mod answers;
mod ask;
mod event;
mod keys;
mod rates;
mod rows;
mod run;
mod screen;
mod state;
#[cfg(test)]
mod tests;
mod text;
mod update;
mod view;

pub use answers::{Gather, Gathered};
pub use run::{Options, run};
