//! How durations, ages, sizes and words of a shell are written.

use std::time::Duration;

use baton_model::Timestamp;

/// A duration in its largest fitting unit: `40ms`, `7.2s`, `3m`, `5h`, `12d`.
pub fn span(span: Duration) -> String {
    let seconds = span.as_secs_f64();
    match span.as_secs() {
        0 if span.as_millis() == 0 && !span.is_zero() => format!("{seconds:.6}s"),
        0 => format!("{}ms", span.as_millis()),
        1..10 => format!("{seconds:.1}s"),
        secs @ 10..120 => format!("{secs}s"),
        secs @ 120..7_200 => format!("{}m", secs / 60),
        secs @ 7_200..172_800 => format!("{}h", secs / 3_600),
        secs => format!("{}d", secs / 86_400),
    }
}

/// Seconds as [`span`] writes them.
pub fn seconds(seconds: f64) -> String {
    span(Duration::try_from_secs_f64(seconds).unwrap_or_default())
}

/// How long ago, or how far ahead: `3m ago`, `in 20s`, `now`.
pub fn ago(at: Timestamp, now: Timestamp) -> String {
    if at > now {
        return format!("in {}", whole(at.since(now)));
    }
    match now.since(at) {
        past if past < Duration::from_secs(1) => "now".to_owned(),
        past => format!("{} ago", whole(past)),
    }
}

fn whole(length: Duration) -> String {
    span(Duration::from_secs(length.as_secs().max(1))).replace(".0s", "s")
}

/// Bytes in MiB.
pub fn mebibytes(bytes: u64) -> String {
    format!("{:.1} MiB", bytes as f64 / f64::from(1 << 20))
}

/// The first line of a text, cut to `most` characters.
pub fn short(text: &str, most: usize) -> String {
    let mut lines = text.trim().lines();
    let line = lines.next().unwrap_or_default();
    let more = lines.next().is_some() || line.chars().count() > most;
    let mut cut: String = line.chars().take(if more { most.saturating_sub(1) } else { most }).collect();
    if more {
        cut.push('…');
    }
    cut
}

/// A word as a shell takes it.
pub fn quoted(word: &str) -> String {
    let plain = |c: char| c.is_alphanumeric() || "/._-:+=@%,".contains(c);
    if !word.is_empty() && word.chars().all(plain) {
        return word.to_owned();
    }
    format!("'{}'", word.replace('\'', "'\\''"))
}
