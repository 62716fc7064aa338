//! What happens to the program.

use std::time::Duration;

use baton_model::Timestamp;

use crate::ask::{Answer, Ask, Refusal};

/// A key that is pressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Key {
    Char(char),
    Up,
    Down,
    PageUp,
    PageDown,
    Home,
    End,
    Left,
    Right,
    Enter,
    Escape,
    Backspace,
    Tab,
    BackTab,
    /// Ctrl-C.
    Interrupt,
}

/// What happens.
#[derive(Debug)]
pub(crate) enum Event {
    Key(Key),
    /// Text that was pasted: it is no keys, as it may hold any.
    Pasted(String),
    /// Time has passed.
    Tick,
    Answered(Ask, Result<Answer, Refusal>),
}

/// When it happens.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Moment {
    /// Since the start: what has passed, whatever is done to clocks.
    pub(crate) since: Duration,
    /// By the clock of this machine.
    pub(crate) wall: Timestamp,
}
