//! Tasks that are given out alone, as far as claims meet them. They lie among all others in the index, with a mark in the
//! sort key (it has no room for another attribute), so that a claim that meets none pays nothing. Which worker makes room
//! for one is told by an item of its own, read only by claims that meet a task that has waited for long: the records of
//! all workers would have to be read instead.

use std::collections::HashMap;

use baton_model::alone::{PATIENCE, Turn, turn};
use baton_model::order::Place;
use baton_model::{Alone, Takes, TaskId, Timestamp, WorkerId};
use baton_store::{Nothing, StoreError};

use crate::attr::{Fields, Item, json, key, n, s, time};
use crate::claim::Entered;
use crate::error::WriteError;
use crate::expression::Expression;
use crate::keys;
use crate::look::{Candidate, Look};
use crate::row::Stored;
use crate::store::Inner;

/// How many of those that wait are looked at for one that no worker makes room for: as many workers may be making room
/// before a further one looks on as if there were no more.
const LOOKED_AT: usize = 8;

/// How long the item that tells who makes room is kept after it ends, in seconds.
const KEPT_S: i64 = 3_600;

/// A worker that makes room for a task, by the item that says so.
struct Room {
    worker: WorkerId,
    until: Timestamp,
}

fn room_key(task: TaskId) -> Item {
    key(&format!("V#{task}"), "V")
}

impl Room {
    fn read(item: &Item) -> Result<(TaskId, Self), StoreError> {
        let fields = Fields(item);
        let text = fields.text("tk")?;
        let task =
            text.parse().map_err(|_| crate::error::damaged(format!("expected a task's id, got {text}")))?;
        Ok((task, Self { worker: WorkerId::from_stored(fields.text("wk")?), until: fields.time("un")? }))
    }
}

impl Inner {
    /// Why a worker that is tied to a task is given nothing, if it still is.
    pub(crate) async fn tied(
        &self,
        claim: &Entered<'_>,
        (alone, takes): (Option<Alone>, &[Takes]),
    ) -> Result<Option<Nothing>, StoreError> {
        let Some(alone) = alone else { return Ok(None) };
        let item = self.db.get(self.task_key(alone.task())).await?;
        let stored = item.as_ref().map(Stored::read).transpose()?.filter(|stored| !stored.purged);
        let task = stored.as_ref().map(|stored| (&stored.head, &stored.queue));
        if !alone.stands((&claim.worker, takes), claim.active, task, claim.now) {
            self.tie(&claim.worker, None).await?;
            if matches!(alone, Alone::MakesRoom { .. }) {
                self.leave_room(&claim.worker, alone.task()).await?;
            }
            return Ok(None);
        }
        Ok(Some(match alone {
            Alone::Runs { .. } => Nothing::RunsAlone,
            Alone::MakesRoom { task, .. } => {
                if alone.is_to_be_renewed(claim.now) && !self.was_sent(claim).await? {
                    let own = Expression::new().when("wk", "=", s(claim.worker.as_str()));
                    self.make_room(claim, task, own).await?;
                }
                Nothing::MakesRoom
            }
        }))
    }

