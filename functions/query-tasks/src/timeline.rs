//! What has happened: the time line, and the events of tasks as they happen.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::State;
use axum::response::sse::{Event, Sse};
use axum::response::{IntoResponse, Response};
use baton_api::task::Page;
use baton_api::timeline::{LiveEventsView, TimelineView};
use baton_http::live::{Heard, Listener};
use baton_http::{ApiError, ApiResult, App, Caller, QueryFields, list, ok};
use baton_model::{Expected, Scope, TimelineEntry, TimelineFilter, limits};
use futures::{FutureExt as _, Stream, stream};
use http::header::CACHE_CONTROL;
use http::{HeaderMap, HeaderName, HeaderValue};
use tokio::time::{Instant, timeout_at};

/// The route that may take longer than others, and how much, for [`baton_http::Envelope::new`].
pub const SLOW: (&str, Duration) = ("/v1/events", limits::CLAIM_WAIT);

/// What a browser names the last event that it has had by (the HTML standard, server-sent events).
const LAST_EVENT_ID: HeaderName = HeaderName::from_static("last-event-id");

/// How long a listener that was cut off waits before it comes again.
const RETRY: Duration = Duration::from_secs(2);

/// List what happened
///
/// Events of tasks, log lines of workers, starts, ends and losses of workers, requests of operators, rounds of the reaper that
/// took something back, starts and ends of servers: the newest first. A caller that may not list log lines is told the events
/// of the tasks that it sees. On DynamoDB by a task, or the log lines of a worker.
#[utoipa::path(
    get,
    path = "/v1/timeline",
    tag = "operations",
    params(
        ("task_id" = Option<String>, Query, description = "About this task"),
        ("worker" = Option<String>, Query, description = "Of this worker"),
        ("queue" = Option<String>, Query, description = "About this queue, or tasks that are in it now"),
        ("project" = Option<String>, Query, description = "Of this project"),
        ("schedule" = Option<String>, Query, description = "Of this schedule, or of tasks that it created"),
        ("level" = Option<String>, Query, description = "At least this grave: debug, info, warn or error"),
        ("from" = Option<String>, Query, description = "At this time (RFC 3339) or later"),
        ("before" = Option<String>, Query, description = "Before this time (RFC 3339)"),
        ("cursor" = Option<String>, Query, description = "The next_cursor of the page before"),
        ("limit" = Option<u32>, Query, description = "1 to 1,000; 50 if left out"),
    ),
    responses(
        (status = 200, description = "A page", body = Page<TimelineView>),
        (status = "default", description = "A problem", body = baton_api::Problem,
            content_type = "application/problem+json"),
    ),
)]
pub(crate) async fn list_timeline(
    State(app): State<App>,
    caller: Caller,
    mut query: QueryFields,
) -> ApiResult {
    let mut filter = filter(&mut query);
    filter.from = query.one("from");
    filter.before = query.one("before");
    let page = query.page();
    query.finish()?;
    filter.events_only = !sees_all(&caller);
    caller.narrow(&mut filter.project, &mut filter.queue)?;
    if let Some(task) = filter.task.filter(|_| caller.is_bound()) {
        caller.reach(&*app.store, task).await?;
    }
    let in_parts = app.store.capabilities().lists_in_parts;
    let read = move |page| {
        let (store, filter) = (Arc::clone(&app.store), filter.clone());
        async move { store.timeline(filter, page).await }
    };
    list(page, in_parts, read, move |entry| covers(&caller, &entry).then(|| TimelineView::from(entry))).await
}

/// Hear of events
///
/// What happens to tasks, in the order in which it does, as server-sent events: the id of each is its position. Whoever comes
/// again with the last one (`Last-Event-ID`, or `after`) misses none and is told none twice, also over a restart of the server.
/// With `wait`, the answer is one JSON document: what there is, or else what comes first within so long. Only on SQLite; on AWS
/// the queue `task-events` serves.
#[utoipa::path(
    get,
    path = "/v1/events",
    tag = "operations",
    params(
        ("after" = Option<u64>, Query, description = "Behind the event of this id; from now on if left out"),
        ("wait" = Option<String>, Query, description = "How many seconds to wait for the first event, 0 to 20, such as 20s; answers with JSON"),
        ("limit" = Option<u32>, Query, description = "With wait: how many events at most, 1 to 1,000; 50 if left out"),
        ("task_id" = Option<String>, Query, description = "Of this task"),
        ("worker" = Option<String>, Query, description = "Of this worker"),
        ("queue" = Option<String>, Query, description = "Of tasks in this queue"),
        ("project" = Option<String>, Query, description = "Of this project"),
        ("schedule" = Option<String>, Query, description = "Of tasks that this schedule created"),
        ("level" = Option<String>, Query, description = "At least this grave: debug, info, warn or error"),
        ("Last-Event-ID" = Option<u64>, Header, description = "As after, which it stands before"),
    ),
    responses(
        (status = 200, description = "Events as they happen; with wait, those that there are", content(
            (String = "text/event-stream"),
            (LiveEventsView = "application/json"),
        )),
        (status = "default", description = "A problem", body = baton_api::Problem,
            content_type = "application/problem+json"),
    ),
)]
pub(crate) async fn hear_events(
    State(app): State<App>,
    caller: Caller,
    headers: HeaderMap,
    mut query: QueryFields,
) -> ApiResult {
    let mut filter = TimelineFilter { events_only: true, ..filter(&mut query) };
    let after = last_id(&headers, &mut query);
    let wait = wait(&mut query);
    let limit = query.page().limit;
    query.finish()?;
    caller.narrow(&mut filter.project, &mut filter.queue)?;
    if let Some(task) = filter.task.filter(|_| caller.is_bound()) {
        caller.reach(&*app.store, task).await?;
    }
    let listener = app.live.listen(&app, &caller, filter, after).await?;
    match wait {
        Some(wait) => ok(&poll(listener, wait, limit as usize).await?),
        None => Ok(told(listener)),
    }
}

