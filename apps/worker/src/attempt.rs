//! One attempt: the command run to its end, by itself or by force.

use std::io;
use std::process::ExitStatus;
use std::sync::Arc;
use std::time::Duration;

use baton_api::task::TaskView;
use baton_model::Level;
use tokio::time::{sleep, timeout};

use crate::outcome::Outcome;
use crate::program::Program;
use crate::shared::{Listed, Shared};
use crate::stop::Phase;
use crate::unstarted::not_started;

/// The longest that a command which ran past its timeout has between SIGTERM and SIGKILL, whatever the worker's grace:
/// the task is free for its next attempt meanwhile, which is not to run beside it for long.
const TIMEOUT_GRACE: Duration = Duration::from_secs(5);
/// How long a command that ran past its timeout is listened to after SIGTERM before the failure is told. The server takes
/// the task back by itself at its reaper's next round, and knows no last words.
const LAST_WORDS: Duration = Duration::from_millis(100);

/// What is left of a command whose outcome is known: processes that are still to be ended.
pub(crate) struct Rest {
    program: Program,
    grace: Duration,
}

impl Rest {
    pub(crate) async fn end(mut self) {
        self.program.end(self.grace).await;
    }
}

/// How the waiting for a command ended.
enum End {
    Exited(io::Result<ExitStatus>),
    Lost(String),
    TimedOut(Duration),
    Stopped,
}

/// Runs a task's command until its outcome is known. What is left of it then is to be ended while that is told: the
/// telling is not to wait for the grace of what ignores SIGTERM.
pub(crate) async fn run(
    shared: &Arc<Shared>,
    task: &TaskView,
    listed: &Arc<Listed>,
) -> (Outcome, Option<Rest>) {
    let stopped = || Outcome::Released { delay: Duration::ZERO, reason: "the worker stops".to_owned() };
    if shared.stop.phase() == Phase::Stop {
        return (stopped(), None);
    }
    let mut program = match Program::start(shared, task, listed) {
        Ok(program) => program,
        Err(error) => return (not_started(shared, task, &error), None),
    };
    shared.started();
    let limit = task.timeout_seconds.and_then(|seconds| Duration::try_from_secs_f64(seconds).ok());
    let end = tokio::select! {
        status = program.exit() => End::Exited(status),
        why = listed.lost() => End::Lost(why),
        limit = after(limit) => End::TimedOut(limit),
        () = shared.stop.reached(Phase::Stop) => End::Stopped,
    };
    let grace = shared.options.grace;
    match end {
        End::Exited(status) => {
            // Before anything is ended: what a shell has put behind its output may still be passing it on.
            program.hear_out().await;
            let left = program.is_left();
            if left {
                tracing::warn!("the command has left processes running; they are ended");
            }
            let outcome = of_exit(shared, listed, &program, status, left);
            (outcome, left.then_some(Rest { program, grace }))
        }
        End::Lost(reason) => {
            tracing::warn!(%reason, "the attempt is no longer this worker's; its command is ended");
            program.end(grace).await;
            (Outcome::Lost { reason }, None)
        }
        End::TimedOut(limit) => {
            tracing::warn!(
                timeout_seconds = limit.as_secs_f64(),
                "the attempt's time is up; its command is ended"
            );
            program.terminate();
            let left = timeout(LAST_WORDS, program.gone()).await.is_err();
            let outcome = Outcome::timed_out(limit, &program.said());
            (outcome, left.then_some(Rest { program, grace: grace.min(TIMEOUT_GRACE) }))
        }
        End::Stopped => {
            tracing::info!("the worker stops; the command is ended");
            program.end(grace).await;
            (stopped(), None)
        }
    }
}

/// The outcome of a command that has exited; what is to be known of its output besides goes into the task's log.
fn of_exit(
    shared: &Shared,
    listed: &Listed,
    program: &Program,
    status: io::Result<ExitStatus>,
    left: bool,
) -> Outcome {
    let status = match status {
        Ok(status) => status,
        Err(error) => {
            return Outcome::failed("wait_failed", format!("could not wait for the command: {error}"), true);
        }
    };
    let (outcome, remark) = Outcome::of_exit(status, &mut program.said(), shared.options.release_delay);
    if let Some(remark) = remark {
        tracing::warn!("{remark}");
        shared.log(Level::Warn, "worker", Some(listed.task), &remark, None);
    }
    match outcome {
        Outcome::Done(mut done) => {
            done.slot_taken = left;
            Outcome::Done(done)
        }
        outcome => outcome,
    }
}

/// Waits for `limit`, for ever if there is none.
async fn after(limit: Option<Duration>) -> Duration {
    match limit {
        Some(limit) => {
            sleep(limit).await;
            limit
        }
        None => std::future::pending().await,
    }
}
