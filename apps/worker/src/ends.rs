//! Ends of attempts that come close together are told to the server by one request.
//!
//! Nothing waits for others on purpose: an end goes at once, alone, and those that come while it is under way gather until it is
//! answered, or for [`MOST_WAIT`]. Their request brings one claim for all the slots that they free. Each end stays its sender's to
//! send again until it is answered for (`deliver.rs`).
//!
//! What such a claim was granted by an answer that was lost is not lost: the next ends that gather send it again under its own
//! name, or, if there are none, [`settle`] does.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use baton_api::claim::{ClaimRequest, ClaimView};
use baton_api::ending::{EndingView, EndingsRequest, EndingsView};
use baton_api::task::TaskView;
use baton_client::ClientError;
use baton_model::{TaskId, TraceParent, limits};
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};

use crate::lock::lock;
use crate::retry::{is_misfit, jittered, worth_another_try};
use crate::shared::{Listed, Shared, UnheardClaim};
use crate::told::{Answer, Told};

/// How long an end waits for a request that is under way.
const MOST_WAIT: Duration = Duration::from_millis(25);
/// An end with more bytes of output than this goes alone.
const LARGE: usize = 256 * 1024;
/// The most bytes of output in one request; functions on AWS take 6 MB in all.
const MOST_BYTES: usize = 2 * 1024 * 1024;
/// After how long a server is asked anew that did not know the route.
const ASK_ANEW: Duration = Duration::from_secs(600);
/// How long a slot may take to go on with the task that it was handed.
const LISTING: Duration = Duration::from_secs(1);
/// The pause before a claim is settled whose answer was lost, and the longest one. Ends that gather meanwhile are faster.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
const LONGEST_PAUSE: Duration = Duration::from_secs(5);

/// What gathers.
pub(crate) struct Ends {
    state: Mutex<State>,
    left_over: mpsc::UnboundedSender<LeftOver>,
}

/// A task that a claim for several slots has brought, and that waits for one; it is on the list.
pub(crate) struct LeftOver {
    pub(crate) task: TaskView,
    pub(crate) listed: Listed,
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
    /// Claims that may have been granted and whose answers were lost.
    unheard: Vec<Unheard>,
    /// How many tasks wait for a slot, as more came along than slots asked for.
    placing: usize,
}

type Unheard = (ClaimRequest, UnheardClaim);

/// An end that waits for the others.
struct Waiting {
    task: TaskId,
    told: Told,
    reply: oneshot::Sender<Sent>,
}

/// What came of one sending.
pub(crate) struct Sent {
    pub(crate) answer: Result<Answer, ClientError>,
    /// Whether it went alone, with the claim of its own.
    pub(crate) alone: bool,
}

/// How an end goes.
enum Turn {
    Alone,
    /// Alone, and others gather meanwhile.
    First,
    Gathered(oneshot::Receiver<Sent>),
}

/// Sends an end once, alone or with others; alone it goes as a part of `span`.
pub(crate) async fn send(
    shared: &Arc<Shared>,
    ends: &Arc<Ends>,
    (task, span): (TaskId, Option<TraceParent>),
    told: &Told,
) -> Sent {
    let client = shared.client.with_deadline(Duration::ZERO).in_span(span);
    match turn(shared, ends, task, told) {
        Turn::Alone => Sent { answer: told.send(&client, task).await, alone: true },
        Turn::First => {
            let answer = told.send(&client, task).await;
            answered(shared, ends);
            Sent { answer, alone: true }
        }
        Turn::Gathered(reply) => match reply.await {
            Ok(sent) => sent,
            // Whoever sends replies to all.
            Err(_) => Sent { answer: told.send(&client, task).await, alone: true },
        },
    }
}

fn turn(shared: &Arc<Shared>, ends: &Arc<Ends>, task: TaskId, told: &Told) -> Turn {
    let mut state = lock(&ends.state);
    if told.bytes() > LARGE || state.alone_until.is_some_and(|until| Instant::now() < until) {
        return Turn::Alone;
    }
    if state.under_way == 0 && state.waiting.is_empty() && state.unheard.is_empty() {
        state.under_way += 1;
        return Turn::First;
    }
    let (reply, sent) = oneshot::channel();
    state.waiting.push(Waiting { task, told: told.clone(), reply });
    let (gathering, first, idle) = (state.gathering, state.waiting.len() == 1, state.under_way == 0);
    drop(state);
    if idle {
        send_gathered(shared, ends, None);
    } else if first {
        let (shared, ends) = (Arc::clone(shared), Arc::clone(ends));
        tokio::spawn(async move {
            sleep(MOST_WAIT).await;
            send_gathered(&shared, &ends, Some(gathering));
        });
    }
    Turn::Gathered(sent)
}

