//! How the reaper is, for those who look after it.

use axum::extract::State;
use baton_api::reap::{DoubtView, ReaperView};
use baton_http::{ApiResult, App, Caller, QueryFields, Recalled, ok};
use baton_model::round::JUMP;

/// How is the reaper?
///
/// Whether it makes its rounds, when the next one is due, and what the last ones did: each of them where a server makes them itself, the
/// last 8 by the note that they leave for each other on AWS, where what rounds remove is not told either, as the table removes it by itself.
#[utoipa::path(
    get,
    path = "/v1/reaper",
    tag = "operations",
    responses(
        (status = 200, description = "How it is", body = ReaperView),
        (status = "default", description = "A problem", body = baton_api::Problem,
            content_type = "application/problem+json"),
    ),
)]
pub(crate) async fn show_reaper(State(app): State<App>, caller: Caller, query: QueryFields) -> ApiResult {
    caller.reach_everything()?;
    query.finish()?;
    let note = match app.timekeeper.last() {
        Some(note) if app.timekeeper.hears_itself() => Some(note),
        _ => app.store.last_round().await?,
    };
    let Recalled { every, running, overdue, rounds } = app.rounds.recalled();
    // A server that makes rounds knows each of them; the note is written now and then.
    let own = every.is_some();
    let pace = every.or(note.as_ref().map(baton_model::RoundNote::pace));
    let done = if own { rounds } else { note.as_ref().map(|note| note.latest.clone()).unwrap_or_default() };
    let last_at = if own { done.first().map(|round| round.at) } else { note.as_ref().map(|note| note.at) };
    ok(&ReaperView {
        at: app.now(),
        known_by: if own { "server" } else { "note" }.to_owned(),
        every_seconds: pace.unwrap_or_default().as_secs_f64(),
        last_at,
        next_at: last_at.zip(pace).map(|(at, pace)| at.plus(pace)),
        running_since: running,
        heard_since: note.as_ref().map(|note| note.heard_since),
        doubt: note.as_ref().and_then(|note| note.doubt).map(|doubt| DoubtView {
            since: doubt.since,
            until: doubt.since.plus(JUMP),
            believed: doubt.believed,
        }),
        overdue_seconds: overdue.as_secs_f64(),
        rounds: done.into_iter().map(Into::into).collect(),
    })
}
