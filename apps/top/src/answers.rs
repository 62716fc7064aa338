//! Asks the server, by the client that all commands have, and says in words what went wrong.

use std::pin::Pin;
use std::rc::Rc;

use baton_api::ProblemCode;
use baton_api::manage::{ActionRequest, CancelRequest, RetryRequest};
use baton_client::{Client, ClientError, LogQuery, TaskQuery};
use baton_model::{Directive, TaskId};
use baton_verdict::{Facts, findings};

use crate::ask::{Answer, Ask, Change, Judged, LINES, LISTED, Listed, OneTask, Refusal, Tasks, Why};

/// What the verdict is judged from, as it is asked for.
pub type Gathered = Pin<Box<dyn Future<Output = Result<Facts, ClientError>>>>;

/// Asks for what the verdict is judged from: as `baton debug health` does, so that both say the same.
pub type Gather = Box<dyn Fn() -> Gathered>;

/// Why a change is made, as histories and the audit log tell it.
const REASON: &str = "asked for in baton top";

/// Asks, and waits for the answer.
pub(crate) async fn answer(client: &Client, gather: &Gather, ask: &Ask) -> Result<Answer, Refusal> {
    let answer = match ask {
        Ask::Stats => client.stats().await.map(Box::new).map(Answer::Stats),
        Ask::Queues => client.queues(None, Some(LISTED)).await.map(listed).map(Answer::Queues),
        Ask::Queue(queue) => client.queue(queue).await.map(Box::new).map(Answer::Queue),
        Ask::Verdict => verdict(client, gather).await,
        Ask::Workers => client.workers(None, Some(LISTED)).await.map(listed).map(Answer::Workers),
        Ask::Worker(worker) => client.worker(worker).await.map(Box::new).map(Answer::Worker),
        Ask::Tasks(tasks) => client.tasks(&query(tasks)).await.map(listed).map(Answer::Tasks),
        Ask::Task(task) => one_task(client, *task).await,
        Ask::Change(change) => changed(client, change).await.map(Answer::Changed),
    };
    answer.map_err(|error| match ask {
        // Of a change without an answer, one must know whether it may have been made.
        Ask::Change(_) if refusal(&error).why == Why::NoAnswer => {
            let told = refusal(&error).told;
            let done =
                if error.is_untouched() { "nothing was done" } else { "it may have been done all the same" };
            Refusal { why: Why::NoAnswer, told: format!("{told}; {done}") }
        }
        _ => refusal(&error),
    })
}

fn listed<T>(page: baton_api::task::Page<T>) -> Listed<T> {
    Listed { items: page.items, more: page.next_cursor.is_some() }
}

fn query(tasks: &Tasks) -> TaskQuery {
    TaskQuery {
        statuses: tasks.which.statuses(),
        queue: tasks.queue.clone(),
        limit: Some(LISTED),
        ..TaskQuery::default()
    }
}

async fn verdict(client: &Client, gather: &Gather) -> Result<Answer, ClientError> {
    let (health, facts) = tokio::join!(client.livez(), gather());
    let judged = match facts {
        Ok(facts) => Ok(Judged { found: findings(&facts), asked: facts.asked, at: facts.stats.at }),
        Err(error) if health.is_ok() => Err(refusal(&error)),
        Err(error) => return Err(error),
    };
    Ok(Answer::Verdict { version: health.ok().map(|health| health.version), judged })
}

async fn one_task(client: &Client, id: TaskId) -> Result<Answer, ClientError> {
    let lines = LogQuery { task_id: Some(id), limit: Some(LINES), ..LogQuery::default() };
    let (detail, why, lines) = tokio::join!(client.task(id), client.why(id), client.logs(&lines));
    let why = why.map_err(|error| refusal(&error));
    let lines = lines.map(|page| page.items).map_err(|error| refusal(&error));
    Ok(Answer::Task(Box::new(OneTask { detail: detail?, why, lines })))
}

