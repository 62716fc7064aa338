//! Queues with a supply that claims have come to, until somebody looks whether they are low.
//!
//! A server looks all the time ([`Supplied::heard`]). Where nothing runs between requests, the request that has heard of a queue looks
//! itself ([`Supplied::unattended`]).

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use baton_model::QueueName;
use tokio::sync::Notify;
use tokio::time::Instant;

/// How often a request looks that was given all that it asked for.
const EVERY: Duration = Duration::from_secs(1);

/// What was heard of queues with a supply.
#[derive(Debug, Default)]
pub struct Supplied {
    queues: Mutex<BTreeSet<QueueName>>,
    heard: Notify,
    attended: AtomicBool,
    /// When a request looked last.
    looked: Mutex<Option<Instant>>,
}

impl Supplied {
    /// Notes that a claim has come to a queue with a supply.
    pub fn note(&self, queue: &QueueName) {
        let is_new = self.queues().insert(queue.clone());
        if is_new {
            self.heard.notify_one();
        }
    }

    /// Waits until something was noted, and takes it. Whoever waits here looks after all of the process's queues from then on.
    pub async fn heard(&self) -> BTreeSet<QueueName> {
        self.attended.store(true, Ordering::Relaxed);
        loop {
            let queues = self.take();
            if !queues.is_empty() {
                return queues;
            }
            self.heard.notified().await;
        }
    }

    /// Whether somebody looks all the time.
    pub fn is_attended(&self) -> bool {
        self.attended.load(Ordering::Relaxed)
    }

    /// Takes what was noted, if nobody looks after it all the time: at once if a claim was given less than it asked for, else now and
    /// then, as each look is paid for.
    pub fn unattended(&self, short: bool) -> BTreeSet<QueueName> {
        let mut looked = self.looked.lock().unwrap_or_else(PoisonError::into_inner);
        let is_time = short || looked.is_none_or(|at| at.elapsed() >= EVERY);
        if self.is_attended() || !is_time {
            return BTreeSet::new();
        }
        *looked = Some(Instant::now());
        self.take()
    }

    fn take(&self) -> BTreeSet<QueueName> {
        std::mem::take(&mut *self.queues())
    }

    fn queues(&self) -> MutexGuard<'_, BTreeSet<QueueName>> {
        // A set of names is whole whatever panicked beside it, and what is lost of it costs time alone.
        self.queues.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_is_noted_is_heard_once_by_whoever_looks() {
        let supplied = Supplied::default();
        let (gpu, cpu) = ("gpu".parse().unwrap(), "cpu".parse().unwrap());
        supplied.note(&gpu);
        assert_eq!(supplied.unattended(false), BTreeSet::from([gpu.clone()]));
        assert_eq!(supplied.unattended(true), BTreeSet::new());
        supplied.note(&gpu);
        assert_eq!(supplied.unattended(false), BTreeSet::new(), "it was just looked");
        assert_eq!(supplied.unattended(true), BTreeSet::from([gpu.clone()]));
        for queue in [&gpu, &cpu, &gpu] {
            supplied.note(queue);
        }
        assert_eq!(supplied.heard().await, BTreeSet::from([cpu.clone(), gpu]));
        supplied.note(&cpu);
        assert_eq!(supplied.unattended(true), BTreeSet::new(), "somebody looks all the time");
        assert_eq!(supplied.heard().await, BTreeSet::from([cpu]));
        let later = tokio::time::timeout(std::time::Duration::from_millis(5), supplied.heard()).await;
        assert!(later.is_err(), "nothing was noted since");
    }
}
