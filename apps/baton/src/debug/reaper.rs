//! `baton debug reaper`: whether it lives and keeps up, and what its last rounds did.

use std::time::Duration;

use baton_api::reap::{ReaperView, RoundView};
use baton_client::Client;
use serde_json::json;

use super::{Asked, judged, tell_found, verdict};
use crate::context::Context;
use crate::exit::Failure;
use crate::out::{Column, Rows};
use crate::text;
use crate::when::Times;

pub(super) async fn reaper(context: &Context, client: &Client, asked: Asked) -> Result<(), Failure> {
    let mut view = client.reaper().await?;
    let found = baton_verdict::reaper(&view);
    let since = asked.since(view.at);
    view.rounds.retain(|round| round.at >= since);
    let more = view.rounds.len() > asked.limit as usize;
    view.rounds.truncate(asked.limit as usize);
    if context.out.is_json() {
        let verdict = verdict(&found);
        context.out.json(&json!({"verdict": verdict, "findings": found, "reaper": view, "more": more}))?;
    } else {
        let times = asked.shown.begin(context);
        match found.is_empty() {
            true => context.out.line("ok: the reaper makes its rounds and keeps up")?,
            false => tell_found(context, &found)?,
        }
        facts(context, &view, &times)?;
        rounds(context, view, asked, &times, more)?;
    }
    judged(&found)
}

fn facts(context: &Context, view: &ReaperView, times: &Times) -> Result<(), Failure> {
    let mut facts = vec![("every", text::seconds(view.every_seconds))];
    facts.push(("last round", view.last_at.map_or_else(|| "none is known".to_owned(), |at| times.ago(at))));
    match (view.running_since, view.next_at) {
        (Some(since), _) => facts.push(("runs", format!("since {}", times.ago(since)))),
        (None, Some(next)) => facts.push(("next round", times.ago(next))),
        (None, None) => {}
    }
    facts.extend(view.heard_since.map(|at| ("heard since", times.full(at))));
    let overdue = Duration::try_from_secs_f64(view.overdue_seconds).unwrap_or_default();
    facts.push((
        "removals",
        match (view.doubt, overdue.is_zero()) {
            (Some(doubt), _) => {
                format!("none until {}: the time is not believed before", times.full(doubt.until))
            }
            (None, true) => "nothing is overdue".to_owned(),
            (None, false) => format!("behind by {}", text::span(overdue)),
        },
    ));
    if view.known_by == "note" {
        let kept = "the last 8, without what they removed: no process lives from one round to the next here; the log of \
                    reap-stale-workers has every round";
        facts.push(("known rounds", kept.to_owned()));
    }
    context.out.line("")?;
    context.out.facts(facts.iter().map(|(what, value)| (*what, value.clone())))
}

fn rounds(
    context: &Context,
    view: ReaperView,
    asked: Asked,
    times: &Times,
    more: bool,
) -> Result<(), Failure> {
    context.out.line("")?;
    let mut rows = Rows::of(&[
        Column::new("ROUND"),
        Column::new("TOOK"),
        Column::new("TAKEN BACK"),
        Column::new("EXPIRED"),
        Column::new("REMOVED"),
        Column::new("BY").cut(),
        Column::new("END").cut(),
    ]);
    for RoundView { at, seconds, taken, expired, removed, more, error, by, .. } in view.rounds {
        let end = match (error, more) {
            (Some(error), _) => error,
            (None, true) => "more to do than time".to_owned(),
            (None, false) => "ok".to_owned(),
        };
        rows.add(vec![
            times.ago(at),
            text::seconds(seconds),
            taken.to_string(),
            expired.to_string(),
            removed.to_string(),
            by.unwrap_or_else(|| "reap-stale-workers".to_owned()),
            end,
        ]);
    }
    context.out.table(rows, &format!("no round of {} is known", asked.period()))?;
    if more {
        context.out.note(&format!("of the last {} rounds; --limit looks at more", asked.limit));
    }
    Ok(())
}
