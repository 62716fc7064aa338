//! How a rule stands: what fires since when, and what has ended.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use baton_model::Timestamp;
use serde::{Deserialize, Serialize};

use crate::rate::Rate;
use crate::rule::Rule;

/// How many ends are remembered of each rule.
const ENDS: usize = 10;

/// How many subjects of a rule fire at once: one that is about everything tells it with these.
const SUBJECTS: usize = 100;

/// A figure of a subject.
#[derive(Clone, Debug, PartialEq)]
pub struct Figure {
    /// The number.
    pub value: f64,
    /// What it says, where more is known than the kind's words.
    pub why: Option<String>,
}

/// The figures of one look, by what they are of: a queue, a limit, a schedule; nothing if of all together. What is not listed is well.
pub type Figures = BTreeMap<String, Figure>;

/// An alert that fires.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Firing {
    /// Since when its figure is beyond.
    pub since: Timestamp,
    /// When it fired.
    pub fired_at: Timestamp,
    /// The figure as it fired.
    pub value: f64,
    /// What it says.
    pub why: String,
}

/// An alert that has ended.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Ended {
    /// What it was about.
    pub subject: String,
    /// How it fired.
    #[serde(flatten)]
    pub firing: Firing,
    /// When it ended.
    pub ended_at: Timestamp,
}

/// What has changed with a look.
#[derive(Clone, Debug, PartialEq)]
pub enum Turn {
    /// An alert fires.
    Fired {
        /// What it is about.
        subject: String,
        /// How it fired.
        firing: Firing,
    },
    /// An alert has ended.
    Ended(Ended),
}

/// How a rule stands. What fires and what has ended is kept. So is what is on its way to either, where whoever looks next may be another
/// process; it counts if that one looks in time.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Standing {
    /// What fires.
    pub firing: BTreeMap<String, Firing>,
    /// The latest ends, the newest first.
    #[serde(default)]
    pub ended: VecDeque<Ended>,
    /// The rule by which it fired last: who was told of that is told of its end, also if the rule is gone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rule: Option<Box<Rule>>,
    /// What the rate of failures comes from, where it is kept for whoever looks next.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rate: Option<Rate>,
    /// Since when the figure of what does not fire is beyond.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    beyond: BTreeMap<String, Timestamp>,
    /// Since when that of what fires is back.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    back: BTreeMap<String, Timestamp>,
    /// When it was looked last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    seen_at: Option<Timestamp>,
}

impl Standing {
    /// Looks at figures: gives what has changed by them, each firing before its end. After a time without a look as long as `unseen`, nobody
    /// knows what was in between: durations begin anew.
    pub fn look(&mut self, rule: &Rule, figures: &Figures, now: Timestamp, unseen: Duration) -> Vec<Turn> {
        // After a gap, or if the clock was set back, what stands between is not known.
        let is_continuous = self.seen_at.is_some_and(|seen| now >= seen && now.since(seen) < unseen);
        if !is_continuous {
            self.beyond.clear();
            self.back.clear();
        }
        self.seen_at = Some(now);
        let mut turns = Vec::new();
        self.end_some(rule, figures, now, &mut turns);
        self.beyond
            .retain(|subject, _| figures.get(subject).is_some_and(|figure| rule.is_beyond(figure.value)));
        for (subject, figure) in figures.iter().filter(|(_, figure)| rule.is_beyond(figure.value)) {
            if self.firing.contains_key(subject) {
                continue;
            }
            let since = match self.beyond.get(subject) {
                Some(since) => *since,
                None if self.beyond.len() < SUBJECTS => *self.beyond.entry(subject.clone()).or_insert(now),
                None => continue,
            };
            if now.since(since) < rule.patience || self.firing.len() >= SUBJECTS {
                continue;
            }
            self.beyond.remove(subject);
            let why = figure.why.clone().unwrap_or_else(|| rule.kind.words(subject, figure.value));
            let firing = Firing { since, fired_at: now, value: figure.value, why };
            self.firing.insert(subject.clone(), firing.clone());
            self.rule = Some(Box::new(rule.clone()));
            turns.push(Turn::Fired { subject: subject.clone(), firing });
        }
        turns
    }

    /// Whether something is on its way to fire or to end.
    pub fn is_under_way(&self) -> bool {
        !self.beyond.is_empty() || !self.back.is_empty()
    }

    /// Ends all that fires: the rule is gone.
    pub fn end_all(&mut self, now: Timestamp) -> Vec<Turn> {
        let subjects: Vec<String> = self.firing.keys().cloned().collect();
        self.beyond.clear();
        self.back.clear();
        subjects.iter().filter_map(|subject| self.end(subject, now)).collect()
    }

