//! The supervisor at work: does what the core decides, and tells it what has happened.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use baton_model::{GroupName, Timestamp};
use baton_runtime::Clock;
use baton_runtime::settings::WorkerGroup;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::sync::{oneshot, watch};
use tokio::time::{Instant, sleep_until};

use crate::crew::{Crew, Started};
use crate::decide::{Action, Core, Event, Note, Now, Order, Run, Told};
use crate::launch::{Common, Launch};
use crate::names::{Names, Taken};
use crate::process::{Heard, Lines};
use crate::report::{GroupReport, Report};
use crate::{Plan, tell};

/// What comes later than it was due by more than this shows that the supervisor itself stood still, and that span is nobody's
/// silence: the machine slept, or its processes were stopped.
const LATE: Duration = Duration::from_secs(1);

/// What a supervisor is given.
pub struct FleetOptions {
    /// What the processes of all groups have in common.
    pub common: Common,
    /// The folder of the locks of workers' names; made if it is not there.
    pub folder: PathBuf,
    /// Takes the log lines of workers.
    pub lines: Lines,
    /// The time, to be told to people.
    pub clock: Arc<dyn Clock>,
    /// By what pauses are drawn.
    pub seed: u64,
}

/// Why workers cannot be supervised.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FleetError {
    /// Another supervisor has the folder.
    #[error(
        "expected a folder for the names of workers that no other supervisor has, got {folder:?}, which process {holder} has; end \
         that, or name another folder with fleet.directory"
    )]
    Taken {
        /// The folder.
        folder: PathBuf,
        /// What is known of the other's process.
        holder: String,
    },
    /// The folder cannot be used.
    #[error(
        "the folder {folder:?} for the names of workers cannot be used: {cause}; name another with fleet.directory"
    )]
    Folder {
        /// The folder.
        folder: PathBuf,
        /// Why.
        #[source]
        cause: std::io::Error,
    },
    /// Groups do not fit this machine.
    #[error("{}", list(.0))]
    Groups(Vec<String>),
    /// The supervisor has ended.
    #[error("the supervisor has ended")]
    Ended,
}

fn list(wrong: &[String]) -> String {
    let lines: Vec<String> = wrong.iter().map(|one| format!("\n  {one}")).collect();
    format!("groups of workers do not fit this machine; mend it and start again:{}", lines.concat())
}

/// What new settings have changed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Changes {
    /// Groups that there were not.
    pub added: Vec<GroupName>,
    /// Groups that there are no more.
    pub removed: Vec<GroupName>,
    /// Groups that are otherwise; the others are left alone.
    pub changed: Vec<GroupName>,
}

/// A supervisor that runs. Copies speak to the same one; when the last is dropped, its workers drain.
#[derive(Clone, Debug)]
pub struct Fleet {
    messages: UnboundedSender<Message>,
    ended: watch::Receiver<bool>,
}

#[derive(Debug)]
enum Message {
    Report(oneshot::Sender<Report>),
    Order(GroupName, Order, oneshot::Sender<Option<GroupReport>>),
    Reload(Vec<WorkerGroup>, oneshot::Sender<Result<Changes, FleetError>>),
    Drain,
    Hasten,
}

impl Fleet {
    /// Starts the workers of these groups, and answers for them from then on.
    ///
    /// # Errors
    /// [`FleetError`], before any worker is started.
    pub fn start(options: FleetOptions, groups: Vec<WorkerGroup>) -> Result<Self, FleetError> {
        let launches = launches(groups)?;
        let names = Names::take(&options.folder).map_err(|taken| {
            let folder = options.folder.clone();
            match taken {
                Taken::By(holder) => FleetError::Taken { folder, holder },
                Taken::Failed(cause) => FleetError::Folder { folder, cause },
            }
        })?;
        let (messages, asked) = unbounded_channel();
        let (over, ended) = watch::channel(false);
        let (sender, heard) = unbounded_channel();
        let supervisor = Supervisor {
            core: Core::new(options.seed),
            crew: Crew::new(options.common, names, options.lines, sender),
            launches: BTreeMap::new(),
            begun: Instant::now(),
            stood_still: Duration::ZERO,
            clock: options.clock,
            shutdown: false,
        };
        tokio::spawn(supervisor.run(launches, asked, heard, over));
        Ok(Self { messages, ended })
    }

    /// How all groups are.
    pub async fn report(&self) -> Report {
        let (answer, answered) = oneshot::channel();
        let _ = self.messages.send(Message::Report(answer));
        answered.await.unwrap_or_default()
    }

