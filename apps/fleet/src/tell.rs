//! What the core knows of a group, in the words of a report.

use baton_model::{GroupName, Timestamp};

use crate::crew::Crew;
use crate::decide::{Group, Now, Slot, State, Told, Wait};
use crate::report::{Counts, GroupReport, WorkerReport};

pub(crate) fn group(
    name: &GroupName,
    group: &Group,
    command: Vec<String>,
    time: impl Fn(Now) -> Timestamp,
    crew: &Crew,
) -> GroupReport {
    let mut counts = Counts::default();
    let mut workers = Vec::with_capacity(group.slots().len());
    for (number, slot) in group.slots() {
        count(slot, &mut counts);
        let Some(id) = crew.worker(name, *number) else { continue };
        let last = crew.last(name, *number);
        let beat = slot.live().map(|live| live.beat).unwrap_or_default();
        workers.push(WorkerReport {
            id,
            state: state(slot),
            since: time(slot.since),
            process: slot.live().and_then(|live| crew.process(live.run)),
            running: beat.running,
            tasks: beat.tasks,
            memory_bytes: beat.bytes,
            restarts: slot.restarts,
            starts_at: match slot.state {
                State::Waiting { until, wait: Wait::Pause } => Some(time(until)),
                _ => None,
            },
            waits_for: match slot.state {
                State::Waiting { wait: Wait::Name, .. } => last.and_then(|last| last.held_by.clone()),
                _ => None,
            },
            last_exit: last.and_then(|last| last.exit.clone()),
            last_output: last.and_then(|last| last.output.clone()),
        });
    }
    GroupReport {
        name: name.clone(),
        status: group.status().as_str(),
        wanted: group.wanted(),
        counts,
        command,
        workers,
    }
}

fn count(slot: &Slot, counts: &mut Counts) {
    counts.restarts += slot.restarts;
    counts.failed += u32::from(slot.state == State::Failed);
    if let Some(live) = slot.live() {
        let busy = live.beat.running > 0;
        counts.active += 1;
        counts.busy += u32::from(busy);
        counts.idle += u32::from(!busy);
    }
}

fn state(slot: &Slot) -> &'static str {
    match &slot.state {
        State::Waiting { wait: Wait::Turn, .. } => "spawning",
        State::Waiting { wait: Wait::Pause, .. } => "pausing",
        State::Waiting { wait: Wait::Name, .. } => "waiting",
        State::Live(live) => match live.ending.map(|ending| ending.told) {
            None if live.ready => "active",
            None => "spawning",
            Some(Told::Drain) => "draining",
            Some(Told::Stop | Told::Kill) => "terminating",
        },
        State::Stopped => "stopped",
        State::Done => "done",
        State::Failed => "failed",
    }
}
