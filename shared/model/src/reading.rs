//! Readings that leave their bounds: which workers are to drain for that, and when they may go on. A pure function of what heartbeats tell,
//! and of what was found before.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::id::{GroupName, SessionId, WorkerId};
use crate::time::Timestamp;
use crate::worker::{Directed, Directive, Stands};

/// Within which bounds a reading of workers is to be.
#[derive(Clone, Debug, PartialEq)]
pub struct ReadingRule {
    /// The rule's name.
    pub name: GroupName,
    /// The reading, such as `vram_used_mb`. A worker that does not tell it is not concerned.
    pub reading: String,
    /// The least that it may be.
    pub least: f64,
    /// The most.
    pub most: f64,
    /// How far within the bounds it has to be to count as back there.
    pub margin: f64,
    /// How long it may be beyond them before the worker drains.
    pub lasting: Duration,
    /// Whether a worker that has drained for it goes on once it is back, if it has not ended by then.
    pub resume: bool,
}

/// A worker's readings, as of its last heartbeat.
#[derive(Clone, Copy, Debug)]
pub struct Reads<'a> {
    /// The worker.
    pub worker: &'a WorkerId,
    /// Its present start.
    pub session: Option<SessionId>,
    /// What is asked of it.
    pub directive: Directive,
    /// Since when, by whom and why.
    pub directed: Option<&'a Directed>,
    /// What it reads.
    pub readings: &'a BTreeMap<String, f64>,
}

/// What is to be asked of a worker, and why.
#[derive(Clone, Debug, PartialEq)]
pub struct Ordered {
    /// The worker.
    pub worker: WorkerId,
    /// What.
    pub directive: Directive,
    /// Why, in words.
    pub why: String,
    /// What stood when that was found: in place of this alone it is asked.
    pub stands: Stands,
}

/// What was found before: since when readings are beyond their bounds, and who drains for that.
#[derive(Clone, Debug, Default)]
pub struct ReadingWatch {
    beyond: BTreeMap<(WorkerId, GroupName), Timestamp>,
    drains: BTreeMap<WorkerId, Drained>,
}

/// That a worker drains by a rule.
#[derive(Clone, Debug)]
struct Drained {
    session: Option<SessionId>,
    rule: GroupName,
    /// As it was asked: what anybody else has asked is not the rule's to take back.
    directed: Directed,
}

impl Drained {
    fn stands(&self, one: &Reads<'_>) -> bool {
        self.session == one.session
            && one.directive == Directive::Drain
            && one.directed == Some(&self.directed)
    }
}

impl ReadingRule {
    fn is_beyond(&self, value: f64, was_beyond: bool) -> bool {
        let margin = if was_beyond { self.margin } else { 0.0 };
        // What is no number is within no bounds.
        !(value >= self.least + margin && value <= self.most - margin)
    }

    fn why(&self, value: f64, lasting: Duration) -> String {
        let bound = match value > self.most {
            true => format!("over {}", self.most),
            false => format!("under {}", self.least),
        };
        let (name, reading, lasting) = (&self.name, &self.reading, lasting.as_secs());
        format!("{reading} is {value}, {bound} for {lasting} s (rule {name})")
    }
}

