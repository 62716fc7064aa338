//! What a file is, by its own first bytes; and what of that is shown by a browser without being run.

/// How many bytes are looked at.
pub const SNIFFED: usize = 512;

/// What is none of those that are known.
pub const OTHER: &str = "application/octet-stream";

/// A kind, and what files of it begin with: bytes at a place.
type Beginning = (&'static str, usize, &'static [u8]);

/// The kinds that are known by their beginnings (WHATWG MIME Sniffing §6 and §7, as far as nothing active is among them).
const BEGINNINGS: &[Beginning] = &[
    ("image/png", 0, b"\x89PNG\r\n\x1a\n"),
    ("image/jpeg", 0, b"\xff\xd8\xff"),
    ("image/gif", 0, b"GIF87a"),
    ("image/gif", 0, b"GIF89a"),
    ("image/webp", 8, b"WEBP"),
    ("image/bmp", 0, b"BM"),
    ("image/avif", 4, b"ftypavif"),
    ("image/tiff", 0, b"II*\0"),
    ("image/tiff", 0, b"MM\0*"),
    ("video/quicktime", 4, b"ftypqt"),
    ("video/mp4", 4, b"ftyp"),
    ("video/webm", 0, b"\x1a\x45\xdf\xa3"),
    ("audio/wav", 8, b"WAVE"),
    ("audio/mpeg", 0, b"ID3"),
    ("audio/mpeg", 0, b"\xff\xfb"),
    ("audio/ogg", 0, b"OggS\0"),
    ("audio/flac", 0, b"fLaC"),
    ("application/pdf", 0, b"%PDF-"),
    ("application/zip", 0, b"PK\x03\x04"),
    ("application/gzip", 0, b"\x1f\x8b\x08"),
    ("application/zstd", 0, b"\x28\xb5\x2f\xfd"),
];

/// What its sender may say of a file that is text.
const TEXTS: &[&str] =
    &["application/json", "application/x-ndjson", "text/csv", "text/markdown", "text/plain"];

/// What a file is that begins so. `said` is what its sender says, which counts for kinds of text alone.
pub fn sniff(beginning: &[u8], said: Option<&str>) -> &'static str {
    let is = |(_, at, bytes): &&Beginning| beginning.get(*at..).is_some_and(|rest| rest.starts_with(bytes));
    if let Some((kind, ..)) = BEGINNINGS.iter().find(is) {
        return kind;
    }
    let is_text = !beginning.is_empty() && !beginning.iter().any(|byte| is_binary(*byte));
    if !is_text {
        return OTHER;
    }
    let said = said.map(|said| said.split(';').next().unwrap_or_default().trim().to_ascii_lowercase());
    TEXTS.iter().find(|text| said.as_deref() == Some(**text)).copied().unwrap_or("text/plain")
}

/// Bytes that no text has: WHATWG MIME Sniffing §3, "binary data byte".
const fn is_binary(byte: u8) -> bool {
    matches!(byte, 0x00..=0x08 | 0x0b | 0x0e..=0x1a | 0x1c..=0x1f)
}

/// Whether a browser shows this kind without running anything of it. All else is only ever saved.
pub fn is_inert(content_type: &str) -> bool {
    let image = content_type.starts_with("image/") && content_type != "image/svg+xml";
    image
        || content_type.starts_with("video/")
        || content_type.starts_with("audio/")
        || content_type == "text/plain"
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn kinds_are_known_by_their_beginnings_and_by_nobodys_word() {
        assert_eq!(sniff(b"\x89PNG\r\n\x1a\n....", Some("text/html")), "image/png");
        assert_eq!(sniff(b"\0\0\0\x20ftypisom", None), "video/mp4");
        assert_eq!(sniff(b"RIFF\x10\0\0\0WEBPVP8 ", None), "image/webp");
        assert_eq!(sniff(b"{\"a\": 1}", Some("Application/JSON; charset=utf-8")), "application/json");
        assert_eq!(sniff(b"{\"a\": 1}", None), "text/plain");
        assert_eq!(sniff(b"\0\x01\x02", Some("image/png")), OTHER);
        assert_eq!(sniff(b"", Some("image/png")), OTHER);
    }

    /// Nothing that a browser would run is ever called what it is.
    #[test]
    fn pages_and_scripts_are_plain_text() {
        for active in [
            "<!DOCTYPE html><script>alert(1)</script>",
            "<svg xmlns='http://www.w3.org/2000/svg' onload='alert(1)'/>",
            "alert(1)",
            "<?xml version='1.0'?><html/>",
        ] {
            for said in ["text/html", "image/svg+xml", "text/javascript", "application/xhtml+xml", "text/xml"]
            {
                assert_eq!(sniff(active.as_bytes(), Some(said)), "text/plain");
            }
        }
        for kind in ["text/html", "image/svg+xml", "application/pdf", "text/javascript", OTHER] {
            assert!(!is_inert(kind), "{kind}");
        }
    }

    proptest! {
        #[test]
        fn whatever_comes_is_some_kind_that_is_not_active(bytes: Vec<u8>, said: Option<String>) {
            let kind = sniff(&bytes, said.as_deref());
            prop_assert!(!["text/html", "image/svg+xml", "text/javascript", "text/xml"].contains(&kind));
        }
    }
}
