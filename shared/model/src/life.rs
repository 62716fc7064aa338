//! What a worker's life has come to: one word for it, since when, and why, as a pure function of what is known of it. Nothing of this
//! is kept: facts decide, which are its heartbeats, what is asked of it, and what its supervisor tells, if it has one.

use crate::lease::LeasePolicy;
use crate::time::Timestamp;
use crate::worker::{Directive, Worker};

/// What a worker's life has come to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Life {
    /// It was started, and has not shown yet that it lives.
    Spawning,
    /// It lives, and may claim.
    Active,
    /// It lives, finishes what it runs, and claims nothing more.
    Draining,
    /// It lives, and is to give back what it runs, and end.
    Terminating,
    /// It has said that it ends.
    Gone,
    /// It is heard of no more, and has not said that it ends.
    Lost,
    /// Its supervisor has given it up.
    Failed,
}

impl Life {
    /// Every one.
    pub const ALL: [Self; 7] = [
        Self::Spawning,
        Self::Active,
        Self::Draining,
        Self::Terminating,
        Self::Gone,
        Self::Lost,
        Self::Failed,
    ];

    /// Its stable name.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Spawning => "spawning",
            Self::Active => "active",
            Self::Draining => "draining",
            Self::Terminating => "terminating",
            Self::Gone => "gone",
            Self::Lost => "lost",
            Self::Failed => "failed",
        }
    }
}

/// A worker's life, with since when and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Living {
    /// What it has come to.
    pub life: Life,
    /// Since when; none of what an operator has asked by a version that did not keep it.
    pub since: Option<Timestamp>,
    /// Why, in words.
    pub why: String,
}

/// What a supervisor tells of a worker.
#[derive(Clone, Copy, Debug)]
pub struct Supervised<'a> {
    /// The state, by its word there.
    pub state: &'a str,
    /// Since when.
    pub since: Timestamp,
    /// How its last process ended.
    pub last_exit: Option<&'a str>,
}

impl Living {
    /// The life of a worker that holds so many tasks.
    pub fn of(
        worker: &Worker,
        holds: u32,
        supervised: Option<Supervised<'_>>,
        policy: &LeasePolicy,
        now: Timestamp,
    ) -> Self {
        let told = |life, since, why: String| Self { life, since: Some(since), why };
        if let Some(one) = supervised.filter(|one| one.state == "failed") {
            let last = one.last_exit.map(|exit| format!("; last: {exit}")).unwrap_or_default();
            return told(Life::Failed, one.since, format!("it has used up its restarts{last}"));
        }
        let timeout = policy.heartbeat_timeout;
        let is_lost = worker.last_beat_at.is_some_and(|at| now.since(at) > timeout);
        let starts = supervised.filter(|one| matches!(one.state, "spawning" | "pausing" | "waiting"));
        if let Some(one) = starts.filter(|_| worker.ended_at.is_some() || is_lost) {
            let last = one.last_exit.map(|exit| format!("; last: {exit}")).unwrap_or_default();
            return told(Life::Spawning, one.since, format!("its supervisor starts it again{last}"));
        }
        if let Some(ended) = worker.ended_at {
            return told(Life::Gone, ended, "it has said that it ends".to_owned());
        }
        let Some(beat) = worker.last_beat_at else {
            let heard = worker.taker(policy, now).heard_at;
            return match (now.since(heard) <= timeout, holds) {
                (true, 0) => told(Life::Spawning, worker.started_at, "it has not beaten yet".to_owned()),
                (_, 1..) => told(Life::Active, worker.started_at, "it claims, and never beats".to_owned()),
                (false, 0) => {
                    told(Life::Lost, heard.plus(timeout), "it never beat, and holds nothing".to_owned())
                }
            };
        };
        if is_lost {
            let why = format!("no heartbeat came for {} s", timeout.as_secs_f64());
            return told(Life::Lost, beat.plus(timeout), why);
        }
        match (worker.directive, supervised) {
            (_, Some(one)) if one.state == "terminating" => {
                told(Life::Terminating, one.since, "its supervisor ends it".to_owned())
            }
            (Directive::Stop, _) => Self::asked(Life::Terminating, worker),
            (_, Some(one)) if one.state == "draining" => {
                told(Life::Draining, one.since, "its supervisor has it finish what it runs".to_owned())
            }
            (Directive::Drain, _) => Self::asked(Life::Draining, worker),
            (Directive::Run, _) => told(Life::Active, worker.started_at, "it beats".to_owned()),
        }
    }

