//! Bodies: JSON of a bounded size, read with all that is wrong in it.

use axum::extract::{FromRequest, Request};
use baton_api::alert::SetAlert;
use baton_api::bulk::BulkRequest;
use baton_api::change::ChangeRequest;
use baton_api::claim::ClaimRequest;
use baton_api::complete::{CompleteRequest, FailRequest, ReleaseRequest};
use baton_api::config::SetSetting;
use baton_api::create::CreateTask;
use baton_api::defaults::DefaultsRequest;
use baton_api::ending::EndingsRead;
use baton_api::heartbeat::HeartbeatRequest;
use baton_api::limit::{ClearLimit, SetLimit, SetOwner};
use baton_api::manage::{ActionRequest, CancelRequest, RetryRequest};
use baton_api::order::OrderRequest;
use baton_api::reap::ReapRequest;
use baton_api::schedule::{ScheduleAction, SetSchedule};
use baton_api::supervised::{RestartRequest, ScaleRequest};
use baton_api::supply::SetSupply;
use baton_api::token::CreateToken;
use baton_api::webhook::{RedeliverRequest, SetWebhook};
use baton_api::{ProblemCode, ReadFields};
use baton_model::{Expected, Limits};
use bytes::{Buf, Bytes, BytesMut};
use http::HeaderMap;
use http::header::{CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE, EXPECT};
use http_body::Body as _;
use http_body_util::BodyExt;

use crate::app::App;
use crate::error::ApiError;

/// What a body may have besides its payload.
const ROOM: usize = 64 * 1024;

/// How much of a body that is too large is read and thrown away, so that its sender gets to read the answer instead of
/// finding the connection reset.
const DISCARDED: usize = 32 << 20;

/// How large a body may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BodyLimit {
    /// As little as a request without payload needs.
    Plain,
    /// Params, or an error's details.
    Params,
    /// A result and its metadata.
    Output,
    /// A batch or a heartbeat.
    Batch,
}

impl BodyLimit {
    /// In bytes.
    pub fn bytes(self, limits: &Limits) -> usize {
        match self {
            Self::Plain => ROOM,
            Self::Params => limits.params_bytes.saturating_add(ROOM),
            Self::Output => limits.result_bytes.saturating_mul(2).saturating_add(ROOM),
            Self::Batch => limits.batch_bytes,
        }
    }
}

/// A request body: how large it may be, and which limits its reading needs.
pub trait Body: ReadFields + Send {
    /// How large it may be.
    const LIMIT: BodyLimit;

    /// Reads it.
    ///
    /// # Errors
    /// Everything that is wrong with it.
    fn read_body(text: &str, limits: &Limits) -> Result<Self, ApiError>;
}

macro_rules! bodies {
    ($($type:ty: $limit:ident, |$limits:ident| $handed:expr;)*) => {$(
        impl Body for $type {
            const LIMIT: BodyLimit = BodyLimit::$limit;

            fn read_body(text: &str, $limits: &Limits) -> Result<Self, ApiError> {
                Ok(Self::from_json(text, $handed)?)
            }
        }
    )*};
}

bodies! {
    CreateTask: Params, |limits| limits;
    ClaimRequest: Plain, |_limits| &();
    CompleteRequest: Output, |limits| limits;
    FailRequest: Params, |limits| limits;
    ReleaseRequest: Plain, |_limits| &();
    EndingsRead: Batch, |limits| limits;
    HeartbeatRequest: Batch, |limits| limits;
    ActionRequest: Plain, |_limits| &();
    CancelRequest: Plain, |_limits| &();
    RetryRequest: Plain, |_limits| &();
    RestartRequest: Plain, |_limits| &();
    ScaleRequest: Plain, |_limits| &();
    SetAlert: Plain, |_limits| &();
    SetWebhook: Plain, |_limits| &();
    RedeliverRequest: Plain, |_limits| &();
    ChangeRequest: Plain, |_limits| &();
    BulkRequest: Plain, |_limits| &();
    ReapRequest: Plain, |_limits| &();
    CreateToken: Plain, |_limits| &();
    SetLimit: Plain, |_limits| &();
    ClearLimit: Plain, |_limits| &();
    SetOwner: Plain, |_limits| &();
    OrderRequest: Plain, |_limits| &();
    DefaultsRequest: Plain, |_limits| &();
    SetSchedule: Params, |limits| limits;
    ScheduleAction: Plain, |_limits| &();
    SetSupply: Params, |limits| limits;
    SetSetting: Plain, |_limits| &();
}

/// A body that must be there.
#[derive(Clone, Copy, Debug)]
pub struct JsonBody<T>(pub T);

impl<T: Body> FromRequest<App> for JsonBody<T> {
    type Rejection = ApiError;

