//! Counting by the stream: each record exactly once, however often and in whatever batches it comes.
//!
//! Lambda hands a shard's records over in order, but again after every failure, and then cut otherwise: halves of a batch,
//! or more than before. So what has been counted is noted record by record, by its name (`names`). The notes and the
//! changes of the counts are one transaction, on the condition that none of these names is noted. Nothing is assumed about
//! shards, orders or ends of batches, and two who count the same records at the same time cannot both succeed.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use aws_sdk_dynamodb::types::{ReturnValuesOnConditionCheckFailure, TransactWriteItem, Update};
use baton_model::{QueueName, TaskType, Timestamp};
use baton_store::histogram::bucket;
use baton_store::{ErrorKind, StoreError};

use crate::attr::{Fields, Item, key, n, time};
use crate::db::unbuilt;
use crate::error::{TransactError, WriteError, contended, damaged};
use crate::expression::Expression;
use crate::keys;
use crate::stats::epoch::{Epoch, Epochs, TOUCHED};
use crate::stats::names::{Label, Name, Plan};
use crate::stats::news::News;
use crate::stats::{AS_OF, ZEROS, attribute, what_letter};
use crate::store::Inner;
use crate::stream::Record;
use crate::transact::MOST;
use crate::transition::ROUNDS;

/// The most records of one transaction: Lambda's batch. Their conditions may be one expression, of two operators each, and an
/// expression may have 300.
const RECORDS: usize = 100;

/// The attribute that holds how many touched tasks were counted.
const TOUCHES: &str = "n";

/// How many of the records that were given are counted, all those from the first on.
#[derive(Debug)]
pub struct RecordsCounted {
    /// The number of records.
    pub records: usize,
    /// Why it is not all of them.
    pub failed: Option<StoreError>,
}

/// A record of a task that changes some count.
struct Entry {
    label: Label,
    at: Timestamp,
    news: News,
}

/// What is to be done about a record.
enum Step {
    Count(Box<Entry>),
    /// The tick was written at this time, and for this epoch if a rebuild has asked for it.
    Tick(Timestamp, Option<u32>),
    Nothing,
}

impl Inner {
    /// Counts records of the stream, if it is the stream that keeps the counts.
    pub(crate) async fn count(&self, records: &[&str]) -> RecordsCounted {
        let mut steps = Vec::with_capacity(records.len());
        let mut unread = None;
        for json in records {
            match step(json) {
                Ok(step) => steps.push(step),
                Err(error) => {
                    unread = Some(error);
                    break;
                }
            }
        }
        if unread.is_none() && steps.iter().all(|step| matches!(step, Step::Nothing)) {
            return RecordsCounted { records: records.len(), failed: None };
        }
        // Read after the records were: an epoch that is not among these is younger than all of them.
        let epochs = match self.db.epochs().await {
            Ok(epochs) => epochs,
            Err(error) => return RecordsCounted { records: 0, failed: Some(error) },
        };
        if epochs.all().next().is_none() {
            return RecordsCounted { records: records.len(), failed: None };
        }
        let all = steps.len();
        match self.count_steps(&epochs, steps).await {
            Ok(()) => RecordsCounted { records: all, failed: unread },
            Err((records, error)) => RecordsCounted { records, failed: Some(error) },
        }
    }

    /// Does what records ask for in transactions, one after the other.
    ///
    /// # Errors
    /// How many of the steps are done, and why not the next.
    async fn count_steps(&self, epochs: &Epochs, steps: Vec<Step>) -> Result<(), (usize, StoreError)> {
        let (mut done, mut chunk) = (0, Vec::new());
        for (place, step) in steps.into_iter().enumerate() {
            match step {
                Step::Count(entry) => {
                    if !entry.changes_a_count(epochs) {
                        continue;
                    }
                    if chunk.len() == RECORDS {
                        self.commit(epochs, &chunk).await.map_err(|error| (done, error))?;
                        (done, chunk) = (place, Vec::new());
                    }
                    chunk.push(*entry);
                }
                Step::Tick(at, epoch) => {
                    // What came before it is counted when the counts are said to be as of then.
                    self.commit(epochs, &chunk).await.map_err(|error| (done, error))?;
                    (done, chunk) = (place, Vec::new());
                    self.note_tick(at, epoch).await.map_err(|error| (done, error))?;
                }
                Step::Nothing => {}
            }
        }
        self.commit(epochs, &chunk).await.map_err(|error| (done, error))
    }

