//! What is read from the database and written into it.

use std::collections::{HashMap, HashSet};

use baton_model::TaskId;
use tokio_postgres::{Client, Error, Statement, Transaction};

use super::row::{JSON, Row, STATUSES, is_unfinished};
use super::table::Held;
use super::trouble::Trouble;

/// Where the mirror stands. It is kept in the database.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Standing {
    /// Which sweep through all tasks is the last one that has begun.
    pub(super) sweep: i64,
    /// Whether it has not ended.
    pub(super) sweeping: bool,
    /// Where it goes on.
    pub(super) cursor: Option<String>,
    /// Whether it, or the next one, is to be done as fast as it can be: some tasks have not been seen by any.
    pub(super) urgent: bool,
    /// When the last one ended, in milliseconds since 1970.
    pub(super) swept_at: i64,
}

/// What the mirror last wrote of a task.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Seen {
    pub(super) events: u32,
    pub(super) status: &'static str,
    /// When the task had last changed, in milliseconds since 1970.
    pub(super) updated_at: Option<i64>,
}

/// The database, with all statements prepared.
pub(super) struct Base {
    client: Client,
    held: Vec<Held>,
    seen: Statement,
    unfinished: Statement,
    write: Statement,
    mark: Statement,
    stand: Statement,
    unswept: Statement,
    forget: Statement,
    remove: Statement,
    beat: Statement,
    give_way: Statement,
}

const SEEN: &str = "SELECT m.id::text, m.events, t.status::text, round(extract(epoch FROM t.updated_at) * 1000)::bigint FROM public.baton_mirror_task m JOIN public.tasks t USING (id)";

impl Base {
    /// `held` are the columns that the table has.
    pub(super) async fn new(client: Client, held: Vec<Held>) -> Result<Self, Error> {
        let prepare = |sql: String| {
            let client = &client;
            async move { client.prepare(&sql).await }
        };
        let ids = "id = ANY ($1::text[]::uuid[])";
        let beats = held.iter().any(|column| column.name() == "last_heartbeat");
        let beat = if beats {
            "UPDATE public.tasks t SET last_heartbeat = w.at::timestamptz FROM unnest($1::text[], $2::text[]) AS w (id, at) \
             WHERE t.status::text = 'running' AND t.locked_by = w.id AND t.last_heartbeat IS DISTINCT FROM w.at::timestamptz"
        } else {
            // Where there is no such column there is nothing to write.
            "SELECT FROM unnest($1::text[], $2::text[]) AS w WHERE false"
        };
        Ok(Self {
            seen: prepare(format!("{SEEN} WHERE m.{ids}")).await?,
            unfinished: prepare(format!("{SEEN} WHERE t.status::text = ANY ($1::text[])")).await?,
            write: prepare(write(&held)).await?,
            mark: prepare(format!(
                "UPDATE public.baton_mirror_task SET sweep = $2::bigint WHERE {ids} AND sweep < $2::bigint"
            ))
            .await?,
            stand: prepare(
                "UPDATE public.baton_mirror SET sweep = $1, sweeping = $2, cursor = $3, urgent = $4, swept_at = $5".to_owned(),
            )
            .await?,
            unswept: prepare(
                "SELECT id::text FROM public.baton_mirror_task WHERE sweep < $1 ORDER BY id LIMIT $2".to_owned(),
            )
            .await?,
            forget: prepare(format!("DELETE FROM public.baton_mirror_task WHERE {ids}")).await?,
            remove: prepare(format!("DELETE FROM public.tasks WHERE {ids}")).await?,
            beat: prepare(beat.to_owned()).await?,
            give_way: prepare(
                "UPDATE public.baton_mirror_task m SET events = 0 FROM unnest($1::text[], $2::int[]) AS r (id, events) \
                 WHERE m.id = r.id::uuid AND m.events > r.events RETURNING m.id::text"
                    .to_owned(),
            )
            .await?,
            client,
            held,
        })
    }

