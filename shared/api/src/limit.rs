//! What `manage-tasks` is asked and answers of limits and of projects' owners.

use baton_model::{Expected, Label, LimitOn, LimitRules, ProjectId, Rate, TaskType, Timestamp};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::fields::{Fields, ReadFields, boolean, integer, list, parsed, text};
use crate::text::NOTE_CHARS;

/// Sets a limit; it takes the place of the one that holds for the same.
#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
pub struct SetLimit {
    /// What it holds for: `queue/QUEUE`, `project/PROJECT`, `queue/QUEUE/project/PROJECT`, `owner/OWNER` or
    /// `queue/QUEUE/key/KEY`, with `*` in the last place for each one that has no limit by its own name.
    #[schema(value_type = String)]
    pub on: LimitOn,
    /// How many tasks may run at once, 0 to 10,000; as many as come if left out.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_running: Option<u32>,
    /// How many may start in a while; as many as come if left out. For a queue or a key.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rate: Option<RateView>,
    /// Types of tasks that it does not concern, and that do not count against it; up to 32.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schema(value_type = Option<Vec<String>>)]
    pub exempt_types: Vec<TaskType>,
    /// For a key: whether a task that was tried and waits for its next attempt keeps its place, so that its successors wait for
    /// it (`true`), or lets them pass (`false`, the default).
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    #[schema(value_type = Option<bool>)]
    pub holds_retries: bool,
    /// Who asks.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub by: Option<Label>,
    /// Why; up to 1,000 characters.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// How many tasks may start in a while.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[schema(as = Rate)]
pub struct RateView {
    /// How many, 1 to 1,000,000.
    pub starts: u32,
    /// In how many seconds, 1 to 86,400. Starts are spaced evenly, seconds / starts apart.
    pub seconds: u32,
    /// How many of them may start at once after a rest, 1 to 1,000,000; 1 if left out. Any span of `seconds` sees no more than
    /// `starts` + `burst` - 1.
    #[serde(default = "one")]
    pub burst: u32,
}

const fn one() -> u32 {
    1
}

impl ReadFields for RateView {
    type Limits = ();

    fn read(f: &mut Fields<'_>, (): &()) -> Option<Self> {
        let starts = f.required("starts", integer(1..=Rate::MOST));
        let seconds = f.required("seconds", integer(1..=Rate::LONGEST));
        let burst = f.optional("burst", integer(1..=Rate::MOST));
        Some(Self { starts: starts?, seconds: seconds?, burst: burst?.unwrap_or(1) })
    }
}

impl From<Rate> for RateView {
    fn from(Rate { starts, seconds, burst }: Rate) -> Self {
        Self { starts, seconds, burst }
    }
}

impl SetLimit {
    /// A limit of this many that run at once, with nothing else said.
    pub fn running(on: LimitOn, max_running: u32) -> Self {
        let max_running = Some(max_running);
        Self {
            on,
            max_running,
            rate: None,
            exempt_types: Vec::new(),
            holds_retries: false,
            by: None,
            reason: None,
        }
    }

    /// What it says.
    pub fn rules(&self) -> LimitRules {
        LimitRules {
            max_running: self.max_running,
            rate: self.rate.map(|RateView { starts, seconds, burst }| Rate { starts, seconds, burst }),
            exempt_types: self.exempt_types.clone(),
            holds_retries: self.holds_retries,
        }
    }
}

impl ReadFields for SetLimit {
    type Limits = ();