    /// Counts the records of a chunk that are not counted, each in one transaction with its name; all in one, if that may have
    /// so many writes. What would go into an item that cannot be written is left out: it holds up neither its neighbours nor
    /// the stream.
    async fn commit(&self, epochs: &Epochs, chunk: &[Entry]) -> Result<(), StoreError> {
        let mut seen: HashSet<Name> = HashSet::new();
        let mut open: Vec<_> = chunk.iter().filter(|entry| seen.insert(entry.label.name)).collect();
        let mut left_out: BTreeSet<Written> = BTreeSet::new();
        let named = Box::pin(self.named(epochs, chunk, &mut left_out)).await?;
        let (mut most, mut rounds) = (open.len(), 0);
        while !open.is_empty() && rounds < ROUNDS {
            most = most.min(open.len());
            let some = &open[..most];
            let plan = self.stats.names.plan(&self.db, some.iter().map(|entry| entry.label)).await?;
            if !plan.noted.is_empty() {
                open.retain(|entry| !plan.noted.contains(&entry.label.name));
                continue;
            }
            let part = self.db.draw() % keys::COUNT_PARTS;
            let updates = Sums::of(epochs, some, &named).updates(part, &left_out);
            if plan.notes.len() + updates.len() > MOST && most > 1 {
                most /= 2;
                continue;
            }
            rounds += 1;
            match Box::pin(self.count_noting(&plan, &updates)).await? {
                Tried::All => {
                    open.drain(..most);
                    rounds = 0;
                }
                Tried::Before(noted) => open.retain(|entry| !noted.contains(&entry.label.name)),
                Tried::Without(written) => left_out.extend(written),
            }
        }
        if open.is_empty() { Ok(()) } else { Err(contended("what is counted of the stream")) }
    }

    /// Adds sums to the counts, and notes of which records they are.
    async fn count_noting(&self, Plan { notes, .. }: &Plan, updates: &[Sum]) -> Result<Tried, StoreError> {
        let mut writes = Vec::with_capacity(notes.len() + updates.len());
        for note in notes {
            writes.push(self.update_item(note.place.key(), &note.write())?);
        }
        for Sum { key, update, .. } in updates {
            writes.push(self.update_item(key.clone(), update)?);
        }
        match self.db.transact_telling(writes, &format!("count#{}", self.db.draw())).await {
            Ok(()) => {
                self.stats.names.written(notes);
                Box::pin(self.tidy_counts(updates)).await;
                Ok(Tried::All)
            }
            Err((TransactError::Failed(error), which)) => {
                if updates.is_empty() || error.kind() != ErrorKind::Internal {
                    return Err(error);
                }
                let told = which.iter().skip(notes.len()).any(|impossible| *impossible);
                let mut without = Vec::new();
                for (place, Sum { written, key, .. }) in updates.iter().enumerate() {
                    // Where it is not told which of them cannot be written, none is; that others could have been is
                    // mended by the same rebuild.
                    if !told || which.get(notes.len() + place).copied().unwrap_or_default() {
                        let fields = Fields(key);
                        self.db.leave_uncounted(fields.text("pk")?, fields.text("sk")?, &error);
                        without.push(written.clone());
                    }
                }
                Ok(Tried::Without(without))
            }
            Err((TransactError::Conditions(reasons), _)) => {
                let (mut noted, mut explained) = (BTreeSet::new(), false);
                for ((refused, item), note) in reasons.into_iter().zip(notes) {
                    if refused {
                        let item = match item {
                            Some(item) => item,
                            None => self.db.get(note.place.key()).await?.unwrap_or_default(),
                        };
                        explained |= self.stats.names.refused(note, &item, &mut noted);
                    }
                }
                match explained {
                    true => Ok(Tried::Before(noted)),
                    false => Err(damaged("a transaction was refused for records that are not counted")),
                }
            }
        }
    }

