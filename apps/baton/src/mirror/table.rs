//! The tables: made where they are missing, and looked at before anything is written into one that was there.

use tokio_postgres::{Client, Row};

use super::row::{COLUMNS, Column, ENUM, STATUSES};
use super::trouble::Trouble;
use crate::exit::Failure;

/// Keeps two mirrors from writing into one database: the mirror that runs holds this lock of the database.
const LOCK: i64 = 0x6261_746f_6e5f_6d69;

/// The mirror's own tables.
const OWN: &str = "
CREATE TABLE public.baton_mirror (
    one boolean PRIMARY KEY DEFAULT true CHECK (one),
    source text NOT NULL,
    sweep bigint NOT NULL,
    sweeping boolean NOT NULL,
    cursor text,
    urgent boolean NOT NULL,
    swept_at bigint NOT NULL
);
COMMENT ON TABLE public.baton_mirror IS 'Where baton mirror stands: the server, and how far it has compared all rows with it';
CREATE TABLE public.baton_mirror_task (
    id uuid PRIMARY KEY,
    events integer NOT NULL,
    sweep bigint NOT NULL
);
COMMENT ON TABLE public.baton_mirror_task IS
    'The rows of tasks that are of baton mirror: how many events each task had, and by which sweep it was last seen';";

/// Takes the lock of the database; whether it was free.
pub(super) async fn lock(client: &Client) -> Result<bool, Trouble> {
    Ok(client.query_one("SELECT pg_try_advisory_lock($1)", &[&LOCK]).await?.try_get(0)?)
}

/// A column that the table has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Held {
    /// Which of [`COLUMNS`] it is.
    pub(super) place: usize,
    /// Its type in this table.
    pub(super) kind: String,
}

impl Held {
    fn new(place: usize, kind: &str) -> Self {
        let schema = if kind == ENUM { "public." } else { "" };
        Self { place, kind: format!("{schema}{kind}") }
    }

    pub(super) fn name(&self) -> &'static str {
        COLUMNS[self.place].name
    }
}

/// Makes what is missing, and looks at the table `tasks` that is there. The answer is which columns it has.
///
/// # Errors
/// If the table has other columns than the mirror writes.
pub(super) async fn prepare(client: &mut Client, name: &str) -> Result<Vec<Held>, Trouble> {
    let labels = labels(client).await?;
    if !labels.is_empty()
        && let Some(missing) = STATUSES.iter().find(|status| !labels.iter().any(|label| label == *status))
    {
        return Err(refused(
            name,
            &format!("expected the value {missing} in the type public.{ENUM}, got {}", labels.join(", ")),
        ));
    }
    let kind = client
        .query_opt("SELECT relkind::text FROM pg_class WHERE oid = to_regclass('public.tasks')", &[])
        .await?;
    let kind: Option<String> = kind.map(|row| row.try_get(0)).transpose()?;
    let own = client.query_one("SELECT to_regclass('public.baton_mirror') IS NOT NULL", &[]).await?;
    let mut make = String::new();
    if kind.is_none() {
        make.push_str(&table(labels.is_empty()));
    }
    if !own.try_get::<_, bool>(0)? {
        make.push_str(OWN);
    }
    if !make.is_empty() {
        let made = client.transaction().await?;
        made.batch_execute(&make).await?;
        made.commit().await?;
    }
    match kind.as_deref() {
        None => Ok(COLUMNS.iter().enumerate().map(|(place, column)| Held::new(place, column.kind)).collect()),
        Some("r") => look(client, name).await,
        Some(_) => {
            Err(refused(name, "expected public.tasks to be a plain table, got something else of that name"))
        }
    }
}

/// What makes the table, and the type if need be.
fn table(with_type: bool) -> String {
    let statuses = STATUSES.map(|status| format!("'{status}'")).join(", ");
    let columns = COLUMNS.map(|Column { name, kind, more, .. }| match name {
        "status" => format!("{name} public.{kind} {more}"),
        _ => format!("{name} {kind} {more}"),
    });
    let made =
        if with_type { format!("CREATE TYPE public.{ENUM} AS ENUM ({statuses});") } else { String::new() };
    // Its users ask for the rows that changed last.
    format!(
        "{made} CREATE TABLE public.tasks ({}); CREATE INDEX tasks_updated_at ON public.tasks (updated_at);",
        columns.join(", ")
    )
}

async fn labels(client: &Client) -> Result<Vec<String>, Trouble> {
    let labels = client
        .query(
            "SELECT enumlabel::text FROM pg_enum WHERE enumtypid = to_regtype('public.taskstatus') ORDER BY enumsortorder",
            &[],
        )
        .await?;
    Ok(labels.iter().map(|row| row.try_get(0)).collect::<Result<_, _>>()?)
}

/// A column as the database has it.
#[derive(Debug)]
struct Found {
    name: String,
    kind: String,
    not_null: bool,
    /// Whether it gets a value by itself.
    given: bool,
}

impl Found {
    fn of(row: &Row) -> Result<Self, tokio_postgres::Error> {
        let kind: String = row.try_get(1)?;
        Ok(Self {
            name: row.try_get(0)?,
            kind: kind.trim_start_matches("public.").to_owned(),
            not_null: row.try_get(2)?,
            given: row.try_get(3)?,
        })
    }
}

