//! A worker as it is shown.

use baton_api::fleet::WorkerView;
use baton_model::Timestamp;

use crate::charts::{Spark, spark};
use crate::words::{LINES, NAMES, When, number, plain, short};

pub(crate) struct Held {
    pub(crate) id: String,
    pub(crate) short: String,
    pub(crate) attempt: u32,
    /// How far it has come, in hundredths.
    pub(crate) progress: Option<String>,
}

/// A reading, and how it went.
pub(crate) struct Read {
    pub(crate) name: String,
    pub(crate) value: String,
    pub(crate) spark: Option<Spark>,
}

/// Since when a worker is to drain or stop, who has asked for it, and why.
pub(crate) struct Asked {
    pub(crate) since: When,
    pub(crate) by: Option<String>,
    pub(crate) reason: Option<String>,
}

pub(crate) struct WorkerRow {
    pub(crate) id: String,
    pub(crate) href: String,
    pub(crate) act: String,
    pub(crate) status: &'static str,
    pub(crate) directive: &'static str,
    pub(crate) directed: Option<Asked>,
    pub(crate) active: u32,
    pub(crate) capacity: String,
    pub(crate) beat: Option<When>,
    pub(crate) started: When,
    pub(crate) session: Option<String>,
    pub(crate) contested: Option<When>,
    pub(crate) ended: Option<When>,
    pub(crate) tasks: Vec<Held>,
    pub(crate) readings: Vec<Read>,
    pub(crate) labels: Vec<(String, String)>,
}

impl WorkerRow {
    pub(crate) fn new(worker: WorkerView, now: Timestamp) -> Self {
        let id = worker.id.to_string();
        let href = crate::address::path(&["ui", "workers", &id], &[]);
        let held = worker.tasks.iter().map(|held| Held {
            id: held.task_id.to_string(),
            short: short(&held.task_id),
            attempt: held.attempt,
            progress: held.progress.map(|done| format!("{:.0}", done.clamp(0.0, 1.0) * 100.0)),
        });
        let lately = worker.lately.as_ref();
        let readings = worker.readings.iter().map(|(name, value)| {
            let course = lately.and_then(|lately| Some((&lately.at, lately.readings.get(name)?)));
            Read {
                name: plain(name, NAMES),
                value: number(*value),
                spark: course.and_then(|(at, values)| spark(at, values, now)),
            }
        });
        let labels = worker.labels.iter().map(|(name, value)| (plain(name, NAMES), plain(value, NAMES)));
        Self {
            act: href.clone(),
            href,
            status: worker.status.as_str(),
            directive: worker.directive.as_str(),
            directed: worker.directed.map(|asked| Asked {
                since: When::new(asked.since, now),
                by: asked.by.map(|by| plain(&by.to_string(), NAMES)),
                reason: asked.reason.map(|reason| plain(&reason, LINES)),
            }),
            active: worker.active,
            capacity: worker.capacity.map_or_else(|| "not said".to_owned(), |capacity| capacity.to_string()),
            beat: worker.last_beat_at.map(|at| When::new(at, now)),
            started: When::new(worker.started_at, now),
            session: worker.session_id.as_ref().map(|session| plain(&session.to_string(), NAMES)),
            contested: worker.contested_at.map(|at| When::new(at, now)),
            ended: worker.ended_at.map(|at| When::new(at, now)),
            tasks: held.collect(),
            readings: readings.collect(),
            labels: labels.collect(),
            id,
        }
    }
}