    fn end_some(&mut self, rule: &Rule, figures: &Figures, now: Timestamp, turns: &mut Vec<Turn>) {
        let is_back = |subject: &String| figures.get(subject).is_none_or(|figure| rule.is_back(figure.value));
        let firing = &self.firing;
        self.back.retain(|subject, _| firing.contains_key(subject) && is_back(subject));
        let back: Vec<String> = self.firing.keys().filter(|subject| is_back(subject)).cloned().collect();
        for subject in back {
            let since = *self.back.entry(subject.clone()).or_insert(now);
            if now.since(since) >= rule.calm {
                turns.extend(self.end(&subject, now));
            }
        }
    }

    fn end(&mut self, subject: &str, now: Timestamp) -> Option<Turn> {
        self.back.remove(subject);
        let firing = self.firing.remove(subject)?;
        let ended = Ended { subject: subject.to_owned(), firing, ended_at: now };
        self.ended.push_front(ended.clone());
        self.ended.truncate(ENDS);
        Some(Turn::Ended(ended))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::kind::Kind;

    const SECOND: i64 = 1_000;

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_millis(1_800_000_000_000 + seconds * SECOND)
    }

    fn rule(patience: u64, calm: u64) -> Rule {
        let rule =
            Rule::of("deep".parse().unwrap(), Kind::QueueDepth).between(Some(10.0), Some(5.0)).unwrap();
        Rule { patience: Duration::from_secs(patience), calm: Duration::from_secs(calm), ..rule }
    }

    fn figures(value: f64) -> Figures {
        [("q".to_owned(), Figure { value, why: None })].into()
    }

    /// A look of those that come every ten seconds.
    fn look(standing: &mut Standing, rule: &Rule, figures: &Figures, now: Timestamp) -> Vec<Turn> {
        standing.look(rule, figures, now, Duration::from_secs(60))
    }

