use std::collections::BTreeSet;

use baton_model::Timestamp;
use baton_store::Waiting;

#[test]
fn few_places_are_all_looked_at_always_and_many_within_some_minutes() {
    assert_eq!(Waiting::in_turn(vec![1, 2], Timestamp::from_millis(7)), (vec![1, 2], 0));
    let all: Vec<usize> = (0..2_500).collect();
    let mut seen = BTreeSet::new();
    for minute in 100..103 {
        let (some, unseen) = Waiting::in_turn(all.clone(), Timestamp::from_millis(minute * 60_000));
        assert_eq!((some.len(), unseen), (1_000, 1_500));
        seen.extend(some);
    }
    assert_eq!(seen.len(), all.len());
}
