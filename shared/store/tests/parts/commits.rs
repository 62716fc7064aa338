use std::time::Duration;

use baton_store::Commits;
use baton_store::commits::Histogram;

#[test]
fn each_commit_falls_into_the_first_bucket_that_holds_it() {
    let commits = Commits::default();
    for (commands, micros) in [(1, 100), (2, 101), (3, 900), (256, 1), (300, 31_000_000)] {
        commits.count(commands, Duration::from_micros(micros));
    }
    let groups = commits.groups();
    let counted = |histogram: &Histogram| -> Vec<u64> { histogram.buckets.iter().map(|one| one.1).collect() };
    assert_eq!((groups.count(), groups.sum), (5, 562.0));
    assert_eq!(counted(&groups), [1, 1, 1, 0, 0, 0, 0, 0, 1, 1]);
    let seconds = commits.seconds();
    assert_eq!(counted(&seconds), [2, 1, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1]);
    assert!((seconds.sum - 31.001_102).abs() < 1e-9, "{}", seconds.sum);
}
