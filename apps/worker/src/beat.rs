//! Heartbeats: what runs and what was logged, told to the server; what is lost and what is asked, told by it.

use std::sync::Arc;
use std::time::Duration;

use baton_api::ProblemCode;
use baton_api::heartbeat::{HeartbeatRequest, HeartbeatView, LogFields, LogsDropped};
use baton_client::ClientError;
use baton_model::Directive;
use tokio::time::{Instant, sleep, sleep_until};

use crate::options::WorkerError;
use crate::reach::Judgement;
use crate::retry::worth_another_try;
use crate::shared::{Shared, lock};
use crate::takeover;

/// The pause after a heartbeat that got no answer; less if the server asks for more frequent beats.
const AFTER_FAILURE: Duration = Duration::from_secs(2);
/// The longest that news (progress, log lines) waits for a heartbeat.
const NEWS: Duration = Duration::from_secs(5);
/// So many waiting log lines do not wait any longer.
const MANY_LINES: usize = 250;
/// The least time between two heartbeats.
const LEAST: Duration = Duration::from_millis(100);
/// How long heartbeats list nothing because the worker does not know all that it holds: what is not listed passes for
/// forgotten, which costs the task an attempt. What is listed hears of cancellations, so that it is not for ever.
const UNLISTED: Duration = Duration::from_secs(30);
/// How often the worker's own log is told that the server drops lines.
const OVER_SHARE_AGAIN: Duration = Duration::from_secs(60);
/// How long the last heartbeats may take, which ship the remaining log lines.
const LAST: Duration = Duration::from_secs(3);

/// Beats until [`Shared::finish_beats`], and then says that the worker ends. The answer is what an operator asks of it by the server's
/// first answer to that: the store has given both an order.
pub(crate) async fn beats(shared: Arc<Shared>) -> Option<Directive> {
    let mut over = shared.over.subscribe();
    let mut every = AFTER_FAILURE;
    // Since when the server has got beats without a list.
    let mut unlisted: Option<Instant> = None;
    let mut looked = false;
    let mut over_share = OverShare::default();
    loop {
        if !looked && !*shared.known.borrow() {
            looked = tokio::select! {
                look = takeover::look_before(&shared) => look,
                _ = over.wait_for(|over| *over) => break,
            };
        }
        let begun = Instant::now();
        if shared.knows_all() {
            unlisted = None;
        }
        let lists = shared.knows_all() || unlisted.is_some_and(|since| begun >= since + UNLISTED);
        let beat = tokio::select! {
            beat = beat(&shared, every, lists, false) => beat,
            _ = over.wait_for(|over| *over) => break,
        };
        let due = match beat {
            Ok(answer) => {
                if !lists {
                    unlisted.get_or_insert(begun);
                }
                shared.beats.taken(Instant::now());
                every = Duration::try_from_secs_f64(answer.beat_every_seconds).unwrap_or(every).max(LEAST);
                heed(&shared, &answer);
                over_share.note(&shared, answer.logs_dropped, begun);
                begun + every
            }
            Err(error) => {
                if error.code() == Some(ProblemCode::SessionSuperseded) {
                    shared.give_up(shared.superseded());
                    return None;
                }
                if !*shared.known.borrow() && !worth_another_try(&error) {
                    shared.give_up(WorkerError::Refused(error));
                    return None;
                }
                let patience = shared.options.denied_patience;
                if shared.beats.failed(&error, patience, Instant::now()) == Judgement::End {
                    shared.give_up(WorkerError::Refused(error));
                    return None;
                }
                // A token that is not taken now is hardly taken in a moment: the usual rhythm does.
                Instant::now() + if error.is_denied() { every } else { AFTER_FAILURE.min(every) }
            }
        };
        let news_due = if !shared.beats.waits() { begun + NEWS.min(every / 4).max(LEAST) } else { due };
        tokio::select! {
            () = sleep_until(due) => {}
            () = news(&shared, begun, news_due) => {}
            _ = over.wait_for(|over| *over) => break,
        }
    }
    let mut asked = None;
    let last = async {
        while let Ok(answer) = beat(&shared, LAST, shared.knows_all(), true).await {
            // Those that follow ship log lines alone: who calls it off between them is told that it had ended.
            asked.get_or_insert(answer.directive);
            if lock(&shared.logs).len() == 0 {
                break;
            }
        }
    };
    if tokio::time::timeout(LAST, last).await.is_err() || lock(&shared.logs).len() > 0 {
        tracing::warn!(worker_id = %shared.options.id, "the last log lines could not be shipped");
    }
    asked
}

