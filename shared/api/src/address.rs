//! Texts as they stand in addresses and headers.

use std::fmt::Write as _;

/// What a part of a path may hold as it is, with the `/` between parts: RFC 3986 §3.3.
pub const PATH: &[u8] = b"-._~/!$&'()*+,;=:@";

/// What any address and any header takes as it is, slashes left out: RFC 3986 §2.3, RFC 8187 §3.2.1.
pub const NAME: &[u8] = b"-._";

/// A text with all of its bytes but letters, digits and `plain` as `%` and two digits (RFC 3986 §2.1).
pub fn escaped(text: &str, plain: &[u8]) -> String {
    let mut escaped = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || plain.contains(&byte) {
            escaped.push(char::from(byte));
        } else {
            // A string takes whatever is written to it.
            let _ = write!(escaped, "%{byte:02X}");
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_plain_is_written_in_hexadecimal_digits() {
        assert_eq!(escaped("a b/ü;%.png", PATH), "a%20b/%C3%BC;%25.png");
        assert_eq!(escaped("a b/ü;%.png", NAME), "a%20b%2F%C3%BC%3B%25.png");
        assert_eq!(escaped("", NAME), "");
    }
}
