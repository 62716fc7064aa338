//! `baton worker run`.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use baton_api::claim::AffinityWord;
use baton_fleet::{Beat, Heard, Supervised};
use baton_model::{Expected, Label, QueueName, TaskType, Wants, Warm, WorkerId};
use baton_runtime::{Ids as _, RandomIds, SystemClock, telemetry};
use baton_worker::{Life, Pulse, Stop, Summary, WorkerError, WorkerOptions};
use clap::Args;
use tokio::time::{Instant, sleep};

use crate::completions;
use crate::context::Context;
use crate::exit::Failure;
use crate::export_otlp as export;
use crate::layers::{flag, only, tell_passed_over};
use crate::ready;
use crate::signals::{Asked, Signals};
use crate::text;

#[derive(Args)]
#[command(after_help = "Examples:
  baton worker run -- ./resize.sh
  baton worker run --queue images,thumbs --concurrency 4 -- python3 render.py
  baton worker run --queue images --warm sdxl --affinity prefer -- ./paint.sh
  baton worker run --outputs /var/tmp/baton -- sh -c 'date > $BATON_OUTPUTS/a'

The command gets the task as one line of JSON on stdin, and in its
environment BATON_TASK_ID, BATON_TASK_TYPE, BATON_QUEUE, BATON_ATTEMPT,
BATON_WORKER_ID, BATON_URL and BATON_PARAMS (unless larger than 100 KiB).
TRACEPARENT and TRACESTATE are those of the task, if it has a trace.
It does not get the worker's token.
What it prints is the result, all of it: one JSON value as it is, other text
as {\"stdout\": ...}, bytes that are not UTF-8 as {\"stdout_base64\": ...}. What
it prints to stderr goes to the log, and is the error if it fails.

  exit code 0    done
  exit code 65   failed, and another attempt would not help
  exit code 75   not now: the task is given back, and rests a while
  any other      failed, tried again while there are attempts left

Lines on its stdout that begin with ::baton say more:
  ::baton {\"progress\": 0.5, \"message\": \"half way\"}
  ::baton {\"result\": {\"pages\": 12}}
  ::baton {\"location\": \"/7.png\", \"kind\": \"image/png\", \"metadata\": {\"w\": 9}}
  ::baton {\"log\": {\"level\": \"warn\", \"message\": \"slow disk\"}}
  ::baton {\"fail\": {\"message\": \"no page\", \"code\": \"gone\", \"retryable\": false}}
If such a line cannot be read and no other tells the result, the attempt
fails with code protocol_error; a result that is larger than the server takes
(1 MiB, unless it is set otherwise) fails the task with code result_refused.

With --outputs DIR, BATON_OUTPUTS is an empty folder of this attempt. The
regular files that a command leaves there when it is done, up to 100, hidden
ones and those in folders too, are handed in as tasks/ID/ATTEMPT/... of the
task's project before the task is completed with them; links are not followed.
While the server is away that waits as long as the attempt is the worker's; a
file that it does not take fails the attempt with code outputs_refused. The
folder is removed in any case; what a killed worker has left there, the next
one with the same DIR removes.

SIGTERM, SIGHUP or Ctrl-C: claims no more, finishes what runs, ends.
Once more (a SIGTERM or SIGHUP at least 1 s later): ends what runs, gives it
back, ends.
With --ready-queue (in a baton built with the feature sqs) the worker waits
for work at that queue of a stack on AWS, and claims when it is rung and every
20 s. Name its queues with --queue. While the queue cannot be heard, its
claims wait at the server, and it says so.
With --completions-queue (in a baton built with the feature sqs) outcomes go
to that queue after 3 s in which the server is out of reach, and the server
takes them from there. Region and credentials are those of AWS's own tools.
A command, with all that it has started, is ended by SIGTERM and 5 s later by
SIGKILL, when its task is cancelled, its lease is lost, or its time is up.
What it leaves running when it exits is ended in the same way, also what has
left its process group.")]
pub(crate) struct Run {
    /// The queues to take from, several with commas; those that its token is bound to if left out, or else `default`.
    #[arg(long, value_delimiter = ',')]
    queue: Vec<QueueName>,
    /// The types to take; all if left out.
    #[arg(long = "type", value_name = "TYPE", value_delimiter = ',')]
    types: Vec<TaskType>,
    /// What it has warm, by the names that tasks give as their affinity; may be given again.
    #[arg(long, value_name = "NAME", requires = "affinity")]
    warm: Vec<Label>,
    /// What it makes of that: any (tasks as they come), prefer (of one priority, tasks for what is warm go first; without --warm,
    /// what it ran last counts as warm) or only (no others); any if left out.
    #[arg(long, value_name = "HOW")]
    affinity: Option<AffinityWord>,
    /// With --affinity prefer: for how long a task may be passed over; 5m if left out.
    #[arg(long, value_name = "SPAN", requires = "affinity", value_parser = text::parse_span)]
    pass_over: Option<Duration>,
    /// How many tasks to run at once.
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    concurrency: u32,
    /// The worker's name, which it should keep over restarts; the host's name and six characters by chance if left out.
    #[arg(long)]
    id: Option<WorkerId>,
    /// The machine that it runs on, as its provider knows it, for `baton machines`; at RunPod the pod's id if left out.
    #[arg(long, env = "BATON_MACHINE", value_name = "ID")]
    machine: Option<String>,
    /// How long a task rests whose command asked to try later (exit code 75).
    #[arg(long, value_name = "SPAN", default_value = "10s", value_parser = text::parse_span)]
    release_delay: Duration,
    /// How long a command has between SIGTERM and SIGKILL.
    #[arg(long, value_name = "SPAN", default_value = "5s", value_parser = text::parse_span)]
    grace: Duration,
    /// Has each attempt leave files in a folder of its own in DIR, named by BATON_OUTPUTS; they are handed in with its completion.
    #[arg(long, value_name = "DIR")]
    outputs: Option<PathBuf>,
    /// The SQS queue `ready` of the stack, where the worker waits for work; also as BATON_QUEUES_READY.
    #[arg(long, value_name = "URL")]
    ready_queue: Option<String>,
    /// The SQS queue of complete-task, where outcomes go while the server is out of reach; also as
    /// BATON_QUEUES_COMPLETIONS.
    #[arg(long, value_name = "URL")]
    completions_queue: Option<String>,
    /// A supervisor is on standard input and output; this is the lock of the worker's name.
    #[arg(long, value_name = "FILE", hide = true, requires = "id")]
    supervised: Option<PathBuf>,
    /// How often the supervisor is told that this process lives.
    #[arg(long, value_name = "SECONDS", hide = true, default_value_t = 5.0, value_parser = seconds)]
    beat_seconds: f64,
    /// How long what runs may go on once the supervisor is gone.
    #[arg(long, value_name = "SECONDS", hide = true, default_value_t = 30.0, value_parser = seconds)]
    stop_grace_seconds: f64,
    /// The program to run for each task, and its arguments.
    #[arg(last = true, required = true, value_name = "COMMAND")]
    command: Vec<OsString>,
}

impl Run {
    pub(crate) async fn run(self, context: &Context) -> Result<(), Failure> {
        let flags = [
            flag("--completions-queue", "queues.completions", self.completions_queue.clone()),
            flag("--ready-queue", "queues.ready", self.ready_queue.clone()),
        ];
        let settings = only(&["BATON_LOG_", "BATON_QUEUES_COMPLETIONS", "BATON_QUEUES_READY"], flags)?;
        let logs = telemetry::start(&settings.log).map_err(|error| Failure::failed(error.to_string()))?;
        tell_passed_over(&settings);
        // Its own client: a worker has more patience than an operator.
        let client = context.client_builder()?.build()?;
        let detour = match &settings.queues.completions {
            Some(queue) => Some(completions::open(queue).await?),
            None => None,
        };
        let ready = match &settings.queues.ready {
            Some(queue) => Some(ready::open(queue).await?),
            None => None,
        };
        let stop = Stop::new();
        let signals = tokio::spawn(hear_signals(stop.clone())?);
        let supervision = match self.supervision().await? {
            Some(Supervision::Off) => return Ok(()),
            supervision => supervision,
        };
        let grace = Duration::from_secs_f64(self.stop_grace_seconds);
        let is_supervised = supervision.is_some();
        let (pulse, orders) = match supervision {
            Some(Supervision::On { supervised, pulse }) => {
                (Some(pulse), Some(tokio::spawn(hear_supervisor(supervised, stop.clone(), grace))))
            }
            Some(Supervision::Off) | None => (None, None),
        };
        let exporter = export::of_worker();
        let spans = export::spans(&exporter);
        let options = WorkerOptions { detour, ready, pulse, spans, ..self.options()? };
        let ended = baton_worker::run(client, options, stop).await;
        signals.abort();
        export::finish(exporter).await;
        // With it goes the name, which is to be held to this end.
        drop(orders);
        drop(logs);
        let summary = ended.map_err(failure)?;
        // The supervisor's log has it from the worker's own.
        if is_supervised { Ok(()) } else { tell(context, &summary) }
    }

    /// Waits until its supervisor has it begin, if it has one.
    async fn supervision(&self) -> Result<Option<Supervision>, Failure> {
        let Some(lock) = &self.supervised else { return Ok(None) };
        let failed =
            |error: std::io::Error| Failure::failed(format!("cannot work under a supervisor: {error}"));
        let mut supervised = Supervised::begin(lock).map_err(failed)?;
        if !supervised.begins().await {
            return Ok(Some(Supervision::Off));
        }
        let voice = Supervised::voice().map_err(failed)?;
        let tell = move |life: Life| voice(Beat { running: life.running, tasks: life.ended, bytes: 0 });
        let pulse = Pulse { every: Duration::from_secs_f64(self.beat_seconds), tell: Arc::new(tell) };
        Ok(Some(Supervision::On { supervised, pulse }))
    }

    /// What it has warm, and what it wants.
    fn warm(&self) -> Result<Warm, Failure> {
        let affinity = self.affinity.unwrap_or_default();
        if affinity != AffinityWord::Prefer && self.pass_over.is_some() {
            let got = affinity.as_str();
            return Err(Failure::usage(format!(
                "--pass-over: expected --affinity prefer with it, got {got}"
            )));
        }
        let wants = match affinity {
            AffinityWord::Any => Wants::Any,
            AffinityWord::Prefer => Wants::Prefer { pass_over: self.pass_over.unwrap_or(Warm::PASS_OVER) },
            AffinityWord::Only if self.warm.is_empty() => {
                return Err(Failure::usage("--affinity only: expected at least one --warm NAME, got none"));
            }
            AffinityWord::Only => Wants::Only,
        };
        Ok(Warm { names: self.warm.clone(), wants })
    }

    fn options(self) -> Result<WorkerOptions, Failure> {
        let warm = self.warm()?;
        let host = host();
        let id = match self.id {
            Some(id) => id,
            None => default_id(&host, RandomIds.uuid().as_bytes()).map_err(|problem| {
                Failure::usage(format!("the host's name makes no worker's id: {problem}; give one with --id"))
            })?,
        };
        let myself = std::env::current_exe()
            .map_err(|error| Failure::failed(format!("cannot find this program's own file: {error}")))?;
        let mut labels = BTreeMap::from([
            ("host".to_owned(), host),
            ("pid".to_owned(), std::process::id().to_string()),
            ("version".to_owned(), env!("CARGO_PKG_VERSION").to_owned()),
            ("command".to_owned(), text::short(&self.command.join(" ".as_ref()).to_string_lossy(), 200)),
        ]);
        let machine = self.machine.filter(|machine| !machine.is_empty());
        // RunPod tells its pods who they are.
        let machine = machine.or_else(|| std::env::var("RUNPOD_POD_ID").ok());
        labels.extend(machine.map(|machine| (baton_model::Worker::MACHINE.to_owned(), machine)));
        Ok(WorkerOptions {
            queues: self.queue,
            types: self.types,
            warm,
            concurrency: self.concurrency,
            guard: Some(vec![myself.into_os_string(), "guard".into()]),
            alone: true,
            labels,
            grace: self.grace,
            release_delay: self.release_delay,
            outputs: self.outputs,
            ..WorkerOptions::new(id, self.command, Arc::new(SystemClock), Arc::new(RandomIds))
        })
    }
}

/// What a supervisor has a worker do.
enum Supervision {
    /// Work, and tell that it lives.
    On { supervised: Supervised, pulse: Pulse },
    /// Nothing: it is gone, or has thought better of it.
    Off,
}

/// Does what a supervisor says. Once that is gone, as when it was killed, the worker finishes what it runs, and ends.
async fn hear_supervisor(mut supervised: Supervised, stop: Stop, grace: Duration) {
    loop {
        match supervised.hear().await {
            Heard::Drain => stop.drain(),
            Heard::Stop => stop.stop(),
            Heard::Gone => {
                tracing::warn!("the supervisor is gone; this worker finishes what it runs, and ends");
                stop.drain();
                sleep(grace).await;
                stop.stop();
            }
        }
    }
}

fn seconds(text: &str) -> Result<f64, String> {
    text.parse()
        .ok()
        .filter(|seconds| (0.0..=1e9).contains(seconds))
        .ok_or_else(|| format!("expected a number of seconds, got {text:?}"))
}

/// SIGTERMs and SIGHUPs less than this apart are one: `timeout` and process supervisors signal a program and then its
/// group, and systemd's `SendSIGHUP=` sends one after the other.
const ONE_SIGNAL: Duration = Duration::from_secs(1);

/// SIGTERM, SIGHUP and SIGINT: the first drains, the second stops.
fn hear_signals(stop: Stop) -> Result<impl Future<Output = ()>, Failure> {
    let mut signals = Signals::listen()?;
    Ok(async move {
        let mut terminated: Option<Instant> = None;
        let mut stopping = false;
        loop {
            if signals.next().await != Asked::Interrupt {
                if terminated.is_some_and(|before| before.elapsed() < ONE_SIGNAL) {
                    continue;
                }
                terminated = Some(Instant::now());
            }
            if stopping {
                tracing::info!("stopping: what runs is ended and given back");
                stop.stop();
            } else {
                tracing::info!("draining: no more claims, what runs is finished; once more to stop at once");
                stop.drain();
                stopping = true;
            }
        }
    })
}

/// The name of a worker that was given none: the host's name and six characters by chance. The number of the process would
/// not do instead: in containers it is most often 1, and their host names may be alike.
fn default_id(host: &str, random: &[u8; 16]) -> Result<WorkerId, Expected> {
    // Lower case without the letters that pass for digits: it is read out and typed. 30 bits: of 1,000 workers on one host
    // name, two get the same name in one of 2,000 starts of all.
    const LETTERS: &[u8; 32] = b"0123456789abcdefghjkmnpqrstvwxyz";
    // The first bytes of a version 7 UUID tell the time, its last ones are random.
    let bits = u32::from_be_bytes([random[12], random[13], random[14], random[15]]);
    let chance = (0..6).map(|place| char::from(LETTERS[(bits >> (5 * place)) as usize & 31]));
    format!("{host}-{}", chance.collect::<String>()).parse()
}

pub(crate) fn host() -> String {
    baton_runtime::host_name().unwrap_or_else(|| "worker".to_owned())
}

fn tell(context: &Context, summary: &Summary) -> Result<(), Failure> {
    if context.out.is_json() {
        return context.out.json(&serde_json::json!({
            "claimed": summary.claimed,
            "completed": summary.completed,
            "failed": summary.failed,
            "released": summary.released,
            "lost": summary.lost,
            "undelivered": summary.undelivered,
            "detoured": summary.detoured,
            "unconfirmed": summary.unconfirmed,
        }));
    }
    context.out.note(&summary.to_string());
    Ok(())
}

fn failure(error: WorkerError) -> Failure {
    match error {
        WorkerError::Refused(error) => error.into(),
        error @ (WorkerError::Command { .. } | WorkerError::Outputs { .. } | WorkerError::Guard(_)) => {
            Failure::Usage(error.to_string())
        }
        error => Failure::failed(error.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_workers_default_name_is_the_hosts_and_six_characters_by_chance() {
        let mut random = [0; 16];
        assert_eq!(default_id("vm-1", &random).unwrap().as_str(), "vm-1-000000");
        random[12..].copy_from_slice(&[0x3f, 0xff, 0xff, 0xff]);
        assert_eq!(default_id("vm-1", &random).unwrap().as_str(), "vm-1-zzzzzz");
        let names: std::collections::BTreeSet<_> =
            (0..1_000).map(|_| default_id("vm-1", RandomIds.uuid().as_bytes()).unwrap()).collect();
        assert!(names.len() >= 999, "{}", names.len());
        assert!(default_id("no host", &random).is_err());
    }
}