    fn read(f: &mut Fields<'_>, (): &()) -> Option<Self> {
        let on: Option<LimitOn> = f.required("on", parsed);
        if !f.has("max_running") && !f.has("rate") {
            f.refuse("max_running", Expected::new("max_running or rate, or both", "neither"));
        }
        if on.as_ref().is_some_and(|on| !on.takes_rate()) && f.has("rate") {
            f.refuse("rate", Expected::new("a rate for a queue or a key only", "one for another"));
        }
        let max_running = f.optional("max_running", integer(0..=LimitRules::MOST_RUNNING));
        let rate = f.optional_object::<RateView>("rate", &());
        let exempt_types = f.optional("exempt_types", list(1..=LimitRules::EXEMPT_TYPES, parsed));
        let holds_retries = f.optional("holds_retries", boolean);
        if let (Some(on), Some(Some(true))) = (&on, holds_retries)
            && !(on.takes_holding() && matches!(max_running, Some(Some(_))))
        {
            let expected = "true only for a key, with max_running";
            f.refuse("holds_retries", Expected::new(expected, "true"));
        }
        let by = f.optional("by", parsed);
        let reason = f.optional("reason", text(1..=NOTE_CHARS));
        Some(Self {
            on: on?,
            max_running: max_running?,
            rate: rate?,
            exempt_types: exempt_types?.unwrap_or_default(),
            holds_retries: holds_retries?.unwrap_or_default(),
            by: by?,
            reason: reason?,
        })
    }
}

/// Takes a limit away.
#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
pub struct ClearLimit {
    /// What it holds for.
    #[schema(value_type = String)]
    pub on: LimitOn,
    /// Who asks.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub by: Option<Label>,
    /// Why; up to 1,000 characters.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

impl ReadFields for ClearLimit {
    type Limits = ();

    fn read(f: &mut Fields<'_>, (): &()) -> Option<Self> {
        let on = f.required("on", parsed);
        let by = f.optional("by", parsed);
        let reason = f.optional("reason", text(1..=NOTE_CHARS));
        Some(Self { on: on?, by: by?, reason: reason? })
    }
}

/// A limit.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[schema(as = Limit)]
pub struct LimitView {
    /// What it holds for.
    #[schema(value_type = String)]
    pub on: LimitOn,
    /// How many tasks may run at once.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_running: Option<u32>,
    /// How many may start in a while.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rate: Option<RateView>,
    /// Types of tasks that it does not concern.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schema(value_type = Option<Vec<String>>)]
    pub exempt_types: Vec<TaskType>,
    /// Whether a task that waits for its next attempt keeps its place.
    #[serde(default)]
    pub holds_retries: bool,
    /// How many leases are under it; left out for a limit for each, which has none of its own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub running: Option<u32>,
    /// How many tasks keep a place while they wait for their next attempt.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub held: Option<u32>,
    /// Who set it last, if they said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub changed_by: Option<Label>,
    /// Why, if they said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// When.
    #[schema(value_type = String, format = "date-time")]
    pub changed_at: Timestamp,
}

/// What a limit was before a change, and what it is since.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[schema(as = LimitChange)]
pub struct LimitChangeView {
    /// Before; left out if there was none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<LimitView>,
    /// Since; left out if there is none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub to: Option<LimitView>,
}

/// Says whose a project is.
#[derive(Clone, Debug, Default, PartialEq, Serialize, ToSchema)]
pub struct SetOwner {
    /// Its owner; nobody's if left out.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub owner: Option<Label>,
    /// Who asks.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub by: Option<Label>,
    /// Why; up to 1,000 characters.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

impl ReadFields for SetOwner {
    type Limits = ();

    fn read(f: &mut Fields<'_>, (): &()) -> Option<Self> {
        let owner: Option<Option<Label>> = f.optional("owner", parsed);
        if matches!(&owner, Some(Some(owner)) if owner.as_str() == "*") {
            f.refuse("owner", Expected::text("another text than *, which stands for each owner", "*"));
        }
        let by = f.optional("by", parsed);
        let reason = f.optional("reason", text(1..=NOTE_CHARS));
        Some(Self { owner: owner?, by: by?, reason: reason? })
    }
}

/// A project and whose it is.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[schema(as = Project)]
pub struct ProjectView {
    /// The project.
    #[schema(value_type = String)]
    pub name: ProjectId,
    /// Its owner; left out if it is nobody's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub owner: Option<Label>,
    /// Who said so last, if they said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub changed_by: Option<Label>,
    /// Why, if they said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// When; left out if it is nobody's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = "date-time")]
    pub changed_at: Option<Timestamp>,
}
