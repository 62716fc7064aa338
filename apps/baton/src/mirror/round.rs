//! One look after the other: what each round reads, and what it writes.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use baton_api::task::TaskView;
use baton_client::Client;
use baton_model::{TaskId, Timestamp, limits};
use tokio_postgres::Error;

use super::doubts::Doubts;
use super::known::{Known, Reading};
use super::row::Row;
use super::server::{self, List};
use super::statements::{Base, Standing};
use super::trouble::Trouble;
use crate::talk;

/// How many of the newest tasks a round begins with: most of them are known.
const NEWEST: u32 = 100;

/// How many pages of the newest tasks a round reads at most; if there may be more that are new, a sweep reads them.
const NEW_PAGES: usize = 5;

/// How long an urgent sweep goes on before the next round, and how long tasks in doubt are asked for: a row is to be 2 s behind at most.
const SWEEPING: Duration = Duration::from_millis(500);

/// How many rows are written at once, and about how many bytes.
const ROWS: usize = 1_000;
const BYTES: usize = 8 << 20;

/// How many tasks are asked for before what they are is written. Each may have a megabyte.
const ASKED: usize = 64;

/// How often it is asked when workers last beat.
const BEATS: Duration = Duration::from_secs(5);

/// What was done.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Done {
    pub(super) written: u64,
    pub(super) removed: u64,
}

/// The mirror while both sides are within reach.
pub(super) struct Mirroring<'a> {
    pub(super) client: &'a Client,
    pub(super) base: Base,
    pub(super) standing: Standing,
    pub(super) known: Known,
    /// Whether rows are kept whose tasks are gone.
    pub(super) keep: bool,
    pub(super) check_every: Duration,
    /// Whether it may ask when workers last beat, as far as it knows.
    pub(super) hears_beats: bool,
    pub(super) beaten: Option<Instant>,
    /// The tasks whose readings are older than what is written.
    pub(super) doubts: Doubts,
    pub(super) done: Done,
}