    fn words(turns: &[Turn]) -> Vec<&'static str> {
        turns.iter().map(|turn| if matches!(turn, Turn::Fired { .. }) { "fired" } else { "ended" }).collect()
    }

    #[test]
    fn it_fires_once_after_its_time_and_ends_once_after_its_calm() {
        let (rule, mut standing) = (rule(20, 30), Standing::default());
        let told: Vec<Vec<&str>> =
            [(0, 11.0), (10, 12.0), (20, 11.0), (30, 99.0), (40, 7.0), (50, 5.0), (60, 6.0)]
                .iter()
                .chain(&[(70, 4.0), (80, 4.0), (90, 4.0), (100, 0.0), (110, 0.0)])
                .map(|(second, value)| words(&look(&mut standing, &rule, &figures(*value), at(*second))))
                .collect();
        let expected = [(2, "fired"), (10, "ended")];
        for (n, told) in told.iter().enumerate() {
            let wanted: Vec<&str> =
                expected.iter().filter(|(at, _)| *at == n).map(|(_, what)| *what).collect();
            assert_eq!(*told, wanted, "look {n}");
        }
        let ended = &standing.ended[0];
        assert_eq!((ended.firing.since, ended.firing.fired_at, ended.ended_at), (at(0), at(20), at(100)));
        assert_eq!(ended.firing.why, "11 tasks wait in queue q");
    }

    #[test]
    fn what_nobody_has_seen_does_not_count() {
        let (rule, mut standing) = (rule(50, 50), Standing::default());
        assert!(look(&mut standing, &rule, &figures(11.0), at(0)).is_empty());
        // A machine that slept, and a clock that was set back.
        assert!(look(&mut standing, &rule, &figures(11.0), at(7_200)).is_empty());
        assert!(look(&mut standing, &rule, &figures(11.0), at(60)).is_empty());
        assert_eq!(words(&look(&mut standing, &rule, &figures(11.0), at(110))), ["fired"]);
    }

    /// Where it is looked seldom, a look that fails makes no gap.
    #[test]
    fn what_is_looked_at_seldom_fires_over_a_look_that_failed() {
        let (rule, mut standing) = (rule(120, 0), Standing::default());
        let unseen = Duration::from_secs(150);
        let told: Vec<Vec<&str>> = [0, 40, 120]
            .map(|second| words(&standing.look(&rule, &figures(11.0), at(second), unseen)))
            .into();
        assert_eq!(told, [vec![], vec![], vec!["fired"]]);
    }

    #[test]
    fn over_a_restart_nothing_fires_anew_and_the_end_is_told() {
        let (rule, mut standing) = (rule(0, 0), Standing::default());
        assert_eq!(words(&look(&mut standing, &rule, &figures(11.0), at(0))), ["fired"]);
        let stored = serde_json::to_string(&standing).unwrap();
        let mut standing: Standing = serde_json::from_str(&stored).unwrap();
        assert!(look(&mut standing, &rule, &figures(11.0), at(500)).is_empty());
        assert_eq!(words(&look(&mut standing, &rule, &Figures::new(), at(510))), ["ended"]);
        assert!(look(&mut standing, &rule, &Figures::new(), at(520)).is_empty());
    }

    /// Where each look is another process's, durations go on with what the last one has kept.
    #[test]
    fn what_is_under_way_goes_on_with_whoever_looks_next() {
        let (rule, mut standing) = (rule(100, 100), Standing::default());
        let unseen = Duration::from_secs(210);
        let mut told = Vec::new();
        for (second, value) in [(0, 11.0), (60, 11.0), (120, 11.0), (180, 1.0), (240, 1.0), (300, 1.0)] {
            let turns = standing.look(&rule, &figures(value), at(second), unseen);
            told.extend(words(&turns).into_iter().map(|what| (second, what)));
            assert_eq!(standing.is_under_way(), ![120, 300].contains(&second), "at {second}");
            standing = serde_json::from_str(&serde_json::to_string(&standing).unwrap()).unwrap();
        }
        assert_eq!(told, [(120, "fired"), (300, "ended")]);
        // Nobody has looked for too long.
        assert!(standing.look(&rule, &figures(11.0), at(360), unseen).is_empty());
        assert!(standing.look(&rule, &figures(11.0), at(600), unseen).is_empty());
    }

    #[test]
    fn a_rule_that_is_gone_ends_what_fires() {
        let (rule, mut standing) = (rule(0, 9), Standing::default());
        look(&mut standing, &rule, &figures(11.0), at(0));
        assert_eq!(words(&standing.end_all(at(1))), ["ended"]);
        assert!(standing.end_all(at(2)).is_empty());
    }

    #[test]
    fn a_quiet_week_fires_nothing() {
        let mut rules: Vec<(Rule, Standing)> = Kind::ALL
            .into_iter()
            .map(|kind| (Rule::of(kind.as_str().parse().unwrap(), kind), Standing::default()))
            .collect();
        for number in 0..7 * 8_640_i64 {
            // Work comes and goes, a little beyond now and then, but never for as long as it takes.
            let burst = if number % 360 < 4 { 2.0 } else { 0.5 };
            for (rule, standing) in &mut rules {
                let fires = rule.kind.threshold();
                let value = match rule.kind {
                    Kind::DiskLow => fires / burst,
                    Kind::LimitFull => burst - 1.0,
                    _ => fires * burst,
                };
                let figures = [(String::new(), Figure { value, why: None })].into();
                assert_eq!(
                    look(standing, rule, &figures, at(number * 10)),
                    [],
                    "{:?} at {number}",
                    rule.kind
                );
            }
        }
    }

    proptest! {
        #[test]
        fn each_firing_has_one_end_and_none_comes_before_its_time(
            patience in 0_u64..40,
            calm in 0_u64..40,
            looks in prop::collection::vec((1_i64..15, 0_u8..16, 0_u8..16), 1..200),
            restarts in prop::collection::vec(0_usize..200, 0..4),
        ) {
            let rule = rule(patience, calm);
            let mut standing = Standing::default();
            let mut now = 0;
            // Of each subject: when it last fired or ended, and whether it fires.
            let mut known: BTreeMap<String, (Option<i64>, bool)> = BTreeMap::new();
            for (n, (step, one, other)) in looks.iter().enumerate() {
                now += step;
                if restarts.contains(&n) {
                    standing = serde_json::from_str(&serde_json::to_string(&standing).unwrap()).unwrap();
                }
                let figures: Figures = [("a", one), ("b", other)].iter()
                    .map(|(name, value)| ((*name).to_owned(), Figure { value: f64::from(**value), why: None }))
                    .collect();
                for turn in look(&mut standing, &rule, &figures, at(now)) {
                    let (subject, fires) = match &turn {
                        Turn::Fired { subject, .. } => (subject, true),
                        Turn::Ended(ended) => (&ended.subject, false),
                    };
                    let (last, fired) = known.get(subject).copied().unwrap_or_default();
                    prop_assert_ne!(fired, fires, "twice the same");
                    let least = if fires { patience } else { calm } as i64;
                    prop_assert!(last.is_none_or(|last| now - last >= least), "too soon");
                    let value = figures[subject].value;
                    let fits = if fires { rule.is_beyond(value) } else { rule.is_back(value) };
                    prop_assert!(fits, "{} does not do", value);
                    known.insert(subject.clone(), (Some(now), fires));
                }
                for (subject, (_, fires)) in &known {
                    prop_assert_eq!(standing.firing.contains_key(subject), *fires);
                }
            }
            let ends = standing.end_all(at(now + 1)).len();
            prop_assert_eq!(ends, known.values().filter(|(_, fires)| *fires).count());
        }

        #[test]
        fn within_the_hysteresis_nothing_flaps(
            values in prop::collection::vec(5.01_f64..10.0, 1..300),
            fires in any::<bool>(),
        ) {
            let (rule, mut standing) = (rule(0, 0), Standing::default());
            if fires {
                look(&mut standing, &rule, &figures(11.0), at(0));
            }
            for (n, value) in values.iter().enumerate() {
                prop_assert_eq!(look(&mut standing, &rule, &figures(*value), at(n as i64 + 1)), []);
            }
        }
    }
}
