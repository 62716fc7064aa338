//! Supply: which template comes when, what is missing, and what a change makes of it.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test ends where it is surprised")]

use std::collections::BTreeSet;

use baton_model::schedule::Said;
use baton_model::supply::{MOST_READY, MOST_TEMPLATES, MOST_WEIGHT, STEP_TASKS, changed};
use baton_model::{
    Payload, QueueName, Supply, SupplyChange, SupplyPlan, TaskId, TaskSpec, Template, Timestamp,
};
use proptest::prelude::*;

fn at(text: &str) -> Timestamp {
    text.parse().unwrap()
}

fn plan(weights: &[u32]) -> SupplyPlan {
    let template = |(place, weight): (usize, &u32)| {
        let task = TaskSpec::new(TaskId::unset(), format!("t{place}").parse().unwrap());
        let params = Payload::parse(r#"{"n":"{{index}}","day":"{{date}}"}"#).unwrap();
        Template { weight: *weight, task: TaskSpec { params, ..task } }
    };
    let templates = weights.iter().enumerate().map(template).collect();
    SupplyPlan { min: 10, target: 40, templates, while_asked: false, paused: false }
}

fn said() -> Said {
    Said { now: at("2026-03-01T12:00:00Z"), by: Some("ada".parse().unwrap()), reason: None }
}

fn supply(plan: SupplyPlan) -> Supply {
    let queue: QueueName = "gpu".parse().unwrap();
    changed(&queue, None, &SupplyChange::Set { plan: Box::new(plan), seed: [7; 16] }, &said()).unwrap()
}

/// How many of a range of indexes each template has.
fn shares(plan: &SupplyPlan, indexes: std::ops::Range<u64>) -> Vec<u32> {
    let mut shares = vec![0; plan.templates.len()];
    for index in indexes {
        let chosen = plan.choose(index).unwrap();
        shares[plan.templates.iter().position(|one| std::ptr::eq(one, chosen)).unwrap()] += 1;
    }
    shares
}

#[test]
fn templates_of_three_to_one_take_turns() {
    let plan = plan(&[3, 1]);
    let order: String =
        (0..12).map(|index| plan.choose(index).unwrap().task.task_type.as_str()[1..].to_owned()).collect();
    assert_eq!(order.matches('1').count(), 3);
    assert!(!order.contains("11") && !order.contains("0000"), "{order}");
    assert_eq!(plan.choose(5).unwrap(), plan.choose(9).unwrap(), "by the index alone");
}

#[test]
fn what_is_missing_is_created_up_to_the_target_in_steps() {
    let supply = supply(SupplyPlan { min: 100, target: MOST_READY, ..plan(&[1]) });
    assert!(supply.missing(100, said().now).is_none());
    let first = supply.missing(99, said().now).unwrap();
    assert_eq!((first.tasks.len() as u32, first.after.next_index), (STEP_TASKS, u64::from(STEP_TASKS)));
    assert!(first.after.filling);
    let last = first.after.missing(MOST_READY - 5, said().now).unwrap();
    assert_eq!((last.tasks.len(), last.after.filling, last.after.revision), (5, false, 3));
    assert!(last.after.missing(100, said().now).is_none());
    let paused = Supply { plan: SupplyPlan { paused: true, ..supply.plan.clone() }, ..supply };
    assert!(paused.missing(0, said().now).is_none());
}

#[test]
fn a_task_has_its_index_and_day_in_its_params_and_an_id_of_its_own() {
    let supply = supply(plan(&[1]));
    let missing = supply.missing(0, at("2026-03-01T23:59:59.999Z")).unwrap();
    assert_eq!(missing.tasks[7].params, Payload::parse(r#"{"day":"2026-03-01","n":"7"}"#).unwrap());
    let later = missing.after.missing(39, at("2026-03-02T00:00:00Z"));
    assert!(later.is_none(), "as many as the least are ready");
    let later = missing.after.missing(9, at("2026-03-02T00:00:00Z")).unwrap();
    assert_eq!(later.tasks[0].params, Payload::parse(r#"{"day":"2026-03-02","n":"40"}"#).unwrap());
    let ids: BTreeSet<TaskId> = missing.tasks.iter().chain(&later.tasks).map(|task| task.id).collect();
    assert_eq!(ids.len(), 71);
    assert!(missing.tasks.iter().all(|task| task.id < later.tasks[0].id), "later ones sort behind");
    let again = supply.missing(0, at("2026-03-01T23:59:59.999Z")).unwrap();
    assert_eq!(again, missing, "what is done twice is the same");
}

#[test]
fn the_same_plan_again_is_no_change_and_another_goes_on() {
    let first = supply(plan(&[1, 2]));
    let queue = first.queue.clone();
    let set = |plan| SupplyChange::Set { plan: Box::new(plan), seed: [9; 16] };
    let later = Said { now: at("2026-03-02T12:00:00Z"), by: None, reason: Some("more".to_owned()) };
    assert_eq!(changed(&queue, Some(&first), &set(plan(&[1, 2])), &later), Some(first.clone()));
    let filled = first.missing(0, said().now).unwrap().after;
    let other = changed(&queue, Some(&filled), &set(plan(&[5])), &later).unwrap();
    assert_eq!((other.seed, other.next_index, other.revision), ([7; 16], 40, 3));
    assert_eq!((other.created_at, other.changed_at, &other.changed_by), (said().now, later.now, &None));
    assert_eq!(changed(&queue, Some(&other), &SupplyChange::Unset, &later), None);
}

proptest! {
    #[test]
    fn of_as_many_tasks_as_all_templates_weigh_each_has_what_it_weighs(
        weights in prop::collection::vec(1..=MOST_WEIGHT, 1..=MOST_TEMPLATES),
        from in 0..1_000_000_u64,
    ) {
        let plan = plan(&weights);
        let whole: u64 = weights.iter().map(|weight| u64::from(*weight)).sum();
        prop_assert_eq!(shares(&plan, from..from + whole), weights);
    }

    #[test]
    fn shares_are_near_their_weights_early_too(
        weights in prop::collection::vec(1..=20_u32, 2..=6),
        from in 0..10_000_u64,
    ) {
        let plan = plan(&weights);
        let whole: u32 = weights.iter().sum();
        let some = u64::from(whole.div_ceil(2));
        for (share, weight) in shares(&plan, from..from + some).into_iter().zip(&weights) {
            let expected = f64::from(*weight) * some as f64 / f64::from(whole);
            prop_assert!((f64::from(share) - expected).abs() <= 3.0, "{share} for {expected}");
        }
    }

    #[test]
    fn no_refill_leads_above_the_target(
        (min, target) in (1..=200_u32).prop_flat_map(|min| (Just(min), min..=400)),
        steps in prop::collection::vec(0..500_u32, 1..40),
    ) {
        let mut supply = supply(SupplyPlan { min, target, ..plan(&[1]) });
        let mut ready = 0;
        for taken in steps {
            while let Some(missing) = supply.missing(ready, said().now) {
                prop_assert!(ready < target);
                ready += missing.tasks.len() as u32;
                prop_assert!(ready <= target);
                supply = missing.after;
            }
            prop_assert!(ready >= min);
            ready -= taken.min(ready);
        }
    }
}