    /// Asks something of a group. The answer is how it is then; none if there is no such group.
    pub async fn order(&self, group: &GroupName, order: Order) -> Option<GroupReport> {
        let (answer, answered) = oneshot::channel();
        let _ = self.messages.send(Message::Order(group.clone(), order, answer));
        answered.await.ok().flatten()
    }

    /// Has the groups be these. Only those that are otherwise than before are touched, and where a worker has to be started anew for
    /// it, one goes after the other.
    ///
    /// # Errors
    /// [`FleetError::Groups`], and all is as before.
    pub async fn reload(&self, groups: Vec<WorkerGroup>) -> Result<Changes, FleetError> {
        let (answer, answered) = oneshot::channel();
        let _ = self.messages.send(Message::Reload(groups, answer));
        answered.await.unwrap_or(Err(FleetError::Ended))
    }

    /// Has all workers take no more tasks, finish what they run, and end.
    pub fn drain(&self) {
        let _ = self.messages.send(Message::Drain);
    }

    /// Has those that drain end what they run and give it back.
    pub fn hasten(&self) {
        let _ = self.messages.send(Message::Hasten);
    }

    /// Waits until all workers have ended after [`Fleet::drain`].
    pub async fn ended(&self) {
        // That its sender is gone says the same.
        let _ = self.ended.clone().wait_for(|ended| *ended).await;
    }
}

fn launches(groups: Vec<WorkerGroup>) -> Result<Vec<Launch>, FleetError> {
    let (mut launches, mut wrong) = (Vec::new(), Vec::new());
    for group in groups {
        match Launch::of(group) {
            Ok(launch) => launches.push(launch),
            Err(problems) => wrong.extend(problems),
        }
    }
    if wrong.is_empty() { Ok(launches) } else { Err(FleetError::Groups(wrong)) }
}

struct Supervisor {
    core: Core,
    crew: Crew,
    launches: BTreeMap<GroupName, Launch>,
    begun: Instant,
    /// How long this process itself stood still.
    stood_still: Duration,
    clock: Arc<dyn Clock>,
    shutdown: bool,
}

impl Supervisor {
    async fn run(
        mut self,
        launches: Vec<Launch>,
        mut asked: UnboundedReceiver<Message>,
        mut heard: UnboundedReceiver<Heard>,
        over: watch::Sender<bool>,
    ) {
        let orphans = tokio::spawn(self.crew.collect_orphans());
        self.set(launches);
        let mut owned = true;
        while !(self.shutdown && self.core.is_idle()) {
            let due = self.core.next_at().map(|at| self.begun + self.stood_still + at);
            let due_or_never = async {
                match due {
                    Some(at) => sleep_until(at).await,
                    None => std::future::pending().await,
                }
            };
            // What has been said goes before what is due: somebody who spoke in time is not silent.
            tokio::select! {
                biased;
                heard = heard.recv() => {
                    self.notice(due);
                    if let Some(heard) = heard {
                        self.hear_of_process(heard);
                    }
                }
                message = asked.recv(), if owned => {
                    self.notice(due);
                    match message {
                        Some(message) => self.answer(message),
                        None => {
                            owned = false;
                            self.drain();
                        }
                    }
                }
                () = due_or_never => {
                    self.notice(due);
                    self.hear(Event::Tick);
                }
            }
        }
        orphans.abort();
        self.crew.close().await;
        over.send_replace(true);
    }

    /// Takes note of it if this process stood still.
    fn notice(&mut self, due: Option<Instant>) {
        let Some(late) = due.and_then(|due| Instant::now().checked_duration_since(due)) else { return };
        if late > LATE {
            tracing::warn!(
                seconds = late.as_secs_f64(),
                "the supervisor stood still; that is no silence of its workers"
            );
            self.stood_still += late;
        }
    }

    fn now(&self) -> Now {
        self.begun.elapsed().saturating_sub(self.stood_still)
    }

    fn hear_of_process(&mut self, heard: Heard) {
        match heard {
            Heard::Beat(run, beat) => self.hear(Event::Beat(run, beat)),
            Heard::Ended { run, clean, how, output } => {
                self.crew.ended(run, &how, &output);
                self.hear(Event::Exited { run, clean });
            }
        }
    }