/// The filters that both routes have.
fn filter(query: &mut QueryFields) -> TimelineFilter {
    TimelineFilter {
        task: query.one("task_id"),
        worker: query.one("worker"),
        queue: query.one("queue"),
        project: query.one("project"),
        schedule: query.one("schedule"),
        level: query.one("level"),
        ..TimelineFilter::default()
    }
}

/// Whether the caller may list log lines and the audit log, which are about everything.
fn sees_all(caller: &Caller) -> bool {
    caller.reach_everything().is_ok()
        && caller.grant().is_none_or(|grant| grant.scopes.contains(&Scope::Operator))
}

fn covers(caller: &Caller, entry: &TimelineEntry) -> bool {
    match (&entry.queue, &entry.project) {
        (Some(queue), Some(project)) => caller.covers(queue, project),
        _ => !caller.is_bound(),
    }
}

fn last_id(headers: &HeaderMap, query: &mut QueryFields) -> Option<u64> {
    let asked = query.text("after");
    let header =
        headers.get(LAST_EVENT_ID).map(|value| String::from_utf8_lossy(value.as_bytes()).into_owned());
    // A browser that has had none sends an empty one, or none.
    let text = header.filter(|text| !text.is_empty()).or(asked)?;
    let id = text.parse().ok();
    if id.is_none() {
        query.refuse("after", Expected::text("the id of an event, a whole number", &text));
    }
    id
}

fn wait(query: &mut QueryFields) -> Option<Duration> {
    let text = query.text("wait")?;
    let seconds: Option<f64> = text.strip_suffix('s').unwrap_or(&text).parse().ok();
    let most = limits::CLAIM_WAIT.as_secs_f64();
    let wait = seconds.filter(|seconds| (0.0..=most).contains(seconds)).map(Duration::from_secs_f64);
    if wait.is_none() {
        query.refuse("wait", Expected::text(format!("seconds from 0 to {most}, such as 20s"), &text));
    }
    wait
}

/// What there is, or else what comes first.
async fn poll(mut listener: Listener, wait: Duration, limit: usize) -> Result<LiveEventsView, ApiError> {
    let deadline = Instant::now() + wait;
    let mut items = Vec::new();
    listener.look().await?;
    while items.len() < limit {
        let next = listener.next();
        let heard = match items.is_empty() {
            true => timeout_at(deadline, next).await.ok(),
            false => next.now_or_never(),
        };
        match heard {
            Some(Heard::Event(event)) => items.push(event.view()),
            // So often it is said that all is well.
            Some(Heard::Nothing(_)) if Instant::now() < deadline => {}
            Some(Heard::Nothing(_) | Heard::End(..)) | None => break,
        }
    }
    Ok(LiveEventsView { last_id: listener.position(), items })
}

fn told(listener: Listener) -> Response {
    let mut answer = Sse::new(events(listener)).into_response();
    // What is kept on its way is no event as it happens.
    answer.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-cache, no-transform"));
    answer.headers_mut().insert("x-accel-buffering", HeaderValue::from_static("no"));
    answer
}

/// First the position from which on is told; then each event; now and then that all is well, with the position up to which it is.
fn events(listener: Listener) -> impl Stream<Item = Result<Event, Infallible>> {
    let begin = Event::default().id(listener.position().to_string()).retry(RETRY).comment("listening");
    let rest = stream::unfold(Some(listener), |listener| async move {
        let mut listener = listener?;
        let (event, goes_on) = match listener.next().await {
            Heard::Event(event) => (Event::default().id(event.position.to_string()).data(event.text()), true),
            Heard::Nothing(position) => (Event::default().id(position.to_string()).comment("alive"), true),
            Heard::End(ended, position) => {
                let reason = serde_json::json!({"reason": ended.as_str(), "last_id": position});
                let event = Event::default().id(position.to_string()).event("end").data(reason.to_string());
                (event, false)
            }
        };
        Some((Ok(event), goes_on.then_some(listener)))
    });
    futures::StreamExt::chain(stream::once(std::future::ready(Ok(begin))), rest)
}
