//! Workers: their records, sessions and heartbeats. A heartbeat writes its worker's record and nothing else.

use aws_sdk_dynamodb::types::AttributeValue;
use baton_model::{
    Directed, Directive, Late, Owner, ProjectId, Running, SessionId, Superseded, Takeover, TaskId, Timestamp,
    Worker, WorkerId,
};
use baton_store::{Direct, NameNotice, StoreError, WorkerDetail};

use crate::attr::{Fields, Item, b, json, n, s, time};
use crate::codes::Code;
use crate::db::Query;
use crate::error::{WriteError, contended, damaged};
use crate::expression::Expression;
use crate::keys;
use crate::listed::Listed;
use crate::row::Stored;
use crate::store::Inner;
use crate::transition::ROUNDS;

/// A claim is a sign of life, too; it is noted to this many milliseconds, so that not every claim writes.
const SEEN_GRAIN_MS: u64 = 3_600_000;

/// A worker as its record tells it.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct StoredWorker {
    /// Its `running` is what it said, as far as that is kept whole.
    pub(crate) worker: Worker,
    /// What its last heartbeat listed.
    pub(crate) listed: Option<Listed>,
    /// The last beat or, to the hour, the last claim.
    pub(crate) seen_at: Timestamp,
    /// How many bytes of log lines it has shipped in all.
    pub(crate) shipped: u64,
}

impl StoredWorker {
    pub(crate) fn new(id: &WorkerId, caller: &Owner, session: Option<SessionId>, now: Timestamp) -> Self {
        let worker = Worker::new(id.clone(), caller.clone(), session, now);
        Self { worker, listed: None, seen_at: now, shipped: 0 }
    }

    /// Notes what a claim says of its worker.
    fn note_claim(&mut self, claim: &baton_store::Claim) {
        self.worker.capacity = claim.capacity.or(self.worker.capacity);
        self.worker.ended_at = None;
        self.worker.note_takes(claim.takes());
        // It was seen lately, too, if the clock was set back since; a time far ahead is written anew.
        if claim.now.as_millis().abs_diff(self.seen_at.as_millis()) > SEEN_GRAIN_MS {
            self.seen_at = claim.now;
        }
    }

    /// Whether a claim changes nothing of it.
    pub(crate) fn is_as_claimed(&self, claim: &baton_store::Claim) -> bool {
        let mut claimed = self.clone();
        let entered = claimed.enter(&claim.caller, claim.session, claim.now);
        claimed.note_claim(claim);
        matches!(entered, Ok(Ok(None))) && claimed == *self
    }

    pub(crate) fn read(item: &Item) -> Result<Self, StoreError> {
        let fields = Fields(item);
        let listed = fields.maybe_bytes("ru")?.map(Listed::decode).transpose()?;
        Ok(Self {
            worker: Worker {
                id: WorkerId::from_stored(fields.text("sk")?),
                owner: Owner::from_stored(
                    fields.maybe_text("pj")?.map(ProjectId::from_stored),
                    fields.maybe_bytes("ow")?,
                ),
                session: fields.maybe_sixteen("se")?.map(SessionId::from_bytes),
                superseded: read_superseded(fields)?,
                contested_at: fields.maybe_time("ct")?,
                started_at: fields.time("sa")?,
                last_beat_at: fields.maybe_time("lb")?,
                beats: fields.maybe_number("bn")?.unwrap_or(0),
                capacity: fields.maybe_number("cp")?,
                running: listed.as_ref().map(|listed| listed.shown.clone()),
                readings: fields.maybe_json("rd")?.unwrap_or_default(),
                labels: fields.maybe_json("la")?.unwrap_or_default(),
                directive: fields.maybe_number("dr")?.map_or(Ok(Directive::Run), Directive::of)?,
                directed: fields.maybe_json("dd")?,
                ended_at: fields.maybe_time("ed")?,
                alone: fields.maybe_json("al")?,
                takes: fields.maybe_json("tk")?.unwrap_or_default(),
            },
            listed,
            seen_at: fields.time("sn")?,
            shipped: fields.maybe_number("lg")?.unwrap_or(0),
        })
    }

    /// The earlier starts as two attributes: their ids, and what else is known of them. None if there are none.
    fn superseded_as_stored(&self) -> (Option<AttributeValue>, Option<AttributeValue>) {
        let earlier = &self.worker.superseded;
        let some = |bytes: Vec<u8>| (!bytes.is_empty()).then(|| b(bytes));
        let ids = earlier.iter().flat_map(|one| *one.session.as_bytes()).collect();
        (some(ids), some(earlier.iter().flat_map(moment_of).collect()))
    }

