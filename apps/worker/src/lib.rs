//! A worker for any program: claims tasks, runs a command for each, and hands its result back.
//!
//! # What the command is given
//! The task as one line of JSON on standard input, which is then closed, and in its environment: `BATON_TASK_ID`,
//! `BATON_TASK_TYPE`, `BATON_QUEUE`, `BATON_ATTEMPT`, `BATON_WORKER_ID`, `BATON_SESSION_ID`, `BATON_URL` and, if shorter
//! than 100 KiB, `BATON_PARAMS` (the task's params as JSON); and if the task stands in a trace, `TRACEPARENT` and `TRACESTATE`.
//!
//! # What it may answer
//! The plain way: what it writes to standard output is the task's result, the whole of it: as it is, if it is one JSON
//! value, else as `{"stdout": "…"}`, or `{"stdout_base64": "…"}` if it is not UTF-8. Output that is larger than the server
//! takes (1 MiB as it comes) fails the task for good, with code `result_refused`. What it writes to standard error goes
//! to the log, and its exit code says how it went:
//!
//! | exit code | meaning |
//! |---|---|
//! | 0 | done |
//! | 65 (`EX_DATAERR`) | failed, and another attempt would not help |
//! | 75 (`EX_TEMPFAIL`) | not now: the task is given back and rests a while; the attempt does not count |
//! | any other, or a signal | failed; tried again while there are attempts left |
//!
//! A command that cannot be started is the worker's fault: its task is given back uncounted, and the worker claims nothing
//! for a while that grows from 1 s to 60 s. Meanwhile it has the label [`baton_model::Worker::CANNOT_START`].
//!
//! A failure's message is the end of standard error, its code `exit_3` or `signal_9`.
//!
//! The full way: lines of standard output that begin with `::baton ` and go on with a JSON object:
//!
//! ```text
//! ::baton {"progress": 0.5, "message": "half way"}
//! ::baton {"result": {"pages": 12}}
//! ::baton {"location": "/out/7.png", "kind": "image/png", "metadata": {"width": 320}}
//! ::baton {"log": {"level": "warn", "message": "slow disk"}}
//! ::baton {"fail": {"message": "no such page", "code": "no_page", "retryable": false}}
//! ```
//!
//! A line that begins with `::baton` but cannot be read is reported in the log. A command that exits with 0 and has
//! told no other result or location by such lines then fails with code `protocol_error`, and is tried again: its
//! output may have been in that line. Only if the line was, by its first key, about progress or the log does plain
//! output still count as the result. A line that is longer than the largest result and 64 KiB fails the task for good,
//! with code `result_refused`, unless a later line tells a result that fits.
//!
//! # What it may leave
//! With [`WorkerOptions::outputs`], `BATON_OUTPUTS` in its environment is an empty folder of this attempt. What a command that is done has left
//! there is handed in to the server, as `tasks/{id}/{attempt}/…` of the task's project, and named by the completion: regular files, hidden ones
//! and those in folders too, up to 100; links are not followed. The task is completed once all of them are there. A server that is away is waited
//! for while the attempt is the worker's; a file that it does not take fails the attempt with code `outputs_refused`. The folder is then removed,
//! whatever came of the attempt; what is left of a worker that was killed, the next start of any worker with the same folder removes.
//!
//! # How it is ended
//! Each command runs in a process group of its own. When its task is cancelled, its lease is lost, its time is up or
//! the worker stops, the whole group is told SIGTERM and, five seconds later, SIGKILL ([`WorkerOptions::grace`] sets
//! another span, of which a timeout grants five seconds at most). A timeout fails the attempt with code `timed_out` and
//! the end of standard error, as soon as SIGTERM has been told; if the server was first to take the task back, nothing is
//! told. Whatever a command leaves running when it exits is ended in the same way, after its output has been heard: to the
//! end, or until it has been quiet for a second. This holds for what has left the group, too: what descends from the
//! command, and what carries its mark in its environment (`BATON_SESSION_ID`, `BATON_TASK_ID`, `BATON_ATTEMPT`). Where the
//! process is the worker's [alone](WorkerOptions::alone), it adopts what has lost its parent, and nothing that a command
//! has started hides from it. If the worker itself is killed, its [`guard`](WorkerOptions::guard) does the same.