    async fn from_request(request: Request, app: &App) -> Result<Self, ApiError> {
        // The same ones for both: they may change meanwhile.
        let limits = app.limits();
        let body = required(request, T::LIMIT.bytes(&limits)).await?;
        Ok(Self(T::read_body(utf8(&body)?, &limits)?))
    }
}

/// A body that may be left out.
#[derive(Clone, Copy, Debug)]
pub struct OptionalBody<T>(pub T);

impl<T: Body + Default> FromRequest<App> for OptionalBody<T> {
    type Rejection = ApiError;

    async fn from_request(request: Request, app: &App) -> Result<Self, ApiError> {
        let limits = app.limits();
        match read(request, T::LIMIT.bytes(&limits)).await? {
            body if body.is_empty() => Ok(Self(T::default())),
            body => Ok(Self(T::read_body(utf8(&body)?, &limits)?)),
        }
    }
}

/// Reads a JSON body that must be there, of up to `most` bytes.
///
/// # Errors
/// 400 if it is missing or cannot be read, 413, 415.
pub async fn required(request: Request, most: usize) -> Result<Bytes, ApiError> {
    match read(request, most).await? {
        body if body.is_empty() => Err(ApiError::new(
            ProblemCode::MalformedJson,
            "expected a JSON object as the body, got an empty body; see /openapi.json for what the route takes",
        )),
        body => Ok(body),
    }
}

/// A body's text.
///
/// # Errors
/// 400 with the place of the first byte that is not UTF-8; 415 if it is compressed.
pub fn utf8(body: &Bytes) -> Result<&str, ApiError> {
    // No JSON begins so, and gzip always does (RFC 1952 §2.3.1): a header that says it is often forgotten.
    if body.starts_with(&[0x1f, 0x8b]) {
        return Err(packed("one that gzip has made"));
    }
    let text = std::str::from_utf8(body).map_err(|error| {
        let at = error.valid_up_to();
        ApiError::new(
            ProblemCode::MalformedJson,
            format!("expected a body in UTF-8, got another encoding at byte {at}; encode it as UTF-8 and send it again"),
        )
    })?;
    // What editors put before a text is no part of it; a parser may pass over it (RFC 8259 §8.1).
    Ok(text.strip_prefix('\u{feff}').unwrap_or(text))
}

/// Reads a body of up to `most` bytes, whatever its headers say it is: for a dialect whose clients do not all say that it is JSON.
///
/// # Errors
/// 400 if it breaks off, 413.
pub async fn of_any_kind(request: Request, most: usize) -> Result<Bytes, ApiError> {
    let (parts, body) = request.into_parts();
    if body.is_end_stream() { Ok(Bytes::new()) } else { gather(&parts.headers, body, most).await }
}

async fn read(request: Request, most: usize) -> Result<Bytes, ApiError> {
    let (parts, mut body) = request.into_parts();
    if body.is_end_stream() {
        return Ok(Bytes::new());
    }
    // All that can be said of a body before it is read: its sender may wait for that (`Expect: 100-continue`).
    if let Err(refusal) = check_kind(&parts.headers) {
        let nothing = discard(&parts.headers, &mut body, 0).await == 0 && !waits_for_continue(&parts.headers);
        // Of a body without a byte there is nothing to be said.
        return if nothing { Ok(Bytes::new()) } else { Err(refusal) };
    }
    gather(&parts.headers, body, most).await
}

async fn gather(headers: &HeaderMap, mut body: axum::body::Body, most: usize) -> Result<Bytes, ApiError> {
    let stated = content_length(headers);
    if stated.is_some_and(|stated| stated > most as u64) {
        let came = discard(headers, &mut body, 0).await;
        return Err(too_large(most, stated.unwrap_or(came as u64), false));
    }
    let mut whole = Bytes::new();
    let mut gathered: Option<BytesMut> = None;
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|error| {
            ApiError::new(
                ProblemCode::MalformedRequest,
                format!("the body broke off or is not valid HTTP ({error}); send it again"),
            )
        })?;
        let Ok(data) = frame.into_data() else { continue };
        let before = gathered.as_ref().map_or(whole.len(), BytesMut::len);
        if before + data.len() > most {
            let came = read_away(&mut body, before + data.len()).await;
            return Err(too_large(most, came as u64, true));
        }
        // A body mostly comes in one piece, which is then used as it is.
        match &mut gathered {
            Some(gathered) => gathered.extend_from_slice(&data),
            None if whole.is_empty() => whole = data,
            None => {
                let size = stated.map_or(0, |stated| stated as usize).max(whole.len() + data.len());
                let mut both = BytesMut::with_capacity(size);
                both.extend_from_slice(&whole);
                both.extend_from_slice(&data);
                gathered = Some(both);
            }
        }
    }
    Ok(gathered.map_or(whole, BytesMut::freeze))
}

