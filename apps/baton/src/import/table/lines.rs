//! JSON lines.

use std::io::BufRead;

use baton_model::Expected;

use super::{Next, Row, Rows, Unread};
use crate::exit::Failure;
use crate::input::{self, Line};

/// The longest line: a task may have as much output as params, and a history.
const MOST: usize = 4 * input::MOST;

/// The lines of a text.
pub(crate) struct Lines<R> {
    from: R,
    name: String,
    number: u64,
    done: u64,
}

impl<R: BufRead> Lines<R> {
    pub(crate) fn new(from: R, name: String) -> Self {
        Self { from, name, number: 0, done: 0 }
    }
}

impl<R: BufRead + Send> Rows for Lines<R> {
    fn next(&mut self) -> Next {
        loop {
            let line = input::next_line(&mut self.from, MOST)
                .map_err(|error| Failure::failed(format!("cannot read {} on: {error}", self.name)))?;
            let Some(line) = line else { return Ok(None) };
            self.number += 1;
            let unread = |wrong| Ok(Some(Err(Unread { line: self.number, wrong })));
            let bytes = match line {
                Line::Whole(bytes) => bytes,
                Line::TooLong(length) => {
                    self.done += length + 1;
                    return unread(Expected::new(
                        format!("a line of at most {MOST} bytes"),
                        format!("{length} bytes"),
                    ));
                }
            };
            self.done += bytes.len() as u64 + 1;
            let text = match input::text(&bytes) {
                Ok(text) => text,
                Err(wrong) => return unread(Expected::new("text", wrong.to_string())),
            };
            if !text.trim().is_empty() {
                return Ok(Some(Ok(Row::of_text(self.number, text.to_owned()))));
            }
        }
    }

    fn done(&self) -> u64 {
        self.done
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_numbered_as_in_the_file_and_a_bad_one_stops_nothing() {
        let mut lines = Lines::new(&b"\xef\xbb\xbf{\"a\":1}\n\n\xff\n[]\n{\"a\":null}"[..], "x".to_owned());
        let mut read = || lines.next().unwrap();
        let mut first = read().unwrap().unwrap();
        first.read().unwrap();
        assert_eq!((first.line, first.cell("a").unwrap().text().as_ref()), (1, "1"));
        assert_eq!(read().unwrap().unwrap_err().line, 3);
        let mut list = read().unwrap().unwrap();
        assert_eq!(list.read().unwrap_err().to_string(), "expected a JSON object, got \"[]\"");
        let mut last = read().unwrap().unwrap();
        last.read().unwrap();
        assert!(last.line == 5 && last.cell("a").is_none());
        assert!(read().is_none());
    }
}
