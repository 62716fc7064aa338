//! The one order of all events, read while it grows.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use baton_store::TimelineStore;

use crate::Site;

/// A reader sees a commit a moment before its head is told; who goes on from what was read must not be told that there is no such
/// position.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn what_was_read_is_never_beyond_the_head_that_is_told() {
    let site = Arc::new(Site::new());
    let ended = Arc::new(AtomicBool::new(false));
    let readers: Vec<_> = (0..3)
        .map(|_| {
            let (site, ended) = (Arc::clone(&site), Arc::clone(&ended));
            tokio::spawn(async move {
                let mut position = 0;
                while !ended.load(Ordering::Relaxed) {
                    let page = site.store.feed(position, 100).await.unwrap();
                    let head = site.store.feed_head().await.unwrap();
                    assert!(page.up_to <= head, "{} was read, and {head} is told", page.up_to);
                    position = page.up_to;
                }
                position
            })
        })
        .collect();
    for n in 0..1_000 {
        site.create(n..n + 1, |_| "film".to_owned()).await;
    }
    ended.store(true, Ordering::Relaxed);
    for reader in readers {
        assert!(reader.await.unwrap() > 0);
    }
}
