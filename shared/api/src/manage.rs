//! What `manage-tasks` is asked: an operator's actions.

use std::time::Duration;

use baton_model::{Label, limits};
use serde::Serialize;
use utoipa::ToSchema;

use crate::fields::{Fields, ReadFields, as_seconds, boolean, parsed, span, text};
use crate::text::NOTE_CHARS;

/// Calls a task off. The body may be left out.
#[derive(Clone, Debug, Default, PartialEq, Serialize, ToSchema)]
pub struct CancelRequest {
    /// Who.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub by: Option<Label>,
    /// Why; up to 1,000 characters.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// Whether all unfinished tasks that depend on it, however far, are cancelled with it, whatever they say about failed
    /// dependencies. `false` if left out.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    #[schema(value_type = Option<bool>)]
    pub with_dependants: bool,
}

impl ReadFields for CancelRequest {
    type Limits = ();

    fn read(f: &mut Fields<'_>, (): &()) -> Option<Self> {
        let by = f.optional("by", parsed);
        let reason = f.optional("reason", text(1..=NOTE_CHARS));
        let with_dependants = f.optional("with_dependants", boolean);
        Some(Self { by: by?, reason: reason?, with_dependants: with_dependants?.unwrap_or_default() })
    }
}

/// Who asks for an operator's action, and why. The body may be left out.
#[derive(Clone, Debug, Default, PartialEq, Serialize, ToSchema)]
pub struct ActionRequest {
    /// Who.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub by: Option<Label>,
    /// Why; up to 1,000 characters.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

impl ReadFields for ActionRequest {
    type Limits = ();

    fn read(f: &mut Fields<'_>, (): &()) -> Option<Self> {
        let by = f.optional("by", parsed);
        let reason = f.optional("reason", text(1..=NOTE_CHARS));
        Some(Self { by: by?, reason: reason? })
    }
}

/// Puts a failed or cancelled task back into its queue. The body may be left out.
#[derive(Clone, Debug, Default, PartialEq, Serialize, ToSchema)]
pub struct RetryRequest {
    /// Who.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub by: Option<Label>,
    /// Why; up to 1,000 characters.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// How long it is to rest; not at all if left out.
    #[serde(skip_serializing_if = "Option::is_none", serialize_with = "as_seconds")]
    #[schema(value_type = Option<f64>)]
    pub delay_seconds: Option<Duration>,
    /// Whether the tasks that ended because it did not complete, however far, wait for it again. `false` if left out.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    #[schema(value_type = Option<bool>)]
    pub with_dependants: bool,
}

impl ReadFields for RetryRequest {
    type Limits = ();

    fn read(f: &mut Fields<'_>, (): &()) -> Option<Self> {
        let by = f.optional("by", parsed);
        let reason = f.optional("reason", text(1..=NOTE_CHARS));
        let delay_seconds = f.optional("delay_seconds", span(Duration::ZERO, limits::LONGEST_DELAY));
        let with_dependants = f.optional("with_dependants", boolean);
        Some(Self {
            by: by?,
            reason: reason?,
            delay_seconds: delay_seconds?,
            with_dependants: with_dependants?.unwrap_or_default(),
        })
    }
}
