//! Lists by filter, the newest first.
//!
//! A list goes down the table day by day from the newest, over all partitions of a day at once, and keeps what fits.
//! It looks at no more than [`LOOKS`] items, so that a page costs the same however many tasks there are; a page that
//! ends there is short, and its cursor goes on behind the last item looked at.

use baton_model::{Generation, LogLine, Status, Task, Timestamp};
use baton_store::{Cursor, GenerationFilter, LogFilter, Page, PageRequest, StoreError, TaskFilter};

use crate::attr::{Fields, Item};
use crate::codes::Code;
use crate::db::{Db, Query, Range};
use crate::error::{corrupt, damaged};
use crate::keys::{self, DAY_MS, Kind, ODD, ODD_PARTS};
use crate::row::{Stored, StoredGeneration};
use crate::store::Inner;

/// The most items that one page looks at.
const LOOKS: usize = 5_000;

/// The most bytes of payload that one page holds; a page that would hold more ends early.
const PAGE_BYTES: usize = 4 * 1024 * 1024;

/// Ids follow the order of creation as far as clocks agree: a list bounded by time ends this far beyond its bound.
const DISORDER: std::time::Duration = std::time::Duration::from_secs(600);

/// A partition on the way down.
struct Lane {
    partition: String,
    /// Items that were fetched and not yet given, the lowest key first.
    fetched: Vec<Item>,
    /// The key that the next chunk lies below; none at the partition's beginning.
    below: Option<Option<String>>,
}

/// What lies in a kind's partitions, from the highest key down.
struct Descent<'a> {
    db: &'a Db,
    kind: Kind,
    parts: u64,
    /// Days that are still to be gone down, the highest last; the odd one first.
    days: Vec<i64>,
    lanes: Vec<Lane>,
    /// Only keys below this are wanted, in the first day.
    below: Option<String>,
    chunk: i32,
}

impl Descent<'_> {
    /// The next item down.
    async fn next(&mut self) -> Result<Option<Item>, StoreError> {
        loop {
            self.fetch().await?;
            let highest = self
                .lanes
                .iter_mut()
                .filter(|lane| !lane.fetched.is_empty())
                .max_by(|one, other| key_of(one.fetched.last()).cmp(key_of(other.fetched.last())));
            if let Some(lane) = highest {
                return Ok(lane.fetched.pop());
            }
            let Some(day) = self.days.pop() else { return Ok(None) };
            let below = self.below.take();
            let parts = if day == ODD { ODD_PARTS } else { self.parts };
            let lane = |part| Lane {
                partition: keys::partition(self.kind, day, part),
                fetched: Vec::new(),
                below: Some(below.clone()),
            };
            self.lanes = (0..parts).map(lane).collect();
        }
    }

    async fn fetch(&mut self) -> Result<(), StoreError> {
        let (db, chunk) = (self.db, self.chunk);
        let empty = self.lanes.iter_mut().filter(|lane| lane.fetched.is_empty());
        let fetches = empty.filter_map(|lane| {
            let below = lane.below.take()?;
            let range = below.map_or(Range::All, Range::Below);
            let limit = Some(chunk);
            // Lists may trail, which halves their cost.
            let consistent = false;
            let query = Query { range, forward: false, limit, consistent, ..Query::table(&lane.partition) };
            Some(async move {
                let page = db.query(&query).await?;
                lane.below = match page.next {
                    Some(_) => page.items.last().map(|item| Some(key_of(Some(item)).to_owned())),
                    None => None,
                };
                lane.fetched = page.items;
                lane.fetched.reverse();
                Ok::<_, StoreError>(())
            })
        });
        futures::future::try_join_all(fetches).await?;
        Ok(())
    }
}

pub(crate) fn key_of(item: Option<&Item>) -> &str {
    item.and_then(|item| item.get("sk")).and_then(|key| key.as_s().ok()).map_or("", String::as_str)
}

/// A place in a list, as text.
fn cursor(kind: Kind, day: i64, key: &str) -> Cursor {
    Cursor(format!("{}:{day}:{key}", kind.letter().to_ascii_lowercase()))
}