impl Mirroring<'_> {
    /// Brings the rows up to date, and goes a step on with the comparison of all.
    pub(super) async fn round(&mut self, now: Timestamp) -> Result<(), Trouble> {
        self.known.begin();
        self.unfinished().await?;
        self.newest().await?;
        let unseen = self.known.unseen();
        self.ask(&unseen).await?;
        if self.hears_beats && self.beaten.is_none_or(|at| at.elapsed() >= BEATS) {
            match server::beats(self.client).await? {
                Some((workers, at)) => self.base.beat(&workers, &at).await?,
                None => self.hears_beats = false,
            }
            self.beaten = Some(Instant::now());
        }
        self.sweep(now).await?;
        self.settle_doubts().await
    }

    /// Asks for those tasks by themselves whose readings have been older than what is written for long enough, as many as there is time for.
    /// What is older still is so: the store was put back to an earlier time, and what it says now is what is so.
    pub(super) async fn settle_doubts(&mut self) -> Result<(), Trouble> {
        let begun = Instant::now();
        let mut back = 0;
        for part in self.doubts.due(begun).chunks(ASKED) {
            let server::Asked { rows, gone } = server::ask(self.client, part).await?;
            // Were it ended here, the next readings would be written as any that tell more.
            let yielding = self.base.give_way(&rows).await?;
            let rows: Vec<Row> = rows.into_iter().filter(|row| yielding.contains(&row.id)).collect();
            back += rows.len();
            if !rows.is_empty() {
                self.put(rows, &[], self.standing.clone()).await?;
            }
            self.drop_gone(&gone).await?;
            for id in part {
                self.doubts.withdraw(*id);
            }
            if begun.elapsed() >= SWEEPING {
                break;
            }
        }
        if back > 0 {
            talk::say(&format!(
                "tasks that have fewer events than before: {back}; the store was put back to an earlier time, and their rows follow it"
            ));
        }
        Ok(())
    }

    async fn drop_gone(&mut self, gone: &[TaskId]) -> Result<(), Trouble> {
        if !gone.is_empty() {
            self.base.forget(gone, self.keep).await?;
            self.known.forget(gone);
            self.done.removed += gone.len() as u64;
        }
        Ok(())
    }

    /// All tasks that have not ended: each that is not as it was written is written.
    async fn unfinished(&mut self) -> Result<(), Trouble> {
        let mut cursor = None;
        loop {
            let page = server::page(self.client, List::Unfinished, cursor, limits::PAGE).await?;
            let mut news = Vec::new();
            for task in page.items {
                match self.known.notice(&task) {
                    // New ones, and such as have ended by what is written: these live again, or the store was put back. Which, their
                    // writing tells.
                    None | Some(Reading::News) => news.push(task),
                    Some(Reading::Older) => self.doubts.raise(task.id, Instant::now()),
                    Some(Reading::Same) => self.doubts.withdraw(task.id),
                }
            }
            if !news.is_empty() {
                self.take(&news, &[], self.standing.clone()).await?;
            }
            cursor = page.next;
            if cursor.is_none() {
                return Ok(());
            }
        }
    }

    /// The newest tasks, down to a page of which all are known: those that have come and ended since the last round are nowhere
    /// else.
    async fn newest(&mut self) -> Result<(), Trouble> {
        let (mut cursor, mut news) = (None, Vec::new());
        for number in 0..NEW_PAGES {
            let limit = if number == 0 { NEWEST } else { limits::PAGE };
            let page = server::page(self.client, List::All, cursor, limit).await?;
            let (new, _) = self.sorted(page.items).await?;
            let known = new.is_empty();
            news.extend(new);
            cursor = page.next;
            if known || cursor.is_none() {
                return self.take(&news, &[], self.standing.clone()).await;
            }
        }
        // From the top: a sweep that is under way has passed them by.
        let standing = Standing { urgent: true, sweeping: false, cursor: None, ..self.standing.clone() };
        self.take(&news, &[], standing).await
    }

    /// The tasks of a page that are to be written, and the others.
    async fn sorted(&mut self, page: Vec<TaskView>) -> Result<(Vec<TaskView>, Vec<TaskId>), Trouble> {
        let (mut news, mut same, mut unsure) = (Vec::new(), Vec::new(), Vec::new());
        for task in page {
            match self.known.of(task.id) {
                Some(seen) if Reading::of(Some(seen), &task) == Reading::Same => {
                    self.doubts.withdraw(task.id);
                    same.push(task.id);
                }
                _ => unsure.push(task),
            }
        }
        let ids: Vec<TaskId> = unsure.iter().map(|task| task.id).collect();
        let seen = if ids.is_empty() { HashMap::new() } else { self.base.seen(&ids).await? };
        for task in unsure {
            match Reading::of(seen.get(&task.id).copied(), &task) {
                Reading::News => news.push(task),
                Reading::Same => {
                    self.doubts.withdraw(task.id);
                    same.push(task.id);
                }
                Reading::Older => {
                    self.doubts.raise(task.id, Instant::now());
                    same.push(task.id);
                }
            }
        }
        Ok((news, same))
    }

    /// Compares all tasks with their rows, a page at a time, and afterwards asks for those that it has not met.
    async fn sweep(&mut self, now: Timestamp) -> Result<(), Trouble> {
        if !self.standing.sweeping && !self.is_due(now) {
            return Ok(());
        }
        let begun = Instant::now();
        loop {
            self.step(now).await?;
            if !self.standing.sweeping || !self.standing.urgent || begun.elapsed() >= SWEEPING {
                return Ok(());
            }
        }
    }

    fn is_due(&self, now: Timestamp) -> bool {
        let swept_at = Timestamp::from_millis(self.standing.swept_at);
        // A clock that was set back is no reason to wait.
        self.standing.urgent || now < swept_at || now.since(swept_at) >= self.check_every
    }

    /// One step of a sweep; it begins one if none has begun.
    pub(super) async fn step(&mut self, now: Timestamp) -> Result<(), Trouble> {
        let Standing { sweep, sweeping, .. } = self.standing;
        let (sweep, cursor) =
            if sweeping { (sweep, self.standing.cursor.clone()) } else { (sweep + 1, None) };
        let page = match server::page(self.client, List::All, cursor.clone(), limits::PAGE).await {
            // Another store has come to stand behind the address.
            Err(Trouble::Server(error))
                if cursor.is_some() && error.problem().is_some_and(|told| told.status == 422) =>
            {
                server::page(self.client, List::All, None, limits::PAGE).await?
            }
            page => page?,
        };
        let (news, same) = self.sorted(page.items).await?;
        let whole = page.next.is_none();
        let standing = Standing { sweep, sweeping: true, cursor: page.next, ..self.standing.clone() };
        if !whole {
            return self.take(&news, &same, standing).await;
        }
        // Its end is written once those that it did not meet are dealt with; until then its last page is read again.
        self.take(&news, &same, Standing { cursor, ..standing }).await?;
        self.unmet().await?;
        let ended = Standing {
            sweeping: false,
            cursor: None,
            urgent: false,
            swept_at: now.as_millis(),
            ..self.standing.clone()
        };
        self.put(Vec::new(), &[], ended).await
    }

    /// Rows whose tasks the sweep has not met: they are gone, or came while it went on.
    async fn unmet(&mut self) -> Result<(), Trouble> {
        loop {
            let ids = self.base.unswept(self.standing.sweep, ASKED as i64).await?;
            if ids.is_empty() {
                return Ok(());
            }
            self.ask(&ids).await?;
        }
    }

    /// Asks for tasks one by one, and writes what they are.
    async fn ask(&mut self, ids: &[TaskId]) -> Result<(), Trouble> {
        for part in ids.chunks(ASKED) {
            let server::Asked { rows, gone } = server::ask(self.client, part).await?;
            let there: Vec<TaskId> = rows.iter().map(|row| row.id).collect();
            self.put(rows, &there, self.standing.clone()).await?;
            self.drop_gone(&gone).await?;
        }
        Ok(())
    }

    /// Writes tasks that a list has told, marks others as seen, and then where the mirror stands.
    async fn take(&mut self, tasks: &[TaskView], same: &[TaskId], standing: Standing) -> Result<(), Trouble> {
        let (rows, alone) = server::rows(self.client, tasks).await?;
        // What is not written yet is told by the standing of before.
        let before = Standing { sweep: standing.sweep, ..self.standing.clone() };
        let (mut part, mut bytes) = (Vec::new(), 0);
        for row in rows {
            bytes += row.size();
            part.push(row);
            if part.len() >= ROWS || bytes >= BYTES {
                self.put(std::mem::take(&mut part), &[], before.clone()).await?;
                bytes = 0;
            }
        }
        if !alone.is_empty() {
            self.put(std::mem::take(&mut part), &[], before).await?;
            self.ask(&alone).await?;
        }
        if part.is_empty() && same.is_empty() && standing == self.standing {
            return Ok(());
        }
        self.put(part, same, standing).await
    }

    /// Writes rows and where the mirror stands with them. A row that is not taken, as a later reading of its task was written before, is in
    /// doubt.
    async fn put(
        &mut self,
        mut rows: Vec<Row>,
        marked: &[TaskId],
        standing: Standing,
    ) -> Result<(), Trouble> {
        let taken = match self.base.write(&rows, marked, &standing).await {
            Err(error) if is_about_data(&error) => {
                for id in self.base.mend(&mut rows).await? {
                    talk::say(&format!(
                        "the JSON of task {id} cannot be held by PostgreSQL; its column says so"
                    ));
                }
                self.base.write(&rows, marked, &standing).await?
            }
            written => written?,
        };
        let now = Instant::now();
        for row in &rows {
            if taken.contains(&row.id) {
                self.doubts.withdraw(row.id);
            } else {
                self.doubts.raise(row.id, now);
            }
        }
        rows.retain(|row| taken.contains(&row.id));
        self.known.written(&rows);
        self.done.written += taken.len() as u64;
        self.standing = standing;
        Ok(())
    }
}

/// Whether the database did not take a value: a data exception, or JSON that is too deep for it.
fn is_about_data(error: &Error) -> bool {
    error.code().is_some_and(|code| ["22", "54"].iter().any(|class| code.code().starts_with(class)))
}