    /// Where the mirror stands, and the server that it is of; begun anew if it stands nowhere.
    pub(super) async fn standing(&self, source: &str) -> Result<(String, Standing), Trouble> {
        self.client
            .execute(
                "INSERT INTO public.baton_mirror (source, sweep, sweeping, urgent, swept_at) VALUES ($1, 0, false, true, 0) \
                 ON CONFLICT (one) DO NOTHING",
                &[&source],
            )
            .await?;
        let row = self
            .client
            .query_one(
                "SELECT source, sweep, sweeping, cursor, urgent, swept_at FROM public.baton_mirror",
                &[],
            )
            .await?;
        let standing = Standing {
            sweep: row.try_get(1)?,
            sweeping: row.try_get(2)?,
            cursor: row.try_get(3)?,
            urgent: row.try_get(4)?,
            swept_at: row.try_get(5)?,
        };
        Ok((row.try_get(0)?, standing))
    }

    /// What is written of these tasks.
    pub(super) async fn seen(&self, ids: &[TaskId]) -> Result<HashMap<TaskId, Seen>, Trouble> {
        read_seen(&self.client.query(&self.seen, &[&texts(ids)]).await?)
    }

    /// What is written of all tasks that have not ended by it.
    pub(super) async fn unfinished(&self) -> Result<HashMap<TaskId, Seen>, Trouble> {
        let statuses: Vec<&str> = STATUSES.into_iter().filter(|status| is_unfinished(status)).collect();
        read_seen(&self.client.query(&self.unfinished, &[&statuses]).await?)
    }

    /// Up to `most` tasks that no sweep since this one has seen.
    pub(super) async fn unswept(&self, sweep: i64, most: i64) -> Result<Vec<TaskId>, Trouble> {
        let rows = self.client.query(&self.unswept, &[&sweep, &most]).await?;
        let ids: Vec<&str> = rows.iter().map(|row| row.try_get(0)).collect::<Result<_, _>>()?;
        Ok(ids.into_iter().filter_map(parse).collect())
    }

    /// Writes rows, marks these tasks as seen by the sweep, and writes where the mirror stands: all of it, or nothing. A row whose
    /// task had more events when it was written stays as it is, and is none of those that are told to be taken.
    pub(super) async fn write(
        &mut self,
        rows: &[Row],
        marked: &[TaskId],
        standing: &Standing,
    ) -> Result<HashSet<TaskId>, Error> {
        let transaction = self.client.transaction().await?;
        let taken = insert(&transaction, &self.write, &self.held, rows, standing.sweep).await?;
        if !marked.is_empty() {
            transaction.execute(&self.mark, &[&texts(marked), &standing.sweep]).await?;
        }
        let Standing { sweep, sweeping, cursor, urgent, swept_at } = standing;
        transaction.execute(&self.stand, &[sweep, sweeping, cursor, urgent, swept_at]).await?;
        transaction.commit().await?;
        Ok(taken)
    }

    /// Has the next reading of those tasks be written, whatever it says, that have fewer events by these rows than by what is written; says
    /// which they are.
    pub(super) async fn give_way(&self, rows: &[Row]) -> Result<HashSet<TaskId>, Trouble> {
        let ids: Vec<TaskId> = rows.iter().map(|row| row.id).collect();
        let events: Vec<i32> = rows.iter().map(events_of).collect();
        Ok(read_ids(&self.client.query(&self.give_way, &[&texts(&ids), &events]).await?)?)
    }

    /// Lets go of tasks that are no more. With `keep` their rows stay, and are nobody's.
    pub(super) async fn forget(&mut self, gone: &[TaskId], keep: bool) -> Result<(), Trouble> {
        let gone = texts(gone);
        let transaction = self.client.transaction().await?;
        if !keep {
            transaction.execute(&self.remove, &[&gone]).await?;
        }
        transaction.execute(&self.forget, &[&gone]).await?;
        Ok(transaction.commit().await?)
    }

    /// Writes when workers last beat to the tasks that they run.
    pub(super) async fn beat(&self, workers: &[String], at: &[String]) -> Result<(), Trouble> {
        self.client.execute(&self.beat, &[&workers, &at]).await?;
        Ok(())
    }

