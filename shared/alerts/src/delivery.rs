//! Messages on their way to a receiver, and how the receiver stands.

use baton_model::Timestamp;
use serde::{Deserialize, Serialize};

use crate::event::EventName;
use crate::retry;

/// A message on its way to a receiver, or that came there, or was given up.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Delivery {
    /// The message's id, the same with each try.
    pub id: String,
    /// What it tells of.
    pub event: EventName,
    /// The message, as it is signed.
    pub body: String,
    /// When what it tells of happened, or when it was asked for anew.
    pub created_at: Timestamp,
    /// How often it was tried.
    pub tries: u32,
    /// When it is tried next; none once it came or was given up.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next_at: Option<Timestamp>,
    /// When it was tried last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tried_at: Option<Timestamp>,
    /// What came of the last try, in words.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last: Option<String>,
    /// When it came.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub delivered_at: Option<Timestamp>,
}

/// What came of a try.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The receiver has taken it: an answer of 200 to 299.
    Taken(u16),
    /// It has not; why, in words.
    Refused(String),
    /// It wants no message ever: an answer of 410.
    Gone,
}

impl Delivery {
    /// A new message, due at once.
    pub fn new(id: String, event: EventName, body: String, now: Timestamp) -> Self {
        Self {
            id,
            event,
            body,
            created_at: now,
            tries: 0,
            next_at: Some(now),
            tried_at: None,
            last: None,
            delivered_at: None,
        }
    }

    /// The same message anew, with a whole day of tries.
    #[must_use]
    pub fn anew(self, now: Timestamp) -> Self {
        Self { created_at: now, tries: 0, next_at: Some(now), delivered_at: None, ..self }
    }

    /// Takes note of a try. It is over if nothing comes next.
    pub fn tried(&mut self, outcome: &Outcome, now: Timestamp) {
        self.tries += 1;
        self.tried_at = Some(now);
        self.next_at = None;
        match outcome {
            Outcome::Taken(status) => {
                self.last = Some(format!("answered {status}"));
                self.delivered_at = Some(now);
            }
            Outcome::Refused(why) => {
                self.last = Some(why.clone());
                self.next_at = retry::next(self.created_at, self.tries, now, self.part());
            }
            Outcome::Gone => self.last = Some("answered 410: it wants no more messages".to_owned()),
        }
    }

    /// A number of 0 to 1 of its own.
    fn part(&self) -> f64 {
        let last = self.id.bytes().rev().take(2).map(f64::from);
        last.enumerate().map(|(n, byte)| (byte % 16.0) / 16_f64.powi(n as i32 + 1)).sum()
    }
}

/// How a receiver stands.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Standing {
    /// What tells this webhook from others of its name, before it and after it. One of the settings has none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub born: Option<String>,
    /// What tells each writing of it from others, so that of two that say the same at once only one is taken for made.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub written: Option<String>,
    /// The position up to which it was told of what happened to tasks.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cursor: Option<u64>,
    /// Since when it has taken nothing that was tried.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failing_since: Option<Timestamp>,
    /// When it was given up.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub disabled_at: Option<Timestamp>,
    /// Why.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub disabled_why: Option<String>,
    /// How many messages it has taken.
    #[serde(default)]
    pub delivered: u64,
    /// How many were given up after their day.
    #[serde(default)]
    pub given_up: u64,
    /// How many were not kept for it, as it was given up or too many waited.
    #[serde(default)]
    pub dropped: u64,
    /// About how many messages of tasks wait, where a stream's function keeps them: it may write one twice.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub queued: u64,
}

/// Beside a file it always is, and nothing is said of it.
fn is_zero(queued: &u64) -> bool {
    *queued == 0
}

impl Standing {
    /// How a webhook stands that has just been set.
    pub fn born(id: String) -> Self {
        Self { born: Some(id), ..Self::default() }
    }

    /// Takes note of a try of a message, after the message has.
    pub fn tried(&mut self, delivery: &Delivery, outcome: &Outcome, now: Timestamp) {
        match outcome {
            Outcome::Taken(_) => {
                self.delivered += 1;
                self.failing_since = None;
            }
            Outcome::Refused(why) => {
                let since = *self.failing_since.get_or_insert(now);
                if retry::is_dead(since, now) {
                    self.disable(format!("it has taken nothing for five days; at last: {why}"), now);
                }
            }
            Outcome::Gone => self.disable("it answered 410: it wants no more messages".to_owned(), now),
        }
        if delivery.delivered_at.is_none() && delivery.next_at.is_none() {
            self.given_up += 1;
        }
    }

    fn disable(&mut self, why: String, now: Timestamp) {
        if self.disabled_at.is_none() {
            self.disabled_at = Some(now);
            self.disabled_why = Some(why);
        }
    }

    /// Takes up what was given up: it hears of what happens from now on.
    pub fn enable(&mut self) {
        if self.disabled_at.is_some() {
            self.cursor = None;
        }
        self.disabled_at = None;
        self.disabled_why = None;
        self.failing_since = None;
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn at(seconds: u64) -> Timestamp {
        Timestamp::from_millis(1_800_000_000_000).plus(Duration::from_secs(seconds))
    }

    fn message() -> Delivery {
        Delivery::new("msg_1_ab".to_owned(), EventName::AlertFired, "{}".to_owned(), at(0))
    }

    #[test]
    fn a_message_is_tried_for_a_day_and_comes_again_when_asked_for() {
        let (mut message, mut standing) = (message(), Standing::default());
        let refused = Outcome::Refused("answered 500".to_owned());
        while let Some(next) = message.next_at {
            message.tried(&refused, next);
            standing.tried(&message, &refused, next);
        }
        assert_eq!((message.tried_at, standing.given_up), (Some(at(86_400)), 1));
        let mut again = message.anew(at(90_000));
        assert_eq!((again.id.as_str(), again.next_at), ("msg_1_ab", Some(at(90_000))));
        again.tried(&Outcome::Taken(204), at(90_001));
        standing.tried(&again, &Outcome::Taken(204), at(90_001));
        assert_eq!((again.next_at, again.delivered_at), (None, Some(at(90_001))));
        assert_eq!((standing.delivered, standing.failing_since), (1, None));
    }

    #[test]
    fn a_receiver_is_given_up_after_five_days_or_at_its_word() {
        let refused = Outcome::Refused("no".to_owned());
        let (mut standing, message) = (Standing::default(), message());
        standing.tried(&message, &refused, at(0));
        standing.tried(&message, &refused, at(5 * 86_400 - 1));
        assert_eq!(standing.disabled_at, None);
        standing.tried(&message, &refused, at(5 * 86_400));
        assert_eq!(standing.disabled_at, Some(at(5 * 86_400)));
        standing.enable();
        assert_eq!((standing.disabled_at, standing.failing_since), (None, None));
        standing.tried(&message, &Outcome::Gone, at(9));
        assert!(standing.disabled_why.unwrap().contains("410"));
    }
}
