//! Ends of attempts that come close together go by one request.
//!
//! Nothing waits for others on purpose: an end goes at once, by its own route, and those that come while it is under way gather until
//! it is answered, or for [`MOST_WAIT`]. Each stays its caller's: who has gone meanwhile is left out, and what could not be done now,
//! the caller sends again.

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use baton_api::Problem;
use baton_api::claim::{ClaimRequest, ClaimView, NothingView};
use baton_api::ending::{EndingRequest, EndingView, EndingsRequest, EndingsView};
use baton_api::task::TaskView;
use baton_model::limits;
use tokio::runtime::Handle;
use tokio::sync::oneshot;
use tokio::time::{Instant, sleep};

use crate::Client;
use crate::call::{Call, Failed};

/// The route that ends several attempts.
pub(crate) const ENDINGS: &str = "/v1/endings";

/// How long an end waits for a request that is under way.
const MOST_WAIT: Duration = Duration::from_millis(25);
/// An end with more bytes than this goes alone.
const LARGE: usize = 256 * 1024;
/// The most bytes in one request, before what JSON adds to texts: servers take 16 MiB unless they are told otherwise, and functions on
/// AWS 6 MB in all. One that takes fewer says so, and each end goes alone.
const MOST_BYTES: usize = 2 * 1024 * 1024;
/// What the names, numbers and braces of one end have at most, or about that.
const EACH: usize = 512;
/// After how long a server is asked anew that did not know the route.
const ASK_ANEW: Duration = Duration::from_secs(600);

/// One claim for what comes next, along with ends that go together ([`Client::with_next_claims`]).
///
/// An end that goes by its own route takes the claim along that it has itself. Of completions that go together those claims are left
/// out, and one stands for all of them. The tasks that it brings are in their answers, as if each had claimed its own. A caller that goes
/// just as its answer comes takes its tasks with it: their leases run out.
///
/// None of the methods may block. All but [`NextClaims::owes`] are called within a Tokio runtime.
pub trait NextClaims: Send + Sync {
    /// The claim for some ends that go together, whose own claims ask for `wanted` tasks in all (0 if none has one); none if nothing is
    /// to be claimed. It does not wait, and it needs a `request_id` of its own for [`NextClaims::unanswered`].
    fn claim(&self, wanted: u32) -> Option<ClaimRequest>;

    /// Whether there is a claim that is to be sent again. Then the next end takes it along, even if it is the only one.
    fn owes(&self) -> bool {
        false
    }

    /// A claim was answered: why there were no tasks, if there were none, and why it failed, if it did. The tasks are handed out after
    /// this.
    fn answered(&self, claim: &ClaimRequest, nothing: Option<&NothingView>, problem: Option<&Problem>);

    /// A claim was not answered. If it may have been granted, the same sent again brings the same tasks.
    fn unanswered(&self, claim: ClaimRequest, may_be_granted: bool);

    /// A task was claimed that no completion brings: the one that was to was refused, or its caller has gone.
    fn left_over(&self, task: TaskView);
}

/// What gathers: of one client and its clones.
pub(crate) struct Gather {
    /// Sends what goes together.
    client: Client,
    next: Option<Arc<dyn NextClaims>>,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    waiting: Vec<Waiting>,
    /// Which gathering this is.
    gathering: u64,
    /// How many requests are under way.
    under_way: usize,
    /// Until when each end goes alone, as the server does not know the route.
    alone_until: Option<Instant>,
}

/// An end that waits for the others.
struct Waiting {
    ending: EndingRequest,
    bytes: usize,
    caller: Caller,
}

/// Who waits for what becomes of an end.
struct Caller {
    /// How many tasks its own claim asks for.
    wanted: u32,
    reply: oneshot::Sender<Word>,
}

/// How an end goes.
pub(crate) enum Turn {
    /// By its own route. If it is counted as under way, others gather meanwhile.
    Alone(Option<UnderWay>),
    /// With others, unless the word is another.
    Gathered(oneshot::Receiver<Word>),
}

/// What a caller hears whose end has gathered.
pub(crate) enum Word {
    /// It was sent, and this came of it.
    Sent(Result<Box<EndingView>, Failed>),
    /// It is to go by its own route after all.
    Alone(Option<UnderWay>),
}