async fn changed(client: &Client, change: &Change) -> Result<String, ClientError> {
    let reason = || Some(REASON.to_owned());
    let action = ActionRequest { reason: reason(), ..ActionRequest::default() };
    Ok(match change {
        Change::Cancel(id) => {
            let request = CancelRequest { reason: reason(), ..CancelRequest::default() };
            let task = client.cancel(*id, &request).await?;
            format!("task {id} is {} now", task.status.as_str())
        }
        Change::Retry(id) => {
            let request = RetryRequest { reason: reason(), ..RetryRequest::default() };
            let task = client.retry(*id, &request).await?;
            format!("task {id} is {} now", task.status.as_str())
        }
        Change::Pause(queue) => {
            let view = client.pause_queue(queue, &action).await?;
            let stands = if view.paused { "paused" } else { "not paused" };
            format!("queue {queue} is {stands} now; {} wait", view.waiting)
        }
        Change::Resume(queue) => {
            let view = client.resume_queue(queue, &action).await?;
            let stands = if view.paused { "still paused" } else { "resumed" };
            format!("queue {queue} is {stands}; {} wait", view.waiting)
        }
        Change::Drain(worker) => {
            let view = client.direct(worker, Directive::Drain, &action).await?;
            format!("worker {worker} is asked to drain; it holds {} tasks", view.active)
        }
        Change::Run(worker) => {
            let view = client.direct(worker, Directive::Run, &action).await?;
            match view.ended_at {
                Some(_) => format!("worker {worker} had ended before: it is too late to take that back"),
                None => format!("worker {worker} is asked to go on; it does with its next heartbeat"),
            }
        }
    })
}

/// What went wrong, in words, and of what kind it is.
fn refusal(error: &ClientError) -> Refusal {
    let why = match error {
        error if error.is_denied() => Why::Denied,
        ClientError::Unreachable { .. } => Why::NoAnswer,
        ClientError::Problem(problem) if problem.status == 404 => Why::Missing,
        _ => Why::Refused,
    };
    let told = match error {
        ClientError::Problem(problem) => match error.code() {
            Some(ProblemCode::Unauthorized) => {
                format!("the server takes no request without a valid token (BATON_TOKEN): {}", problem.detail)
            }
            _ if why == Why::Denied => {
                format!("your token may not do that ({}): {}", problem.code, problem.detail)
            }
            _ => format!("{} ({}): {}", problem.title, problem.code, problem.detail),
        },
        ClientError::Unreachable { cause, .. } => format!("no answer: {cause}"),
        other => other.to_string(),
    };
    Refusal { why, told }
}

/// Where requests are under way beside the drawing: of each place, one at a time. A new one for the same place takes it, and the one
/// before is broken off.
pub(crate) struct UnderWay {
    client: Client,
    gather: Rc<Gather>,
    each: Vec<(Ask, Waiting)>,
}

type Waiting = Pin<Box<dyn Future<Output = Result<Answer, Refusal>>>>;

impl UnderWay {
    pub(crate) fn new(client: Client, gather: Gather) -> Self {
        Self { client, gather: Rc::new(gather), each: Vec::new() }
    }

    /// Sends a request.
    pub(crate) fn start(&mut self, ask: Ask) {
        self.each.retain(|(other, _)| other.slot() != ask.slot());
        let (client, gather, asked) = (self.client.clone(), Rc::clone(&self.gather), ask.clone());
        self.each.push((ask, Box::pin(async move { answer(&client, &gather, &asked).await })));
    }

    /// Waits for the next answer; without a request under way, for ever.
    pub(crate) async fn next(&mut self) -> (Ask, Result<Answer, Refusal>) {
        std::future::poll_fn(|context| {
            for place in 0..self.each.len() {
                if let std::task::Poll::Ready(outcome) = self.each[place].1.as_mut().poll(context) {
                    let (ask, _) = self.each.swap_remove(place);
                    return std::task::Poll::Ready((ask, outcome));
                }
            }
            std::task::Poll::Pending
        })
        .await
    }
}
