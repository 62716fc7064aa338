//! What the function does on a schedule, on AWS: it takes in what was put into the bucket itself, and walks through all files to remove those
//! that nobody can want any more. It lives for moments: how far a walk has come is noted in the bucket, and the next round goes on.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use baton_files::{Files, Swept};
use baton_http::App;
use baton_http::arrivals::{self, LookError, TakenIn};
use baton_model::Timestamp;
use baton_store::StoreError;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::orphans::{self, KEPT, Stopped};

/// How long after a walk has begun the next one does. Each reads what is kept of every file that is older than a day.
const WALK_EVERY: Duration = Duration::from_secs(6 * 3_600);

/// How long a round lasts at most: as long as the function lives. One that was cut off holds others up until then.
const ROUND: Duration = Duration::from_secs(900);

/// How many files are known at once.
const PAGE: usize = 256;

/// How far a walk has come.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Note {
    /// When it began.
    began: Timestamp,
    /// Behind which object it goes on; none once it has ended.
    after: Option<String>,
}

/// One round: uploads are taken in for half of the time at most, and the walk goes on for the rest. What it did is its answer.
///
/// # Errors
/// If the bucket or the store is out of reach; the next round goes on.
pub async fn scheduled(
    app: &App,
    budget: Duration,
) -> Result<(Value, BTreeMap<&'static str, f64>, BTreeMap<String, f64>), StoreError> {
    let began = Instant::now();
    let Some(files) = &app.files else {
        tracing::warn!("there is no place for files (files.url), and nothing to do on a schedule");
        return Ok((json!({}), BTreeMap::new(), BTreeMap::new()));
    };
    // One that takes large files in goes on while the next ones begin: these would copy the same again.
    let until = app.now().plus(ROUND);
    let begun = files.begin_round(app.now(), until).await;
    if !begun.map_err(|error| failed("a round could not be begun", error))? {
        tracing::info!("another round is under way");
        return Ok((json!({"under_way": true}), BTreeMap::new(), BTreeMap::new()));
    }
    let taken = arrivals::round(app, &**files, began + budget / 2).await;
    // A file that cannot be taken in is no reason to keep what nobody wants.
    let walked = walk(app, &**files, began + budget).await;
    if let Err(error) = files.end_round(until).await {
        tracing::warn!(
            error = baton_model::with_causes(&error),
            "the end of a round could not be noted; others wait for {until}"
        );
    }
    let TakenIn { files: arrived, refused, more } = taken.map_err(|error| match error {
        LookError::Store(error) => error,
        LookError::Files(error) => failed("uploads could not be taken in", error),
    })?;
    let (Swept { files: removed, nameless }, goes_on) = walked.map_err(|stopped| match stopped {
        Stopped::Store(error) => error,
        Stopped::Files(error) => failed("files that belong to no task could not be removed", error),
    })?;
    let more = more || goes_on;
    if arrived + refused + removed + nameless > 0 || more {
        tracing::info!(arrived, refused, removed, nameless, more, "files were seen to");
    }
    let told = json!({"arrived": arrived, "refused": refused, "removed": removed, "nameless": nameless, "more": more});
    Ok((told, BTreeMap::new(), BTreeMap::new()))
}

fn failed(what: &'static str, error: baton_files::FileError) -> StoreError {
    tracing::error!(error = baton_model::with_causes(&error), "{what}; the next round tries again");
    StoreError::Unavailable(Box::new(error))
}

/// Goes on with a walk, or begins one if it is time; says whether it is to go on. Nothing is removed while the time is in doubt, as by the
/// reaper's rounds, whose note says so.
async fn walk(app: &App, files: &dyn Files, until: Instant) -> Result<(Swept, bool), Stopped> {
    let round = app.store.last_round().await.map_err(Stopped::Store)?;
    let Some(now) = round.filter(|round| round.may_remove()).map(|round| round.at) else {
        return Ok((Swept::default(), false));
    };
    let note = files.note().await.map_err(Stopped::Files)?;
    // One that cannot be read is as none: it costs a walk.
    let note = note.and_then(|note| serde_json::from_str::<Note>(&note).ok());
    let Some(mut note) = due(note, now) else { return Ok((Swept::default(), false)) };
    let mut swept = Swept::default();
    loop {
        let found = files.walk(now.minus(KEPT), note.after.take(), PAGE).await.map_err(Stopped::Files)?;
        swept.nameless += found.nameless;
        swept.files += orphans::remove(app, files, &found.old, now).await?;
        note.after = found.next;
        files.keep_note(&json!(note).to_string()).await.map_err(Stopped::Files)?;
        if note.after.is_none() {
            return Ok((swept, false));
        }
        if Instant::now() >= until {
            return Ok((swept, true));
        }
    }
}

/// The walk that is to go on, or to begin now.
fn due(note: Option<Note>, now: Timestamp) -> Option<Note> {
    let fresh = Note { began: now, after: None };
    match note {
        Some(note) if note.after.is_some() => Some(note),
        // A time that was set back must not hold walks up until it is there again.
        Some(note) if note.began <= now && now.since(note.began) < WALK_EVERY => None,
        _ => Some(fresh),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_walk_goes_on_where_it_was_and_begins_every_six_hours() {
        let at = |hour: i64| Timestamp::from_millis(hour * 3_600_000);
        let note = |began, after: Option<&str>| Some(Note { began, after: after.map(str::to_owned) });
        assert_eq!(due(None, at(10)), note(at(10), None));
        assert_eq!(due(note(at(1), Some("bytes/a")), at(10)), note(at(1), Some("bytes/a")));
        assert_eq!(due(note(at(5), None), at(10)), None);
        assert_eq!(due(note(at(4), None), at(10)), note(at(10), None));
        assert_eq!(due(note(at(11), None), at(10)), note(at(10), None), "the time was set back");
    }
}
