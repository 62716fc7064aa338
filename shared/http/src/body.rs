//! Bodies: JSON of a bounded size, read with all that is wrong in it.

use axum::extract::{FromRequest, Request};
use baton_api::claim::ClaimRequest;
use baton_api::complete::{CompleteRequest, FailRequest, ReleaseRequest};
use baton_api::create::CreateTask;
use baton_api::heartbeat::HeartbeatRequest;
use baton_api::manage::{ActionRequest, RetryRequest};
use baton_api::reap::ReapRequest;
use baton_api::token::CreateToken;
use baton_api::{ProblemCode, ReadFields};
use baton_model::Limits;
use bytes::{Buf, Bytes, BytesMut};
use http::HeaderMap;
use http::header::{CONTENT_LENGTH, CONTENT_TYPE};
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
    HeartbeatRequest: Batch, |limits| limits;
    ActionRequest: Plain, |_limits| &();
    RetryRequest: Plain, |_limits| &();
    ReapRequest: Plain, |_limits| &();
    CreateToken: Plain, |_limits| &();
}

/// A body that must be there.
#[derive(Clone, Copy, Debug)]
pub struct JsonBody<T>(pub T);

impl<T: Body> FromRequest<App> for JsonBody<T> {
    type Rejection = ApiError;

    async fn from_request(request: Request, app: &App) -> Result<Self, ApiError> {
        let body = required(request, T::LIMIT.bytes(&app.limits)).await?;
        Ok(Self(T::read_body(utf8(&body)?, &app.limits)?))
    }
}

/// A body that may be left out.
#[derive(Clone, Copy, Debug)]
pub struct OptionalBody<T>(pub T);

impl<T: Body + Default> FromRequest<App> for OptionalBody<T> {
    type Rejection = ApiError;

    async fn from_request(request: Request, app: &App) -> Result<Self, ApiError> {
        match read(request, T::LIMIT.bytes(&app.limits)).await? {
            body if body.is_empty() => Ok(Self(T::default())),
            body => Ok(Self(T::read_body(utf8(&body)?, &app.limits)?)),
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
/// 400 with the place of the first byte that is not UTF-8.
pub fn utf8(body: &Bytes) -> Result<&str, ApiError> {
    std::str::from_utf8(body).map_err(|error| {
        let at = error.valid_up_to();
        ApiError::new(
            ProblemCode::MalformedJson,
            format!("expected a body in UTF-8, got another encoding at byte {at}; encode it as UTF-8 and send it again"),
        )
    })
}

async fn read(request: Request, most: usize) -> Result<Bytes, ApiError> {
    let (parts, mut body) = request.into_parts();
    let stated = content_length(&parts.headers);
    if stated.is_some_and(|stated| stated > most as u64) {
        let came = discard(&mut body, 0).await;
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
            let came = discard(&mut body, before + data.len()).await;
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
    let whole = gathered.map_or(whole, BytesMut::freeze);
    if !whole.is_empty() {
        check_content_type(&parts.headers)?;
    }
    Ok(whole)
}

fn content_length(headers: &HeaderMap) -> Option<u64> {
    headers.get(CONTENT_LENGTH)?.to_str().ok()?.parse().ok()
}

/// Reads a body away, to a bound; says how much came in all.
pub(crate) async fn discard<B: http_body::Body + Unpin>(body: &mut B, mut came: usize) -> usize {
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

fn check_content_type(headers: &HeaderMap) -> Result<(), ApiError> {
    let Some(value) = headers.get(CONTENT_TYPE) else { return Err(unsupported("no Content-Type")) };
    if value.as_bytes() == b"application/json" || is_json(&String::from_utf8_lossy(value.as_bytes())) {
        return Ok(());
    }
    Err(unsupported(&baton_model::Expected::text("", &String::from_utf8_lossy(value.as_bytes())).got))
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
}