mod attempt;
mod beat;
mod claim;
mod deliver;
mod detour;
mod ends;
mod family;
mod files;
mod follow;
mod guard;
mod kin;
mod life;
mod lines;
mod lock;
mod logs;
mod mark;
mod options;
mod outcome;
mod output;
mod outputs;
mod plain;
mod program;
mod protocol;
mod pulse;
mod reach;
mod retry;
mod shared;
mod slot;
mod spans;
mod starts;
mod stop;
mod stream;
mod takeover;
mod told;
mod unstarted;
mod upload;

pub use detour::Detour;
pub use guard::guard;
pub use life::{Life, Pulse};
pub use options::{Summary, WorkerError, WorkerOptions};
pub use stop::{Phase, Stop};

use std::sync::Arc;

use baton_client::Client;
use baton_processes::cgroup::Cgroup;

/// Claims and runs until the worker has said that it ends, and nobody has called that off.
async fn work(shared: &Arc<shared::Shared>, ends: &Arc<ends::Ends>) -> Result<(), WorkerError> {
    loop {
        // The first beat makes the session known, so that what an earlier start of this worker held is taken back.
        let beats = tokio::spawn(beat::beats(Arc::clone(shared)));
        let (ended, idle) = loop {
            let ended = claim::claims(shared, ends).await;
            // Until nothing runs any more, what an operator has asked may be called off.
            let idle = tokio::select! {
                biased;
                () = shared.stop.called_off() => continue,
                idle = shared.idle() => idle,
            };
            shared.family.end(shared.options.grace).await;
            shared.give_back_strays().await;
            // If a beat has told meanwhile that it is called off, nobody need hear of an end.
            if !shared.may_claim() {
                break (ended, idle);
            }
        };
        shared.finish_beats();
        // A panic there has been printed; the summary holds without the last beat.
        if let Some(asked) = beats.await.ok().flatten() {
            shared.heed(asked);
        }
        if !shared.may_claim() {
            return ended;
        }
        // It was called off before the server heard that the worker ends. The next beat takes that back.
        drop(idle);
        shared.begin_beats_again();
    }
}

/// Runs a worker until `stop` says so, the server asks for it, or it cannot go on.
///
/// Draining (see [`Stop::drain`]) claims nothing more and finishes what runs. Stopping (see [`Stop::stop`]) ends the
/// commands and gives their tasks back unharmed.
///
/// # Errors
/// [`WorkerError`], if the command cannot be found, the server refuses the worker's requests as wrong or its token (for
/// [`WorkerOptions::denied_patience`], if it took it before), or another start of the same worker has taken its place.
pub async fn run(client: Client, options: WorkerOptions, stop: Stop) -> Result<Summary, WorkerError> {
    options.check()?;
    let concurrency = files::make_room(options.concurrency);
    let options = WorkerOptions { concurrency, ..options };
    let outputs = outputs::Outputs::open(options.outputs.as_deref(), || options.ids.uuid())?;
    let guard = guard::Guard::start(options.guard.as_deref())?;
    let shared = Arc::new(shared::Shared::new(client, options, stop, guard, outputs));
    let cgroup = shared.gather();
    let orphans = tokio::spawn(Arc::clone(&shared.family).collect());
    tracing::info!(
        worker_id = %shared.options.id,
        session_id = %shared.session,
        concurrency = shared.options.concurrency,
        server = shared.client.base(),
        "worker starts"
    );
    let pulse = tokio::spawn(pulse::beat(Arc::clone(&shared)));
    let (ends, left_over) = ends::Ends::new(&shared);
    let placing = tokio::spawn(slot::place_left_over(Arc::clone(&shared), Arc::clone(&ends), left_over));
    let ended = work(&shared, &ends).await;
    shared.end_followers();
    placing.abort();
    ends.close();
    if let Some(Err(error)) = cgroup.map(Cgroup::leave) {
        tracing::warn!(%error, "the worker cannot leave its control group; its guard ends what is in it");
    }
    orphans.abort();
    // Nor is there anything to be heard of that task but that it has ended: from here on the guard is waited for.
    let _ = orphans.await;
    *shared::lock(&shared.guard) = guard::Guard::default();
    pulse.abort();
    let summary = shared.summary();
    if summary.unconfirmed > 0 {
        tracing::warn!(
            worker_id = %shared.options.id,
            outcomes = summary.unconfirmed,
            "outcomes went by the detour, and the server has not answered for them; they arrive once it reads them"
        );
    }
    tracing::info!(worker_id = %shared.options.id, %summary, "worker ends");
    let verdict = ended.and_then(|()| shared.verdict());
    if let Err(WorkerError::Superseded { .. }) = &verdict {
        takeover::tell_successor(&shared).await;
    }
    verdict.map(|()| summary)
}