    /// The life of a worker of which an operator has asked something.
    fn asked(life: Life, worker: &Worker) -> Self {
        let directed = worker.directed.as_ref();
        let by =
            directed.and_then(|asked| asked.by.as_ref()).map(|by| format!(" by {by}")).unwrap_or_default();
        let reason = directed.and_then(|asked| asked.reason.as_ref());
        let reason = reason.map(|reason| format!(": {reason}")).unwrap_or_default();
        let why = format!("it was asked to {}{by}{reason}", worker.directive.as_str());
        Self { life, since: directed.map(|asked| asked.since), why }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::owner::Owner;
    use crate::worker::{Directed, WorkerStatus};

    fn at(seconds: u64) -> Timestamp {
        Timestamp::from_millis(1_800_000_000_000).plus(Duration::from_secs(seconds))
    }

    fn worker(beat: Option<u64>, directive: Directive, ended: Option<u64>) -> Worker {
        Worker {
            last_beat_at: beat.map(at),
            directive,
            ended_at: ended.map(at),
            ..Worker::new("w".parse().unwrap(), Owner::default(), None, at(0))
        }
    }

    fn policy() -> LeasePolicy {
        LeasePolicy { heartbeat_timeout: Duration::from_secs(30), ..LeasePolicy::default() }
    }

    #[test]
    fn each_life_follows_from_what_is_known() {
        use Directive::{Drain, Run, Stop};
        let report = |state, since| Supervised { state, since: at(since), last_exit: Some("exit code 1") };
        for (worker, holds, supervised, life, since, why) in [
            (worker(None, Run, None), 0, None, "spawning", Some(0), "it has not beaten yet"),
            (worker(None, Run, None), 1, None, "active", Some(0), "it claims, and never beats"),
            (worker(Some(20), Run, None), 0, None, "active", Some(0), "it beats"),
            (worker(Some(20), Drain, None), 1, None, "draining", None, "it was asked to drain"),
            (worker(Some(20), Stop, None), 1, None, "terminating", None, "it was asked to stop"),
            (worker(Some(20), Run, Some(21)), 0, None, "gone", Some(21), "it has said that it ends"),
            (
                worker(Some(20), Run, None),
                1,
                Some(report("draining", 22)),
                "draining",
                Some(22),
                "its supervisor has it finish what it runs",
            ),
            (
                worker(Some(20), Drain, None),
                1,
                Some(report("terminating", 23)),
                "terminating",
                Some(23),
                "its supervisor ends it",
            ),
            (
                worker(Some(20), Run, Some(21)),
                0,
                Some(report("pausing", 22)),
                "spawning",
                Some(22),
                "its supervisor starts it again; last: exit code 1",
            ),
            (
                worker(Some(20), Run, None),
                0,
                Some(report("failed", 24)),
                "failed",
                Some(24),
                "it has used up its restarts; last: exit code 1",
            ),
        ] {
            let living = Living::of(&worker, holds, supervised, &policy(), at(25));
            let told = (living.life.as_str(), living.since, living.why.as_str());
            assert_eq!(told, (life, since.map(at), why));
        }
    }

    #[test]
    fn what_an_operator_asked_is_told_with_since_when_who_and_why() {
        let mut asked = worker(Some(20), Directive::Run, None);
        let by = |by: Option<&str>, reason: Option<&str>, since| Directed {
            since: at(since),
            by: by.map(|by| by.parse().unwrap()),
            reason: reason.map(str::to_owned),
        };
        assert!(asked.direct(Directive::Drain, by(Some("ada"), Some("a new card"), 21)));
        assert!(!asked.direct(Directive::Drain, by(Some("bob"), None, 22)), "it stands already");
        let told = |worker: &Worker| Living::of(worker, 1, None, &policy(), at(25));
        let draining = told(&asked);
        assert_eq!((draining.life, draining.since), (Life::Draining, Some(at(21))));
        assert_eq!(draining.why, "it was asked to drain by ada: a new card");
        assert!(asked.direct(Directive::Stop, by(None, None, 23)));
        let stopping = told(&asked);
        assert_eq!((stopping.life, stopping.since), (Life::Terminating, Some(at(23))));
        assert_eq!(stopping.why, "it was asked to stop");
        assert!(!asked.direct(Directive::Stop, by(None, Some("once more"), 24)));
        assert!(
            asked.direct(Directive::Stop, by(Some("ada"), None, 24)),
            "somebody takes the place of nobody"
        );
        assert_eq!(told(&asked).why, "it was asked to stop by ada");
        assert!(asked.direct(Directive::Run, by(Some("ada"), None, 24)));
        assert_eq!((told(&asked).life, asked.directed), (Life::Active, None));
    }

    #[test]
    fn silence_is_loss_from_the_timeout_on() {
        let late = |worker: &Worker, holds, now| Living::of(worker, holds, None, &policy(), at(now));
        let beaten = worker(Some(20), Directive::Drain, None);
        assert_eq!(late(&beaten, 1, 50).life, Life::Draining);
        let lost = late(&beaten, 1, 51);
        assert_eq!(
            (lost.life, lost.since, lost.why.as_str()),
            (Life::Lost, Some(at(50)), "no heartbeat came for 30 s")
        );
        let silent = worker(None, Directive::Run, None);
        assert_eq!((late(&silent, 0, 30).life, late(&silent, 0, 31).life), (Life::Spawning, Life::Lost));
    }

    /// Both words for a worker agree wherever both have one.
    #[test]
    fn life_and_status_agree() {
        for directive in Directive::ALL {
            for (beat, ended) in [(Some(0), None), (Some(20), None), (Some(20), Some(21))] {
                let worker = worker(beat, directive, ended);
                let now = at(40);
                let life = Living::of(&worker, 1, None, &policy(), now).life;
                let expected = match worker.status(&policy(), now) {
                    WorkerStatus::Active | WorkerStatus::Silent => Life::Active,
                    WorkerStatus::Draining => Life::Draining,
                    WorkerStatus::Stopping => Life::Terminating,
                    WorkerStatus::Lost => Life::Lost,
                    WorkerStatus::Gone => Life::Gone,
                };
                assert_eq!(life, expected, "{worker:?}");
            }
        }
    }
}
