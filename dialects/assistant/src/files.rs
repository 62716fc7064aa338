//! A log file that is begun anew when it has grown: `name`, then `name.1` for the one before it, and so on.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

/// A file that lines are added to.
#[derive(Debug)]
pub(crate) struct Rotated {
    path: PathBuf,
    file: File,
    bytes: u64,
    most_bytes: u64,
    older: u32,
}

impl Rotated {
    /// Opens a file, and makes it if it is not there. It is begun anew before it grows beyond `most_bytes`, and `older` ones are
    /// kept.
    ///
    /// # Errors
    /// If it cannot be opened.
    pub(crate) fn open(path: PathBuf, most_bytes: u64, older: u32) -> io::Result<Self> {
        let file = append(&path)?;
        let bytes = file.metadata()?.len();
        Ok(Self { path, file, bytes, most_bytes, older })
    }

    /// Adds text, which ends with a line's end. One text is never split over two files.
    ///
    /// # Errors
    /// If it cannot be written; or not be begun anew, and goes on as it is.
    pub(crate) fn add(&mut self, text: &str) -> io::Result<()> {
        let size = text.len() as u64;
        let full = self.bytes > 0 && self.bytes.saturating_add(size) > self.most_bytes;
        let begun = if full { self.rotate() } else { Ok(()) };
        self.file.write_all(text.as_bytes())?;
        self.bytes += size;
        begun
    }

    fn rotate(&mut self) -> io::Result<()> {
        let numbered = |n: u32| {
            let mut name = self.path.clone().into_os_string();
            name.push(format!(".{n}"));
            PathBuf::from(name)
        };
        if self.older == 0 {
            fs::remove_file(&self.path)?;
        } else {
            for n in (1..self.older).rev() {
                rename_if_there(&numbered(n), &numbered(n + 1))?;
            }
            rename_if_there(&self.path, &numbered(1))?;
        }
        self.file = append(&self.path)?;
        self.bytes = 0;
        Ok(())
    }
}

fn append(path: &Path) -> io::Result<File> {
    OpenOptions::new().create(true).append(true).open(path)
}

fn rename_if_there(from: &Path, to: &Path) -> io::Result<()> {
    match fs::rename(from, to) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn older_files_move_up_and_the_oldest_goes() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("log");
        let mut file = Rotated::open(path.clone(), 10, 2).unwrap();
        for text in ["one456789\n", "two\n", "three\n", "four56789\n", "five\n"] {
            file.add(text).unwrap();
        }
        let read = |name: &str| fs::read_to_string(dir.path().join(name)).ok();
        assert_eq!(read("log").unwrap(), "five\n");
        assert_eq!(read("log.1").unwrap(), "four56789\n");
        assert_eq!(read("log.2").unwrap(), "two\nthree\n");
        assert!(read("log.3").is_none());
        // It goes on where it was, and a text that is larger than a file is not split.
        let mut file = Rotated::open(path, 10, 0).unwrap();
        file.add("a text that is larger\n").unwrap();
        assert_eq!(read("log").unwrap(), "a text that is larger\n");
        assert_eq!(read("log.1").unwrap(), "four56789\n");
    }

    #[test]
    fn a_file_that_cannot_be_begun_anew_goes_on() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("log");
        let mut file = Rotated::open(path.clone(), 4, 1).unwrap();
        // Where the older one is to be, a folder stands that is not empty.
        fs::create_dir_all(dir.path().join("log.1/in")).unwrap();
        file.add("one\n").unwrap();
        assert!(file.add("two\n").is_err());
        assert_eq!(fs::read_to_string(&path).unwrap(), "one\ntwo\n");
    }
}
