//! How an attempt ended, judged from the command's exit and from what it said.

use std::os::unix::process::ExitStatusExt as _;
use std::process::ExitStatus;
use std::time::Duration;

use baton_api::complete::ErrorFields;
use baton_model::Payload;

use crate::logs::printable;
use crate::output::{ERROR_BYTES, Said};
use crate::plain::Reading;

/// The code of an attempt whose output the server does not take.
pub(crate) const RESULT_REFUSED: &str = "result_refused";
/// The code of an attempt that ran past its task's timeout.
pub(crate) const TIMED_OUT: &str = "timed_out";
/// `EX_DATAERR` of sysexits(3): the input is wrong, and stays wrong.
const EX_DATAERR: i32 = 65;
/// `EX_TEMPFAIL` of sysexits(3): try again later.
const EX_TEMPFAIL: i32 = 75;

/// What is to be told to the server.
#[derive(Debug, PartialEq)]
pub(crate) enum Outcome {
    /// It is done.
    Done(Box<Done>),
    /// It failed.
    Failed(Box<Failed>),
    /// It is given back.
    Released { delay: Duration, reason: String },
    /// Nothing: the attempt is no longer this worker's.
    Lost { reason: String },
}

#[derive(Debug, Default, PartialEq)]
pub(crate) struct Done {
    pub(crate) result: Option<Payload>,
    pub(crate) location: Option<String>,
    pub(crate) kind: Option<String>,
    pub(crate) metadata: Option<Payload>,
    /// The files that it has left, once they are with the server.
    pub(crate) files: Vec<String>,
    /// How long the command ran, if that was taken.
    pub(crate) ran: Option<Duration>,
    /// Whether processes of the command are still to be ended, so that its slot takes no other task yet.
    pub(crate) slot_taken: bool,
}

#[derive(Debug, PartialEq)]
pub(crate) struct Failed {
    pub(crate) error: ErrorFields,
    pub(crate) retryable: bool,
    pub(crate) retry_after: Option<Duration>,
}

impl Outcome {
    pub(crate) fn failed(code: &str, message: impl Into<String>, retryable: bool) -> Self {
        let error = ErrorFields { message: message.into(), code: Some(code.to_owned()), details: None };
        Self::Failed(Box::new(Failed { error, retryable, retry_after: None }))
    }

    /// The outcome of a command that has exited by itself, and what its log is to tell besides.
    pub(crate) fn of_exit(
        status: ExitStatus,
        said: &mut Said,
        release_delay: Duration,
    ) -> (Self, Option<String>) {
        if said.fail.is_none() && status.success() {
            return match Self::misunderstood(said) {
                Some(failed) => (failed, None),
                None => Self::of_output(said),
            };
        }
        (Self::of_failure(status, said, release_delay), None)
    }

    /// What a command has made that did well. All of its output is kept, or its attempt fails: a part never passes for
    /// the whole.
    fn of_output(said: &mut Said) -> (Self, Option<String>) {
        let told = said.result.take();
        let reading = if told.is_some() { Reading::Nothing } else { said.plain.reading() };
        let (result, remark) = match reading {
            Reading::Nothing => (told, None),
            Reading::Json(result) | Reading::Bytes(result) | Reading::Text { result, not_json: None } => {
                (Some(result), None)
            }
            Reading::Text { result, not_json: Some(fault) } => {
                let remark =
                    format!("the output looks like JSON but is kept as text, {{\"stdout\": …}}: {fault}");
                (Some(result), Some(remark))
            }
            // Its output is elsewhere, and this is what it said on the way.
            Reading::TooLarge(refused) if said.location.is_some() => (
                None,
                Some(format!("plain output is left out of the result, as the location is told: {refused}")),
            ),
            Reading::TooLarge(refused) => return (Self::failed(RESULT_REFUSED, refused, false), None),
        };
        let done = Done {
            result,
            location: said.location.take(),
            kind: said.kind.take(),
            metadata: said.metadata.take(),
            files: Vec::new(),
            ran: None,
            slot_taken: false,
        };
        (Self::Done(Box::new(done)), remark)
    }