/// Waits until there is news, and it has waited long enough or has become much.
async fn news(shared: &Shared, begun: Instant, due: Instant) {
    loop {
        shared.news.notified().await;
        if lock(&shared.logs).len() < MANY_LINES {
            tokio::select! {
                () = sleep_until(due) => return,
                () = shared.news.notified() => {}
            }
        }
        if lock(&shared.logs).len() >= MANY_LINES {
            return sleep_until(begun + LEAST).await;
        }
        if Instant::now() >= due {
            return;
        }
        shared.news.notify_one();
        sleep(LEAST).await;
    }
}

/// Sends one heartbeat; `ending`: the worker ends, and has it known as gone and not as lost.
async fn beat(
    shared: &Shared,
    every: Duration,
    lists: bool,
    ending: bool,
) -> Result<HeartbeatView, ClientError> {
    let logs = lock(&shared.logs).take(shared.options.clock.now());
    let mut request = HeartbeatRequest {
        session_id: Some(shared.session),
        running: lists.then(|| shared.running()),
        capacity: Some(shared.options.concurrency),
        labels: shared.labels(),
        ending,
        logs,
        ..HeartbeatRequest::default()
    };
    // A beat that is repeated for long would tell what is no longer so.
    let client = shared.client.with_deadline(every / 2);
    let mut unsent = Unsent { shared, lines: std::mem::take(&mut request.logs) };
    request.logs.clone_from(&unsent.lines);
    let answer = client.heartbeat(&shared.options.id, &request).await;
    let refused = answer.as_ref().is_err_and(ClientError::is_misfit);
    if answer.is_ok() || refused {
        // Lines that the server does not take would be refused again, and hold up every further beat.
        if refused && !unsent.lines.is_empty() {
            tracing::warn!(worker_id = %shared.options.id, lines = unsent.lines.len(),
                "the server refused a heartbeat; its log lines are dropped");
        }
        unsent.lines.clear();
    }
    if answer.is_ok() {
        shared.known.send_replace(true);
    }
    answer
}

/// Log lines on their way; those that did not arrive go back when this is dropped.
struct Unsent<'a> {
    shared: &'a Shared,
    lines: Vec<LogFields>,
}

impl Drop for Unsent<'_> {
    fn drop(&mut self) {
        lock(&self.shared.logs).put_back(std::mem::take(&mut self.lines));
    }
}

/// Log lines that the server did not keep.
#[derive(Debug, Default)]
struct OverShare {
    untold: LogsDropped,
    told: Option<Instant>,
}

impl OverShare {
    /// Counts what an answer tells of, and tells the worker's own log at once and then each minute.
    fn note(&mut self, shared: &Shared, dropped: Option<LogsDropped>, now: Instant) {
        self.untold.add(dropped.unwrap_or_default());
        if self.untold.lines == 0 || self.told.is_some_and(|told| now < told + OVER_SHARE_AGAIN) {
            return;
        }
        let LogsDropped { lines, bytes } = std::mem::take(&mut self.untold);
        self.told = Some(now);
        tracing::warn!(worker_id = %shared.options.id, lines, bytes, "the server dropped log lines, as more came than the \
            share of this worker or of its project (limits.log_worker_bytes_per_minute and its like of the server); tasks \
            and heartbeats go on as they are");
    }
}

fn heed(shared: &Shared, answer: &HeartbeatView) {
    shared.set_result_bytes(answer.result_bytes);
    for lost in &answer.lost {
        shared.lose(lost.task_id, lost.attempt, &lost.reason);
    }
    shared.heed(answer.directive);
}
