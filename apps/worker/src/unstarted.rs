//! What becomes of a task whose program could not be started: docs/decisions/0004-a-program-that-cannot-be-started.md.

use std::io;
use std::time::Duration;

use baton_api::task::TaskView;
use baton_model::Level;
use nix::errno::Errno;
use tokio::time::Instant;

use crate::outcome::Outcome;
use crate::retry::jittered;
use crate::shared::Shared;

/// How long a task rests that could not be started once; twice as long for each earlier attempt that did not count.
const FIRST_REST: Duration = Duration::from_secs(1);
/// The longest that it rests: so many healthy workers need not wait, and so few entries has its history where there is none.
const LONGEST_REST: Duration = Duration::from_secs(60);

/// Gives a task back whose program could not be started: the worker's fault, whatever the error.
pub(crate) fn not_started(shared: &Shared, task: &TaskView, error: &io::Error) -> Outcome {
    let pause = shared.starts.failed(error, shared.options.clock.now(), Instant::now());
    let program = shared.options.command.first().map(|program| program.to_string_lossy()).unwrap_or_default();
    let reason = format!("could not start {program} on worker {}: {error}", shared.options.id);
    tracing::error!(%program, %error, pause_seconds = pause.as_secs_f64(),
        "the program could not be started; the task is given back uncounted, and the worker claims nothing for a while{}",
        advice(error));
    shared.log(Level::Error, "worker", Some(task.id), &format!("{reason}{}", advice(error)), None);
    Outcome::Released { delay: rest(task, pause), reason }
}

/// How long a task rests. It is due again while this worker claims nothing yet: whoever else waits for work is to have it.
fn rest(task: &TaskView, pause: Duration) -> Duration {
    let uncounted = task.attempt.saturating_sub(task.attempts_used);
    let rest = jittered((FIRST_REST * 2_u32.saturating_pow(uncounted.min(16))).min(LONGEST_REST));
    rest.min(pause / 2)
}

/// What to do about a refusal of the system, where there is something to say.
fn advice(error: &io::Error) -> &'static str {
    match error.raw_os_error().map(Errno::from_raw) {
        Some(Errno::ENOENT) => "; check that the program and the interpreter in its first line are there",
        Some(Errno::EACCES | Errno::EPERM) => {
            "; check that this user may execute the program (chmod +x, noexec)"
        }
        Some(Errno::ENOEXEC) => {
            "; check that the program is made for this machine, or begins with a line such as #!/bin/sh"
        }
        Some(Errno::EMFILE) => "; raise the limit of open files (ulimit -n), or lower --concurrency",
        Some(Errno::ENFILE) => "; the machine has no open files left: raise fs.file-max, or run less on it",
        Some(Errno::EAGAIN) => {
            "; the limit of processes is reached: raise it (ulimit -u, pids.max), or lower --concurrency"
        }
        Some(Errno::ENOMEM) => "; the machine has no memory left: lower --concurrency, or run less on it",
        Some(Errno::E2BIG) => {
            "; the worker's own environment and arguments are too large for a program to be started"
        }
        _ => "",
    }
}