impl ReadingWatch {
    /// What is to be asked of these workers, which are all that live: at `now`, by nobody, with these words for the reason, and only in
    /// place of what stood. What could not be asked is found anew by the next turn.
    pub fn turn(&mut self, rules: &[ReadingRule], workers: &[Reads<'_>], now: Timestamp) -> Vec<Ordered> {
        let mut beyond = BTreeMap::new();
        let mut drains = BTreeMap::new();
        let mut ordered = Vec::new();
        for one in workers {
            // An operator who asks for something, be it the same, goes before the rule.
            let before = self.drains.get(one.worker).filter(|before| before.stands(one));
            let stands = || Stands { directive: one.directive, directed: one.directed.cloned() };
            let mut worst = None;
            let mut holds = false;
            for rule in rules {
                let Some(value) = one.readings.get(&rule.reading) else { continue };
                let key = (one.worker.clone(), rule.name.clone());
                let since = self.beyond.get(&key).copied();
                if !rule.is_beyond(*value, since.is_some()) {
                    continue;
                }
                let since = since.unwrap_or(now);
                beyond.insert(key, since);
                holds |= before.is_some_and(|before| before.rule == rule.name);
                let lasting = now.since(since);
                if worst.is_none() && lasting >= rule.lasting {
                    worst = Some((rule, rule.why(*value, lasting)));
                }
            }
            match (before, worst) {
                (None, Some((rule, why))) if one.directive == Directive::Run => {
                    let directed = Directed { since: now, by: None, reason: Some(why.clone()) };
                    let drained = Drained { session: one.session, rule: rule.name.clone(), directed };
                    drains.insert(one.worker.clone(), drained);
                    let (worker, directive) = (one.worker.clone(), Directive::Drain);
                    ordered.push(Ordered { worker, directive, why, stands: stands() });
                }
                (Some(before), worst) => {
                    let rule = rules.iter().find(|rule| rule.name == before.rule);
                    let back = rule.filter(|rule| rule.resume && !holds && worst.is_none());
                    ordered.extend(back.map(|rule| Ordered {
                        worker: one.worker.clone(),
                        directive: Directive::Run,
                        why: format!("{} is back within its bounds (rule {})", rule.reading, rule.name),
                        stands: stands(),
                    }));
                    // Until it is seen to run: what is asked now may not arrive.
                    drains.insert(one.worker.clone(), before.clone());
                }
                (None, _) => {}
            }
        }
        (self.beyond, self.drains) = (beyond, drains);
        ordered
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rule(resume: bool) -> ReadingRule {
        ReadingRule {
            name: "hot".parse().unwrap(),
            reading: "celsius".to_owned(),
            least: 0.0,
            most: 85.0,
            margin: 5.0,
            lasting: Duration::from_secs(30),
            resume,
        }
    }

    /// A worker whose reading is told every 10 s, and who does as it is asked; what that is, and when.
    fn asked(rule: &ReadingRule, values: &[f64]) -> Vec<(u64, &'static str)> {
        let worker: WorkerId = "w".parse().unwrap();
        let (mut watch, mut stands, mut all) = (ReadingWatch::default(), RUNS, Vec::new());
        for (value, turn) in values.iter().zip(0..) {
            let readings = BTreeMap::from([("celsius".to_owned(), *value)]);
            let now = Timestamp::from_millis(turn * 10_000);
            for ordered in watch.turn(std::slice::from_ref(rule), &[reads(&worker, &stands, &readings)], now)
            {
                assert_eq!(ordered.stands, stands);
                stands = asked_at(now, &ordered);
                all.push((u64::try_from(turn).unwrap() * 10, ordered.directive.as_str()));
            }
        }
        all
    }

    const RUNS: Stands = Stands { directive: Directive::Run, directed: None };

    fn reads<'a>(worker: &'a WorkerId, stands: &'a Stands, readings: &'a BTreeMap<String, f64>) -> Reads<'a> {
        let Stands { directive, directed } = stands;
        Reads { worker, session: None, directive: *directive, directed: directed.as_ref(), readings }
    }

    /// What stands once it was asked.
    fn asked_at(now: Timestamp, ordered: &Ordered) -> Stands {
        let directed = Directed { since: now, by: None, reason: Some(ordered.why.clone()) };
        let directive = ordered.directive;
        Stands { directive, directed: (directive != Directive::Run).then_some(directed) }
    }