async fn look(client: &Client, name: &str) -> Result<Vec<Held>, Trouble> {
    let rows = client
        .query(
            "SELECT attname::text, format_type(atttypid, atttypmod), attnotnull, atthasdef OR attidentity <> '' FROM pg_attribute \
             WHERE attrelid = 'public.tasks'::regclass AND attnum > 0 AND NOT attisdropped ORDER BY attnum",
            &[],
        )
        .await?;
    let found: Vec<Found> = rows.iter().map(Found::of).collect::<Result<_, _>>()?;
    let held = fits(&found).map_err(|why| refused(name, &why))?;
    let unique = client
        .query_opt(
            "SELECT 1 FROM pg_index i JOIN pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = i.indkey[0] \
             WHERE i.indrelid = 'public.tasks'::regclass AND i.indisunique AND i.indimmediate AND i.indnkeyatts = 1 \
             AND i.indpred IS NULL AND a.attname = 'id' LIMIT 1",
            &[],
        )
        .await?;
    if unique.is_none() {
        return Err(refused(
            name,
            "expected the column id of public.tasks to be its primary key, got one that is not unique",
        ));
    }
    // Bit 1 of tgtype: it runs before the row is written, and may change it.
    let trigger = client
        .query_opt(
            "SELECT tgname::text FROM pg_trigger WHERE tgrelid = 'public.tasks'::regclass AND NOT tgisinternal \
             AND tgenabled <> 'D' AND (tgtype & 2) <> 0 ORDER BY 1 LIMIT 1",
            &[],
        )
        .await?;
    match trigger {
        None => Ok(held),
        Some(row) => {
            let trigger: String = row.try_get(0)?;
            Err(refused(
                name,
                &format!(
                    "expected no trigger that changes rows of public.tasks, got {trigger}; the mirror sets updated_at itself: \
                     ALTER TABLE public.tasks DISABLE TRIGGER \"{trigger}\""
                ),
            ))
        }
    }
}

/// Which of the mirror's columns are among those found; or what does not fit.
fn fits(found: &[Found]) -> Result<Vec<Held>, String> {
    let mut held = Vec::new();
    for (place, column) in COLUMNS.iter().enumerate() {
        let Column { name, kind, nullable, optional, .. } = column;
        let Some(there) = found.iter().find(|found| found.name == *name) else {
            if *optional {
                continue;
            }
            return Err(format!("expected the column {name} of type {kind} in public.tasks, got none"));
        };
        if !takes(kind, &there.kind) {
            return Err(format!(
                "expected the column {name} of public.tasks to be {kind}, got {}",
                there.kind
            ));
        }
        if *nullable && there.not_null {
            return Err(format!("expected the column {name} of public.tasks to take nulls, got NOT NULL"));
        }
        held.push(Held::new(place, &there.kind));
    }
    let foreign = |found: &&Found| {
        found.not_null && !found.given && !COLUMNS.iter().any(|column| column.name == found.name)
    };
    match found.iter().find(foreign) {
        None => Ok(held),
        Some(Found { name, .. }) => Err(format!(
            "expected no column that must be given beside the mirror's, got {name} of public.tasks, which is NOT NULL"
        )),
    }
}

/// Whether a column of a type holds what the mirror writes for another.
fn takes(kind: &str, there: &str) -> bool {
    there == kind || (matches!(kind, "text" | ENUM) && matches!(there, "text" | "character varying"))
}

fn refused(name: &str, why: &str) -> Trouble {
    Failure::Conflict(format!("{name}: {why}; nothing was changed there")).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(name: &str, kind: &str) -> Found {
        Found { name: name.to_owned(), kind: kind.to_owned(), not_null: false, given: false }
    }

    #[test]
    fn a_table_fits_if_it_holds_what_is_written() {
        let old: Vec<Found> = COLUMNS
            .iter()
            .filter(|column| !column.optional)
            .map(|column| found(column.name, column.kind))
            .collect();
        let places: Vec<usize> = fits(&old).unwrap().iter().map(|held| held.place).collect();
        assert_eq!(places, (0..15).collect::<Vec<_>>());
        let with = |change: fn(&mut Vec<Found>)| {
            let mut table: Vec<Found> = old.iter().map(|column| found(&column.name, &column.kind)).collect();
            change(&mut table);
            fits(&table)
        };
        assert!(with(|table| table[1].kind = "text".to_owned()).is_ok());
        assert!(with(|table| table.push(found("snapshot_id", "integer"))).is_ok());
        assert_eq!(
            with(|table| table[10].kind = "json".to_owned()),
            Err("expected the column params of public.tasks to be jsonb, got json".to_owned())
        );
        assert_eq!(
            with(|table| drop(table.remove(2))),
            Err("expected the column type of type text in public.tasks, got none".to_owned())
        );
        assert!(with(|table| table[3].not_null = true).unwrap_err().contains("description"));
        let must = with(|table| table.push(Found { not_null: true, ..found("tenant", "text") }));
        assert!(must.unwrap_err().contains("tenant"));
    }
}
