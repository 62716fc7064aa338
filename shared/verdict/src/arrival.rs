//! When log lines came.

use std::time::Duration;

use baton_api::fleet::LogView;
use baton_model::Timestamp;

/// How far the time that a line bears may be from when it was received without a word about it.
const APART: Duration = Duration::from_secs(1);

/// The time that a line bears by its worker's own clock, if that is more than a second from when it was received. Lines stand where they were
/// received, as in the time line: a clock that is wrong moves none. This time stands beside.
pub fn dated(line: &LogView) -> Option<Timestamp> {
    let apart = line.at.as_millis().abs_diff(line.received_at.as_millis());
    (u128::from(apart) > APART.as_millis()).then_some(line.at)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_dated_if_its_time_is_more_than_a_second_from_when_it_came() {
        let line = |at: &str| -> LogView {
            serde_json::from_value(serde_json::json!({"at": at, "received_at": "2026-01-31T08:00:00.000Z",
                "worker_id": "w1", "level": "info", "source": "stderr", "message": "hot"}))
            .unwrap()
        };
        for near in ["2026-01-31T08:00:01.000Z", "2026-01-31T07:59:59.000Z", "2026-01-31T08:00:00.000Z"] {
            assert_eq!(dated(&line(near)), None, "{near}");
        }
        for far in ["2026-01-31T08:00:01.001Z", "2026-01-31T07:59:58.999Z", "2199-01-01T00:00:00.000Z"] {
            assert_eq!(dated(&line(far)), Some(far.parse().unwrap()));
        }
    }
}