/// A request that is under way. Once it is not any more, answered or given up, what has gathered meanwhile goes.
pub(crate) struct UnderWay {
    gather: Arc<Gather>,
    /// Whoever drops this may have no runtime around it.
    runtime: Handle,
}

impl Drop for UnderWay {
    fn drop(&mut self) {
        let mut state = self.gather.state();
        state.under_way = state.under_way.saturating_sub(1);
        drop(state);
        self.gather.send_gathered(&self.runtime, None);
    }
}

impl fmt::Debug for Gather {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Gather").field("claims", &self.next.is_some()).finish_non_exhaustive()
    }
}

impl Gather {
    /// Nothing has gathered. `client` sends what goes together, each time once.
    pub(crate) fn new(client: Client, next: Option<Arc<dyn NextClaims>>) -> Self {
        Self { client, next, state: Mutex::default() }
    }

    /// Says how an end goes that has so many bytes, and whose own claim asks for `wanted` tasks.
    pub(crate) fn turn(
        self: &Arc<Self>,
        bytes: usize,
        wanted: u32,
        ending: impl FnOnce() -> EndingRequest,
    ) -> Turn {
        // The claim of a completion belongs to it alone: only whoever claims for several can leave it out.
        if bytes > LARGE || (wanted > 0 && self.next.is_none()) {
            return Turn::Alone(None);
        }
        let runtime = Handle::current();
        let owes = self.owes();
        let mut state = self.state();
        if state.alone_until.is_some_and(|until| Instant::now() < until) {
            return Turn::Alone(None);
        }
        if state.under_way == 0 && state.waiting.is_empty() && !owes {
            state.under_way += 1;
            drop(state);
            return Turn::Alone(Some(self.under_way(&runtime)));
        }
        let (reply, word) = oneshot::channel();
        let caller = Caller { wanted, reply };
        state.waiting.push(Waiting { ending: ending(), bytes: bytes + EACH, caller });
        let (gathering, first, idle) = (state.gathering, state.waiting.len() == 1, state.under_way == 0);
        drop(state);
        if idle {
            self.send_gathered(&runtime, None);
        } else if first {
            let (gather, on) = (Arc::clone(self), runtime.clone());
            runtime.spawn(async move {
                sleep(MOST_WAIT).await;
                gather.send_gathered(&on, Some(gathering));
            });
        }
        Turn::Gathered(word)
    }

    // A holder that panicked has left it whole: each line that writes it does.
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn owes(&self) -> bool {
        self.next.as_ref().is_some_and(|next| next.owes())
    }

    /// What holds the place of a request that is counted as under way already.
    fn under_way(self: &Arc<Self>, runtime: &Handle) -> UnderWay {
        UnderWay { gather: Arc::clone(self), runtime: runtime.clone() }
    }

    /// Sends what has gathered, if it is still this gathering.
    fn send_gathered(self: &Arc<Self>, runtime: &Handle, only: Option<u64>) {
        let owes = self.owes();
        let mut state = self.state();
        if only.is_some_and(|only| only != state.gathering) {
            return;
        }
        state.gathering += 1;
        // Who has gone may end the attempt otherwise by now.
        state.waiting.retain(|one| !one.caller.reply.is_closed());
        let mut requests = Vec::new();
        while !state.waiting.is_empty() {
            let fit = fitting(state.waiting.iter().map(|one| one.bytes));
            let rest = state.waiting.split_off(fit);
            requests.push(std::mem::replace(&mut state.waiting, rest));
        }
        state.under_way += requests.len();
        // A runtime that has ended drops what it is to run at once, and that looks at the state.
        drop(state);
        for mut gathered in requests {
            let under_way = self.under_way(runtime);
            if gathered.len() == 1
                && !owes
                && let Some(one) = gathered.pop()
            {
                // If its caller has gone, this is not under way any more.
                let _ = one.caller.reply.send(Word::Alone(Some(under_way)));
                continue;
            }
            let gather = Arc::clone(self);
            runtime.spawn(async move {
                gather.together(gathered).await;
                drop(under_way);
            });
        }
    }

