//! A file of the log that is put aside, with the time in its name, when it is large or a day has passed; and is removed some time later.

use std::ffi::OsString;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use baton_model::Timestamp;

use crate::settings::Rotation;

/// How many characters of a time are its day, as in 2026-01-31.
const DAY: usize = 10;

/// The file that is written, and how it is put aside. Only one process may write to it.
pub(super) struct RotatedFile<C> {
    path: PathBuf,
    rotation: Rotation,
    clock: C,
    file: File,
    /// The bytes in it.
    size: u64,
    /// The day on which it was begun.
    day: String,
    /// Whether what comes next begins a line: a file is put aside between two.
    between: bool,
}

impl<C: Fn() -> Timestamp> RotatedFile<C> {
    /// Opens the file, and goes on with what it has.
    pub(super) fn open(path: &Path, rotation: Rotation, clock: C) -> io::Result<Self> {
        let file = append(path)?;
        let standing = file.metadata()?;
        // A file that has lines is of the day on which the last one was written.
        let written = standing.modified().ok().filter(|_| standing.len() > 0);
        let at = written.and_then(millis).map_or_else(&clock, Timestamp::from_millis);
        let opened = Self {
            path: path.to_owned(),
            rotation,
            clock,
            file,
            size: standing.len(),
            day: day(at),
            between: true,
        };
        opened.remove_old();
        Ok(opened)
    }

    fn is_over(&self, today: &str) -> bool {
        self.size > 0 && (self.size > self.rotation.bytes || self.day != today)
    }

    /// Puts the file aside and begins another. If that fails, the lines go on into the old one.
    fn rotate(&mut self, now: Timestamp) -> io::Result<()> {
        match fs::rename(&self.path, self.next_name(now)) {
            // Another has put it aside.
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            other => other?,
        }
        self.file = append(&self.path)?;
        (self.size, self.day) = (0, day(now));
        self.remove_old();
        Ok(())
    }

    /// A name behind those of all that was put aside: the time, and a number where several files are within a millisecond.
    fn next_name(&self, now: Timestamp) -> PathBuf {
        // Colons are no part of names everywhere.
        let time = now.to_string().replace(':', "-");
        let last =
            self.aside().into_iter().map(|(time, _)| time).max().filter(|last| last.starts_with(&time));
        let number = last.map(|last| last[time.len()..].trim_start_matches('-').parse().unwrap_or(0_u32) + 1);
        let mut name = self.path.clone().into_os_string();
        name.push(format!(".{time}"));
        if let Some(number) = number {
            name.push(format!("-{number:04}"));
        }
        PathBuf::from(name)
    }

    /// Removes files that were put aside long ago, and the oldest of too many. What cannot be removed is tried again with the next one.
    fn remove_old(&self) {
        let mut aside = self.aside();
        aside.sort();
        let keep_from = (self.clock)().minus(self.rotation.keep).to_string().replace(':', "-");
        let surplus = aside.len().saturating_sub(self.rotation.count as usize);
        for (place, (time, path)) in aside.iter().enumerate() {
            if place < surplus || *time < keep_from {
                let _ = fs::remove_file(path);
            }
        }
    }

    /// The files that were put aside, each with the time in its name.
    fn aside(&self) -> Vec<(String, PathBuf)> {
        let folder = match self.path.parent() {
            Some(folder) if !folder.as_os_str().is_empty() => folder,
            _ => Path::new("."),
        };
        let mut prefix = self.path.file_name().map(OsString::from).unwrap_or_default();
        prefix.push(".");
        let Ok(files) = fs::read_dir(folder) else { return Vec::new() };
        let named = files.flatten().filter_map(|file| {
            let name = file.file_name().into_string().ok()?;
            let time = name.strip_prefix(prefix.to_str()?)?.to_owned();
            is_time(&time).then(|| (time, file.path()))
        });
        named.collect()
    }
}

impl<C: Fn() -> Timestamp> Write for RotatedFile<C> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let now = (self.clock)();
        let mut part = bytes;
        if self.is_over(&day(now)) {
            if self.between {
                // Lines are worth more than their order by days: if it cannot be put aside, it is tried again with the next one.
                let _ = self.rotate(now);
            } else if let Some(end) = bytes.iter().position(|byte| *byte == b'\n') {
                part = &bytes[..=end];
            }
        }
        let written = self.file.write(part)?;
        self.size += written as u64;
        self.between = part[..written].last() == Some(&b'\n');
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

fn append(path: &Path) -> io::Result<File> {
    OpenOptions::new().create(true).append(true).open(path)
}

fn day(at: Timestamp) -> String {
    at.to_string().chars().take(DAY).collect()
}

