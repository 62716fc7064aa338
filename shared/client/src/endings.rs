//! Ends of attempts: several by one request, and each of those that gather by themselves.

use baton_api::claim::ClaimRequest;
use baton_api::complete::{CompleteRequest, FailRequest, ReleaseRequest};
use baton_api::complete::{CompletedView, EndedView};
use baton_api::ending::{EndRequest, EndingRequest, EndingView, EndingsRequest, EndingsView};
use baton_model::{Payload, TaskId};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::call::{Call, Failed, Repeat, Repeats};
use crate::gather::{ENDINGS, Turn, Word};
use crate::{Client, ClientError};

/// What ends an attempt: a [`CompleteRequest`], a [`FailRequest`] or a [`ReleaseRequest`].
pub trait End: Serialize + Sync {
    /// What the server answers.
    type Answer: DeserializeOwned + Send;

    /// How its own route ends: `/v1/tasks/{id}/…`.
    const ROUTE: &'static str;

    /// The claim that comes along with it.
    fn claim(&self) -> Option<&ClaimRequest>;

    /// About how many bytes it has: those of what may be large.
    fn bytes(&self) -> usize;

    /// The same as one of several ends, without the claim.
    fn as_one_of_several(&self) -> EndRequest;

    /// Its answer where it was one of several: a completion has the first, a failure and a release have the second.
    fn answer(completed: Option<CompletedView>, ended: Option<EndedView>) -> Option<Self::Answer>;
}

impl End for CompleteRequest {
    type Answer = CompletedView;

    const ROUTE: &'static str = "complete";

    fn claim(&self) -> Option<&ClaimRequest> {
        self.claim.as_ref()
    }

    fn bytes(&self) -> usize {
        let files = self.files.iter().map(String::len).sum::<usize>();
        let texts = text_bytes(&self.location) + text_bytes(&self.kind);
        payload_bytes(&self.result) + payload_bytes(&self.metadata) + files + texts
    }

    fn as_one_of_several(&self) -> EndRequest {
        EndRequest::Completion(Box::new(Self { claim: None, ..self.clone() }))
    }

    fn answer(completed: Option<CompletedView>, _: Option<EndedView>) -> Option<CompletedView> {
        completed
    }
}

impl End for FailRequest {
    type Answer = EndedView;

    const ROUTE: &'static str = "fail";

    fn claim(&self) -> Option<&ClaimRequest> {
        None
    }

    fn bytes(&self) -> usize {
        self.error.message.len() + text_bytes(&self.error.code) + payload_bytes(&self.error.details)
    }

    fn as_one_of_several(&self) -> EndRequest {
        EndRequest::Failure(Box::new(self.clone()))
    }

    fn answer(_: Option<CompletedView>, ended: Option<EndedView>) -> Option<EndedView> {
        ended
    }
}

impl End for ReleaseRequest {
    type Answer = EndedView;

    const ROUTE: &'static str = "release";

    fn claim(&self) -> Option<&ClaimRequest> {
        None
    }

    fn bytes(&self) -> usize {
        text_bytes(&self.reason)
    }

    fn as_one_of_several(&self) -> EndRequest {
        EndRequest::Release(Box::new(self.clone()))
    }

    fn answer(_: Option<CompletedView>, ended: Option<EndedView>) -> Option<EndedView> {
        ended
    }
}

fn payload_bytes(payload: &Option<Payload>) -> usize {
    payload.as_ref().map_or(0, Payload::size)
}

fn text_bytes(text: &Option<String>) -> usize {
    text.as_ref().map_or(0, String::len)
}

/// What came of one sending of an end.
#[derive(Clone, Debug)]
pub struct Sent<A> {
    /// What the server answers of this end, or why it does not.
    pub answer: Result<A, ClientError>,
    /// Whether it went by its own route, with the claim that came along with it.
    pub alone: bool,
}

impl<A> Sent<A> {
    /// The same with what is made of the answer.
    pub fn map<B>(self, make: impl FnOnce(A) -> B) -> Sent<B> {
        Sent { answer: self.answer.map(make), alone: self.alone }
    }
}

/// The same as it may be sent again.
struct Tried<A> {
    answer: Result<A, Failed>,
    alone: bool,
}

