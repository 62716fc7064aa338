//! Where tasks are kept.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use baton_model::Expected;

/// A store's address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StoreLocation {
    /// `sqlite:` and the path of the database file.
    Sqlite(PathBuf),
    /// `dynamodb:` and the name of the table.
    Dynamodb(String),
}

impl fmt::Display for StoreLocation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Sqlite(path) => write!(f, "sqlite:{}", path.display()),
            Self::Dynamodb(table) => write!(f, "dynamodb:{table}"),
        }
    }
}

impl FromStr for StoreLocation {
    type Err = Expected;

    fn from_str(text: &str) -> Result<Self, Expected> {
        if let Some(table) = text.strip_prefix("dynamodb:") {
            return parse_table(table).map(Self::Dynamodb);
        }
        // What SQLite itself would read as something else than a path: a database in memory, or a URI with options.
        let special = |path: &str| path.starts_with(':') || path.starts_with("file:") || path.contains('?');
        match text.strip_prefix("sqlite:") {
            Some(path) if !path.is_empty() && !special(path) => Ok(Self::Sqlite(PathBuf::from(path))),
            _ => Err(Expected::text(
                "sqlite: and the path of the database file, such as sqlite:baton.db, or dynamodb: and the name of a \
                 table, such as dynamodb:baton",
                text,
            )),
        }
    }
}

/// The rule for names of DynamoDB: "Naming rules" in its developer guide.
fn parse_table(name: &str) -> Result<String, Expected> {
    let fits = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '.' | '-');
    if (3..=255).contains(&name.len()) && name.chars().all(fits) {
        return Ok(name.to_owned());
    }
    Err(Expected::text("a table's name of 3 to 255 letters, digits or _ . - behind dynamodb:", name))
}
