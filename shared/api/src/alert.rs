//! Rules of alerts, as they are set, and how they stand, as it is told.

use std::collections::BTreeMap;
use std::time::Duration;

use baton_alerts::{Ended, Firing, Kind, Rule, Standing};
use baton_model::{GroupName, QueueName, Timestamp, time};
use serde::{Deserialize, Serialize};

use crate::fields::{Fields, ReadFields, list, number, parsed, span};

/// Beyond this no figure lies.
const FAR: f64 = 1e18;

/// Sets a rule. It states the whole rule; what is left out is as usual for the kind.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct SetAlert {
    /// What it looks at.
    pub kind: Kind,
    /// The one queue that it looks at.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub queue: Option<QueueName>,
    /// Where it fires, or ends if less is worse.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub above: Option<f64>,
    /// Where it ends, or fires if less is worse.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub below: Option<f64>,
    /// How long the figure must be so before it fires.
    #[serde(rename = "for_seconds", with = "time::maybe_seconds", skip_serializing_if = "Option::is_none")]
    pub patience: Option<Duration>,
    /// How long it must be back before it ends.
    #[serde(
        rename = "ends_after_seconds",
        with = "time::maybe_seconds",
        skip_serializing_if = "Option::is_none"
    )]
    pub calm: Option<Duration>,
    /// The webhooks that are told.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub webhooks: Vec<GroupName>,
}

impl SetAlert {
    /// The rule of this name.
    ///
    /// # Errors
    /// The field that does not fit with the others, and why.
    pub fn rule(&self, name: GroupName) -> Result<Rule, (&'static str, baton_model::Expected)> {
        let usual = Rule::of(name, self.kind);
        let rule = Rule {
            patience: self.patience.unwrap_or(usual.patience),
            calm: self.calm.unwrap_or(usual.calm),
            webhooks: self.webhooks.clone(),
            ..usual
        };
        let rule = rule.between(self.above, self.below).map_err(|problem| ("below", problem))?;
        rule.within(self.queue.clone()).map_err(|problem| ("queue", problem))
    }
}

impl ReadFields for SetAlert {
    type Limits = ();

    fn read(f: &mut Fields<'_>, (): &()) -> Option<Self> {
        let kind = f.required("kind", parsed);
        let queue = f.optional("queue", parsed);
        let above = f.optional("above", number(-FAR..=FAR));
        let below = f.optional("below", number(-FAR..=FAR));
        let patience = f.optional("for_seconds", span(Duration::ZERO, Rule::LONGEST));
        let calm = f.optional("ends_after_seconds", span(Duration::ZERO, Rule::LONGEST));
        let webhooks = f.optional("webhooks", list(0..=Rule::WEBHOOKS, parsed));
        Some(Self {
            kind: kind?,
            queue: queue?,
            above: above?,
            below: below?,
            patience: patience?,
            calm: calm?,
            webhooks: webhooks?.unwrap_or_default(),
        })
    }
}

/// All rules.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct AlertsView {
    /// The rules by name.
    pub items: Vec<AlertView>,
}

/// A rule, and how it stands.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct AlertView {
    /// What it says.
    #[serde(flatten)]
    pub rule: Rule,
    /// `settings` or `api`: where it is set.
    pub from: String,
    /// Whether a command is run.
    pub runs_command: bool,
    /// Whether anything fires.
    pub fires: bool,
    /// What fires, by what it is about.
    pub firing: Vec<FiringView>,
    /// The latest ends, the newest first.
    pub ended: Vec<FiringView>,
}

/// An alert that fires, or has ended.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct FiringView {
    /// What it is about: a queue, a limit, a schedule; left out if everything.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub subject: String,
    /// What it says.
    pub message: String,
    /// The figure as it fired.
    pub value: f64,
    /// Since when the figure was beyond.
    pub since: Timestamp,
    /// When it fired.
    pub fired_at: Timestamp,
    /// When it ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ended_at: Option<Timestamp>,
}

impl FiringView {
    /// What is told of a firing.
    pub fn of(subject: &str, firing: &Firing, ended_at: Option<Timestamp>) -> Self {
        Self {
            subject: subject.to_owned(),
            message: firing.why.clone(),
            value: firing.value,
            since: firing.since,
            fired_at: firing.fired_at,
            ended_at,
        }
    }
}

impl AlertView {
    /// What is told of a rule.
    pub fn of(rule: Rule, from: &str, standing: &Standing) -> Self {
        let fires = |firing: &BTreeMap<String, Firing>| -> Vec<FiringView> {
            firing.iter().map(|(subject, firing)| FiringView::of(subject, firing, None)).collect()
        };
        let ended = |ended: &Ended| FiringView::of(&ended.subject, &ended.firing, Some(ended.ended_at));
        Self {
            runs_command: rule.command.is_some(),
            from: from.to_owned(),
            fires: !standing.firing.is_empty(),
            firing: fires(&standing.firing),
            ended: standing.ended.iter().map(ended).collect(),
            rule,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rule_is_read_and_what_does_not_fit_is_named() {
        let read = |body: &str| SetAlert::from_json(body, &());
        let set =
            read(r#"{"kind": "queue_depth", "above": 10, "queue": "gpu", "webhooks": ["chat"]}"#).unwrap();
        let rule = set.rule("deep".parse().unwrap()).unwrap();
        assert_eq!((rule.above, rule.below, rule.patience), (10.0, 10.0, Kind::QueueDepth.patience()));
        let text = serde_json::to_string(&set).unwrap();
        assert_eq!(read(&text).unwrap(), set);
        let crate::fields::BodyError::Fields(errors) =
            read(r#"{"kind": "depth", "for_seconds": -1, "command": ["rm"]}"#).unwrap_err()
        else {
            panic!("fields")
        };
        let fields: Vec<_> = errors.iter().map(|error| error.field.as_str()).collect();
        assert_eq!(fields, ["kind", "for_seconds", "command"]);
        let set = read(r#"{"kind": "disk_low", "queue": "q"}"#).unwrap();
        assert_eq!(set.rule("d".parse().unwrap()).unwrap_err().0, "queue");
    }

    #[test]
    fn what_is_told_of_a_rule_reads_back() {
        let rule = Rule::of("deep".parse().unwrap(), Kind::QueueDepth);
        let view = AlertView::of(rule, "api", &Standing::default());
        let text = serde_json::to_string(&view).unwrap();
        assert!(text.contains(r#""for_seconds":60.0"#), "{text}");
        assert_eq!(serde_json::from_str::<AlertView>(&text).unwrap(), view);
    }
}
