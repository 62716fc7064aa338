//! Where the rows come from, by the word that names it.

use std::fs::File;
use std::io::{BufReader, Read as _};
use std::path::{Path, PathBuf};

use baton_model::with_causes;
use clap::ValueEnum;

use super::server;
use super::table::{self, Csv, Lines, Rows};
use crate::exit::Failure;
use crate::{input, postgres};

/// The form of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Form {
    /// A JSON object on each line.
    Jsonl,
    /// CSV with a line of names before all others.
    Csv,
}

/// Rows, and how many bytes or rows there are in all, if that is known.
pub(crate) struct Source {
    pub(crate) rows: Box<dyn Rows>,
    pub(crate) whole: Option<u64>,
    /// What is counted by that.
    pub(crate) unit: &'static str,
}

/// What every file of SQLite begins with (its file format, section 1.3.1).
const SQLITE: &[u8] = b"SQLite format 3\0";

/// What a word names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    Stdin,
    File(PathBuf),
    Sqlite(PathBuf),
    Server(String),
    Postgres(String),
}

impl Place {
    /// Reads the word.
    pub(crate) fn of(word: &str) -> Self {
        if word == "-" {
            return Self::Stdin;
        }
        if word.starts_with("http://") || word.starts_with("https://") {
            return Self::Server(word.trim_end_matches('/').to_owned());
        }
        if postgres::is_address(word) {
            return Self::Postgres(word.to_owned());
        }
        match word.strip_prefix("sqlite:") {
            Some(path) => Self::Sqlite(path.into()),
            None => Self::File(word.into()),
        }
    }

    /// Its name, without what is secret in it.
    pub(crate) fn name(&self) -> String {
        match self {
            Self::Stdin => "stdin".to_owned(),
            Self::File(path) => path.display().to_string(),
            Self::Sqlite(path) => format!("sqlite:{}", path.display()),
            Self::Server(url) => url.clone(),
            Self::Postgres(url) => postgres::without_secrets(url),
        }
    }
}

/// Opens a file or stdin.
///
/// # Errors
/// If it cannot be read.
pub(crate) fn open_file(path: Option<&Path>, form: Option<Form>, table: &str) -> Result<Source, Failure> {
    let Some(path) = path else {
        return of_reader(
            BufReader::with_capacity(1 << 16, std::io::stdin()),
            "stdin".to_owned(),
            form,
            None,
        );
    };
    let name = path.display().to_string();
    if !path.exists() {
        return Err(Failure::NotFound(format!("expected a file, got none at {name}")));
    }
    let cannot =
        |error: std::io::Error| Failure::usage(format!("cannot read {name}: {}", with_causes(&error)));
    let mut file = File::open(path).map_err(cannot)?;
    let about = file.metadata().map_err(cannot)?;
    if about.is_dir() {
        return Err(Failure::usage(format!("expected a file, got the folder {name}")));
    }
    let mut first = Vec::with_capacity(SQLITE.len());
    if about.is_file() {
        (&mut file).take(SQLITE.len() as u64).read_to_end(&mut first).map_err(cannot)?;
        std::io::Seek::rewind(&mut file).map_err(cannot)?;
    }
    if first == SQLITE {
        return open_sqlite(path, table);
    }
    if input::is_utf16(&first) {
        return Err(Failure::usage(format!("{name}: {}", input::NotText::Utf16)));
    }
    let by_name =
        path.extension().is_some_and(|ending| ending.eq_ignore_ascii_case("csv")).then_some(Form::Csv);
    let whole = about.is_file().then_some(about.len());
    of_reader(BufReader::with_capacity(1 << 16, file), name, form.or(by_name), whole)
}

fn of_reader(
    from: impl std::io::BufRead + Send + 'static,
    name: String,
    form: Option<Form>,
    whole: Option<u64>,
) -> Result<Source, Failure> {
    let rows: Box<dyn Rows> = match form.unwrap_or(Form::Jsonl) {
        Form::Jsonl => Box::new(Lines::new(from, name)),
        Form::Csv => Box::new(Csv::new(from, name)?),
    };
    Ok(Source { rows, whole, unit: "bytes" })
}

/// Opens a table of an SQLite file.
///
/// # Errors
/// If it cannot be read.
pub(crate) fn open_sqlite(path: &Path, name: &str) -> Result<Source, Failure> {
    let db = table::open_sqlite(path, name)?;
    let whole = Some(table::rows_in(&db, name)?);
    let (feed, rows) = table::piped();
    let name = name.to_owned();
    std::thread::spawn(move || table::feed_of_sqlite(&db, &name, &feed));
    Ok(Source { rows: Box::new(rows), whole, unit: "rows" })
}

/// Opens a table of a PostgreSQL database.
///
/// # Errors
/// If it cannot be read, or this program was built without it.
#[cfg(feature = "postgres")]
pub(crate) async fn open_postgres(url: &str, table: &str) -> Result<Source, Failure> {
    let table::postgres::Table { rows, whole } = table::postgres::open(url, table).await?;
    Ok(Source { rows: Box::new(rows), whole: Some(whole), unit: "rows" })
}

/// Asks a running assistant server for its active tasks. Its early version has them under `/task`, its late one under `/tasks`.
///
/// # Errors
/// If it cannot be asked, or has no such list.
pub(crate) async fn open_server(url: &str) -> Result<Source, Failure> {
    for path in ["/task/list", "/tasks/list"] {
        if let Some(list) = server::get(url, path).await? {
            let row = table::Row::of_text(1, list);
            return Ok(Source { rows: Box::new(table::One::new(row)), whole: None, unit: "lists" });
        }
    }
    Err(Failure::NotFound(format!(
        "expected a list of tasks, got none from {url} at /task/list and /tasks/list"
    )))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_password_is_in_no_name() {
        for (url, name) in [
            ("postgres://ray:secret@db:5432/tasks", "postgres://ray@db:5432/tasks"),
            ("postgres://ray:p@ss@db/tasks", "postgres://ray@db/tasks"),
            ("postgresql://db/tasks?password=secret", "postgresql://db/tasks"),
        ] {
            assert_eq!(Place::of(url).name(), name);
        }
    }

    #[test]
    fn a_word_names_a_place() {
        assert_eq!(Place::of("-"), Place::Stdin);
        assert_eq!(Place::of("sqlite:a.db"), Place::Sqlite("a.db".into()));
        assert_eq!(Place::of("a.csv"), Place::File("a.csv".into()));
        assert_eq!(Place::of("http://127.0.0.1:8000/"), Place::Server("http://127.0.0.1:8000".to_owned()));
    }
}