    fn of_failure(status: ExitStatus, said: &mut Said, release_delay: Duration) -> Self {
        if let Some(fail) = said.fail.take() {
            let retry_after = fail.retry_after();
            let error = ErrorFields { message: fail.message, code: fail.code, details: fail.details };
            return Self::Failed(Box::new(Failed {
                error,
                retryable: fail.retryable.unwrap_or(true),
                retry_after,
            }));
        }
        match (status.code(), status.signal()) {
            (Some(EX_TEMPFAIL), _) => {
                let reason = last_line(said).unwrap_or_else(|| "the command asked to try later".to_owned());
                Self::Released { delay: release_delay, reason }
            }
            (Some(code), _) => {
                let message = with_stderr(&format!("the command exited with code {code}"), said);
                Self::failed(&format!("exit_{code}"), message, code != EX_DATAERR)
            }
            (None, signal) => {
                let signal = signal.unwrap_or_default();
                let message = with_stderr(&format!("the command was ended by signal {signal}"), said);
                Self::failed(&format!("signal_{signal}"), message, true)
            }
        }
    }

    /// The failure of a command that ended well, but whose output was lost on the way; none if nothing was lost.
    fn misunderstood(said: &Said) -> Option<Self> {
        if let Some(reason) = &said.refused {
            return Some(Self::failed(RESULT_REFUSED, reason.as_str(), false));
        }
        if said.result.is_some() || said.location.is_some() {
            return None;
        }
        let misread = said.misread.as_ref()?;
        // Plain output is the result of a command that only fails to tell its progress.
        if !misread.outcome && !said.plain.is_empty() {
            return None;
        }
        let message = format!(
            "the command told no result that could be read; a ::baton line was not understood: {}",
            misread.fault
        );
        Some(Self::failed("protocol_error", message, true))
    }

    /// The outcome of a command that ran longer than its task may.
    pub(crate) fn timed_out(timeout: Duration, said: &Said) -> Self {
        let what = format!("the command ran past its timeout of {} s", timeout.as_secs_f64());
        let message = match stderr_tail(said) {
            Some(tail) => format!("{what}; its last words:\n{tail}"),
            None => what,
        };
        Self::failed(TIMED_OUT, message, true)
    }
}

/// The end of standard error, which most often tells the cause; `what` alone if there is none.
fn with_stderr(what: &str, said: &Said) -> String {
    stderr_tail(said).unwrap_or_else(|| what.to_owned())
}

fn stderr_tail(said: &Said) -> Option<String> {
    let (text, before) = said.stderr.text(ERROR_BYTES);
    let text = printable(text.trim());
    match (text.is_empty(), before) {
        (true, _) => None,
        (false, 0) => Some(text),
        (false, before) => Some(format!("[{before} bytes left out]\n{text}")),
    }
}

