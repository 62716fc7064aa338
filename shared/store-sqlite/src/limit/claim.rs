//! Claiming where there are limits.

use baton_model::{LimitOn, Task, TaskType, Timestamp};
use baton_store::{Claim, Nothing};

use super::wait::{first_put_aside, let_go, put_aside};
use super::{Limits, Stop, moves, parsed, settings};
use crate::alone;
use crate::claim::{Kind, Lane, candidates, nothing, ranked, take};
use crate::error::Failure;
use crate::rows::{AtLimit, Stored};
use crate::transaction::Transaction;

/// How many tasks a claim looks at once it has met one over its limit: there may be many of them in a row.
const LOOKED_AT: usize = 64;

/// How many tasks one commit puts aside at most, as a limit may be set for a million that wait: about 30 ms.
const MOST_PUT_ASIDE: usize = 2_000;

/// What a claim is given where there are limits, or why it is given nothing.
pub(crate) fn claim(
    transaction: &mut Transaction<'_>,
    claim: &Claim,
    beats: u64,
    queues: &[Lane<'_>],
    (most, active): (usize, u32),
) -> Result<Result<Vec<Task>, Nothing>, Failure> {
    let_due_go(transaction, claim.now)?;
    let (mut leased, mut stopped): (Vec<Task>, Option<Stop>) = (Vec::new(), None);
    let (mut kind, mut again) = (Kind::Any, false);
    while leased.len() < most {
        let (lanes, shut) = lanes(&transaction.state.limits, claim, queues);
        let by_turns = lanes.iter().any(|lane| lane.order.fair.is_some());
        stopped = stopped.or(shut);
        let room = most - leased.len();
        let looked_at = if again { room.max(LOOKED_AT) } else { room };
        let mut found = match kind {
            Kind::Any => candidates(transaction, claim, &lanes, looked_at)?,
            Kind::Plain => ranked(transaction, claim, &lanes, looked_at, Kind::Plain)?,
        };
        if matches!(kind, Kind::Any) && found.iter().any(|stored| stored.head.runs_alone()) {
            kind = Kind::Plain;
            if !leased.is_empty() {
                continue;
            }
            match alone_or_plain(transaction, claim, &lanes, (room, active), &mut stopped)? {
                Err(nothing) => return Ok(Err(nothing)),
                Ok(chosen) if chosen.iter().any(|stored| stored.head.runs_alone()) => {
                    for stored in &chosen {
                        leased.push(take(transaction, claim, beats, stored)?);
                    }
                    return Ok(Ok(leased));
                }
                Ok(plain) => found = plain,
            }
        }
        again = false;
        let hiding = hiding(transaction, claim, &lanes, (looked_at, kind))?;
        if !hiding.is_empty() {
            found = hiding;
        }
        // One that is stopped may hide another of its fair queue, which comes before those of other queues: nothing is taken before it is out
        // of the way.
        let limits = &transaction.state.limits;
        let mut taking = !by_turns || !found.iter().any(|stored| limits.stop(stored, claim.now).is_some());
        for stored in found {
            match transaction.state.limits.stop(&stored, claim.now) {
                Some(stop) => {
                    again = true;
                    if moves(&stop.on) {
                        if transaction.put_aside >= MOST_PUT_ASIDE {
                            // More are in the way than one commit is to move: the claim comes again at once.
                            stopped = Some(Stop { next_at: Some(claim.now), ..stop });
                            again = false;
                            break;
                        }
                        put_aside(transaction, &stored, &stop, claim.now)?;
                        // Another may have been let go in its place that comes before those behind it.
                        taking = false;
                    }
                    // It is another's turn than if it had been taken.
                    taking &= !by_turns;
                    stopped.get_or_insert(stop);
                }
                None if taking && leased.len() < most => {
                    leased.push(take(transaction, claim, beats, &stored)?);
                }
                None => {}
            }
        }
        if !again {
            break;
        }
    }
    if leased.is_empty() { why(transaction, claim, queues, stopped).map(Err) } else { Ok(Ok(leased)) }
}

/// The tasks that limits stop among the first ones of each of several queues, if one of these is fair: one that is stopped may come behind
/// those of other queues, and hide another of its own that comes before them. In one queue, the first ones of all are its own.
fn hiding(
    transaction: &Transaction<'_>,
    claim: &Claim,
    lanes: &[Lane<'_>],
    (most, kind): (usize, Kind),
) -> Result<Vec<Stored>, Failure> {
    let mut stopped = Vec::new();
    if lanes.len() < 2 {
        return Ok(stopped);
    }
    for lane in lanes.iter().filter(|lane| lane.order.fair.is_some()) {
        let firsts = ranked(transaction, claim, std::slice::from_ref(lane), most, kind)?;
        let limits = &transaction.state.limits;
        stopped.extend(firsts.into_iter().filter(|stored| limits.stop(stored, claim.now).is_some()));
    }
    Ok(stopped)
}

/// The lanes that a claim looks into: a queue whose own limit is full only for the types that are exempt from it. And which limit
/// shuts the first of the others.
fn lanes<'a>(limits: &Limits, claim: &Claim, queues: &[Lane<'a>]) -> (Vec<Lane<'a>>, Option<Stop>) {
    let mut shut = None;
    let mut lanes = Vec::with_capacity(queues.len());
    for lane in queues {
        let on = LimitOn::Queue(lane.queue.clone());
        let Some(rules) = limits.book.rules_of(&on) else {
            lanes.push(lane.clone());
            continue;
        };
        let Some(baton_model::Stop { next_at }) = rules.stop(limits.standing(&on), false, claim.now) else {
            lanes.push(lane.clone());
            continue;
        };
        let exempt = rules.exempt_types.iter();
        let only: Vec<TaskType> =
            exempt.filter(|exempt| claim.types.is_empty() || claim.types.contains(exempt)).cloned().collect();
        if !only.is_empty() {
            lanes.push(Lane { only: Some(only), ..lane.clone() });
        }
        shut.get_or_insert(Stop { on, next_at });
    }
    (lanes, shut)
}

