//! The end of a stream of bytes, kept within bounds.

use std::collections::VecDeque;

/// Keeps the last `cap` bytes of what is pushed, and counts all.
#[derive(Debug)]
pub struct Tail {
    kept: VecDeque<u8>,
    cap: usize,
    total: u64,
}

impl Tail {
    /// Nothing yet, of which at most `cap` bytes will be kept.
    pub fn new(cap: usize) -> Self {
        Self { kept: VecDeque::new(), cap, total: 0 }
    }

    /// Takes what comes next.
    pub fn push(&mut self, bytes: &[u8]) {
        self.total += bytes.len() as u64;
        let bytes = &bytes[bytes.len().saturating_sub(self.cap)..];
        let excess = (self.kept.len() + bytes.len()).saturating_sub(self.cap);
        self.kept.drain(..excess);
        self.kept.extend(bytes);
    }

    /// Whether nothing has been left out.
    pub fn is_whole(&self) -> bool {
        self.total == self.kept.len() as u64
    }

    /// The last bytes, at most `most`, as text from a character's beginning, and how many bytes came before them.
    pub fn text(&self, most: usize) -> (String, u64) {
        let mut from = self.kept.len().saturating_sub(most);
        // A continuation byte (10xxxxxx) at the cut belongs to a character that began before it.
        while (from > 0 || !self.is_whole()) && self.kept.get(from).is_some_and(|byte| byte & 0xC0 == 0x80) {
            from += 1;
        }
        let bytes: Vec<u8> = self.kept.iter().skip(from).copied().collect();
        let before = self.total - bytes.len() as u64;
        (String::from_utf8_lossy(&bytes).into_owned(), before)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_end_is_kept_and_what_came_before_is_counted() {
        let mut tail = Tail::new(4);
        tail.push(b"ab");
        tail.push(b"cd");
        assert!(tail.is_whole());
        assert_eq!(tail.text(3), ("bcd".to_owned(), 1));
        tail.push(b"e");
        assert_eq!(tail.text(10), ("bcde".to_owned(), 1));
        tail.push(b"123456789");
        assert_eq!(tail.text(10), ("6789".to_owned(), 10));
    }

    #[test]
    fn a_cut_character_is_left_out() {
        let mut tail = Tail::new(100);
        tail.push("aüb".as_bytes());
        assert_eq!(tail.text(2), ("b".to_owned(), 3));
        assert_eq!(tail.text(3), ("üb".to_owned(), 1));
    }
}