    #[test]
    fn a_worker_drains_once_its_reading_was_beyond_for_its_time_and_goes_on_once_it_is_well_within() {
        for (values, expected) in [
            (&[70.0, 86.0, 86.0, 86.0, 86.0][..], &[(40, "drain")][..]),
            // A moment within begins anew; but who hovers at the bound was not within.
            (&[86.0, 86.0, 79.0, 86.0, 86.0, 86.0], &[]),
            (&[86.0, 84.0, 86.0, 84.0], &[(30, "drain")]),
            (&[90.0, 90.0, 90.0, 90.0, 84.0, 81.0, 80.0], &[(30, "drain"), (60, "run")]),
            (&[-1.0, -1.0, -1.0, -1.0], &[(30, "drain")]),
            (&[f64::NAN, f64::NAN, f64::NAN, f64::NAN], &[(30, "drain")]),
            (&[85.0, 85.0, 85.0, 85.0, 85.0], &[]),
        ] {
            assert_eq!(asked(&rule(true), values), expected, "{values:?}");
        }
        let cooled = [90.0, 90.0, 90.0, 90.0, 70.0, 70.0];
        assert_eq!(asked(&rule(false), &cooled), [(30, "drain")], "drained for good");
    }

    #[test]
    fn an_operators_word_goes_before_the_rule() {
        let worker: WorkerId = "w".parse().unwrap();
        let rules = [ReadingRule { lasting: Duration::ZERO, ..rule(true) }];
        let hot = BTreeMap::from([("celsius".to_owned(), 90.0)]);
        let cool = BTreeMap::from([("celsius".to_owned(), 20.0)]);
        let at = |seconds: i64| Timestamp::from_millis(seconds * 1_000);
        let ada = |directive, seconds| {
            let by = Some("ada".parse().unwrap());
            Stands { directive, directed: Some(Directed { since: at(seconds), by, reason: None }) }
        };
        let mut watch = ReadingWatch::default();
        let mut turn = |stands: &Stands, readings: &BTreeMap<String, f64>, seconds| {
            watch.turn(&rules, &[reads(&worker, stands, readings)], at(seconds))
        };
        let drains = ada(Directive::Drain, 0);
        assert!(turn(&drains, &hot, 0).is_empty(), "it drains already");
        assert!(turn(&drains, &cool, 1).is_empty(), "and not by the rule");
        assert!(turn(&ada(Directive::Stop, 2), &hot, 2).is_empty());
        let told = turn(&RUNS, &hot, 4);
        assert_eq!(told[0].why, "celsius is 90, over 85 for 2 s (rule hot)");
        // Whoever asks for the same after the rule has it drain for good.
        assert!(turn(&asked_at(at(4), &told[0]), &hot, 5).is_empty(), "the rule has asked");
        assert!(turn(&ada(Directive::Drain, 6), &cool, 7).is_empty(), "it is not the rule's any more");
        assert!(turn(&RUNS, &BTreeMap::new(), 8).is_empty(), "what is not told is no news");
    }

    #[test]
    fn what_could_not_be_asked_is_asked_again() {
        let worker: WorkerId = "w".parse().unwrap();
        let rules = [ReadingRule { lasting: Duration::ZERO, ..rule(true) }];
        let hot = BTreeMap::from([("celsius".to_owned(), 90.0)]);
        let cool = BTreeMap::from([("celsius".to_owned(), 20.0)]);
        let mut watch = ReadingWatch::default();
        let mut turn = |stands: &Stands, readings: &BTreeMap<String, f64>, seconds: i64| {
            let now = Timestamp::from_millis(seconds * 1_000);
            let mut told = watch.turn(&rules, &[reads(&worker, stands, readings)], now);
            assert!(told.len() <= 1);
            told.pop().map(|ordered| (ordered.directive, asked_at(now, &ordered)))
        };
        assert_eq!(turn(&RUNS, &hot, 0).unwrap().0, Directive::Drain);
        let (directive, drains) = turn(&RUNS, &hot, 5).unwrap();
        assert_eq!(directive, Directive::Drain);
        for seconds in [10, 15] {
            assert_eq!(turn(&drains, &cool, seconds).unwrap().0, Directive::Run);
        }
        assert_eq!(turn(&RUNS, &cool, 20), None);
    }
}