    /// The record as an item.
    pub(crate) fn item(&self) -> Result<Item, StoreError> {
        let worker = &self.worker;
        let mut item = keys::worker(&worker.id);
        let mut put = |name: &str, value| item.insert(name.to_owned(), value);
        put("sa", time(worker.started_at));
        put("sn", time(self.seen_at));
        if let Some(project) = worker.project() {
            put("pj", s(project.as_str()));
        }
        if let Some(owner) = worker.owner.as_ref().and_then(Owner::stored) {
            put("ow", b(owner));
        }
        if let Some(session) = worker.session {
            put("se", b(*session.as_bytes()));
        }
        if let (Some(ids), Some(moments)) = self.superseded_as_stored() {
            put("su", ids);
            put("sm", moments);
        }
        if let Some(at) = worker.contested_at {
            put("ct", time(at));
        }
        if let Some(at) = worker.last_beat_at {
            put("lb", time(at));
        }
        if worker.beats > 0 {
            put("bn", n(worker.beats));
        }
        if let Some(capacity) = worker.capacity {
            put("cp", n(capacity));
        }
        if let Some(listed) = &self.listed {
            put("ru", b(listed.encode()));
        }
        if !worker.readings.is_empty() {
            put("rd", s(json("readings", &worker.readings)?));
        }
        if !worker.labels.is_empty() {
            put("la", s(json("labels", &worker.labels)?));
        }
        if let Some(code) = code(worker.directive) {
            put("dr", code);
        }
        if let Some(directed) = &worker.directed {
            put("dd", s(json("who has directed a worker", directed)?));
        }
        if let Some(at) = worker.ended_at {
            put("ed", time(at));
        }
        if self.shipped > 0 {
            put("lg", n(self.shipped));
        }
        if let Some(alone) = &worker.alone {
            put("al", s(json("a worker's tie", alone)?));
        }
        if !worker.takes.is_empty() {
            put("tk", s(json("what a worker takes", &worker.takes)?));
        }
        Ok(item)
    }

    /// Makes `session` the present start of the record.
    ///
    /// # Errors
    /// If the name belongs to callers of other bounds.
    pub(crate) fn enter(
        &mut self,
        caller: &Owner,
        session: Option<SessionId>,
        now: Timestamp,
    ) -> Result<Result<Option<Takeover>, Late>, StoreError> {
        if !self.worker.admit(caller) {
            return Err(StoreError::WorkerOfOther(self.worker.id.clone()));
        }
        let before = self.worker.session;
        let entered = self.worker.enter(session, now);
        if self.worker.session != before {
            self.listed = None;
        }
        Ok(entered)
    }

    /// The worker as a lease of it is judged by: with a list that holds the attempt exactly if it was listed.
    pub(crate) fn judged(&self, task: TaskId, attempt: u32) -> Worker {
        let running = self.listed.as_ref().map(|listed| {
            let it = Running { task, attempt, progress: None, message: None };
            listed.holds(task, attempt).then_some(it).into_iter().collect()
        });
        Worker { running, ..self.worker.clone() }
    }
}

/// How many bytes tell of an earlier start what its id does not.
const MOMENT_BYTES: usize = 7;

/// When an earlier start's place was taken, in milliseconds since 1970 that 48 bits hold; and whether it was heard of
/// since. Beside the ids and not with them, as programs of before know the ids alone.
fn moment_of(earlier: &Superseded) -> [u8; MOMENT_BYTES] {
    let mut bytes = [0; MOMENT_BYTES];
    bytes[..6].copy_from_slice(&earlier.at.as_millis().to_be_bytes()[2..]);
    bytes[6] = u8::from(earlier.heard);
    bytes
}

fn read_superseded(fields: Fields<'_>) -> Result<Vec<Superseded>, StoreError> {
    let ids = fields.maybe_bytes("su")?.unwrap_or_default();
    let moments = fields.maybe_bytes("sm")?.unwrap_or_default();
    // A program of before may have written the ids alone.
    let moments = (moments.len() / MOMENT_BYTES == ids.len() / 16).then_some(moments);
    let mut moments = moments.into_iter().flat_map(|bytes| bytes.chunks_exact(MOMENT_BYTES));
    let ids = ids.chunks_exact(16).filter_map(|id| id.try_into().ok()).map(SessionId::from_bytes);
    Ok(ids
        .map(|session| {
            let (at, heard) = moments.next().map_or((0, false), |bytes| {
                let millis = bytes[..6].iter().fold(0, |all, byte| all << 8 | i64::from(*byte));
                (millis, bytes[6] != 0)
            });
            Superseded { session, at: Timestamp::from_millis(at), heard }
        })
        .collect())
}