    /// Sends ends by one request, and tells each caller what became of its own.
    async fn together(&self, gathered: Vec<Waiting>) {
        let wanted = gathered.iter().fold(0_u32, |sum, one| sum.saturating_add(one.caller.wanted));
        let claim = self.next.as_ref().and_then(|next| next.claim(wanted));
        let (endings, callers): (Vec<_>, Vec<_>) =
            gathered.into_iter().map(|one| (one.ending, one.caller)).unzip();
        let request = EndingsRequest { endings, claim };
        let call = Call::post(ENDINGS, &request);
        match self.client.once(&call).await {
            Ok(answer) => self.hand_out(callers, request.claim.as_ref(), answer),
            Err(failed) => self.turned_away(callers, request.claim, &failed),
        }
    }

    fn hand_out(&self, callers: Vec<Caller>, claim: Option<&ClaimRequest>, answer: EndingsView) {
        let EndingsView { items, next, next_problem, .. } = answer;
        let ClaimView { tasks, nothing } =
            next.unwrap_or_else(|| ClaimView { tasks: Vec::new(), nothing: None });
        if let Some((next, claim)) = self.next.as_ref().zip(claim) {
            next.answered(claim, nothing.as_ref(), next_problem.as_ref());
        }
        let mut tasks = tasks.into_iter();
        let mut items = items.into_iter();
        let mut left_over = Vec::new();
        for Caller { wanted, reply } in callers {
            let word = match items.next() {
                Some(item) => word(item, wanted, &mut tasks),
                // The answer leaves it out.
                None => Word::Alone(None),
            };
            if let Err(Word::Sent(Ok(item))) = reply.send(word) {
                let next = item.completed.and_then(|completed| completed.next);
                left_over.extend(next.into_iter().flat_map(|next| next.tasks));
            }
        }
        // As where a completion was refused that was to bring one.
        left_over.extend(tasks);
        if let Some(next) = &self.next {
            left_over.into_iter().for_each(|task| next.left_over(task));
        }
    }

    /// A request for several was not answered, or was refused as a whole.
    fn turned_away(&self, callers: Vec<Caller>, claim: Option<ClaimRequest>, failed: &Failed) {
        let error = &failed.error;
        let unknown = error.is_unknown_route() || error.status() == Some(501);
        if unknown {
            tracing::debug!(%error, "the server does not know how to end several attempts: each end goes alone");
            self.state().alone_until = Some(Instant::now() + ASK_ANEW);
        }
        if let Some((next, claim)) = self.next.as_ref().zip(claim) {
            next.unanswered(claim, !unknown && !error.is_misfit() && !error.is_untouched());
        }
        // What may pass, or lies with the token, is so for each of them. All else may lie with one of them, or with their number.
        let alone = unknown || !(error.is_passing() || error.is_denied());
        for Caller { reply, .. } in callers {
            let word = if alone { Word::Alone(None) } else { Word::Sent(Err(failed.clone())) };
            // Who has gone waits for nothing.
            let _ = reply.send(word);
        }
    }
}

/// What a caller hears of its end, whose claim was for `wanted` of the tasks.
fn word(mut item: EndingView, wanted: u32, tasks: &mut impl Iterator<Item = TaskView>) -> Word {
    if item.problem.as_ref().is_some_and(|problem| !problem.errors.is_empty()) {
        // It names fields by their place among all ends, of which the caller knows nothing. Nothing was done: by its own route the
        // end hears of its own fields.
        return Word::Alone(None);
    }
    if let Some(completed) = &mut item.completed {
        let next: Vec<_> = tasks.take(wanted as usize).collect();
        completed.next = (!next.is_empty()).then_some(ClaimView { tasks: next, nothing: None });
    }
    Word::Sent(Ok(Box::new(item)))
}

/// How many ends of so many bytes go by one request: at least one.
fn fitting(sizes: impl Iterator<Item = usize>) -> usize {
    let mut bytes = 0;
    let within = sizes.take(limits::ENDINGS).take_while(|size| {
        bytes += size;
        bytes <= MOST_BYTES
    });
    within.count().max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_has_no_more_ends_and_bytes_than_servers_take() {
        let fits = |size: usize, count: usize| fitting(std::iter::repeat_n(size, count));
        assert_eq!(fits(EACH, 3), 3);
        assert_eq!(fits(EACH, 5_000), 1_000);
        assert_eq!(fits(LARGE + EACH, 100), 7, "within 2 MiB");
        assert_eq!(fits(3 * MOST_BYTES, 2), 1, "at least one, or it never goes");
    }
}
