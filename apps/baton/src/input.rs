//! What the command line reads from files and stdin: JSON as people's editors and programs write it.

use std::fmt;
use std::fs::File;
use std::io::{self, BufRead, Read};
use std::path::Path;

use crate::exit::Failure;

/// What is read of one text or one line at most: the largest params that a server can be set to take (16 MiB), and 64 KiB
/// for all else of a task. What is larger would be refused by every server, and is not read into memory here.
pub(crate) const MOST: usize = (16 << 20) + (64 << 10);

/// A file's name, or `stdin` for `-`.
pub(crate) fn name_of(file: &Path) -> String {
    if file == Path::new("-") { "stdin".to_owned() } else { file.display().to_string() }
}

/// Opens a file, or stdin for `-`.
///
/// # Errors
/// [`Failure::Usage`] that names the flag.
pub(crate) fn open(flag: &str, file: &Path) -> Result<Box<dyn BufRead>, Failure> {
    if file == Path::new("-") {
        return Ok(Box::new(io::stdin().lock()));
    }
    let opened = File::open(file).and_then(|opened| match opened.metadata()?.is_dir() {
        true => Err(io::Error::new(io::ErrorKind::IsADirectory, "it is a folder")),
        false => Ok(opened),
    });
    match opened {
        Ok(opened) => Ok(Box::new(io::BufReader::with_capacity(1 << 16, opened))),
        Err(error) => Err(Failure::usage(format!("{flag}: cannot read {}: {error}", file.display()))),
    }
}

/// Reads a whole text of up to [`MOST`] bytes.
///
/// # Errors
/// [`Failure::Usage`] that names the flag: it cannot be read, is larger, or is no UTF-8.
pub(crate) fn read(flag: &str, file: &Path) -> Result<String, Failure> {
    let name = name_of(file);
    let mut bytes = Vec::new();
    open(flag, file)?
        .take(MOST as u64 + 1)
        .read_to_end(&mut bytes)
        .map_err(|error| Failure::usage(format!("{flag}: cannot read {name}: {error}")))?;
    if bytes.len() > MOST {
        return Err(Failure::usage(format!("{flag}: expected at most {MOST} bytes in {name}, got more")));
    }
    text(&bytes).map(str::to_owned).map_err(|wrong| Failure::usage(format!("{flag}: {name}: {wrong}")))
}

/// Why bytes are no text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum NotText {
    /// They are text in another encoding, as some programs of Windows write it.
    Utf16,
    /// This byte, at this offset, is not UTF-8.
    Byte(u8, usize),
}

impl fmt::Display for NotText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Utf16 => f.write_str(
                "expected UTF-8, got UTF-16; save it as UTF-8 (in PowerShell: Out-File -Encoding utf8)",
            ),
            Self::Byte(byte, at) => {
                write!(f, "expected UTF-8, got another byte (0x{byte:02x}) at offset {at}")
            }
        }
    }
}

/// Whether bytes begin as UTF-16 does, with its byte order mark or without: no JSON has a NUL among its first two bytes.
pub(crate) fn is_utf16(bytes: &[u8]) -> bool {
    matches!(bytes, [0xff, 0xfe, ..] | [0xfe, 0xff, ..] | [0, _, ..] | [_, 0, ..])
}

/// Bytes as text, without the byte order mark that programs of Windows put before it.
///
/// # Errors
/// What the bytes are instead.
pub(crate) fn text(bytes: &[u8]) -> Result<&str, NotText> {
    if is_utf16(bytes) {
        return Err(NotText::Utf16);
    }
    let text = std::str::from_utf8(bytes).map_err(|error| {
        let at = error.valid_up_to();
        NotText::Byte(bytes.get(at).copied().unwrap_or_default(), at)
    })?;
    Ok(text.strip_prefix('\u{feff}').unwrap_or(text))
}

/// A line of a file.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Line {
    /// All of it, without its end.
    Whole(Vec<u8>),
    /// It has this many bytes, more than were to be kept; none of them are here.
    TooLong(u64),
}

