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
    /// If it cannot be written. What was to be begun anew then goes on as it is.
    pub(crate) fn add(&mut self, text: &str) -> io::Result<()> {
        let size = text.len() as u64;
        if self.bytes > 0 && self.bytes.saturating_add(size) > self.most_bytes {
            self.rotate()?;
        }
        self.file.write_all(text.as_bytes())?;
        self.bytes += size;
        Ok(())
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
