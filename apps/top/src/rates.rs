//! How much comes into each queue and is done there, a second: from one look at the counts to the next. Nothing is asked for it.

use std::collections::BTreeMap;
use std::collections::VecDeque;
use std::time::Duration;

use baton_api::fleet::{CountView, QueueView};
use baton_model::{QueueName, Timestamp};

/// How many looks are kept of each queue.
const KEPT: usize = 60;

/// Looks that are closer than this say too little of a rate.
const SHORTEST: Duration = Duration::from_millis(400);

/// What is counted of a queue.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Counted {
    /// Tasks that wait, for whatever, or run.
    live: u64,
    /// Completed within the last 24 hours.
    completed: u64,
    /// Failed and cancelled ones that are still kept.
    ended: u64,
}

/// Tasks a second.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Rate {
    /// That came in.
    pub(crate) into: f64,
    /// That were completed, failed or cancelled.
    pub(crate) out: f64,
}

/// What is known of one queue.
#[derive(Clone, Debug, Default)]
struct Known {
    last: Counted,
    rates: VecDeque<Rate>,
}

/// The rates of all queues that were last told of.
#[derive(Clone, Debug, Default)]
pub(crate) struct Rates {
    counted_at: Option<Timestamp>,
    queues: BTreeMap<QueueName, Known>,
    all: VecDeque<Rate>,
}

impl Rates {
    /// Takes in what was counted then.
    pub(crate) fn look(&mut self, at: Timestamp, queues: &[QueueView], counts: &[CountView]) {
        let span = self.counted_at.map(|before| at.since(before));
        // A table whose stream keeps the counts may tell the same ones twice.
        if span.is_some_and(|span| span < SHORTEST) {
            return;
        }
        let mut blocked: BTreeMap<&QueueName, (u64, u64)> = BTreeMap::new();
        for count in counts {
            let (held, ended) = blocked.entry(&count.queue).or_default();
            match count.state.as_str() {
                "blocked" => *held += count.tasks,
                "failed" | "cancelled" => *ended += count.tasks,
                _ => {}
            }
        }
        let mut all = Rate::default();
        let mut known = BTreeMap::new();
        for queue in queues {
            let (held, ended) = blocked.get(&queue.name).copied().unwrap_or_default();
            let now =
                Counted { live: queue.waiting + queue.running + held, completed: queue.run.count, ended };
            let mut one = self.queues.remove(&queue.name);
            if let (Some(one), Some(span)) = (&mut one, span) {
                let rate = rate(one.last, now, span, one.rates.back().copied());
                (all.into, all.out) = (all.into + rate.into, all.out + rate.out);
                kept(&mut one.rates, rate);
            }
            let mut one = one.unwrap_or_default();
            one.last = now;
            known.insert(queue.name.clone(), one);
        }
        if span.is_some() {
            kept(&mut self.all, all);
        }
        // Of queues that are no longer told of, nothing is kept.
        self.queues = known;
        self.counted_at = Some(at);
    }

    /// The latest rate of a queue; none before its second look.
    pub(crate) fn of(&self, queue: &QueueName) -> Option<Rate> {
        self.queues.get(queue)?.rates.back().copied()
    }

    /// The latest rate of all that are told of.
    pub(crate) fn all(&self) -> Option<Rate> {
        self.all.back().copied()
    }

    /// What went out of a queue, the latest last, of at most so many looks.
    pub(crate) fn trend(&self, queue: &QueueName, most: usize) -> Vec<f64> {
        self.queues.get(queue).map(|one| last(&one.rates, most)).unwrap_or_default()
    }

    /// What went out of all.
    pub(crate) fn trend_of_all(&self, most: usize) -> Vec<f64> {
        last(&self.all, most)
    }
}

fn last(rates: &VecDeque<Rate>, most: usize) -> Vec<f64> {
    rates.iter().skip(rates.len().saturating_sub(most)).map(|rate| rate.out).collect()
}

fn kept(rates: &mut VecDeque<Rate>, rate: Rate) {
    if rates.len() == KEPT {
        rates.pop_front();
    }
    rates.push_back(rate);
}

/// The rate between two looks. Once an hour, what was completed a day before leaves the count: then the rate before goes on.
fn rate(before: Counted, now: Counted, span: Duration, last: Option<Rate>) -> Rate {
    let Some(completed) = now.completed.checked_sub(before.completed) else {
        return last.unwrap_or_default();
    };
    // Tasks whose time of keeping is over leave this count.
    let out = completed + now.ended.saturating_sub(before.ended);
    let into = (now.live + out).saturating_sub(before.live);
    let seconds = span.as_secs_f64();
    Rate { into: into as f64 / seconds, out: out as f64 / seconds }
}

#[cfg(test)]
mod tests {
    use proptest::{prop_assert, prop_assert_eq, proptest};

    use super::*;

    const SECOND: Duration = Duration::from_secs(2);

    #[test]
    fn what_is_removed_or_leaves_the_day_is_no_negative_rate() {
        let of = |live, completed, ended| Counted { live, completed, ended };
        assert_eq!(rate(of(10, 5, 0), of(8, 9, 2), SECOND, None), Rate { into: 2.0, out: 3.0 });
        let last = Rate { into: 7.0, out: 8.0 };
        assert_eq!(rate(of(10, 500, 0), of(10, 3, 0), SECOND, Some(last)), last);
        assert_eq!(rate(of(10, 5, 90), of(10, 6, 0), SECOND, None), Rate { into: 0.5, out: 0.5 });
    }

    proptest! {
        #[test]
        fn what_comes_in_goes_out_or_stays(
            live in 0_u64..1000, came in 0_u64..1000, done in 0_u64..1000, failed in 0_u64..1000,
        ) {
            let out = (done + failed).min(live + came);
            let (done, failed) = (done.min(out), out - done.min(out));
            let before = Counted { live, completed: 3, ended: 4 };
            let now = Counted { live: live + came - out, completed: 3 + done, ended: 4 + failed };
            let rate = rate(before, now, SECOND, None);
            prop_assert_eq!((rate.into * 2.0).round() as u64, came);
            prop_assert_eq!((rate.out * 2.0).round() as u64, out);
            prop_assert!(rate.into >= 0.0 && rate.out >= 0.0);
        }
    }
}