/// Reads the next line; none at the end. Of a line of more than `most` bytes, no more than that is ever held in memory.
///
/// # Errors
/// As reading.
pub(crate) fn next_line(from: &mut impl BufRead, most: usize) -> io::Result<Option<Line>> {
    let mut line = Vec::new();
    let mut length: u64 = 0;
    let mut begun = false;
    loop {
        let buffer = match from.fill_buf() {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            buffer => buffer?,
        };
        if buffer.is_empty() {
            break;
        }
        begun = true;
        let end = buffer.iter().position(|byte| *byte == b'\n');
        let part = &buffer[..end.unwrap_or(buffer.len())];
        length += part.len() as u64;
        if length <= most as u64 {
            line.extend_from_slice(part);
        } else {
            line = Vec::new();
        }
        let read = end.map_or(buffer.len(), |end| end + 1);
        from.consume(read);
        if end.is_some() {
            break;
        }
    }
    if !begun {
        return Ok(None);
    }
    if length > most as u64 {
        return Ok(Some(Line::TooLong(length)));
    }
    // The end of a line on Windows.
    if line.last() == Some(&b'\r') {
        line.pop();
    }
    Ok(Some(Line::Whole(line)))
}

#[cfg(test)]
mod tests {
    use std::io::BufReader;

    use proptest::collection::vec;
    use proptest::{prop_assert_eq, proptest};

    use super::*;

    fn lines(bytes: &[u8], most: usize, buffer: usize) -> Vec<Line> {
        let mut from = BufReader::with_capacity(buffer, bytes);
        std::iter::from_fn(|| next_line(&mut from, most).unwrap()).collect()
    }

    #[test]
    fn lines_end_as_on_any_system_and_the_last_need_not_end() {
        let whole = |text: &str| Line::Whole(text.as_bytes().to_vec());
        assert_eq!(lines(b"a\r\n\nbc\n\r\nd", 10, 2), ["a", "", "bc", "", "d"].map(whole));
        assert_eq!(lines(b"", 10, 2), []);
    }

    #[test]
    fn a_line_that_is_too_long_is_counted_and_those_after_it_are_read() {
        assert_eq!(
            lines(b"0123456789\n0123456789a\nb\n", 10, 3),
            [Line::Whole(b"0123456789".to_vec()), Line::TooLong(11), Line::Whole(b"b".to_vec())]
        );
    }

    proptest! {
        #[test]
        fn lines_together_are_the_file(
            parts in vec(vec(0_u8..=255, 0..20), 0..8),
            buffer in 1_usize..16,
            most in 0_usize..16,
        ) {
            let parts: Vec<Vec<u8>> = parts.into_iter().map(|mut part| {
                part.retain(|byte| *byte != b'\n' && *byte != b'\r');
                part
            }).collect();
            let file: Vec<u8> = parts.iter().flat_map(|part| part.iter().copied().chain([b'\n'])).collect();
            let expected: Vec<Line> = parts.into_iter().map(|part| match part.len() {
                length if length > most => Line::TooLong(length as u64),
                _ => Line::Whole(part),
            }).collect();
            prop_assert_eq!(lines(&file, most, buffer), expected);
        }
    }

    #[test]
    fn a_byte_order_mark_is_taken_and_another_encoding_is_named() {
        assert_eq!(text("\u{feff}{}".as_bytes()), Ok("{}"));
        assert_eq!(text(b"{}"), Ok("{}"));
        assert_eq!(text(b"\xff\xfe{\0}\0"), Err(NotText::Utf16));
        assert_eq!(text(b"{\0}\0"), Err(NotText::Utf16));
        assert_eq!(text(b"\0{\0}"), Err(NotText::Utf16));
        assert_eq!(text(b"{\xe9}"), Err(NotText::Byte(0xe9, 1)));
        assert!(NotText::Byte(0xe9, 1).to_string().contains("0xe9) at offset 1"));
    }
}
