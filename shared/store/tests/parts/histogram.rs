use std::time::Duration;

use baton_store::histogram::{bucket, middle, percentile};

#[test]
fn a_buckets_middle_is_within_five_percent_of_what_falls_into_it() {
    for millis in (20..100_000).step_by(37) {
        let shown = middle(bucket(Duration::from_millis(millis))).as_secs_f64() * 1_000.0;
        let off = (shown - millis as f64).abs() / millis as f64;
        assert!(off < 0.05, "{millis} ms shown as {shown} ms");
    }
}

#[test]
fn percentiles_read_the_bucket_that_holds_the_rank() {
    let buckets = [(0, 50), (10, 45), (20, 5)];
    assert_eq!(percentile(&buckets, 0.5), middle(0));
    assert_eq!(percentile(&buckets, 0.95), middle(10));
    assert_eq!(percentile(&buckets, 0.99), middle(20));
    assert_eq!(percentile(&[], 0.5), Duration::ZERO);
}