impl Client {
    /// Ends 1 to 1,000 attempts; the answer tells what became of each. The same ends sent again are answered as the first time;
    /// a claim that comes along is repeated freely only if it has a `request_id`. What the answer says could not be done now is
    /// the caller's to send again.
    ///
    /// # Errors
    /// [`ClientError`]; a server that is older than this route answers with 404 ([`ClientError::is_unknown_route`]).
    pub async fn end(&self, endings: &EndingsRequest) -> Result<EndingsView, ClientError> {
        let safe = endings.claim.as_ref().is_none_or(|claim| claim.request_id.is_some());
        self.call(Call::post(ENDINGS, endings).repeatable(safe)).await
    }

    /// Ends an attempt as [`Client::complete`], [`Client::fail`] and [`Client::release`] do, alone or with others, but sends it only
    /// once, whatever [`ClientBuilder::deadline`](crate::ClientBuilder::deadline) says: for callers that send it again by themselves.
    pub async fn end_once<E: End>(&self, task: TaskId, end: &E) -> Sent<E::Answer> {
        let Tried { answer, alone } = self.try_end(task, end).await;
        Sent { answer: answer.map_err(|failed| failed.error), alone }
    }

    /// Ends an attempt: sends it until it is answered, or may not be repeated, or the deadline has passed.
    pub(crate) async fn end_attempt<E: End>(&self, task: TaskId, end: &E) -> Result<E::Answer, ClientError> {
        let safe = end.claim().is_none_or(|claim| claim.request_id.is_some());
        let mut repeats = Repeats::begin(Repeat::freely_if(safe), self.deadline);
        let mut alone = false;
        loop {
            let tried = if alone {
                Tried { answer: self.once(&own_call(task, end)).await, alone }
            } else {
                self.try_end(task, end).await
            };
            let failed = match tried.answer {
                Ok(answer) => return Ok(answer),
                Err(failed) => failed,
            };
            // A claim that may have been heard is sent again under its own name, and so alone.
            alone |= tried.alone && end.claim().is_some() && !failed.error.is_untouched();
            let Some(pause) = repeats.pause(&failed) else { return Err(failed.error) };
            tokio::time::sleep(pause).await;
        }
    }

    /// Sends an end once, alone or with others.
    async fn try_end<E: End>(&self, task: TaskId, end: &E) -> Tried<E::Answer> {
        let ending = || EndingRequest { task_id: task, end: end.as_one_of_several() };
        let turn = match &self.gather {
            Some(gather) => gather.turn(end.bytes(), wanted(end), ending),
            None => Turn::Alone(None),
        };
        let under_way = match turn {
            Turn::Alone(under_way) => under_way,
            Turn::Gathered(word) => match word.await {
                Ok(Word::Sent(Err(failed))) => return Tried { answer: Err(failed), alone: false },
                Ok(Word::Sent(Ok(item))) => match own::<E>(*item) {
                    Some(answer) => return Tried { answer, alone: false },
                    // It does not say what became of such an end. By its own route there is an answer.
                    None => None,
                },
                Ok(Word::Alone(under_way)) => under_way,
                // What was to send it has ended with its runtime. Sent again, it is answered as the first time.
                Err(_) => None,
            },
        };
        let answer = self.once(&own_call(task, end)).await;
        drop(under_way);
        Tried { answer, alone: true }
    }
}

/// An end by its own route.
fn own_call<E: End>(task: TaskId, end: &E) -> Call {
    Call::post(format!("/v1/tasks/{task}/{}", E::ROUTE), end)
}

/// How many tasks the claim asks for that comes along.
fn wanted(end: &impl End) -> u32 {
    // A claim for none is not the client's to leave out: the server refuses it.
    end.claim().map_or(0, |claim| claim.max_tasks.unwrap_or(1).max(1))
}

/// What became of an end that went with others; none if the item does not say so.
fn own<E: End>(item: EndingView) -> Option<Result<E::Answer, Failed>> {
    let EndingView { completed, ended, problem, .. } = item;
    match problem {
        Some(problem) => Some(Err(ClientError::Problem(Box::new(problem)).into())),
        None => E::answer(completed, ended).map(Ok),
    }
}
