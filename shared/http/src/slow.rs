//! The paths whose requests may take longer than others.

use std::time::Duration;

/// Paths, and how much longer than others their requests may take. One that ends with `/*` means all below it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Slow(pub(crate) Vec<(&'static str, Duration)>);

impl Slow {
    /// How much longer than others a request for this path may take.
    pub(crate) fn longer(&self, path: &str) -> Option<Duration> {
        self.0.iter().find(|(slow, _)| is(slow, path)).map(|(_, longer)| *longer)
    }
}

fn is(slow: &str, path: &str) -> bool {
    match slow.strip_suffix('*') {
        Some(above) => path.starts_with(above),
        None => slow == path,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_is_slow_by_itself_or_with_all_below_it() {
        let (short, long) = (Duration::from_secs(20), Duration::from_secs(3_600));
        let slow = Slow(vec![("/", short), ("/v1/claims", short), ("/v1/files/*", long)]);
        for (path, longer) in [
            ("/", Some(short)),
            ("/v1/claims", Some(short)),
            ("/v1/claims/a", None),
            ("/v1/files/film/a.png", Some(long)),
            ("/v1/files", None),
            ("/v1/tasks", None),
        ] {
            assert_eq!(slow.longer(path), longer, "{path}");
        }
    }
}
