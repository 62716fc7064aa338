//! PostgreSQL databases: their addresses, and how they are reached.

#[cfg(feature = "postgres")]
mod database;
#[cfg(feature = "postgres")]
mod tls;

#[cfg(feature = "postgres")]
pub(crate) use self::database::{Database, told};

/// Whether a word is the address of a PostgreSQL database.
pub(crate) fn is_address(word: &str) -> bool {
    word.starts_with("postgres://") || word.starts_with("postgresql://")
}

/// An address without the password and the query, which may have one, too.
pub(crate) fn without_secrets(url: &str) -> String {
    let url = url.split('?').next().unwrap_or_default();
    let Some((scheme, rest)) = url.split_once("://") else { return String::new() };
    match rest.rsplit_once('@') {
        Some((user, place)) => format!("{scheme}://{}@{place}", user.split(':').next().unwrap_or_default()),
        None => url.to_owned(),
    }
}

/// What a program says that was built without PostgreSQL, with what else may be done.
#[cfg(not(feature = "postgres"))]
pub(crate) fn not_built(url: &str, instead: &str) -> crate::exit::Failure {
    crate::exit::Failure::usage(format!(
        "{}: this baton was built without PostgreSQL; build one with it (cargo install --path apps/baton --features postgres){instead}",
        without_secrets(url)
    ))
}