/// What is kept of what is asked of a worker: nothing while it may run.
fn code(directive: Directive) -> Option<AttributeValue> {
    (directive != Directive::Run).then(|| n(directive.code()))
}

/// What is kept of who has directed a worker.
fn directed(directed: Option<&Directed>) -> Result<Option<AttributeValue>, StoreError> {
    Ok(directed.map(|asked| json("who has directed a worker", asked)).transpose()?.map(s))
}

impl Inner {
    pub(crate) async fn stored_worker(&self, id: &WorkerId) -> Result<Option<StoredWorker>, StoreError> {
        self.db.get(keys::worker(id)).await?.as_ref().map(StoredWorker::read).transpose()
    }

    /// Writes a record in place of the one that was read. False if that has changed since.
    pub(crate) async fn save_worker(
        &self,
        before: Option<&StoredWorker>,
        after: &StoredWorker,
    ) -> Result<bool, StoreError> {
        let condition = match before {
            None => Expression::new().when_absent("pk"),
            Some(before) => Expression::new()
                .when_still("pj", before.worker.project().map(|project| s(project.as_str())))
                .when_still("ow", before.worker.owner.as_ref().and_then(Owner::stored).map(b))
                .when_still("se", before.worker.session.map(|session| b(*session.as_bytes())))
                .when_still("lb", before.worker.last_beat_at.map(time))
                .when_still("bn", (before.worker.beats > 0).then(|| n(before.worker.beats)))
                .when_still("ed", before.worker.ended_at.map(time))
                .when_still("dr", code(before.worker.directive))
                // Between a look and a write it may have been called off and asked for again.
                .when_still("dd", directed(before.worker.directed.as_ref())?)
                .when_still(
                    "al",
                    before.worker.alone.map(|alone| json("a worker's tie", &alone)).transpose()?.map(s),
                )
                .when_still("ct", before.worker.contested_at.map(time))
                .when("sn", "=", time(before.seen_at)),
        };
        match self.db.put(after.item()?, condition).await {
            Ok(()) => Ok(true),
            // The very record may be there from a first sending whose answer was lost.
            Err(WriteError::Condition(Some(item))) => Ok(StoredWorker::read(&item)? == *after),
            Err(WriteError::Condition(None)) => Ok(false),
            Err(WriteError::Failed(error)) => Err(error),
        }
    }

    /// Makes the claiming worker and its session known before it is given anything, so that the reaper finds what it
    /// holds. `known` is its record as it was just read.
    pub(crate) async fn enter_session(
        &self,
        mut known: Option<StoredWorker>,
        claim: &baton_store::Claim,
    ) -> Result<Worker, StoreError> {
        for _ in 0..ROUNDS {
            let caller = &claim.caller;
            let mut record = known
                .clone()
                .unwrap_or_else(|| StoredWorker::new(&claim.worker, caller, claim.session, claim.now));
            let takeover = match record.enter(caller, claim.session, claim.now)? {
                Ok(takeover) => takeover,
                Err(late) => return Err(self.note_late(known.unwrap_or(record), late, claim.now).await),
            };
            record.note_claim(claim);
            if known.as_ref() == Some(&record) || self.save_worker(known.as_ref(), &record).await? {
                self.tell_taken(&record.worker, takeover);
                return Ok(record.worker);
            }
            known = self.stored_worker(&claim.worker).await?;
        }
        Err(contended("the worker"))
    }

    /// Tells the log that a start has taken the place of another, if it has.
    pub(crate) fn tell_taken(&self, worker: &Worker, takeover: Option<Takeover>) {
        if let Some(notice) = takeover.and_then(|takeover| NameNotice::taken(worker, takeover)) {
            notice.log(&self.options.policy);
        }
    }

