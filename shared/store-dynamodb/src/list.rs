//! Lists by filter, the newest first.
//!
//! A list goes down the table day by day from the newest, over all partitions of a day at once, and keeps what fits.
//! It looks at no more than [`LOOKS`] items, so that a page costs the same however many tasks there are; a page that
//! ends there is short, and its cursor goes on behind the last item looked at. Lists by status have shorter ways: see
//! `by_status`.

use baton_model::{Generation, LogLine, Status, Task, Timestamp};
use baton_store::{Cursor, GenerationFilter, LogFilter, Page, PageRequest, StoreError, TaskFilter};

use crate::attr::{Fields, Item};
use crate::codes::Code;
use crate::db::Db;
use crate::descent::{Descent, key_of};
use crate::error::{corrupt, damaged};
use crate::generation::StoredGeneration;
use crate::keys::{self, DAY_MS, Kind, ODD, ODD_PARTS};
use crate::row::Stored;
use crate::store::Inner;

/// The most items that one page looks at.
pub(crate) const LOOKS: usize = 5_000;

/// The most bytes of payload that one page holds; a page that would hold more ends early.
pub(crate) const PAGE_BYTES: usize = 4 * 1024 * 1024;

/// Ids follow the order of creation as far as clocks agree: a list bounded by time ends this far beyond its bound.
pub(crate) const DISORDER: std::time::Duration = std::time::Duration::from_secs(600);

fn parse(letter: char, page: &PageRequest) -> Result<Option<(i64, String)>, StoreError> {
    let Some(Cursor(text)) = &page.after else { return Ok(None) };
    let mut parts = text.splitn(3, ':');
    let letter_fits = parts.next() == Some(letter.encode_utf8(&mut [0; 4]));
    match (letter_fits, parts.next().and_then(|day| day.parse().ok()), parts.next()) {
        (true, Some(day), Some(key)) if !key.is_empty() => Ok(Some((day, key.to_owned()))),
        _ => Err(StoreError::BadCursor),
    }
}

/// How many items one request reads of each of so many partitions, for a page.
pub(crate) fn chunk(page: &PageRequest, partitions: u64) -> i32 {
    i32::try_from(u64::from(page.limit) * 2 / partitions.max(1) + 3).unwrap_or(i32::MAX).min(250)
}

/// The day of a partition's item.
fn day_of_item(item: &Item) -> Result<i64, StoreError> {
    let partition = Fields(item).text("pk")?;
    let mut parts = partition.split('#');
    let (letter, day) = (parts.next(), parts.next());
    match (letter, day.map(str::parse)) {
        (Some("X" | "Y" | "Z"), _) => Ok(ODD),
        (_, Some(Ok(day))) => Ok(day),
        _ => Err(damaged(format!("expected a partition by day, got {partition}"))),
    }
}

/// A list that goes down the days.
#[derive(Clone, Copy)]
pub(crate) struct List {
    kind: Kind,
    /// What its cursors begin with.
    letter: char,
}

impl List {
    /// The cursor of what lies behind an item.
    pub(crate) fn cursor_behind(self, item: &Item) -> Result<Cursor, StoreError> {
        Ok(Cursor(format!("{}:{}:{}", self.letter, day_of_item(item)?, key_of(item, false))))
    }
}

const TASKS: List = List { kind: Kind::Task, letter: 't' };
const GENERATIONS: List = List { kind: Kind::Generation, letter: 'g' };
pub(crate) const LOGS: List = List { kind: Kind::Log, letter: 'l' };
/// Generations, of which a list of completed tasks gives the tasks.
pub(crate) const COMPLETED: List = List { kind: Kind::Generation, letter: 'c' };

/// What a list is made of.
trait Row: Sized + Send {
    /// An entry of the list.
    type Whole: Send;

    /// Reads an item.
    fn read(item: &Item) -> Result<Self, StoreError>;

    /// The entry with its size in bytes; none if it is being removed.
    fn whole(self, db: &Db) -> impl Future<Output = Result<Option<(Self::Whole, usize)>, StoreError>> + Send;
}

impl Row for Stored {
    type Whole = Task;

    fn read(item: &Item) -> Result<Self, StoreError> {
        Self::read(item)
    }

    async fn whole(self, db: &Db) -> Result<Option<(Task, usize)>, StoreError> {
        let task = db.task_of(self).await?;
        Ok(task.map(|task| {
            let size = task.params.size();
            (task, size)
        }))
    }
}

impl Row for StoredGeneration {
    type Whole = Generation;

    fn read(item: &Item) -> Result<Self, StoreError> {
        Self::read(item)
    }

