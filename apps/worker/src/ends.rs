//! What is claimed along with attempts that end close together, and what becomes of it.
//!
//! The client gathers the ends (`shared/client/src/gather.rs`): each stays its sender's to send again until it is answered for
//! (`deliver.rs`). A request for several brings one claim for all the slots that they free.
//!
//! What such a claim was granted by an answer that was lost is not lost: the next ends that gather send it again under its own
//! name, or, if there are none, [`settle`] does.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use baton_api::Problem;
use baton_api::claim::{ClaimRequest, NothingView};
use baton_api::task::TaskView;
use baton_client::{Client, NextClaims};
use baton_model::RequestKey;
use tokio::sync::mpsc;
use tokio::time::sleep;

use crate::lock::lock;
use crate::retry::{jittered, worth_another_try};
use crate::shared::{Listed, Shared, UnheardClaim};

/// How long a slot may take to go on with the task that it was handed.
const LISTING: Duration = Duration::from_secs(1);
/// The pause before a claim is settled whose answer was lost, and the longest one. Ends that gather meanwhile are faster.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
const LONGEST_PAUSE: Duration = Duration::from_secs(5);

/// What sends the ends of attempts.
pub(crate) struct Ends {
    /// Has them gather.
    pub(crate) client: Client,
    claims: Claims,
}

/// A task that a claim for several slots has brought, and that waits for one; it is on the list.
pub(crate) struct LeftOver {
    pub(crate) task: TaskView,
    pub(crate) listed: Listed,
}

/// The claims that go along.
#[derive(Clone)]
struct Claims {
    shared: Arc<Shared>,
    owed: Arc<Mutex<Owed>>,
    left_over: mpsc::UnboundedSender<LeftOver>,
}

#[derive(Default)]
struct Owed {
    /// Claims that may have been granted and whose answers were lost.
    unheard: Vec<(ClaimRequest, UnheardClaim)>,
    /// Those of them that are on their way again, by their names.
    again: Vec<(Option<RequestKey>, UnheardClaim)>,
    /// How many tasks wait for a slot, as more came along than slots asked for.
    placing: u32,
}

impl NextClaims for Claims {
    fn claim(&self, wanted: u32) -> Option<ClaimRequest> {
        let mut owed = lock(&self.owed);
        if let Some((claim, guard)) = owed.unheard.pop() {
            owed.again.push((claim.request_id.clone(), guard));
            return Some(claim);
        }
        let slots = wanted.saturating_sub(owed.placing);
        drop(owed);
        (slots > 0).then(|| self.shared.claim_request(slots))
    }

    fn owes(&self) -> bool {
        !lock(&self.owed).unheard.is_empty()
    }

    fn answered(&self, claim: &ClaimRequest, nothing: Option<&NothingView>, problem: Option<&Problem>) {
        if let Some(problem) = problem {
            self.shared.next_failed(problem);
        }
        if let Some(directive) = nothing.and_then(|nothing| nothing.directive) {
            self.shared.obey(directive);
        }
        if let Some(guard) = self.sent_again(claim) {
            // What a slot was handed is on the list only once the slot goes on.
            self.shared.follow(async move {
                sleep(LISTING).await;
                drop(guard);
            });
        }
    }

    fn unanswered(&self, claim: ClaimRequest, may_be_granted: bool) {
        let guard = match self.sent_again(&claim) {
            // Its first sending may have been heard, whatever became of this one.
            Some(guard) => guard,
            None if may_be_granted => self.shared.unheard_claim(),
            None => return,
        };
        lock(&self.owed).unheard.push((claim, guard));
        self.shared.follow(settle(self.clone()));
    }

    fn left_over(&self, task: TaskView) {
        self.place_later(task);
    }
}

impl Claims {
    /// What stands for a claim that was on its way again, and is not any more.
    fn sent_again(&self, claim: &ClaimRequest) -> Option<UnheardClaim> {
        let mut owed = lock(&self.owed);
        let at = owed.again.iter().position(|(name, _)| *name == claim.request_id)?;
        Some(owed.again.swap_remove(at).1)
    }

    /// Has a task wait for a slot. Until then it is on the list, and the next ends claim one less.
    fn place_later(&self, task: TaskView) {
        let listed = self.shared.list(task.id, task.attempt);
        lock(&self.owed).placing += 1;
        // Once nobody hears it, the worker has ended, and what it held was given back.
        let _ = self.left_over.send(LeftOver { task, listed });
    }
}

/// Sends claims again whose answers were lost, until they are answered: each under its own name, so that it gets what it was
/// granted.
async fn settle(claims: Claims) {
    let shared = &claims.shared;
    let mut pause = FIRST_PAUSE;
    loop {
        sleep(jittered(pause)).await;
        pause = (pause * 2).min(LONGEST_PAUSE);
        let Some((claim, guard)) = lock(&claims.owed).unheard.pop() else { return };
        match shared.client.with_deadline(Duration::ZERO).claim(&claim).await {
            Ok(answer) => {
                answer.tasks.into_iter().for_each(|task| claims.place_later(task));
                // They are on the list by now.
                drop(guard);
            }
            Err(error) if worth_another_try(&error) => lock(&claims.owed).unheard.push((claim, guard)),
            Err(error) => tracing::warn!(worker_id = %shared.options.id, %error,
                "a claim could not be settled whose answer was lost; what it has brought comes back when its leases run out"),
        }
    }
}

impl Ends {
    /// Nothing has ended. What is left over comes by the other.
    pub(crate) fn new(shared: &Arc<Shared>) -> (Arc<Self>, mpsc::UnboundedReceiver<LeftOver>) {
        let (left_over, heard) = mpsc::unbounded_channel();
        let claims = Claims { shared: Arc::clone(shared), owed: Arc::default(), left_over };
        let client = shared.client.with_next_claims(Arc::new(claims.clone()));
        (Arc::new(Self { client, claims }), heard)
    }

    /// A task that was left over has a slot, or was given back.
    pub(crate) fn placed(&self) {
        lock(&self.claims.owed).placing -= 1;
    }

    /// Lets go of what was not settled: the worker has ended, and what it holds was given back.
    pub(crate) fn close(&self) {
        let mut owed = lock(&self.claims.owed);
        let let_go = (std::mem::take(&mut owed.unheard), std::mem::take(&mut owed.again));
        drop(owed);
        drop(let_go);
    }
}
