//! Where something of a file lies, by its name; and the name that something is of, by where it lies.

use baton_model::ProjectId;
use object_store::path::Path;

use crate::FileName;

/// What no part of a path ends with once it is written: so that a file and a folder may have the same name.
pub(super) const MARK: char = '~';

/// Where the bytes of this number lie.
pub(super) fn bytes_at(project: &ProjectId, id: &str) -> Path {
    Path::from_iter(["bytes", project.as_str(), id])
}

pub(super) fn folder_of(kind: &str, project: &ProjectId) -> Path {
    Path::from_iter([kind, project.as_str()])
}

/// Where something of a name lies.
pub(super) fn of_name(kind: &str, name: &FileName) -> Result<Path, object_store::path::Error> {
    let parts = [kind, name.project().as_str()].into_iter().chain(name.path().split('/'));
    Path::parse(format!("{}{MARK}", Path::from_iter(parts)))
}

/// Where the document of a name lies.
pub(super) fn name_at(name: &FileName) -> Result<Path, object_store::path::Error> {
    of_name("names", name)
}

/// Where something lies in a folder of a name.
pub(super) fn below_name(kind: &str, name: &FileName, last: &str) -> Result<Path, object_store::path::Error> {
    Path::parse(format!("{}/{last}", of_name(kind, name)?))
}

/// What a path says that was made by [`below_name`]: the name, and the last part.
pub(super) fn parts_of(kind: &str, at: &Path) -> Option<(FileName, String)> {
    let (name, last) = at.as_ref().strip_prefix(kind)?.strip_prefix('/')?.rsplit_once('/')?;
    Some((named(name)?, last.to_owned()))
}

/// The name that a document is of, by its path.
pub(super) fn name_of(at: &Path) -> Option<FileName> {
    named(at.as_ref().strip_prefix("names/")?)
}

fn named(marked: &str) -> Option<FileName> {
    decoded(marked.strip_suffix(MARK)?)?.parse().ok()
}

/// A text without what `object_store` has written as `%` and two digits.
fn decoded(text: &str) -> Option<String> {
    let (mut bytes, mut rest) = (Vec::with_capacity(text.len()), text.as_bytes());
    while let Some((first, after)) = rest.split_first() {
        if *first == b'%' {
            let (digits, after) = after.split_at_checked(2)?;
            bytes.push(u8::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()?);
            rest = after;
        } else {
            bytes.push(*first);
            rest = after;
        }
    }
    String::from_utf8(bytes).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_tells_the_name_that_it_was_made_of() {
        for text in ["p/a", "p/tasks/1/ü b~%2F#?*.txt", "p/a~/b~", "p/%41"] {
            let name: FileName = text.parse().unwrap();
            let at = below_name("bytes", &name, "0f").unwrap();
            assert_eq!(parts_of("bytes", &at), Some((name.clone(), "0f".to_owned())), "{at}");
            let at = of_name("names", &name).unwrap();
            assert_eq!(name_of(&at), Some(name), "{at}");
        }
        for other in ["bytes/p/0f", "names/p/a~", "bytes/p~/0f", "bytes"] {
            assert_eq!(parts_of("bytes", &Path::parse(other).unwrap()), None, "{other}");
        }
    }
}