/// What a claim is given that has found a task that is given out alone. Only tasks whose limits let them start take part.
fn alone_or_plain(
    transaction: &mut Transaction<'_>,
    claim: &Claim,
    lanes: &[Lane<'_>],
    (room, active): (usize, u32),
    stopped: &mut Option<Stop>,
) -> Result<Result<Vec<Stored>, Nothing>, Failure> {
    loop {
        let mut met = ranked(transaction, claim, lanes, 1, Kind::Plain)?;
        met.append(&mut hiding(transaction, claim, lanes, (1, Kind::Plain))?);
        met.append(&mut alone::due(transaction, claim, lanes)?);
        let mut clear = true;
        for stored in met {
            let stop = transaction.state.limits.stop(&stored, claim.now);
            if let Some(stop) = stop.filter(|stop| moves(&stop.on)) {
                put_aside(transaction, &stored, &stop, claim.now)?;
                stopped.get_or_insert(stop);
                clear = false;
            }
        }
        if clear {
            break;
        }
    }
    match alone::choose(transaction, claim, lanes, room, active)? {
        // None is left of those that it was called for.
        Err(Nothing::OnlyAlone) if alone::due(transaction, claim, lanes)?.is_empty() => Ok(Ok(Vec::new())),
        chosen => Ok(chosen),
    }
}

/// Why a claim is given nothing.
fn why(
    transaction: &Transaction<'_>,
    claim: &Claim,
    all: &[Lane<'_>],
    stopped: Option<Stop>,
) -> Result<Nothing, Failure> {
    if let Some(stop) = stopped
        && (moves(&stop.on) || !candidates(transaction, claim, all, 1)?.is_empty())
    {
        return Ok(stop.nothing());
    }
    for lane in all {
        if let Some(stored) = first_put_aside(transaction.db, claim, lane.queue)? {
            if let Some(AtLimit { on, .. }) = &stored.at_limit {
                // What has a damaged name is let go by nobody.
                parsed(on)?;
            }
            let limits = &transaction.state.limits;
            if let Some(stop) = limits.stop(&stored, claim.now) {
                return Ok(stop.nothing());
            }
        }
    }
    nothing(transaction, claim, all)
}

/// Lets go of those that wait at rates whose time has come.
fn let_due_go(transaction: &mut Transaction<'_>, now: Timestamp) -> Result<(), Failure> {
    if transaction.state.limits.unsettled {
        transaction.state.limits = Limits::load(transaction.db)?;
        settings::settle(transaction, |_| true, now)?;
    }
    while let Some((at, on)) = transaction.state.limits.due.first().cloned()
        && at <= now
    {
        transaction.state.limits.due.pop_first();
        transaction.state.limits.due_of.remove(&on);
        let_go(transaction, &on, now)?;
    }
    Ok(())
}
