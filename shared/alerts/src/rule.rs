//! A rule: which figure must not be beyond what, for how long, and who is told.

use std::time::Duration;

use baton_model::{Expected, GroupName, QueueName, time};
use serde::{Deserialize, Serialize};

use crate::kind::{Beyond, Kind};

/// A rule of when an alert fires and ends.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Rule {
    /// Its name.
    pub name: GroupName,
    /// What it looks at.
    pub kind: Kind,
    /// The one queue that it looks at; each by itself if it names none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub queue: Option<QueueName>,
    /// Of a figure that may be too much: it fires above this. Of one that may be too little: it ends from here on.
    pub above: f64,
    /// Of a figure that may be too much: it ends at this or less. Of one that may be too little: it fires below this.
    pub below: f64,
    /// How long the figure must be beyond before it fires.
    #[serde(rename = "for_seconds", with = "time::seconds")]
    pub patience: Duration,
    /// How long it must be back before it ends.
    #[serde(rename = "ends_after_seconds", with = "time::seconds")]
    pub calm: Duration,
    /// The webhooks that are told, besides those that hear of all alerts.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub webhooks: Vec<GroupName>,
    /// The command that is run. It is set in the settings alone: who may ask a server by HTTP may not run programs there.
    #[serde(default, skip)]
    pub command: Option<Command>,
}

/// A program that is run when an alert fires and when it ends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Command {
    /// The program and its arguments; one text that a shell reads, if `shell`.
    pub words: Vec<String>,
    /// Whether `sh -c` reads it.
    pub shell: bool,
    /// How long it may run.
    pub timeout: Duration,
}

impl Rule {
    /// How long a figure must be back before an alert ends, where a rule does not say.
    pub const CALM: Duration = Duration::from_secs(60);
    /// The longest times of a rule.
    pub const LONGEST: Duration = Duration::from_secs(7 * 86_400);
    /// The most rules of the settings, and the most that are set by requests.
    pub const MOST: usize = 100;
    /// The most webhooks that a rule names.
    pub const WEBHOOKS: usize = 20;

    /// A rule of a kind with what it has where nothing is said.
    pub fn of(name: GroupName, kind: Kind) -> Self {
        Self {
            name,
            kind,
            queue: None,
            above: kind.threshold(),
            below: kind.threshold(),
            patience: kind.patience(),
            calm: Self::CALM,
            webhooks: Vec::new(),
            command: None,
        }
    }

    /// The same with these thresholds: of one that is left out, the other one is taken.
    ///
    /// # Errors
    /// If they leave no room in between, or are no numbers.
    pub fn between(mut self, above: Option<f64>, below: Option<f64>) -> Result<Self, Expected> {
        let usual = self.kind.threshold();
        let (fires, ends) = match self.kind.beyond() {
            Beyond::Above => (above, below),
            Beyond::Below => (below, above),
        };
        let fires = fires.or(ends).unwrap_or(usual);
        let ends = ends.unwrap_or(fires);
        (self.above, self.below) = match self.kind.beyond() {
            Beyond::Above => (fires, ends),
            Beyond::Below => (ends, fires),
        };
        if !self.above.is_finite() || !self.below.is_finite() || self.below > self.above {
            let expected = format!("at most above, which is {}", self.above);
            return Err(Expected::new(expected, self.below.to_string()));
        }
        Ok(self)
    }

    /// The same of one queue alone.
    ///
    /// # Errors
    /// If its figures are of no queue.
    pub fn within(self, queue: Option<QueueName>) -> Result<Self, Expected> {
        match &queue {
            Some(name) if !self.kind.is_of_queues() => {
                let kind = self.kind.as_str();
                Err(Expected::text(format!("nothing, as {kind} is of no queue"), name.as_str()))
            }
            _ => Ok(Self { queue, ..self }),
        }
    }

    /// Whether a figure is so that it fires.
    pub fn is_beyond(&self, value: f64) -> bool {
        match self.kind.beyond() {
            Beyond::Above => value > self.above,
            Beyond::Below => value < self.below,
        }
    }

    /// Whether a figure is so that it ends.
    pub fn is_back(&self, value: f64) -> bool {
        match self.kind.beyond() {
            Beyond::Above => value <= self.below,
            Beyond::Below => value >= self.above,
        }
    }

    /// What it asks for, in words.
    pub fn words(&self) -> String {
        match self.kind.beyond() {
            Beyond::Above => format!("fires above {}, ends at {} or less", self.above, self.below),
            Beyond::Below => format!("fires below {}, ends at {} or more", self.below, self.above),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rule(kind: Kind) -> Rule {
        Rule::of("r".parse().unwrap(), kind)
    }

    #[test]
    fn a_figure_in_between_neither_fires_nor_ends() {
        let depth = rule(Kind::QueueDepth).between(Some(10.0), Some(5.0)).unwrap();
        assert!(
            depth.is_beyond(11.0) && !depth.is_beyond(10.0) && !depth.is_back(10.0) && depth.is_back(5.0)
        );
        let room = rule(Kind::DiskLow).between(Some(200.0), Some(100.0)).unwrap();
        assert!(
            room.is_beyond(99.0) && !room.is_beyond(100.0) && !room.is_back(199.0) && room.is_back(200.0)
        );
    }

    #[test]
    fn one_threshold_stands_for_both() {
        let depth = rule(Kind::QueueDepth).between(Some(10.0), None).unwrap();
        assert_eq!((depth.above, depth.below), (10.0, 10.0));
        let room = rule(Kind::DiskLow).between(None, Some(7.0)).unwrap();
        assert_eq!((room.above, room.below), (7.0, 7.0));
        let told = rule(Kind::QueueDepth).between(Some(1.0), Some(2.0)).unwrap_err().to_string();
        assert_eq!(told, "expected at most above, which is 1, got 2");
    }

    #[test]
    fn a_rule_reads_back_without_its_command() {
        let mut rule = rule(Kind::OldestReady).within(Some("gpu".parse().unwrap())).unwrap();
        rule.command = Some(Command { words: vec!["x".to_owned()], shell: false, timeout: Duration::ZERO });
        let text = serde_json::to_string(&rule).unwrap();
        assert_eq!(serde_json::from_str::<Rule>(&text).unwrap(), Rule { command: None, ..rule });
        assert!(super::tests::rule(Kind::DiskLow).within(Some("q".parse().unwrap())).is_err());
    }
}
