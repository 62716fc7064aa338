//! A table of a PostgreSQL database, read in one statement: as of one moment, row by row, however many there are.

use futures::{StreamExt as _, pin_mut};
use tokio_postgres::types::ToSql;
use tokio_postgres::{Client, Error};

use super::{Feed, Piped, Row, piped};
use crate::exit::Failure;
use crate::postgres::{Database, told};

/// A table, and how many rows it has.
pub(crate) struct Table {
    pub(crate) rows: Piped,
    pub(crate) whole: u64,
}

/// Begins to read a table.
///
/// # Errors
/// If the database cannot be reached, or has no such table.
pub(crate) async fn open(url: &str, table: &str) -> Result<Table, Failure> {
    let database = Database::new(url)?;
    let client = database.connect().await.map_err(|error| database.cannot("cannot connect to", &error))?;
    let name = database.name().to_owned();
    let quoted = quoted(table);
    let whole: i64 = match client.query_one(&format!("SELECT count(*) FROM {quoted}"), &[]).await {
        Ok(row) => row.get(0),
        Err(error) if error.code().is_some_and(|code| code.code() == "42P01") => {
            return Err(Failure::NotFound(format!(
                "expected the table {table} in {name}, got none; name another by --table"
            )));
        }
        Err(error) => return Err(database.cannot("cannot read", &error)),
    };
    let (feed, rows) = piped();
    let table = table.to_owned();
    tokio::spawn(async move {
        if let Err(error) = read(&client, &quoted, &feed).await {
            let failure = Failure::failed(format!("cannot read {table} of {name} on: {}", told(&error)));
            // Where nobody takes rows any more, nobody hears of it either.
            let _ = feed.put(Err(failure)).await;
        }
    });
    Ok(Table { rows, whole: u64::try_from(whole).unwrap_or(0) })
}

/// Each row as the JSON that the database makes of it, so that every type has a form, and JSON stays as it is.
async fn read(client: &Client, quoted: &str, feed: &Feed) -> Result<(), Error> {
    client.batch_execute("SET TIME ZONE 'UTC'; SET default_transaction_read_only = on").await?;
    let none: [&(dyn ToSql + Sync); 0] = [];
    let rows = client.query_raw(&format!("SELECT row_to_json(t)::text FROM {quoted} t"), none).await?;
    pin_mut!(rows);
    let mut number = 0;
    while let Some(row) = rows.next().await {
        number += 1;
        let text: String = row?.try_get(0)?;
        if !feed.put(Ok(Row::of_text(number, text))).await {
            return Ok(());
        }
    }
    Ok(())
}

/// A table's name, with that of its schema before it if it has one.
fn quoted(table: &str) -> String {
    let parts = table.split('.').map(|part| format!("\"{}\"", part.replace('"', "\"\"")));
    parts.collect::<Vec<_>>().join(".")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_no_more_than_a_name() {
        assert_eq!(quoted("public.tasks"), r#""public"."tasks""#);
        assert_eq!(quoted(r#"a"; DROP TABLE b"#), r#""a""; DROP TABLE b""#);
    }
}