    /// Which of a chunk's types are counted by name. Where that can never be known, the queue's counts are left out.
    async fn named(
        &self,
        epochs: &Epochs,
        chunk: &[Entry],
        left_out: &mut BTreeSet<Written>,
    ) -> Result<Named, StoreError> {
        let mut wanted: BTreeMap<(QueueName, u32), BTreeSet<TaskType>> = BTreeMap::new();
        for entry in chunk {
            for epoch in epochs.all() {
                for (image, _) in entry.news.moves(&epoch) {
                    let types = wanted.entry((image.queue.clone(), epoch.number)).or_default();
                    types.insert(image.task_type.clone());
                }
            }
        }
        let mut all = Named::new();
        for ((queue, epoch), types) in wanted {
            match self.stats.types.named(&self.db, &queue, epoch, &types).await {
                Ok(named) => {
                    all.insert((queue, epoch), named);
                }
                Err(error) if error.kind() == ErrorKind::Internal => {
                    let item = keys::named_types_of(epoch);
                    self.db.leave_uncounted(&keys::statistics(&queue), &item, &error);
                    left_out.insert(Written::Counts(queue, epoch));
                }
                Err(error) => return Err(error),
            }
        }
        Ok(all)
    }

    /// Removes counts that are zero over all parts of a queue's counts, after every so many transactions of it.
    async fn tidy_counts(&self, updates: &[Sum]) {
        for Sum { written, .. } in updates {
            let Written::Counts(queue, epoch) = written else { continue };
            if self.stats.types.is_time_to_tidy(queue, *epoch)
                && let Err(error) = self.remove_zeros(queue, *epoch).await
            {
                // They are harmless, and are looked for again.
                tracing::warn!(%queue, error = error.report(), "counts that are zero could not be removed");
            }
        }
    }

    async fn remove_zeros(&self, queue: &QueueName, epoch: u32) -> Result<(), StoreError> {
        let partition = keys::statistics(queue);
        // One by one: whoever counts may read items by their keys, and needs no right to read several at once.
        let parts =
            (0..keys::COUNT_PARTS).map(|part| self.db.get(key(&partition, &keys::counts(epoch, part))));
        let parts: Vec<_> = futures::future::try_join_all(parts).await?.into_iter().flatten().collect();
        let mut sums: BTreeMap<&String, i64> = BTreeMap::new();
        for item in &parts {
            for name in item.keys().filter(|name| name.contains(':')) {
                *sums.entry(name).or_default() += Fields(item).number::<i64>(name)?;
            }
        }
        let zeros: Vec<_> = sums.into_iter().filter(|(_, sum)| *sum == 0).map(|(name, _)| name).collect();
        if zeros.len() < ZEROS {
            return Ok(());
        }
        for zeros in zeros.chunks(ZEROS) {
            let mut writes = Vec::new();
            for item in &parts {
                let fields = Fields(item);
                let mut update = Expression::new();
                let there: Vec<_> = zeros.iter().filter(|name| fields.has(name)).collect();
                for name in &there {
                    // As they were read in all parts: together they are nothing, so that nothing is lost with them.
                    update = update.when(name, "=", n(fields.number::<i64>(name)?)).remove(name);
                }
                if !there.is_empty() {
                    writes.push(self.update_item(key(fields.text("pk")?, fields.text("sk")?), &update)?);
                }
            }
            match self.db.transact(writes, &format!("zeros#{}", self.db.draw())).await {
                // Some of them count again; they are looked for another time.
                Ok(()) | Err(TransactError::Conditions(_)) => {}
                Err(TransactError::Failed(error)) => return Err(error),
            }
        }
        Ok(())
    }

    fn update_item(&self, key: Item, update: &Expression) -> Result<TransactWriteItem, StoreError> {
        let update = Update::builder()
            .table_name(&self.db.table)
            .set_key(Some(key))
            .update_expression(update.update())
            .set_condition_expression(update.condition())
            .set_expression_attribute_names(update.names())
            .set_expression_attribute_values(update.values())
            .return_values_on_condition_check_failure(ReturnValuesOnConditionCheckFailure::AllOld);
        Ok(TransactWriteItem::builder().update(update.build().map_err(unbuilt)?).build())
    }

    /// Notes that all was counted up to a time.
    async fn note_tick(&self, at: Timestamp, epoch: Option<u32>) -> Result<(), StoreError> {
        let update = Expression::new()
            .when_absent_or(AS_OF, "<=", time(at))
            .set(AS_OF, time(at))
            .maybe(TOUCHED, epoch.map(n));
        match self.db.update(keys::meta("counted"), &update).await {
            // A later one has come before it.
            Ok(_) | Err(WriteError::Condition(_)) => Ok(()),
            Err(WriteError::Failed(error)) => Err(error),
        }
    }
}