fn parse(kind: Kind, page: &PageRequest) -> Result<Option<(i64, String)>, StoreError> {
    let Some(Cursor(text)) = &page.after else { return Ok(None) };
    let mut parts = text.splitn(3, ':');
    let kind_fits = parts.next() == Some(kind.letter().to_ascii_lowercase().encode_utf8(&mut [0; 4]));
    match (kind_fits, parts.next().and_then(|day| day.parse().ok()), parts.next()) {
        (true, Some(day), Some(key)) if !key.is_empty() => Ok(Some((day, key.to_owned()))),
        _ => Err(StoreError::BadCursor),
    }
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
            let sized = [&generation.output.metadata, &generation.output.result];
            let size = sized.into_iter().flatten().map(baton_model::Payload::size).sum();
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
enum Fits {
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

    async fn descent(&self, kind: Kind, page: &PageRequest) -> Result<Descent<'_>, StoreError> {
        let after = parse(kind, page)?;
        let mut days = self.days(kind).await?;
        let below = after.map(|(day, key)| {
            days.retain(|one| *one <= day);
            // A day that is gone since has nothing below the key either.
            (days.last() == Some(&day)).then_some(key)
        });
        let parts = if kind == Kind::Log { keys::LOG_PARTS } else { self.spread };
        let chunk = i32::try_from(u64::from(page.limit) * 2 / parts + 3).unwrap_or(i32::MAX).min(250);
        Ok(Descent { db: &self.db, kind, parts, days, lanes: Vec::new(), below: below.flatten(), chunk })
    }

    /// Goes down a list until the page is full, the list ends, or enough items were looked at.
    async fn page<R: Row>(
        &self,
        request: &PageRequest,
        mut descent: Descent<'_>,
        fits: impl Fn(&R) -> Fits + Send,
    ) -> Result<Page<R::Whole>, StoreError> {
        let mut items = Vec::new();
        let mut bytes = 0;
        let mut last = None;
        for _ in 0..LOOKS {
            let Some(item) = descent.next().await? else { return Ok(Page { items, next: None }) };
            let row = R::read(&item)?;
            last = Some((day_of_item(&item)?, key_of(Some(&item)).to_owned()));
            match fits(&row) {
                Fits::Yes => {}
                Fits::No => continue,
                Fits::End => return Ok(Page { items, next: None }),
            }
            if let Some((whole, size)) = row.whole(&self.db).await? {
                items.push(whole);
                bytes += size;
                if items.len() >= request.limit as usize || bytes > PAGE_BYTES {
                    break;
                }
            }
        }
        let more = descent.next().await?.is_some();
        Ok(Page { items, next: last.filter(|_| more).map(|(day, key)| cursor(descent.kind, day, &key)) })
    }

    /// Tasks by filter.
    pub(crate) async fn tasks(
        &self,
        filter: &TaskFilter,
        request: &PageRequest,
    ) -> Result<Page<Task>, StoreError> {
        let descent = self.descent(Kind::Task, request).await?;
        self.page(request, descent, |stored: &Stored| task_fits(stored, filter)).await
    }

    /// Generations by filter.
    pub(crate) async fn generations(
        &self,
        filter: &GenerationFilter,
        request: &PageRequest,
    ) -> Result<Page<Generation>, StoreError> {
        let fits = |stored: &StoredGeneration| generation_fits(stored.plain(), filter);
        if let Some(task) = filter.task {
            parse(Kind::Generation, request)?;
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
        let descent = self.descent(Kind::Generation, request).await?;
        self.page(request, descent, fits).await
    }

    /// Log lines by filter, the newest first by their own times.
    pub(crate) async fn logs(
        &self,
        filter: &LogFilter,
        request: &PageRequest,
    ) -> Result<Page<LogLine>, StoreError> {
        let mut descent = self.descent(Kind::Log, request).await?;
        if let Some(before) = filter.before {
            // Lines lie by their own times, so that a bound is a place.
            let day = before.as_millis() / DAY_MS;
            let bound = keys::sortable(before);
            descent.days.retain(|one| *one <= day);
            if descent.days.last() == Some(&day) && descent.below.as_ref().is_none_or(|below| *below > bound)
            {
                descent.below = Some(bound);
            }
        }
        let fits = |line: &LogLine| {
            if filter.from.is_some_and(|from| line.at < from) {
                return Fits::End;
            }
            let fits = filter.task.as_ref().is_none_or(|task| line.task.as_ref() == Some(task))
                && filter.worker.as_ref().is_none_or(|worker| line.worker == *worker)
                && filter.level.is_none_or(|level| line.level >= level)
                && filter.before.is_none_or(|before| line.at < before);
            if fits { Fits::Yes } else { Fits::No }
        };
        self.page(request, descent, fits).await
    }
}

fn is<T: PartialEq>(wanted: &Option<T>, value: Option<&T>) -> bool {
    wanted.as_ref().is_none_or(|wanted| value == Some(wanted))
}

fn too_old(at: Timestamp, from: Option<Timestamp>) -> bool {
    from.is_some_and(|from| at < from.minus(DISORDER))
}

fn task_fits(stored: &Stored, filter: &TaskFilter) -> Fits {
    if too_old(stored.created_at, filter.created_from) {
        return Fits::End;
    }
    let Some(rest) = stored.rest.as_ref().filter(|_| !stored.purged) else { return Fits::No };
    let head = &stored.head;
    let status = Status::derive(head.state.state(), head.attempt, head.run_after, filter.now);
    let fits = (filter.statuses.is_empty() || filter.statuses.contains(&status))
        && is(&filter.task_type, Some(&stored.task_type))
        && is(&filter.queue, Some(&stored.queue))
        && is(&filter.project, Some(&rest.project))
        && is(&filter.domain, rest.domain.as_ref())
        && is(&filter.assigned_by, rest.assigned_by.as_ref())
        && is(&filter.worker, stored.worker.as_ref())
        && filter.created_from.is_none_or(|from| stored.created_at >= from)
        && filter.created_before.is_none_or(|before| stored.created_at < before);
    if fits { Fits::Yes } else { Fits::No }
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
    let at = key.split('#').next().and_then(|millis| millis.parse().ok());
    let task =
        fields.maybe_text("tk")?.map(|id| id.parse().map_err(|error| corrupt("a log line's task", error)));
    let metadata = fields.maybe_text("md")?.map(|json| {
        baton_model::Payload::from_stored(json.to_owned())
            .map_err(|error| corrupt("a log line's metadata", error))
    });
    Ok(LogLine {
        at: at
            .map(Timestamp::from_millis)
            .ok_or_else(|| damaged(format!("expected a log line's time, got {key}")))?,
        worker: baton_model::WorkerId::from_stored(fields.text("wk")?),
        task: task.transpose()?,
        level: baton_model::Level::of(fields.number("lv")?)?,
        source: fields.text("so")?.to_owned(),
        message: fields.text("tx")?.to_owned(),
        metadata: metadata.transpose()?,
    })
}
