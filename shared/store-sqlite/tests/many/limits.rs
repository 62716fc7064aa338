//! Limits over many tasks in a file: what one commit does is bounded, and nothing is left behind.

use baton_model::LimitRules;
use baton_store::{ClaimAnswer, LimitStore, Nothing, SetLimit, StoreError};

use crate::{Site, at, id};

/// More than one commit moves.
const TASKS: u128 = 5_000;

impl Site {
    async fn limit(&self, on: &str, most: Option<u32>) {
        let rules = most.map(|most| LimitRules { max_running: Some(most), ..LimitRules::default() });
        let set = SetLimit { now: at(1), on: on.parse().unwrap(), rules, by: None, reason: None };
        self.store.set_limit(set).await.unwrap();
    }

    /// Damages the name of the limit that tasks in this state wait at.
    fn damage(&self, state: u8) {
        let damage = "UPDATE task SET waits_at = 'projéct' WHERE state = ?1 AND waits_at IS NOT NULL";
        assert_eq!(self.db().execute(damage, [state]).unwrap(), 1);
    }
}

#[tokio::test]
async fn a_limit_that_is_set_over_many_waiting_tasks_moves_a_bounded_number_a_commit() {
    let site = Site::new();
    site.create(0..TASKS, |_| "default".to_owned()).await;
    site.limit("project/default", Some(1)).await;
    let first = site.given("w", 10).await;
    assert_eq!(first.len(), 1);
    let mut told_to_come_again = 0;
    loop {
        match site.claim("w", 10).await.unwrap() {
            ClaimAnswer::Nothing(Nothing::AtLimit { next_at: Some(next_at), .. }) => {
                assert_eq!(next_at, at(2));
                told_to_come_again += 1;
            }
            ClaimAnswer::Nothing(Nothing::AtLimit { next_at: None, .. }) => break,
            other => panic!("expected a limit, got {other:?}"),
        }
    }
    assert!((1..=3).contains(&told_to_come_again), "{told_to_come_again}");
    site.complete(&first[0]).await;
    assert_eq!(site.given("w", 10).await[0].head.id, id(1));
    // Taken away, it lets all of them go, in their order.
    site.limit("project/default", None).await;
    for place in 2..TASKS {
        assert_eq!(site.given("w", 1).await[0].head.id, id(place));
    }
    let nothing = site.claim("w", 1).await.unwrap();
    assert!(matches!(nothing, ClaimAnswer::Nothing(Nothing::NoneQueued)), "{nothing:?}");
}

/// A task whose limit has a damaged name is told as what it is, whether it is put aside or was let go, and by a store that was just
/// opened as well: nothing else would ever let go of it.
#[tokio::test]
async fn the_damaged_name_of_a_limit_that_a_task_waits_at_is_told() {
    let told = |refused: Result<ClaimAnswer, StoreError>| match refused {
        Err(StoreError::Corrupt { what, .. }) => assert_eq!(what, "the limit that a task waits at"),
        other => panic!("expected damage, got {other:?}"),
    };
    const PUT_ASIDE: u8 = 6;
    const QUEUED: u8 = 0;
    for state in [PUT_ASIDE, QUEUED] {
        let site = Site::new();
        site.create(0..2, |_| "default".to_owned()).await;
        site.limit("project/default", Some(1)).await;
        let first = site.given("w", 2).await;
        assert!(matches!(site.claim("w", 1).await.unwrap(), ClaimAnswer::Nothing(Nothing::AtLimit { .. })));
        if state == QUEUED {
            site.complete(&first[0]).await;
        }
        site.damage(state);
        told(site.claim("w", 1).await);
        let site = site.reopened();
        told(site.claim("w", 1).await);
    }
}