    async fn whole(self, db: &Db) -> Result<Option<(Generation, usize)>, StoreError> {
        let generation = db.generation_of(self).await?;
        Ok(generation.map(|generation| {
            let size = generation.output.told_bytes();
            (generation, size)
        }))
    }
}

impl Row for LogLine {
    type Whole = Self;

    fn read(item: &Item) -> Result<Self, StoreError> {
        log_line(item)
    }

    async fn whole(self, _db: &Db) -> Result<Option<(Self, usize)>, StoreError> {
        let size = self.message.len();
        Ok(Some((self, size)))
    }
}

/// What a list does with an item that it comes by.
pub(crate) enum Fits {
    Yes,
    No,
    /// All further ones are too old.
    End,
}

impl Inner {
    /// The days on which something of a kind lies, the highest last.
    pub(crate) async fn days(&self, kind: Kind) -> Result<Vec<i64>, StoreError> {
        let item = self.db.get(keys::days(kind)).await?;
        let mut days = item.as_ref().map_or(Ok(Vec::new()), |item| Fields(item).numbers("d"))?;
        days.sort_unstable();
        Ok(days)
    }

    /// The way down the days of a kind, from where a page begins. `bound`: nothing at or above this day and key.
    pub(crate) async fn descent(
        &self,
        list: List,
        page: &PageRequest,
        bound: Option<(i64, String)>,
    ) -> Result<Descent<'_>, StoreError> {
        let after = parse(list.letter, page)?;
        let mut days = self.days(list.kind).await?;
        let lowest = match (after, bound) {
            (Some(after), Some(bound)) => Some(after.min(bound)),
            (one, other) => one.or(other),
        };
        let below = lowest.and_then(|(day, key)| {
            days.retain(|one| *one <= day);
            // A day that is gone since has nothing below the key either.
            (days.last() == Some(&day)).then_some(key)
        });
        let parts = if list.kind == Kind::Log { keys::LOG_PARTS } else { self.spread };
        let partitions = |day: &i64| {
            let parts = if *day == ODD { ODD_PARTS } else { parts };
            (0..parts).map(|part| keys::partition(list.kind, *day, part)).collect()
        };
        Ok(Descent::of_table(&self.db, days.iter().map(partitions).collect(), below, chunk(page, parts)))
    }

    /// Goes down a list until the page is full, the list ends, or enough items were looked at.
    async fn page<R: Row>(
        &self,
        request: &PageRequest,
        list: List,
        mut descent: Descent<'_>,
        fits: impl Fn(&R) -> Fits + Send,
    ) -> Result<Page<R::Whole>, StoreError> {
        let mut items = Vec::new();
        let mut bytes = 0;
        let mut last = None;
        for _ in 0..LOOKS {
            let Some(item) = descent.next().await? else { return Ok(Page { items, next: None }) };
            last = Some(list.cursor_behind(&item)?);
            let Some(row) = self.db.read_one(&item, R::read) else { continue };
            match fits(&row) {
                Fits::Yes => {}
                Fits::No => continue,
                Fits::End => return Ok(Page { items, next: None }),
            }
            let whole = self.db.unless_damaged(key_of(&item, false), Box::pin(row.whole(&self.db)).await)?;
            if let Some((whole, size)) = whole.flatten() {
                items.push(whole);
                bytes += size;
                if items.len() >= request.limit as usize || bytes > PAGE_BYTES {
                    break;
                }
            }
        }
        let more = descent.next().await?.is_some();
        Ok(Page { items, next: last.filter(|_| more) })
    }

    /// Tasks by filter.
    pub(crate) async fn tasks(
        &self,
        filter: &TaskFilter,
        request: &PageRequest,
    ) -> Result<Page<Task>, StoreError> {
        if let Some(page) = self.tasks_by_status(filter, request).await? {
            return Ok(page);
        }
        let descent = self.descent(TASKS, request, None).await?;
        self.page(request, TASKS, descent, |stored: &Stored| task_fits(stored, filter)).await
    }

    /// Generations by filter.
    pub(crate) async fn generations(
        &self,
        filter: &GenerationFilter,
        request: &PageRequest,
    ) -> Result<Page<Generation>, StoreError> {
        let fits = |stored: &StoredGeneration| generation_fits(stored.plain(), filter);
        if let Some(task) = filter.task {
            parse(GENERATIONS.letter, request)?;
            let generation = match self.find(task).await?.map(|stored| stored.head.state) {
                Some(baton_model::TaskState::Completed { generation, .. }) if request.after.is_none() => {
                    self.stored_generation(generation).await?
                }
                _ => None,
            };
            let items =
                generation.into_iter().filter(|one| matches!(generation_fits(one, filter), Fits::Yes));
            return Ok(Page { items: items.collect(), next: None });
        }
        let descent = self.descent(GENERATIONS, request, None).await?;
        self.page(request, GENERATIONS, descent, fits).await
    }

    /// Log lines by filter, the latest received first.
    pub(crate) async fn logs(
        &self,
        filter: &LogFilter,
        request: &PageRequest,
    ) -> Result<Page<LogLine>, StoreError> {
        // Lines lie by when they were received, so that a bound is a place.
        let bound = filter.before.map(|before| (before.as_millis() / DAY_MS, keys::sortable(before)));
        let descent = self.descent(LOGS, request, bound).await?;
        let fits = |line: &LogLine| {
            if filter.from.is_some_and(|from| line.received_at < from) {
                return Fits::End;
            }
            let fits = filter.task.as_ref().is_none_or(|task| line.task.as_ref() == Some(task))
                && filter.worker.as_ref().is_none_or(|worker| line.worker == *worker)
                && filter.level.is_none_or(|level| line.level >= level)
                && filter.before.is_none_or(|before| line.received_at < before);
            if fits { Fits::Yes } else { Fits::No }
        };
        self.page(request, LOGS, descent, fits).await
    }
}

