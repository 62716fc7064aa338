//! Texts that are made to fit a bound.

/// The most characters of a note: a reason, a message, a label.
pub(crate) const NOTE_CHARS: usize = 1_000;

/// The last `most` bytes of a text, whole characters.
pub fn keep_end(text: String, most: usize) -> String {
    if text.len() <= most {
        return text;
    }
    let from = (text.len() - most..text.len()).find(|&at| text.is_char_boundary(at)).unwrap_or(text.len());
    format!("…{}", &text[from..])
}

/// The first `most` bytes of a text, whole characters.
pub fn keep_start(mut text: String, most: usize) -> String {
    if text.len() > most {
        let to = (0..=most).rev().find(|&at| text.is_char_boundary(at)).unwrap_or(0);
        text.truncate(to);
        text.push('…');
    }
    text
}
