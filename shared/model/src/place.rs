//! Where files lie, archives too: a folder of this machine, or a bucket of S3.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use crate::expected::Expected;

/// A place for files.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    /// `file://` and the path of a folder from the root, taken as it stands.
    Folder(PathBuf),
    /// `s3://`, a bucket, and what the names of all its objects begin with, if anything.
    Bucket {
        /// The bucket.
        bucket: String,
        /// What names begin with; empty for nothing.
        prefix: String,
    },
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Folder(path) => write!(f, "file://{}", path.display()),
            Self::Bucket { bucket, prefix } if prefix.is_empty() => write!(f, "s3://{bucket}"),
            Self::Bucket { bucket, prefix } => write!(f, "s3://{bucket}/{prefix}"),
        }
    }
}

impl FromStr for Place {
    type Err = Expected;

    fn from_str(text: &str) -> Result<Self, Expected> {
        let refused = || {
            Expected::text(
                "file:// and the path of a folder from the root, such as file:///var/lib/baton/archive, or s3:// with a bucket and a \
                 prefix, such as s3://backups/baton",
                text,
            )
        };
        if let Some(path) = text.strip_prefix("file://") {
            let path = PathBuf::from(path);
            return if path.is_absolute() { Ok(Self::Folder(path)) } else { Err(refused()) };
        }
        let rest = text.strip_prefix("s3://").ok_or_else(refused)?;
        let (bucket, prefix) = rest.split_once('/').unwrap_or((rest, ""));
        // "General purpose bucket naming rules" of the S3 user guide.
        let fits = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '.' | '-');
        if !(3..=63).contains(&bucket.len()) || !bucket.chars().all(fits) {
            return Err(refused());
        }
        let prefix = prefix.trim_end_matches('/');
        if prefix.split('/').any(|part| matches!(part, "." | "..")) || prefix.chars().any(char::is_control) {
            return Err(refused());
        }
        Ok(Self::Bucket { bucket: bucket.to_owned(), prefix: prefix.to_owned() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_read_as_they_are_shown() {
        for text in ["file:///var/lib/a b", "s3://backups", "s3://backups/baton/archive"] {
            assert_eq!(text.parse::<Place>().unwrap().to_string(), text);
        }
        assert_eq!("s3://backups/a/".parse::<Place>().unwrap().to_string(), "s3://backups/a");
        for wrong in [
            "",
            "/var/lib",
            "file:a",
            "file://a",
            "s3:",
            "s3://",
            "s3://ab",
            "s3://Ab/c",
            "s3://abc/..",
            "gs://abc",
        ] {
            assert!(wrong.parse::<Place>().is_err(), "{wrong}");
        }
    }
}