pub(crate) fn is<T: PartialEq>(wanted: &Option<T>, value: Option<&T>) -> bool {
    wanted.as_ref().is_none_or(|wanted| value == Some(wanted))
}

fn too_old(at: Timestamp, from: Option<Timestamp>) -> bool {
    from.is_some_and(|from| at < from.minus(DISORDER))
}

pub(crate) fn task_fits(stored: &Stored, filter: &TaskFilter) -> Fits {
    if too_old(stored.created_at, filter.created_from) {
        return Fits::End;
    }
    let Some(rest) = stored.rest.as_ref().filter(|_| !stored.purged) else { return Fits::No };
    let fits = head_fits(stored, filter)
        && is(&filter.project, Some(&stored.project))
        && is(&filter.domain, rest.domain.as_ref())
        && is(&filter.assigned_by, rest.assigned_by.as_ref());
    if fits { Fits::Yes } else { Fits::No }
}

/// Whether a task fits a filter by what its entry in the index tells.
pub(crate) fn head_fits(stored: &Stored, filter: &TaskFilter) -> bool {
    let head = &stored.head;
    let status = Status::derive(head.state.state(), head.attempt, head.run_after, filter.now);
    (filter.statuses.is_empty() || filter.statuses.contains(&status))
        && is(&filter.task_type, Some(&stored.task_type))
        && is(&filter.queue, Some(&stored.queue))
        && is(&filter.worker, stored.worker.as_ref())
        && filter.created_from.is_none_or(|from| stored.created_at >= from)
        && filter.created_before.is_none_or(|before| stored.created_at < before)
}

fn generation_fits(one: &Generation, filter: &GenerationFilter) -> Fits {
    if too_old(one.finished_at, filter.finished_from) {
        return Fits::End;
    }
    let fits = is(&filter.task, Some(&one.task))
        && is(&filter.task_type, Some(&one.task_type))
        && is(&filter.queue, Some(&one.queue))
        && is(&filter.project, Some(&one.project))
        && is(&filter.worker, Some(&one.worker))
        && filter.finished_from.is_none_or(|from| one.finished_at >= from)
        && filter.finished_before.is_none_or(|before| one.finished_at < before);
    if fits { Fits::Yes } else { Fits::No }
}

pub(crate) fn log_line(item: &Item) -> Result<LogLine, StoreError> {
    let fields = Fields(item);
    let key = fields.text("sk")?;
    let received_at = key.split('#').next().and_then(|millis| millis.parse().ok());
    let received_at = received_at
        .map(Timestamp::from_millis)
        .ok_or_else(|| damaged(format!("expected a log line's time, got {key}")))?;
    let task =
        fields.maybe_text("tk")?.map(|id| id.parse().map_err(|error| corrupt("a log line's task", error)));
    let metadata = fields.maybe_text("md")?.map(|json| {
        baton_model::Payload::from_stored(json.to_owned())
            .map_err(|error| corrupt("a log line's metadata", error))
    });
    Ok(LogLine {
        // A program of before put lines by their own times, and kept no other.
        at: fields.maybe_time("wa")?.unwrap_or(received_at),
        received_at,
        worker: baton_model::WorkerId::from_stored(fields.text("wk")?),
        task: task.transpose()?,
        level: baton_model::Level::of(fields.number("lv")?)?,
        source: fields.text("so")?.to_owned(),
        message: fields.text("tx")?.to_owned(),
        metadata: metadata.transpose()?,
    })
}
