//! The lines by which a command speaks to its worker: `::baton ` and a JSON object.

use std::time::Duration;

use baton_model::{Level, Payload, limits};
use serde::Deserialize;

/// What a line of the protocol begins with.
const PREFIX: &[u8] = b"::baton";

/// What follows the prefix of a line of the protocol; none for any other line. `::batonic` is another word.
pub(crate) fn after_prefix(line: &[u8]) -> Option<&[u8]> {
    let rest = line.strip_prefix(PREFIX)?;
    (!rest.first().is_some_and(u8::is_ascii_alphanumeric)).then_some(rest)
}

/// Whether a line that cannot be read tells, as far as can be seen, of nothing but progress or the log: it begins with
/// such a key, and names none that an outcome has.
pub(crate) fn is_side_remark(json: &[u8]) -> bool {
    let text = String::from_utf8_lossy(json);
    let Some(inner) = text.trim_start().strip_prefix('{') else { return false };
    let first = inner.trim_start().trim_start_matches(['"', '\'']);
    let aside = ["prog", "mess", "log"].iter().any(|key| first.starts_with(key));
    aside && !["\"result\"", "\"location\"", "\"kind\"", "\"fail\""].iter().any(|key| text.contains(key))
}

/// One line, read. Each part is there if the line has it.
#[derive(Debug, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Line {
    pub(crate) progress: Option<f64>,
    pub(crate) message: Option<String>,
    pub(crate) result: Option<Payload>,
    pub(crate) location: Option<String>,
    pub(crate) kind: Option<String>,
    pub(crate) metadata: Option<Payload>,
    pub(crate) log: Option<Log>,
    pub(crate) fail: Option<Fail>,
}

#[derive(Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Log {
    pub(crate) level: Option<Level>,
    pub(crate) message: String,
    pub(crate) metadata: Option<Payload>,
}

#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Fail {
    pub(crate) message: String,
    pub(crate) code: Option<String>,
    pub(crate) details: Option<Payload>,
    pub(crate) retryable: Option<bool>,
    pub(crate) retry_after_seconds: Option<f64>,
}

impl Fail {
    /// The wait before the next attempt that was asked for.
    pub(crate) fn retry_after(&self) -> Option<Duration> {
        self.retry_after_seconds.and_then(|seconds| Duration::try_from_secs_f64(seconds).ok())
    }
}

/// Reads what [`after_prefix`] answers.
///
/// # Errors
/// What is wrong with it, for the log and the failure.
pub(crate) fn read(json: &[u8]) -> Result<Line, String> {
    if !json.first().is_none_or(|byte| matches!(byte, b' ' | b'{')) {
        return Err("expected a space and a JSON object after ::baton".to_owned());
    }
    let text = std::str::from_utf8(json).map_err(|_| "expected UTF-8".to_owned())?;
    let line: Line = serde_json::from_str(text).map_err(|error| error.to_string())?;
    if line.progress.is_some_and(|progress| !(0.0..=1.0).contains(&progress)) {
        return Err(format!("expected a progress from 0 to 1, got {:?}", line.progress.unwrap_or_default()));
    }
    fits("location", line.location.as_deref(), limits::LOCATION_BYTES)?;
    fits("kind", line.kind.as_deref(), 255)?;
    if let Some(fail) = &line.fail {
        fits("fail.message", Some(&fail.message), 64 * 1024)?;
        fits("fail.code", fail.code.as_deref(), 128)?;
        let after = fail.retry_after_seconds;
        if after.is_some() && fail.retry_after().is_none_or(|after| after > limits::LONGEST_DELAY) {
            return Err(format!("expected fail.retry_after_seconds from 0 to a year, got {after:?}"));
        }
    }
    if let Some(metadata) = line.log.as_ref().and_then(|log| log.metadata.as_ref())
        && metadata.size() > limits::LOG_BYTES
    {
        return Err(format!(
            "expected log.metadata of at most {} bytes, got {}",
            limits::LOG_BYTES,
            metadata.size()
        ));
    }
    Ok(line)
}

fn fits(name: &str, text: Option<&str>, most: usize) -> Result<(), String> {
    match text {
        Some(text) if text.is_empty() || text.len() > most || text.contains('\0') => {
            Err(format!("expected {name} of 1 to {most} bytes without NUL, got {} bytes", text.len()))
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_kind_of_line_is_read() {
        let line = read(br#"{"progress":0.5,"message":"half"}"#).unwrap();
        assert_eq!((line.progress, line.message.as_deref()), (Some(0.5), Some("half")));
        let line = read(br#"{"location":"/out/7.png","kind":"image/png","metadata":{"w":1.50}}"#).unwrap();
        assert_eq!(line.metadata.unwrap().as_str(), r#"{"w":1.50}"#);
        let line = read(br#"{"log":{"level":"warn","message":"slow"}}"#).unwrap();
        assert_eq!(line.log.unwrap().level, Some(Level::Warn));
        let line =
            read(br#"{"fail":{"message":"m","code":"c","retryable":false,"retry_after_seconds":1.5}}"#)
                .unwrap();
        let fail = line.fail.unwrap();
        assert_eq!((fail.retryable, fail.retry_after()), (Some(false), Some(Duration::from_millis(1_500))));
        assert_eq!(read(br#"{"result":[1]}"#).unwrap().result.unwrap().as_str(), "[1]");
    }

    #[test]
    fn lines_of_the_protocol_are_told_from_others() {
        assert_eq!(after_prefix(b"::baton {}"), Some(&b" {}"[..]));
        assert_eq!(after_prefix(b"::baton: {}"), Some(&b": {}"[..]));
        assert_eq!((after_prefix(b"::batonic"), after_prefix(b" ::baton {}")), (None, None));
        assert!(read(b": {}").unwrap_err().contains("after ::baton"));
    }

    #[test]
    fn only_a_line_of_progress_or_log_is_a_side_remark() {
        for line in
            [r#" {"progres": 1}"#, r#" {"log": {"message": 1, "metadata": {}}}"#, " {message: failed}"]
        {
            assert!(is_side_remark(line.as_bytes()), "{line}");
        }
        for line in [r#" {"progress": 1, "result": }"#, r#" {"reslt": 1}"#, " 7", "", r#" {"fail": "no"}"#] {
            assert!(!is_side_remark(line.as_bytes()), "{line}");
        }
    }

    #[test]
    fn what_does_not_fit_is_refused_with_a_reason() {
        for (line, reason) in [
            (&b"{"[..], "EOF"),
            (b" []", "invalid"),
            (b" \xff", "UTF-8"),
            (br#"{"progres":1}"#, "unknown field `progres`"),
            (br#"{"progress":1.5}"#, "from 0 to 1"),
            (br#"{"progress":"x"}"#, "invalid type"),
            (br#"{"location":""}"#, "location of 1 to 4096 bytes"),
            (br#"{"fail":{"message":""}}"#, "fail.message"),
            (br#"{"fail":{"message":"m","retry_after_seconds":-1}}"#, "retry_after_seconds"),
            (br#"{"log":{"level":"loud","message":""}}"#, "unknown variant `loud`"),
        ] {
            let error = read(line).unwrap_err();
            assert!(error.contains(reason), "{}: {error}", String::from_utf8_lossy(line));
        }
    }
}
