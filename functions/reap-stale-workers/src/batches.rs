//! Has count what has ended of batches, and be created what follows them, where whoever ended their tasks did not live to.

use baton_http::App;
use baton_model::Watch;
use baton_store::{Cursor, ErrorKind, TendBatches};

/// At how many tasks of batches one round looks.
const TASKS: u32 = 200;

/// In how many steps: the members of a batch lie in several places, most of which have few.
const STEPS: usize = 16;

/// Looks at some tasks of batches, where the round before has stopped. That it cannot be done spoils no round: the next one goes on
/// there, or begins anew if it is not for want of the store that it failed.
pub(crate) async fn tend(app: &App, watch: &Watch, place: &mut Option<String>) {
    let (mut counted, mut made) = (0, 0);
    for _ in 0..STEPS {
        let after = place.clone().map(Cursor);
        let limit = TASKS / STEPS as u32;
        match app.store.tend_batches(TendBatches { now: watch.now, limit, after }).await {
            Ok(tended) => {
                counted += tended.counted;
                made += tended.made;
                *place = tended.next.map(|Cursor(text)| text);
            }
            Err(error) => {
                tracing::warn!(error = error.report(), "the reaper could not look at batches");
                if !matches!(error.kind(), ErrorKind::Unavailable | ErrorKind::Unknown) {
                    *place = None;
                }
                break;
            }
        }
        if place.is_none() {
            break;
        }
    }
    if counted + made > 0 {
        tracing::info!(counted, made, "what had ended of batches was counted, and what follows them created");
    }
}