    fn answer(&mut self, message: Message) {
        // Whoever has asked may have gone away meanwhile.
        match message {
            Message::Report(answer) => drop(answer.send(self.report())),
            Message::Order(group, order, answer) => {
                let known = self.launches.contains_key(&group) && !self.shutdown;
                if known {
                    tracing::info!(group = %group, ?order, "asked by an operator");
                    self.hear(Event::Order(group.clone(), order));
                }
                let report = self.report().groups.into_iter().find(|report| known && report.name == group);
                drop(answer.send(report));
            }
            Message::Reload(groups, answer) => {
                let changes = launches(groups).map(|launches| self.set(launches));
                drop(answer.send(changes));
            }
            Message::Drain => self.drain(),
            Message::Hasten => self.hear(Event::Hasten),
        }
    }

    fn drain(&mut self) {
        if !self.shutdown {
            self.shutdown = true;
            self.hear(Event::Shutdown);
        }
    }

    /// Has the groups be these; whoever is as before is left alone.
    fn set(&mut self, launches: Vec<Launch>) -> Changes {
        let mut changes = Changes::default();
        let before = std::mem::take(&mut self.launches);
        changes.removed = before
            .keys()
            .filter(|name| !launches.iter().any(|new| new.group.name == **name))
            .cloned()
            .collect();
        let mut groups = Vec::with_capacity(launches.len());
        for launch in launches {
            let name = launch.group.name.clone();
            let old = before.get(&name);
            match old {
                None => changes.added.push(name.clone()),
                Some(old) if old.group != launch.group => changes.changed.push(name.clone()),
                Some(_) => {}
            }
            let anew = old.is_some_and(|old| !old.keeps_processes(&launch));
            groups.push((name.clone(), Plan::from(&launch.group), anew));
            self.launches.insert(name, launch);
        }
        let limited = self
            .launches
            .values()
            .any(|launch| launch.group.memory_bytes.is_some() || launch.group.cpus.is_some());
        self.crew.limit(limited);
        self.hear(Event::Groups(groups));
        changes
    }

    /// Has the core hear of an event, and does what it says, until nothing more follows.
    fn hear(&mut self, event: Event) {
        let mut events = vec![event];
        while let Some(event) = events.pop() {
            let now = self.now();
            for action in self.core.hear(event, now) {
                match action {
                    Action::Start { group, number, run } => events.extend(self.start(&group, number, run)),
                    Action::Tell { run, told } => self.crew.tell(run, told),
                    Action::Note { group, number, note } => self.note(&group, number, note),
                }
            }
        }
    }

    /// Starts a worker; the answer is what the core is to hear of that at once.
    fn start(&mut self, group: &GroupName, number: u32, run: Run) -> Option<Event> {
        // It is kept as long as the group is, which no worker outlives.
        let launch = self.launches.get(group)?;
        match self.crew.start(launch, number, run) {
            Started::Yes => None,
            Started::NameHeld => Some(Event::NameHeld(run)),
            Started::No => Some(Event::NotStarted(run)),
        }
    }

    fn note(&self, group: &GroupName, number: u32, note: Note) {
        let worker = self.crew.worker(group, number).map(|id| id.to_string()).unwrap_or_default();
        let last = self.crew.last(group, number);
        let (how, output) =
            (last.and_then(|last| last.exit.as_deref()), last.and_then(|last| last.output.as_deref()));
        match note {
            Note::Restarts { pause } => tracing::warn!(
                %group, worker_id = worker, how, pause_seconds = pause.as_secs_f64(),
                "a worker has ended by itself; it is started again after a pause"
            ),
            Note::Failed => tracing::error!(
                %group, worker_id = worker, how, output,
                "a worker has ended too often, and has failed; the others go on: mend it, then `baton fleet start {group}`"
            ),
            Note::Done => {
                tracing::info!(%group, worker_id = worker, how, "a worker has ended, and is not started again")
            }
            Note::Hung => {
                tracing::error!(%group, worker_id = worker, "a worker is silent; it is ended and replaced")
            }
            Note::Overdue(Told::Drain) => tracing::warn!(
                %group, worker_id = worker, "a worker has not finished in time; what it runs is ended and given back"
            ),
            Note::Overdue(_) => {
                tracing::error!(%group, worker_id = worker, "a worker does not end; it is killed")
            }
            Note::Renewed => {
                tracing::info!(%group, worker_id = worker, "a worker drains, and another start takes its place")
            }
        }
    }

    fn report(&self) -> Report {
        let (now, at) = (self.now(), self.clock.now());
        let time =
            |then: Now| -> Timestamp { if then > now { at.plus(then - now) } else { at.minus(now - then) } };
        let known = self.core.groups().iter().map(|(name, group)| {
            let command =
                self.launches.get(name).map(|launch| launch.group.command.clone()).unwrap_or_default();
            tell::group(name, group, command, time, &self.crew)
        });
        Report { groups: known.collect() }
    }
}
