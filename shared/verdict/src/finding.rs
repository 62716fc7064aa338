//! Something that is wrong, and how grave it is.

use serde::Serialize;

/// How grave a finding is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Weight {
    /// Work is lost time, or soon will be: somebody must act.
    Error,
    /// It may be meant, or pass.
    Warning,
}

impl Weight {
    /// The word for it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Error => "error",
            Self::Warning => "warning",
        }
    }
}

/// Something that is wrong.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// How grave it is.
    pub weight: Weight,
    /// What kind of thing is wrong, in a word.
    pub what: &'static str,
    /// What is wrong, for people.
    pub message: String,
    /// The command that mends it, or that leads there.
    pub next: String,
    /// The command that shows more, where the other one mends it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub more: Option<String>,
}

impl Finding {
    /// The same with a command that shows more, if there is one.
    pub(crate) fn with_more(self, more: impl Into<Option<String>>) -> Self {
        Self { more: more.into(), ..self }
    }
}

/// One that somebody must act upon.
pub(crate) fn error(what: &'static str, message: String, next: impl Into<String>) -> Finding {
    Finding { weight: Weight::Error, what, message, next: next.into(), more: None }
}

/// One that may be meant, or pass.
pub(crate) fn warning(what: &'static str, message: String, next: impl Into<String>) -> Finding {
    Finding { weight: Weight::Warning, what, message, next: next.into(), more: None }
}