    /// Narrows what a look has found to what the claim is given, or says why it is given nothing.
    pub(crate) async fn turn_of<'a>(
        &'a self,
        claim: &Entered<'_>,
        mut look: Look<'a>,
    ) -> Result<Result<Look<'a>, Nothing>, StoreError> {
        if look.alone.is_empty() {
            return Ok(Ok(look));
        }
        look.alone.sort_by_key(|(place, _)| place.across());
        let first = look.due.first().map(|one| one.place);
        let mut places: Vec<Place> = look.alone.iter().map(|(place, _)| *place).collect();
        let rooms =
            if claim.active == 0 { HashMap::new() } else { self.rooms(claim, first, &mut places).await? };
        let mut taken = Vec::new();
        loop {
            let is_awaited = |task: TaskId| {
                taken.contains(&task)
                    || rooms.get(&task).is_some_and(|room: &Room| {
                        let tie = Alone::MakesRoom { task, until: room.until };
                        room.worker != claim.worker && tie.makes_room_at(claim.now)
                    })
            };
            match turn(claim.active == 0, first, &places, is_awaited, claim.now) {
                Turn::Plain if look.due.is_empty() => return Ok(Err(Nothing::OnlyAlone)),
                Turn::Plain => return Ok(Ok(look)),
                Turn::Alone(id) => {
                    let Some(at) = look.alone.iter().position(|(_, entry)| entry.head.id == id) else {
                        return Ok(Err(Nothing::OnlyAlone));
                    };
                    let (place, entry) = look.alone.swap_remove(at);
                    places.retain(|place| place.id != id);
                    let name = (id, entry.created_at);
                    if let Some(reserved) = self.notes.reserve(name, entry.head.events) {
                        // Before the task is taken: a tie to an attempt that is not there does not stand.
                        let runs = Alone::Runs { task: id, attempt: entry.head.attempt + 1 };
                        self.tie(&claim.worker, Some(runs)).await?;
                        let due = vec![Candidate { entry, place, reserved, is_behind: false }];
                        return Ok(Ok(Look { due, alone: Vec::new(), ..look }));
                    }
                }
                Turn::MakeRoom(_) if self.was_sent(claim).await? => return Ok(Err(Nothing::MakesRoom)),
                Turn::MakeRoom(id) => {
                    let known = rooms.get(&id);
                    let still = Expression::new()
                        .when_still("wk", known.map(|room| s(room.worker.as_str())))
                        .when_still("un", known.map(|room| time(room.until)));
                    if self.make_room(claim, id, still).await? {
                        return Ok(Err(Nothing::MakesRoom));
                    }
                    taken.push(id);
                }
            }
        }
    }

    /// Whether a claim was sent before, and so has its answer: it ties its worker to nothing.
    async fn was_sent(&self, claim: &Entered<'_>) -> Result<bool, StoreError> {
        Ok(self.planned(claim).await?.is_some())
    }

    /// Who makes room for those whose turn has been for long. Of more than are looked at, the rest are left out.
    async fn rooms(
        &self,
        claim: &Entered<'_>,
        plain: Option<Place>,
        places: &mut Vec<Place>,
    ) -> Result<HashMap<TaskId, Room>, StoreError> {
        places.retain(|one| plain.is_none_or(|plain| one.before(&plain).is_lt()));
        places.retain(|one| claim.now.since(one.run_after) >= PATIENCE);
        places.truncate(LOOKED_AT);
        if places.is_empty() {
            return Ok(HashMap::new());
        }
        let items = self.db.get_all(places.iter().map(|one| room_key(one.id)).collect()).await?;
        Ok(items.iter().filter_map(|item| self.db.read_one(item, Room::read)).collect())
    }

    /// Has a worker make room for a task from now on, if the item that says who does is as the condition says.
    async fn make_room(
        &self,
        claim: &Entered<'_>,
        task: TaskId,
        condition: Expression,
    ) -> Result<bool, StoreError> {
        let tie = Alone::makes_room(task, claim.now);
        let Alone::MakesRoom { until, .. } = tie else { return Ok(false) };
        let mut item = room_key(task);
        item.insert("tk".to_owned(), s(task.to_string()));
        item.insert("wk".to_owned(), s(claim.worker.as_str()));
        item.insert("un".to_owned(), time(until));
        item.insert("xp".to_owned(), n(until.as_millis() / 1_000 + KEPT_S));
        match self.db.put(item, condition).await {
            Ok(()) => {}
            // The very item may be there from a first sending whose answer was lost.
            Err(WriteError::Condition(Some(item))) => {
                let (_, room) = Room::read(&item)?;
                if room.worker != claim.worker || room.until != until {
                    return Ok(false);
                }
            }
            Err(WriteError::Condition(None)) => return Ok(false),
            Err(WriteError::Failed(error)) => return Err(error),
        }
        self.tie(&claim.worker, Some(tie)).await?;
        Ok(true)
    }

    async fn leave_room(&self, worker: &WorkerId, task: TaskId) -> Result<(), StoreError> {
        let own = Expression::new().when("wk", "=", s(worker.as_str()));
        match self.db.delete(room_key(task), &own).await {
            Ok(()) | Err(WriteError::Condition(_)) => Ok(()),
            Err(WriteError::Failed(error)) => Err(error),
        }
    }

    async fn tie(&self, worker: &WorkerId, alone: Option<Alone>) -> Result<(), StoreError> {
        let tie = alone.map(|alone| json("a worker's tie", &alone)).transpose()?.map(s);
        let update = Expression::new().put("al", tie).when_present("pk");
        match self.db.update(keys::worker(worker), &update).await {
            Ok(_) | Err(WriteError::Condition(_)) => Ok(()),
            Err(WriteError::Failed(error)) => Err(error),
        }
    }
}