/// What a record asks for.
fn step(json: &str) -> Result<Step, StoreError> {
    let Some(record) = Record::read(json)? else { return Ok(Step::Nothing) };
    if record.number.is_empty() || record.at == Timestamp::default() {
        return Err(damaged(
            "expected a record of the stream to have its number and its time, got one without",
        ));
    }
    if record.is_tick() {
        let epoch = record.is.as_ref().map_or(Ok(None), |tick| Fields(tick).maybe_number(TOUCHED))?;
        return Ok(Step::Tick(record.at, epoch));
    }
    let Record { partition, sort, number, at, was, is } = record;
    let label = Label::of(&partition, &sort, &number, at);
    Ok(Step::Count(Box::new(Entry { label, at, news: News::read(was.as_ref(), is.as_ref())? })))
}

/// What became of records that were to be counted.
enum Tried {
    /// They are.
    All,
    /// None is, as these were before; or as another was faster with an item of names.
    Before(BTreeSet<Name>),
    /// None is, as these items cannot be written.
    Without(Vec<Written>),
}

/// An item of counts that a transaction writes; its parts are one.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Written {
    Counts(QueueName, u32),
    Durations(QueueName, i64),
    Touches(u32),
}

impl Entry {
    fn changes_a_count(&self, epochs: &Epochs) -> bool {
        let moves = epochs.all().any(|epoch| !self.news.moves(&epoch).is_empty());
        let touches = epochs.next.is_some_and(|next| self.news.is_touch(&next));
        moves || touches || epochs.current.is_some() && self.news.ended().is_some()
    }
}

fn hour(at: Timestamp) -> i64 {
    at.as_millis() / 3_600_000
}

/// What records change, summed up by items and attributes.
#[derive(Default)]
struct Sums {
    changes: BTreeMap<Written, BTreeMap<String, i64>>,
    as_of: Timestamp,
}

impl Sums {
    fn of(epochs: &Epochs, entries: &[&Entry], named: &Named) -> Self {
        let mut sums = Self::default();
        for entry in entries {
            sums.as_of = sums.as_of.max(entry.at);
            for epoch in epochs.all() {
                sums.take_moves(&epoch, &entry.news, named);
            }
            if let Some(next) = epochs.next.filter(|next| entry.news.is_touch(next)) {
                sums.add(Written::Touches(next.number), TOUCHES.to_owned(), 1);
            }
            if let Some(ended) = entry.news.ended().filter(|_| epochs.current.is_some()) {
                let attribute = format!("{}{}", what_letter(ended.what), bucket(ended.length));
                sums.add(Written::Durations(ended.queue.clone(), hour(ended.at)), attribute, 1);
            }
        }
        sums
    }

    fn take_moves(&mut self, epoch: &Epoch, news: &News, named: &Named) {
        for (image, change) in news.moves(epoch) {
            let place = (image.queue.clone(), epoch.number);
            let name = named.get(&place).and_then(|named| named.get(&image.task_type));
            let (queue, epoch) = place;
            self.add(Written::Counts(queue, epoch), attribute(image.state, name), change);
        }
    }

    fn add(&mut self, item: Written, attribute: String, change: i64) {
        *self.changes.entry(item).or_default().entry(attribute).or_default() += change;
    }

    /// The updates that add it all to one part of each item, but for those that are left out.
    fn updates(self, part: u64, left_out: &BTreeSet<Written>) -> Vec<Sum> {
        let as_of = self.as_of;
        let update = |(written, changes): (Written, BTreeMap<String, i64>)| {
            let changes = changes.into_iter().filter(|(_, change)| *change != 0);
            let sum = changes.fold(Expression::new(), |all, (name, change)| all.add(&name, n(change)));
            let (key, update) = match &written {
                Written::Counts(queue, epoch) => {
                    (key(&keys::statistics(queue), &keys::counts(*epoch, part)), sum.set(AS_OF, time(as_of)))
                }
                Written::Durations(queue, hour) => {
                    let key = key(&keys::statistics(queue), &keys::durations(*hour, part));
                    (key, sum.set("xp", n(crate::stats::ends(*hour))))
                }
                Written::Touches(epoch) => (keys::touched(*epoch, part), sum),
            };
            Sum { written, key, update }
        };
        self.changes.into_iter().filter(|(written, _)| !left_out.contains(written)).map(update).collect()
    }
}

/// What is added to one item.
struct Sum {
    written: Written,
    key: Item,
    update: Expression,
}

/// Which types are counted by name, by queue and epoch.
type Named = HashMap<(QueueName, u32), HashSet<TaskType>>;