fn last_line(said: &Said) -> Option<String> {
    let text = said.stderr.text(500).0;
    let line = text.lines().rev().map(str::trim).find(|line| !line.is_empty())?;
    Some(printable(line))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn exit(code: i32) -> ExitStatus {
        ExitStatus::from_raw(code << 8)
    }

    const MOST: usize = 1024;

    fn nothing() -> Said {
        Said::nothing(MOST)
    }

    fn of_exit(status: ExitStatus, said: &mut Said) -> Outcome {
        Outcome::of_exit(status, said, Duration::from_secs(7)).0
    }

    /// The result of a command that printed this and exited with 0, and what its log tells besides.
    fn result_of(plain: &[u8], location: Option<&str>) -> (Result<Option<String>, String>, Option<String>) {
        let mut said = Said { location: location.map(str::to_owned), ..nothing() };
        said.plain.push(plain);
        let (outcome, remark) = Outcome::of_exit(exit(0), &mut said, Duration::ZERO);
        let result = match outcome {
            Outcome::Done(done) => Ok(done.result.map(|result| result.as_str().to_owned())),
            Outcome::Failed(failed) => {
                assert_eq!((failed.error.code.as_deref(), failed.retryable), (Some(RESULT_REFUSED), false));
                Err(failed.error.message)
            }
            other => panic!("{other:?}"),
        };
        (result, remark)
    }

    #[test]
    fn plain_output_is_the_result() {
        let whole = |text: &str| (Ok(Some(text.to_owned())), None);
        assert_eq!(result_of(b"", None), (Ok(None), None));
        assert_eq!(result_of(b"{\"a\": 1.50}\n", None), whole(r#"{"a": 1.50}"#));
        assert_eq!(result_of(b"hello\n", None), whole(r#"{"stdout":"hello\n"}"#));
        assert_eq!(result_of(b"\xff", None), whole(r#"{"stdout_base64":"/w=="}"#));
        assert_eq!(result_of(b"7", Some("/out/7")), whole("7"));
    }

    #[test]
    fn output_that_looks_like_json_and_is_not_is_kept_as_text_and_the_log_tells_why() {
        let (result, remark) = result_of(b"{\"loss\": NaN}", None);
        assert_eq!(result.unwrap().unwrap(), r#"{"stdout":"{\"loss\": NaN}"}"#);
        assert!(remark.unwrap().contains("column 10"));
    }

    #[test]
    fn output_that_is_too_large_fails_for_good_unless_the_location_of_the_output_was_told() {
        let printed = "x".repeat(MOST);
        let (refused, remark) = result_of(printed.as_bytes(), None);
        let refused = refused.unwrap_err();
        assert!(
            refused.contains("at most 1024 bytes") && refused.contains("got 1024 bytes of text"),
            "{refused}"
        );
        assert_eq!(remark, None);
        let (result, remark) = result_of(printed.as_bytes(), Some("/out/7"));
        assert_eq!(result, Ok(None));
        assert!(remark.unwrap().contains("got 1024 bytes of text"));
    }

    #[test]
    fn exit_codes_say_whether_to_try_again() {
        let outcome = |code| {
            let mut said = nothing();
            said.stderr.push(b"reading\nno such page\n");
            of_exit(exit(code), &mut said)
        };
        assert_eq!(outcome(3), Outcome::failed("exit_3", "reading\nno such page", true));
        assert_eq!(outcome(65), Outcome::failed("exit_65", "reading\nno such page", false));
        let released = Outcome::Released { delay: Duration::from_secs(7), reason: "no such page".to_owned() };
        assert_eq!(outcome(75), released);
        let killed = of_exit(ExitStatus::from_raw(9), &mut nothing());
        assert_eq!(killed, Outcome::failed("signal_9", "the command was ended by signal 9", true));
    }

    #[test]
    fn a_failure_that_the_command_tells_goes_before_its_exit_code() {
        let mut said = nothing();
        said.result = Some(Payload::default());
        said.fail = Some(
            crate::protocol::read(br#"{"fail":{"message":"m","code":"c","retryable":false}}"#)
                .unwrap()
                .fail
                .unwrap(),
        );
        assert_eq!(of_exit(exit(0), &mut said), Outcome::failed("c", "m", false));
    }

    fn misread(outcome: bool) -> Said {
        let misread = crate::output::Misread { fault: "EOF: ::baton {".to_owned(), outcome };
        Said { misread: Some(misread), ..nothing() }
    }

    fn code_of(mut said: Said) -> Option<String> {
        match of_exit(exit(0), &mut said) {
            Outcome::Failed(failed) => failed.error.code,
            _ => None,
        }
    }

    #[test]
    fn a_line_that_was_not_understood_does_not_pass_for_a_result() {
        assert_eq!(code_of(misread(true)).as_deref(), Some("protocol_error"));
        assert_eq!(code_of(misread(false)).as_deref(), Some("protocol_error"));
        // What came besides decides: a result or a location does, plain output only beside a mere remark.
        assert_eq!(code_of(Said { result: Some(Payload::default()), ..misread(true) }), None);
        assert_eq!(code_of(Said { location: Some("/7".to_owned()), ..misread(true) }), None);
        for (outcome, code) in [(true, Some("protocol_error")), (false, None)] {
            let mut said = misread(outcome);
            said.plain.push(b"7");
            assert_eq!(code_of(said).as_deref(), code);
        }
        let refused =
            Said { refused: Some("too long".to_owned()), location: Some("/7".to_owned()), ..misread(true) };
        assert_eq!(code_of(refused).as_deref(), Some("result_refused"));
    }

    #[test]
    fn a_timeout_is_named_whatever_the_command_said() {
        let mut said = nothing();
        let message = |said: &Said| match Outcome::timed_out(Duration::from_millis(1_500), said) {
            Outcome::Failed(failed) => failed.error.message,
            other => panic!("{other:?}"),
        };
        assert_eq!(message(&said), "the command ran past its timeout of 1.5 s");
        said.stderr.push(b"still here\n");
        assert_eq!(message(&said), "the command ran past its timeout of 1.5 s; its last words:\nstill here");
    }
}