/// A request was answered, or failed: what has gathered meanwhile goes.
fn answered(shared: &Arc<Shared>, ends: &Arc<Ends>) {
    let mut state = lock(&ends.state);
    state.under_way = state.under_way.saturating_sub(1);
    drop(state);
    send_gathered(shared, ends, None);
}

/// Sends what has gathered, if it is still this gathering.
fn send_gathered(shared: &Arc<Shared>, ends: &Arc<Ends>, only: Option<u64>) {
    let mut state = lock(&ends.state);
    if only.is_some_and(|only| only != state.gathering) {
        return;
    }
    while !state.waiting.is_empty() {
        let fit = fitting(&state.waiting);
        let rest = state.waiting.split_off(fit);
        let gathered = std::mem::replace(&mut state.waiting, rest);
        state.gathering += 1;
        state.under_way += 1;
        let again = state.unheard.pop();
        let (shared, ends) = (Arc::clone(shared), Arc::clone(ends));
        tokio::spawn(async move {
            together(&shared, &ends, gathered, again).await;
            answered(&shared, &ends);
        });
    }
}

/// How many go by one request: at least one.
fn fitting(waiting: &[Waiting]) -> usize {
    let mut bytes = 0;
    let within = waiting.iter().take(limits::ENDINGS).take_while(|one| {
        bytes += one.told.bytes();
        bytes <= MOST_BYTES
    });
    within.count().max(1)
}

/// Sends ends by one request, and hands each what became of it.
async fn together(shared: &Arc<Shared>, ends: &Arc<Ends>, gathered: Vec<Waiting>, again: Option<Unheard>) {
    if gathered.len() == 1 && again.is_none() {
        return each_alone(shared, gathered).await;
    }
    let claimers = gathered.iter().filter(|one| one.told.claims()).count();
    let claimers = claimers.saturating_sub(lock(&ends.state).placing);
    let claimers = u32::try_from(claimers).unwrap_or(limits::CLAIM_TASKS);
    let (claim, guard) = match again {
        Some((claim, guard)) => (Some(claim), Some(guard)),
        None => ((claimers > 0).then(|| shared.claim_request(claimers)), None),
    };
    let endings = gathered.iter().map(|one| one.told.ending(one.task)).collect();
    let request = EndingsRequest { endings, claim };
    let error = match shared.client.with_deadline(Duration::ZERO).end(&request).await {
        Ok(answer) => {
            hand_out(shared, ends, gathered, answer);
            if let Some(guard) = guard {
                // What a slot was handed is on the list only once the slot goes on.
                shared.follow(async move {
                    sleep(LISTING).await;
                    drop(guard);
                });
            }
            return;
        }
        Err(error) => error,
    };
    let unknown = error.is_unknown_route();
    let heard = !error.is_untouched() && !unknown && !is_misfit(&error);
    if let Some(claim) = request.claim
        && (heard || guard.is_some())
    {
        let guard = guard.unwrap_or_else(|| shared.unheard_claim());
        lock(&ends.state).unheard.push((claim, guard));
        shared.follow(settle(Arc::clone(shared), Arc::clone(ends)));
    }
    if unknown {
        tracing::debug!(%error, "the server is older than the route for several ends: each goes alone");
        lock(&ends.state).alone_until = Some(Instant::now() + ASK_ANEW);
    }
    if unknown || is_misfit(&error) {
        return each_alone(shared, gathered).await;
    }
    for one in gathered {
        // Its sender waits for nothing else.
        let _ = one.reply.send(Sent { answer: Err(error.clone()), alone: false });
    }
}

/// Sends each end by a request of its own, all at the same time.
async fn each_alone(shared: &Arc<Shared>, gathered: Vec<Waiting>) {
    let mut sending = JoinSet::new();
    for Waiting { task, told, reply } in gathered {
        let client = shared.client.with_deadline(Duration::ZERO);
        sending.spawn(async move {
            let answer = told.send(&client, task).await;
            let _ = reply.send(Sent { answer, alone: true });
        });
    }
    while sending.join_next().await.is_some() {}
}