    /// Keeps that an earlier start of a worker was heard of; gives the refusal that is the answer to it. `known` is the
    /// worker's record as it was just read.
    pub(crate) async fn note_late(&self, known: StoredWorker, late: Late, now: Timestamp) -> StoreError {
        let worker = known.worker.id.clone();
        if let Err(error) = self.keep_late(known, late.session, now).await {
            // The refusal is right all the same; only the leases of that start may count.
            tracing::warn!(worker_id = %worker, %error, "it could not be noted that two starts share a name");
        }
        StoreError::SessionSuperseded { worker, session: late.session }
    }

    async fn keep_late(
        &self,
        mut known: StoredWorker,
        session: SessionId,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        for _ in 0..ROUNDS {
            let before = known.superseded_as_stored();
            let Err(late @ Late { first_word: true, .. }) = known.worker.enter(Some(session), now) else {
                return Ok(());
            };
            let (ids, moments) = known.superseded_as_stored();
            let update = Expression::new()
                .when_still("su", before.0)
                .when_still("sm", before.1)
                .put("su", ids)
                .put("sm", moments)
                .set("ct", time(now));
            match self.db.update(keys::worker(&known.worker.id), &update).await {
                Ok(_) => {
                    NameNotice::contested(&known.worker, late, now).log(&self.options.policy);
                    return Ok(());
                }
                Err(WriteError::Condition(Some(item))) => known = StoredWorker::read(&item)?,
                Err(WriteError::Condition(None)) => return Ok(()),
                Err(WriteError::Failed(error)) => return Err(error),
            }
        }
        Err(contended("the worker"))
    }

    pub(crate) async fn direct(&self, direct: &Direct) -> Result<WorkerDetail, StoreError> {
        let mut known = self.stored_worker(&direct.worker).await?;
        for _ in 0..ROUNDS {
            let Some(mut record) = known else {
                return Err(StoreError::WorkerNotFound(direct.worker.clone()));
            };
            let before = record.worker.stands();
            if !direct.of(&mut record.worker) {
                return self.worker_detail(record).await;
            }
            // Of the record no more than that is written: a heartbeat meanwhile is no reason to begin anew.
            let update = Expression::new()
                .when_present("pk")
                .when_still("dr", code(before.directive))
                .when_still("dd", directed(before.directed.as_ref())?)
                .put("dr", code(record.worker.directive))
                .put("dd", directed(record.worker.directed.as_ref())?);
            known = match self.db.update(keys::worker(&direct.worker), &update).await {
                Ok(item) => return self.worker_detail(StoredWorker::read(&item)?).await,
                Err(WriteError::Condition(item)) => item.as_ref().map(StoredWorker::read).transpose()?,
                Err(WriteError::Failed(error)) => return Err(error),
            };
        }
        Err(contended("the worker"))
    }

    /// The tasks that a worker holds by the index, the oldest claim first; at most `most`.
    pub(crate) async fn held_by(&self, worker: &WorkerId, most: usize) -> Result<Vec<Stored>, StoreError> {
        let mut held = Vec::new();
        let mut query = Query::index(keys::held(worker));
        loop {
            let room = most.saturating_sub(held.len()).min(1_000);
            query.limit = Some(i32::try_from(room).unwrap_or(1_000).max(1));
            let page = self.db.query(&query).await?;
            for item in &page.items {
                held.extend(self.db.read_one(item, Stored::read));
            }
            match page.next {
                Some(next) if held.len() < most => query.start = Some(next),
                _ => return Ok(held),
            }
        }
    }

    pub(crate) async fn worker_detail(&self, stored: StoredWorker) -> Result<WorkerDetail, StoreError> {
        let held = self.held_by(&stored.worker.id, usize::MAX).await?;
        let leases =
            held.iter().take(WorkerDetail::LEASES).map(|task| (task.head.id, task.head.attempt)).collect();
        let active =
            u32::try_from(held.len()).map_err(|_| damaged("a worker holds more tasks than can be"))?;
        Ok(WorkerDetail { worker: stored.worker, active, leases })
    }

    /// The records of all workers, by name, as they were a moment ago: who acts on one reads it again.
    pub(crate) async fn all_workers(&self) -> Result<Vec<StoredWorker>, StoreError> {
        let parts = (0..keys::NAME_PARTS).map(|part| {
            self.db.query_whole(Query { consistent: false, ..Query::table(keys::worker_partition(part)) })
        });
        let mut workers = Vec::new();
        for found in futures::future::try_join_all(parts).await? {
            for item in &found.items {
                workers.extend(self.db.read_one(item, StoredWorker::read));
            }
        }
        workers.sort_by(|one, other| one.worker.id.cmp(&other.worker.id));
        Ok(workers)
    }
}
