//! Fair queues over many tasks in a file: nobody is delayed by how many another has, and a claim costs by how many tenants wait and not
//! by how many tasks. `BATON_TEST_TENANTS=1000` measures claims with more tenants.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use baton_model::{FairBy, QueueOrder};
use baton_store::{OrderQueue, TaskStore};

use crate::{Site, at, lease_of};

const FAIR: QueueOrder = QueueOrder { fair: Some(FairBy::Project), age_after_seconds: None };

impl Site {
    async fn order(&self, order: QueueOrder) -> (QueueOrder, QueueOrder) {
        let set = OrderQueue { now: at(1), queue: "default".parse().unwrap(), order };
        self.store.order_queue(set).await.unwrap()
    }

    /// How long a claim takes, at the fastest of some.
    async fn fastest(&self) -> Duration {
        let mut fastest = Duration::MAX;
        for _ in 0..40 {
            let begun = Instant::now();
            self.given("w", 1).await;
            fastest = fastest.min(begun.elapsed());
        }
        fastest
    }
}

#[tokio::test]
async fn ten_tasks_beside_a_hundred_thousand_are_done_before_the_large_tenants_thirtieth() {
    let site = Site::new();
    site.create(0..100_000, |_| "large".to_owned()).await;
    site.create(100_000..100_010, |_| "small".to_owned()).await;
    // All of them wait already.
    let begun = Instant::now();
    assert_eq!(site.order(FAIR).await, (QueueOrder::default(), FAIR));
    println!("made fair over 100,010 tasks in {:?}", begun.elapsed());
    let mut held = VecDeque::new();
    for n in 0..8 {
        held.extend(site.given(&format!("w{n}"), 1).await);
    }
    let (mut large, mut small) = (0, 0);
    while small < 10 {
        let task = held.pop_front().unwrap();
        site.complete(&task).await;
        match task.project.as_str() {
            "small" => small += 1,
            _ => large += 1,
        }
        held.extend(site.given(lease_of(&task).worker.as_str(), 1).await);
    }
    println!("the small tenant's ten were done before the large one's {}", large + 1);
    assert!(large < 30, "{large} of the large tenant's came first");
    let many = site.fastest().await;
    println!("a claim beside 100,000 tasks: {many:?}");
    assert!(many < Duration::from_millis(5), "{many:?}");
}

#[tokio::test]
async fn a_claim_costs_by_how_many_tenants_wait() {
    let tenants = std::env::var("BATON_TEST_TENANTS").ok().and_then(|text| text.parse().ok()).unwrap_or(100);
    let site = Site::new();
    site.order(FAIR).await;
    site.create(0..tenants * 50, |n| format!("p{}", n % tenants)).await;
    println!("a claim with {tenants} tenants: {:?}", site.fastest().await);
    // The first of each, and then the second of each.
    let first: Vec<_> = site.given("w", 100).await.iter().map(|task| task.project.to_string()).collect();
    let mut distinct = first.clone();
    distinct.sort();
    distinct.dedup();
    assert!(distinct.len() as u128 >= tenants.min(100) - 1, "{} of {tenants}", distinct.len());
}

#[tokio::test]
async fn a_queue_whose_making_fair_was_cut_off_is_fair_once_it_was_claimed_some_more() {
    let site = Site::new();
    site.create(0..25_000, |_| "large".to_owned()).await;
    site.create(25_000..25_010, |_| "small".to_owned()).await;
    // As a server leaves it that ended after the first of its rows.
    let left = "UPDATE queue SET ordering = '{\"fair\":\"project\"}', turning = 0";
    site.db().execute_batch(left).unwrap();
    let site = site.reopened();
    let mut projects = Vec::new();
    for _ in 0..8 {
        projects.extend(site.given("w", 1).await.into_iter().map(|task| task.project.to_string()));
    }
    assert_eq!(projects[0], "large", "as before");
    assert!(projects.iter().any(|project| project == "small"), "{projects:?}");
    let queue = site.store.queue(&"default".parse().unwrap(), at(4)).await.unwrap();
    assert_eq!(queue.order, FAIR);
}