/// Hands each end what became of it, and each slot that a completion has freed a task of the claim.
fn hand_out(shared: &Arc<Shared>, ends: &Ends, gathered: Vec<Waiting>, answer: EndingsView) {
    let EndingsView { items, next, next_problem, .. } = answer;
    if let Some(problem) = next_problem {
        shared.next_failed(&problem);
    }
    let ClaimView { tasks, nothing } = next.unwrap_or_else(|| ClaimView { tasks: Vec::new(), nothing: None });
    if let Some(directive) = nothing.and_then(|nothing| nothing.directive) {
        shared.obey(directive);
    }
    let mut tasks = tasks.into_iter();
    let mut left_over = Vec::new();
    let mut items = items.into_iter();
    for Waiting { told, reply, .. } in gathered {
        let answer = match items.next() {
            Some(item) => outcome(shared, item, &told, &mut tasks),
            None => Err(no_entry(shared)),
        };
        if let Err(Sent { answer: Ok(Answer::Completed(view)), .. }) =
            reply.send(Sent { answer, alone: false })
        {
            left_over.extend(view.next.into_iter().flat_map(|claim| claim.tasks));
        }
    }
    // As where a completion was refused whose slot was to take one.
    left_over.extend(tasks);
    left_over.into_iter().for_each(|task| place_later(shared, ends, task));
}

/// Has a task wait for a slot. Until then it is on the list, and the next ends claim one less.
fn place_later(shared: &Arc<Shared>, ends: &Ends, task: TaskView) {
    let listed = shared.list(task.id, task.attempt);
    lock(&ends.state).placing += 1;
    // Once nobody hears it, the worker has ended, and what it held was given back.
    let _ = ends.left_over.send(LeftOver { task, listed });
}

/// What became of one end, with the next task if it is to bring one.
fn outcome(
    shared: &Shared,
    item: EndingView,
    told: &Told,
    tasks: &mut impl Iterator<Item = TaskView>,
) -> Result<Answer, ClientError> {
    match item {
        EndingView { completed: Some(mut view), .. } => {
            let next = if told.claims() { tasks.next() } else { None };
            view.next = next.map(|task| ClaimView { tasks: vec![task], nothing: None });
            Ok(Answer::Completed(Box::new(view)))
        }
        EndingView { ended: Some(view), .. } => Ok(match told {
            Told::Release(_) => Answer::Released(view),
            Told::Fail(_) | Told::Complete(_) => Answer::Failed(view),
        }),
        EndingView { problem: Some(problem), .. } => Err(ClientError::Problem(Box::new(problem))),
        EndingView { .. } => Err(no_entry(shared)),
    }
}

fn no_entry(shared: &Shared) -> ClientError {
    let url = format!("{}/v1/endings", shared.client.base());
    ClientError::Unexpected { url, status: 200, got: "an answer that leaves an end out".to_owned() }
}

/// Sends claims again whose answers were lost, until they are answered: each under its own name, so that it gets what it was
/// granted.
async fn settle(shared: Arc<Shared>, ends: Arc<Ends>) {
    let mut pause = FIRST_PAUSE;
    loop {
        sleep(jittered(pause)).await;
        pause = (pause * 2).min(LONGEST_PAUSE);
        let Some((claim, guard)) = lock(&ends.state).unheard.pop() else { return };
        match shared.client.with_deadline(Duration::ZERO).claim(&claim).await {
            Ok(answer) => {
                answer.tasks.into_iter().for_each(|task| place_later(&shared, &ends, task));
                // They are on the list by now.
                drop(guard);
            }
            Err(error) if worth_another_try(&error) => lock(&ends.state).unheard.push((claim, guard)),
            Err(error) => tracing::warn!(worker_id = %shared.options.id, %error,
                "a claim could not be settled whose answer was lost; what it has brought comes back when its leases run out"),
        }
    }
}

impl Ends {
    /// Nothing has gathered. What is left over comes by the other.
    pub(crate) fn new() -> (Arc<Self>, mpsc::UnboundedReceiver<LeftOver>) {
        let (left_over, heard) = mpsc::unbounded_channel();
        (Arc::new(Self { state: Mutex::default(), left_over }), heard)
    }

    /// A task that was left over has a slot, or was given back.
    pub(crate) fn placed(&self) {
        lock(&self.state).placing -= 1;
    }

    /// Lets go of what was not settled: the worker has ended, and what it holds was given back.
    pub(crate) fn close(&self) {
        let unheard = std::mem::take(&mut lock(&self.state).unheard);
        drop(unheard);
    }
}
