//! What is wrong with the reaper: whether it lives, keeps up, and believes its clock.

use std::time::Duration;

use baton_api::reap::ReaperView;
use baton_model::Timestamp;

use crate::finding::{Finding, error, warning};
use crate::words as text;

/// How long a reaper may be away beyond three of its usual gaps: a restart, or a round that has much to do.
const AWAY: Duration = Duration::from_secs(60);

/// How far removals may stay behind: beyond it the file grows.
const BEHIND: Duration = Duration::from_secs(3_600);

/// How many rounds in a row must have run out of time before it is said that they do.
const ROUNDS: usize = 3;

/// What shows more.
const SHOW: &str = "baton debug reaper";

/// All that is wrong with it, the gravest first.
pub fn reaper(view: &ReaperView) -> Vec<Finding> {
    let mut found = Vec::new();
    lives(view, &mut found);
    believes(view, &mut found);
    keeps_up(view, &mut found);
    found
}

fn lives(view: &ReaperView, found: &mut Vec<Finding>) {
    let every = Duration::try_from_secs_f64(view.every_seconds).unwrap_or_default();
    let patience = every * 3 + AWAY;
    let Some(last) = latest(view) else {
        let message =
            "no round of the reaper is known: nothing takes tasks back from workers that died".to_owned();
        found.push(error("reaper", message, "baton reap"));
        return;
    };
    if view.at.since(last) > patience {
        let message = format!(
            "the reaper made its last round {}, and makes one every {}: nothing takes tasks back meanwhile",
            text::ago(last, view.at),
            text::span(every)
        );
        found.push(error("reaper", message, "baton reap"));
        return;
    }
    let failed = view.rounds.iter().take_while(|round| round.error.is_some()).count();
    if let Some(why) = view.rounds.first().and_then(|round| round.error.as_ref()).filter(|_| failed > 1) {
        let message = format!("the last {failed} rounds of the reaper failed: {}", text::short(why, 200));
        found.push(error("reaper", message, SHOW));
    }
}

/// When it was last seen to do something; of a server that has just begun, when that was.
fn latest(view: &ReaperView) -> Option<Timestamp> {
    view.last_at.max(view.running_since).or(view.heard_since)
}

fn believes(view: &ReaperView, found: &mut Vec<Finding>) {
    // At its very first start there is no time yet that could be believed: that is no fault.
    let Some((doubt, believed)) = view.doubt.and_then(|doubt| Some((doubt, doubt.believed?))) else { return };
    let (apart, way) = match doubt.since >= believed {
        true => (doubt.since.since(believed), "ahead"),
        false => (believed.since(doubt.since), "back"),
    };
    let message = format!(
        "the server's clock was set {way} by {}, or nothing ran for as long: nothing is removed until {}, or until it is set right",
        text::span(apart),
        doubt.until
    );
    found.push(warning("clock", message, "timedatectl"));
}

fn keeps_up(view: &ReaperView, found: &mut Vec<Finding>) {
    let overdue = Duration::try_from_secs_f64(view.overdue_seconds).unwrap_or_default();
    if overdue > BEHIND {
        let message = format!(
            "removals are behind: what should have been removed {} ago is still kept, and the store grows",
            text::span(overdue)
        );
        found.push(warning("reaper_behind", message, SHOW));
    } else if view.rounds.len() >= ROUNDS && view.rounds.iter().take(ROUNDS).all(|round| round.more) {
        let message = format!("the last {ROUNDS} rounds of the reaper had more to do than time");
        found.push(warning("reaper_behind", message, SHOW));
    }
}

#[cfg(test)]
mod tests {
    use baton_api::reap::{DoubtView, RoundView};
    use baton_model::RoundDone;

    use super::*;

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_millis(1_800_000_000_000 + seconds * 1_000)
    }

    fn round(n: i64) -> RoundView {
        RoundDone { at: at(n), ..RoundDone::default() }.into()
    }

    /// A reaper whose rounds began then.
    fn made(rounds: &[i64]) -> ReaperView {
        ReaperView {
            at: at(0),
            known_by: "server".to_owned(),
            every_seconds: 5.0,
            last_at: rounds.first().map(|n| at(*n)),
            next_at: None,
            running_since: None,
            heard_since: None,
            doubt: None,
            overdue_seconds: 0.0,
            rounds: rounds.iter().map(|n| round(*n)).collect(),
        }
    }

    fn words(view: &ReaperView) -> Vec<&'static str> {
        reaper(view).iter().map(|one| one.what).collect()
    }

    #[test]
    fn one_that_makes_its_rounds_is_well_and_one_that_makes_none_is_not() {
        assert_eq!(words(&made(&[-2, -7])), [""; 0]);
        assert_eq!(words(&made(&[-75])), [""; 0]);
        let found = reaper(&made(&[-76]));
        assert!(
            found[0].message.starts_with("the reaper made its last round 76s ago, and makes one every 5.0s"),
            "{found:?}"
        );
        assert_eq!(words(&made(&[])), ["reaper"]);
        assert_eq!(words(&ReaperView { running_since: Some(at(-1)), ..made(&[]) }), [""; 0]);
    }

    #[test]
    fn rounds_that_fail_and_rounds_that_do_not_suffice_are_told() {
        let mut view = made(&[-2, -7, -12]);
        view.rounds[0].error = Some("the store is busy".to_owned());
        assert_eq!(words(&view), [""; 0], "one may");
        view.rounds[1].error = view.rounds[0].error.clone();
        assert_eq!(reaper(&view)[0].message, "the last 2 rounds of the reaper failed: the store is busy");
        view = made(&[-2, -7, -12]);
        view.rounds.iter_mut().for_each(|round| round.more = true);
        assert_eq!(words(&view), ["reaper_behind"]);
        assert_eq!(words(&ReaperView { overdue_seconds: 3_601.0, ..made(&[-2]) }), ["reaper_behind"]);
    }

    #[test]
    fn a_clock_that_is_doubted_is_told_unless_there_was_none_to_believe() {
        let doubt = DoubtView { since: at(-10), until: at(3_590), believed: None };
        assert_eq!(words(&ReaperView { doubt: Some(doubt), ..made(&[-2]) }), [""; 0]);
        for (believed, way) in [(-90_010, "ahead by 25h"), (89_990, "back by 25h")] {
            let doubt = DoubtView { believed: Some(at(believed)), ..doubt };
            let found = reaper(&ReaperView { doubt: Some(doubt), ..made(&[-2]) });
            assert!(found[0].message.contains(way), "{found:?}");
        }
    }
}
