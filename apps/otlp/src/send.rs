//! Sends a body to a collector, as OTLP over HTTP has it.

use std::io::Write as _;
use std::time::Duration;

use flate2::Compression;
use flate2::write::GzEncoder;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceResponse;
use prost::Message as _;
use prost::bytes::Bytes;
use reqwest::StatusCode;
use reqwest::header::{CONTENT_ENCODING, CONTENT_TYPE, RETRY_AFTER};
use tokio::time::{Instant, sleep};

use crate::settings::Target;
use crate::stop::Stopped;

/// The pause after the first refusal that may pass; each further one is twice as long.
const FIRST_PAUSE: Duration = Duration::from_millis(500);
/// The longest pause that is not asked for.
const LONGEST_PAUSE: Duration = Duration::from_secs(5);
/// The longest pause that a collector may ask for, in seconds; of a longer one it is this much. What it says is a number of its choice.
const LONGEST_ASKED: u64 = 60;
/// How much of an answer is read.
const ANSWER_BYTES: usize = 64 << 10;

/// What became of a body.
#[derive(Debug, PartialEq)]
pub(crate) enum Sent {
    /// It was taken but for so many of what it holds.
    Taken { rejected: u64 },
    /// It will never be taken.
    Refused(String),
    /// It was not taken for as long as it was tried.
    Unsent(String),
}

/// How one try ended.
enum Tried {
    Over(Sent),
    /// It may be tried again, after such a pause if the collector has named one.
    Again(String, Option<Duration>),
}

/// Sends to one address, one body after the other.
pub(crate) struct Sender {
    http: reqwest::Client,
    target: Target,
    /// How long one body is tried.
    patience: Duration,
    stopped: Stopped,
}

impl Sender {
    pub(crate) fn new(target: Target, patience: Duration, stopped: Stopped) -> Result<Self, String> {
        let http = baton_client::http_client(&target.url)?;
        Ok(Self { http, target, patience, stopped })
    }

    /// Sends a body until it is taken or refused, or patience ends. Once the process ends, it is sent once.
    pub(crate) async fn send(&self, body: Bytes) -> Sent {
        let body = if self.target.gzip { zipped(&body) } else { body };
        let begun = Instant::now();
        let mut pause = FIRST_PAUSE;
        loop {
            let left = self.patience.saturating_sub(begun.elapsed());
            let (error, asked) = match self.post(body.clone(), left).await {
                Tried::Over(sent) => return sent,
                Tried::Again(error, asked) => (error, asked),
            };
            let rest = asked.unwrap_or_else(|| pause.mul_f64(rand::random_range(0.5..=1.0)));
            if self.stopped.is_stopped() || begun.elapsed().saturating_add(rest) >= self.patience {
                return Sent::Unsent(error);
            }
            tokio::select! {
                () = sleep(rest) => {}
                // One last try.
                () = self.stopped.wait() => {}
            }
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
    }

    /// Tries once, for as long as a request may take, and not beyond what is left of the patience.
    async fn post(&self, body: Bytes, left: Duration) -> Tried {
        let request = self.http.post(self.target.url.clone()).timeout(self.target.timeout.min(left));
        let request =
            request.headers(self.target.headers.clone()).header(CONTENT_TYPE, "application/x-protobuf");
        let request = if self.target.gzip { request.header(CONTENT_ENCODING, "gzip") } else { request };
        let answer = match request.body(body).send().await {
            Ok(answer) => answer,
            // The address may hold what is secret.
            Err(error) => return Tried::Again(baton_model::with_causes(&error.without_url()), None),
        };
        let status = answer.status();
        if status.is_success() {
            return Tried::Over(Sent::Taken { rejected: rejected(answer).await });
        }
        let told = format!("the collector answered {}", status.as_u16());
        let passes = [
            StatusCode::TOO_MANY_REQUESTS,
            StatusCode::BAD_GATEWAY,
            StatusCode::SERVICE_UNAVAILABLE,
            StatusCode::GATEWAY_TIMEOUT,
        ];
        if !passes.contains(&status) {
            return Tried::Over(Sent::Refused(told));
        }
        let seconds: Option<u64> =
            answer.headers().get(RETRY_AFTER).and_then(|after| after.to_str().ok()?.trim().parse().ok());
        Tried::Again(told, seconds.map(|seconds| Duration::from_secs(seconds.min(LONGEST_ASKED))))
    }
}

/// How many of what was sent the collector has refused. The answers of traces and of metrics are of one form.
async fn rejected(mut answer: reqwest::Response) -> u64 {
    let mut bytes = Vec::new();
    // What cannot be read of it says nothing: the status has said that it was taken.
    while let Ok(Some(chunk)) = answer.chunk().await {
        if bytes.len() + chunk.len() > ANSWER_BYTES {
            return 0;
        }
        bytes.extend_from_slice(&chunk);
    }
    let told = ExportTraceServiceResponse::decode(&*bytes).ok().and_then(|told| told.partial_success);
    told.and_then(|told| u64::try_from(told.rejected_spans).ok()).unwrap_or_default()
}

fn zipped(body: &[u8]) -> Bytes {
    let mut zip = GzEncoder::new(Vec::with_capacity(body.len() / 4), Compression::fast());
    // Memory takes all that is written.
    let zipped = zip.write_all(body).and_then(|()| zip.finish());
    zipped.unwrap_or_default().into()
}