fn content_length(headers: &HeaderMap) -> Option<u64> {
    headers.get(CONTENT_LENGTH)?.to_str().ok()?.parse().ok()
}

/// Whether the sender of these headers waits to be told to send its body (RFC 9110 §10.1.1), which the first reading of
/// the body tells it.
pub(crate) fn waits_for_continue(headers: &HeaderMap) -> bool {
    headers.get(EXPECT).is_some_and(|expect| expect.as_bytes().eq_ignore_ascii_case(b"100-continue"))
}

/// Reads a body away that nobody wants, to a bound, so that its sender gets to read the answer; says how much came in
/// all. A sender that waits to be told to send it is not told so.
pub(crate) async fn discard<B: http_body::Body + Unpin>(
    headers: &HeaderMap,
    body: &mut B,
    came: usize,
) -> usize {
    if waits_for_continue(headers) { came } else { read_away(body, came).await }
}

async fn read_away<B: http_body::Body + Unpin>(body: &mut B, mut came: usize) -> usize {
    while let Some(Ok(frame)) = body.frame().await {
        came += frame.data_ref().map_or(0, Buf::remaining);
        if came > DISCARDED {
            break;
        }
    }
    came
}

fn too_large(most: usize, came: u64, counted: bool) -> ApiError {
    let came = if counted && came > DISCARDED as u64 {
        format!("more than {DISCARDED} bytes")
    } else {
        format!("{came} bytes")
    };
    ApiError::new(
        ProblemCode::PayloadTooLarge,
        format!(
            "expected a body of at most {most} bytes, got {came}; put large data elsewhere and send its address, or \
             send a batch in parts"
        ),
    )
}

fn packed(coding: &str) -> ApiError {
    ApiError::new(
        ProblemCode::UnsupportedMediaType,
        format!("expected a body without Content-Encoding, got {coding}; send the JSON uncompressed"),
    )
}

/// That a body is JSON by its headers, and not compressed. Why not unpack it: bodies are small or come once, and what is packed
/// small may be large.
fn check_kind(headers: &HeaderMap) -> Result<(), ApiError> {
    let mut kind = None;
    for (name, value) in headers {
        if *name == CONTENT_ENCODING && !value.as_bytes().trim_ascii().eq_ignore_ascii_case(b"identity") {
            return Err(packed(&Expected::text("", &String::from_utf8_lossy(value.as_bytes())).got));
        }
        if *name == CONTENT_TYPE && kind.replace(value).is_some() {
            return Err(unsupported("more than one Content-Type"));
        }
    }
    let Some(value) = kind else { return Err(unsupported("no Content-Type")) };
    if value.as_bytes() == b"application/json" || is_json(&String::from_utf8_lossy(value.as_bytes())) {
        return Ok(());
    }
    Err(unsupported(&Expected::text("", &String::from_utf8_lossy(value.as_bytes())).got))
}

/// Whether a Content-Type is JSON (RFC 8259 §11) in UTF-8, with or without parameters.
fn is_json(value: &str) -> bool {
    let mut parts = value.split(';').map(|part| part.trim().to_ascii_lowercase());
    let essence = parts.next().unwrap_or_default();
    let json = essence == "application/json"
        || essence.strip_prefix("application/").is_some_and(|subtype| subtype.ends_with("+json"));
    let utf8 = parts.all(|parameter| match parameter.strip_prefix("charset=") {
        Some(charset) => charset.trim_matches('"') == "utf-8",
        None => true,
    });
    json && utf8
}

fn unsupported(got: &str) -> ApiError {
    ApiError::new(
        ProblemCode::UnsupportedMediaType,
        format!(
            "expected a body with Content-Type: application/json, got {got}; set the header and send it again"
        ),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn json_is_known_by_its_content_type() {
        for json in [
            "application/json",
            "Application/JSON; charset=UTF-8",
            "application/cloudevents+json",
            "application/json;x=1",
        ] {
            assert!(is_json(json), "{json}");
        }
        for other in ["", "text/plain", "application/jsonp", "text/json", "application/json; charset=latin1"]
        {
            assert!(!is_json(other), "{other}");
        }
    }

    #[test]
    fn the_place_of_a_wrong_byte_is_named() {
        let error = utf8(&Bytes::from_static(b"{\"a\":\"\xff\"}")).unwrap_err();
        assert!(error.into_problem().detail.contains("at byte 6"));
    }

    #[test]
    fn a_byte_order_mark_before_the_text_is_no_part_of_it() {
        assert_eq!(utf8(&Bytes::from_static(b"\xef\xbb\xbf{}")).unwrap(), "{}");
    }
}