    /// Replaces JSON that the database does not take, such as numbers with more digits than its own have; says of which tasks.
    pub(super) async fn mend(&self, rows: &mut [Row]) -> Result<Vec<TaskId>, Trouble> {
        let mut mended = Vec::new();
        for row in rows {
            for place in JSON {
                let Some(json) = &row.cells[place] else { continue };
                let Err(error) = self.client.query_one("SELECT ($1::text::jsonb) IS NULL", &[json]).await
                else {
                    continue;
                };
                let Some(said) = error.as_db_error() else { return Err(error.into()) };
                let note = serde_json::json!({ "baton_mirror": format!("not held by PostgreSQL: {}", said.message()) });
                row.cells[place] = Some(note.to_string());
                mended.push(row.id);
            }
        }
        Ok(mended)
    }
}

async fn insert(
    transaction: &Transaction<'_>,
    write: &Statement,
    held: &[Held],
    rows: &[Row],
    sweep: i64,
) -> Result<HashSet<TaskId>, Error> {
    if rows.is_empty() {
        return Ok(HashSet::new());
    }
    // A row cannot be written twice by one statement. A list that follows its store may tell a task twice.
    let mut ids = HashSet::with_capacity(rows.len());
    let rows: Vec<&Row> = rows.iter().filter(|row| ids.insert(row.id)).collect();
    let events: Vec<i32> = rows.iter().map(|row| events_of(row)).collect();
    let columns: Vec<Vec<Option<&str>>> = held
        .iter()
        .map(|column| rows.iter().map(|row| row.cells[column.place].as_deref()).collect())
        .collect();
    let mut values: Vec<&(dyn tokio_postgres::types::ToSql + Sync)> = vec![&sweep, &events];
    values.extend(columns.iter().map(|column| column as &(dyn tokio_postgres::types::ToSql + Sync)));
    read_ids(&transaction.query(write, &values).await?)
}

fn events_of(row: &Row) -> i32 {
    i32::try_from(row.events).unwrap_or(i32::MAX)
}

fn read_ids(rows: &[tokio_postgres::Row]) -> Result<HashSet<TaskId>, Error> {
    let ids: Vec<&str> = rows.iter().map(|row| row.try_get(0)).collect::<Result<_, _>>()?;
    Ok(ids.into_iter().filter_map(parse).collect())
}

/// The statement that writes rows: first their numbers of events, and then those rows whose number is not the smaller one, whose ids it
/// gives.
fn write(held: &[Held]) -> String {
    let joined = |parts: Vec<String>| parts.join(", ");
    let names = joined(held.iter().map(|column| column.name().to_owned()).collect());
    let taken = joined((0..held.len()).map(|number| format!("${}::text[]", number + 3)).collect());
    let cast =
        joined(held.iter().map(|column| format!("r.{0}::{1} AS {0}", column.name(), column.kind)).collect());
    let kept = ["id", "last_heartbeat"];
    let set = joined(
        held.iter()
            .map(Held::name)
            .filter(|name| !kept.contains(name))
            .map(|name| format!("{name} = excluded.{name}"))
            .collect(),
    );
    format!(
        "WITH read AS (SELECT r.events, {cast} FROM unnest($2::int[], {taken}) AS r (events, {names})), \
         newer AS (INSERT INTO public.baton_mirror_task AS m (id, events, sweep) SELECT id, events, $1::bigint FROM read \
         ON CONFLICT (id) DO UPDATE SET events = excluded.events, sweep = excluded.sweep WHERE m.events <= excluded.events \
         RETURNING m.id) \
         INSERT INTO public.tasks ({names}) SELECT {names} FROM read JOIN newer USING (id) \
         ON CONFLICT (id) DO UPDATE SET {set} RETURNING id::text"
    )
}

fn read_seen(rows: &[tokio_postgres::Row]) -> Result<HashMap<TaskId, Seen>, Trouble> {
    let mut seen = HashMap::with_capacity(rows.len());
    for row in rows {
        let status: &str = row.try_get(2)?;
        let known = STATUSES.into_iter().find(|known| *known == status);
        // A status that is none of Baton's was written by somebody else, and is written anew.
        if let (Some(id), Some(status)) = (parse(row.try_get(0)?), known) {
            let events = u32::try_from(row.try_get::<_, i32>(1)?).unwrap_or_default();
            seen.insert(id, Seen { events, status, updated_at: row.try_get(3)? });
        }
    }
    Ok(seen)
}

fn parse(id: &str) -> Option<TaskId> {
    id.parse().ok()
}

fn texts(ids: &[TaskId]) -> Vec<String> {
    ids.iter().map(ToString::to_string).collect()
}
