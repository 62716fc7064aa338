//! A stream of bytes, cut into lines; lines that are longer than a bound are cut into pieces, between letters.

/// Cuts what it is handed, whatever the portions in which it comes.
#[derive(Debug)]
pub(crate) struct Lines {
    /// The line so far, without what has been handed on.
    kept: Vec<u8>,
    /// The most bytes of one piece.
    most: usize,
    /// Whether a piece of this line has been handed on.
    begun: bool,
}

/// A line, or a piece of one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Piece<'a> {
    /// Without the newline.
    pub(crate) bytes: &'a [u8],
    /// Whether the line begins with it.
    pub(crate) begins: bool,
    pub(crate) end: End,
}

/// What a piece ends with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    Newline,
    /// The stream ends within the line: what a program that is killed said last.
    Stream,
    /// The line is longer than a piece may be, and goes on.
    Bound,
}

impl Lines {
    /// `most` is at least 4, the longest letter of UTF-8.
    pub(crate) fn of_at_most(most: usize) -> Self {
        Self { kept: Vec::new(), most: most.max(4), begun: false }
    }

    pub(crate) fn push(&mut self, mut bytes: &[u8], mut each: impl FnMut(Piece<'_>)) {
        while !bytes.is_empty() {
            // One byte over the bound tells a line that is longer from one that just fits.
            let room = self.most + 1 - self.kept.len();
            let portion = &bytes[..bytes.len().min(room)];
            let newline = portion.iter().position(|byte| *byte == b'\n');
            self.kept.extend_from_slice(&portion[..newline.unwrap_or(portion.len())]);
            bytes = &bytes[newline.map_or(portion.len(), |at| at + 1)..];
            if newline.is_some() {
                each(Piece { bytes: &self.kept, begins: !self.begun, end: End::Newline });
                self.kept.clear();
                self.begun = false;
            } else if self.kept.len() > self.most {
                let cut = border(&self.kept, self.most);
                each(Piece { bytes: &self.kept[..cut], begins: !self.begun, end: End::Bound });
                self.kept.drain(..cut);
                self.begun = true;
            }
        }
    }

    /// Hands on what came after the last newline.
    pub(crate) fn finish(self, each: impl FnOnce(Piece<'_>)) {
        if !self.kept.is_empty() {
            each(Piece { bytes: &self.kept, begins: !self.begun, end: End::Stream });
        }
    }
}

/// The last place up to `most` where a letter begins; `most` itself in what is no UTF-8.
fn border(bytes: &[u8], most: usize) -> usize {
    // A continuation byte (10xxxxxx) belongs to a letter that began up to three bytes before it.
    (most - 3..=most).rev().find(|&at| bytes[at] & 0xC0 != 0x80).unwrap_or(most)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    type Told = Vec<(Vec<u8>, bool, End)>;

    fn cut<'a>(most: usize, portions: impl IntoIterator<Item = &'a [u8]>) -> Told {
        let mut told = Told::new();
        let mut each = |piece: Piece<'_>| told.push((piece.bytes.to_vec(), piece.begins, piece.end));
        let mut lines = Lines::of_at_most(most);
        for portion in portions {
            lines.push(portion, &mut each);
        }
        lines.finish(each);
        told
    }

    #[test]
    fn a_long_line_is_cut_between_letters() {
        let text = "é".repeat(9_000);
        let pieces = cut(8_191, [text.as_bytes()]);
        let texts: Vec<_> = pieces.iter().map(|(bytes, ..)| std::str::from_utf8(bytes).unwrap()).collect();
        assert_eq!(texts.concat(), text);
        assert_eq!(pieces.len(), 3);
        let ends: Vec<_> = pieces.iter().map(|(_, begins, end)| (*begins, *end)).collect();
        assert_eq!(ends, [(true, End::Bound), (false, End::Bound), (false, End::Stream)]);
    }

    #[test]
    fn a_line_that_just_fits_is_whole() {
        let whole = |text: &str| (text.as_bytes().to_vec(), true, End::Newline);
        assert_eq!(cut(4, [&b"abcd\n\nef\n"[..]]), [whole("abcd"), whole(""), whole("ef")]);
        assert_eq!(cut(4, [&b"abcd"[..]]), [(b"abcd".to_vec(), true, End::Stream)]);
    }

    proptest! {
        /// Nothing is lost, doubled or torn, and the portions in which it comes make no difference.
        #[test]
        fn pieces_make_up_the_stream_however_it_comes(
            words in prop::collection::vec("[aé€𝄞\n]{0,9}", 0..12),
            most in 4_usize..20,
        ) {
            let text = words.concat();
            let pieces = cut(most, words.iter().map(String::as_bytes));
            prop_assert_eq!(&pieces, &cut(most, [text.as_bytes()]));
            let mut again = Vec::new();
            let mut begins = true;
            for (bytes, begun, end) in &pieces {
                prop_assert!(bytes.len() <= most && std::str::from_utf8(bytes).is_ok());
                prop_assert_eq!(*begun, begins);
                again.extend_from_slice(bytes);
                begins = *end == End::Newline;
                if begins {
                    again.push(b'\n');
                }
            }
            prop_assert_eq!(again, text.into_bytes());
        }

        /// Nor is anything of what is no text at all.
        #[test]
        fn bytes_that_are_no_text_are_kept(bytes in prop::collection::vec(any::<u8>(), 0..200), most in 4_usize..20) {
            let mut again = Vec::new();
            for (bytes, _, end) in cut(most, [&bytes[..]]) {
                again.extend(bytes);
                again.extend((end == End::Newline).then_some(b'\n'));
            }
            prop_assert_eq!(again, bytes);
        }
    }
}