fn millis(at: std::time::SystemTime) -> Option<i64> {
    let since = at.duration_since(std::time::UNIX_EPOCH).ok()?;
    i64::try_from(since.as_millis()).ok()
}

/// Whether a name ends as this program makes it: `2026-01-31T08-15-00.250Z`, perhaps with a number behind.
fn is_time(text: &str) -> bool {
    const FORM: &str = "dddd-dd-ddTdd-dd-dd.dddZ";
    let fits = |(c, form): (char, char)| if form == 'd' { c.is_ascii_digit() } else { c == form };
    text.len() >= FORM.len() && text.chars().zip(FORM.chars()).all(fits)
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;
    use std::rc::Rc;
    use std::time::Duration;

    use super::*;

    struct Desk {
        folder: tempfile::TempDir,
        now: Rc<Cell<Timestamp>>,
    }

    impl Desk {
        fn new() -> Self {
            let now = "2026-01-31T08:15:00.250Z".parse().unwrap();
            Self { folder: tempfile::tempdir().unwrap(), now: Rc::new(Cell::new(now)) }
        }

        fn path(&self) -> PathBuf {
            self.folder.path().join("baton.log")
        }

        fn open(&self, bytes: u64, count: u32) -> RotatedFile<impl Fn() -> Timestamp> {
            let rotation = Rotation { bytes, keep: Duration::from_secs(3 * 86_400), count };
            let now = Rc::clone(&self.now);
            RotatedFile::open(&self.path(), rotation, move || now.get()).unwrap()
        }

        fn later(&self, seconds: u64) {
            self.now.set(self.now.get().plus(Duration::from_secs(seconds)));
        }

        /// The files and what they hold, the one that is written first.
        fn files(&self) -> Vec<(String, String)> {
            let mut files: Vec<_> = fs::read_dir(self.folder.path())
                .unwrap()
                .map(|file| file.unwrap().path())
                .map(|path| {
                    let name = path.file_name().unwrap().to_str().unwrap().to_owned();
                    (name, fs::read_to_string(path).unwrap())
                })
                .collect();
            files.sort();
            files
        }
    }

    #[test]
    fn a_file_is_put_aside_between_two_lines_once_it_is_large() {
        let desk = Desk::new();
        let mut file = desk.open(10, 5);
        file.write_all(b"0123456789\nhalf").unwrap();
        file.write_all(b" a line\nnext\n").unwrap();
        let files = desk.files();
        assert_eq!(
            files,
            [
                ("baton.log".to_owned(), "next\n".to_owned()),
                ("baton.log.2026-01-31T08-15-00.250Z".to_owned(), "0123456789\nhalf a line\n".to_owned()),
            ]
        );
    }

    #[test]
    fn a_file_is_put_aside_with_its_day_also_over_a_restart() {
        let desk = Desk::new();
        let mut file = desk.open(1_000, 5);
        file.write_all(b"today\n").unwrap();
        desk.later(86_400);
        file.write_all(b"tomorrow\n").unwrap();
        assert_eq!(
            desk.files().iter().map(|(_, text)| text.as_str()).collect::<Vec<_>>(),
            ["tomorrow\n", "today\n"]
        );
        drop(file);
        // The system dates the file by its own clock, which is after this desk's.
        let mut file = desk.open(1_000, 5);
        file.write_all(b"started\n").unwrap();
        assert_eq!(desk.files().len(), 3);
        file.write_all(b"goes on\n").unwrap();
        assert_eq!(desk.files()[0].1, "started\ngoes on\n");
    }

    #[test]
    fn the_oldest_go_and_nothing_else_does() {
        let desk = Desk::new();
        for other in ["baton.log.old", "baton.logs", "other.log.2020-01-31T08-15-00.250Z"] {
            fs::write(desk.folder.path().join(other), "kept\n").unwrap();
        }
        let mut file = desk.open(1, 2);
        for line in ["1\n", "2\n", "3\n", "4\n", "5\n"] {
            // Several within a millisecond have names of their own.
            file.write_all(line.as_bytes()).unwrap();
        }
        let of = |files: &[(String, String)]| -> Vec<String> {
            files
                .iter()
                .filter(|(_, text)| text != "kept\n")
                .map(|(_, text)| text.trim().to_owned())
                .collect()
        };
        assert_eq!(of(&desk.files()), ["5", "3", "4"]);
        desk.later(4 * 86_400);
        file.write_all(b"6\n").unwrap();
        assert_eq!(of(&desk.files()), ["6", "5"]);
        assert_eq!(desk.files().len(), 5);
    }

    #[test]
    fn a_folder_that_is_not_there_is_an_error() {
        let desk = Desk::new();
        let path = desk.folder.path().join("none").join("baton.log");
        assert!(RotatedFile::open(&path, Rotation::default(), || desk.now.get()).is_err());
    }
}
