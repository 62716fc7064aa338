//! Answers as JSON.

use axum::body::Body;
use axum::response::Response;
use http::header::CONTENT_TYPE;
use http::{HeaderValue, StatusCode};
use serde::Serialize;

use crate::error::{ApiError, ApiResult};

/// What an answer's buffer may have to spare.
const SPARE: usize = 64 * 1024;

/// An answer of this status.
///
/// # Errors
/// 500 if the value does not serialise: a fault of the program.
pub fn json(status: StatusCode, value: &impl Serialize) -> ApiResult {
    // Most answers fit; larger ones grow.
    let mut body = Vec::with_capacity(512);
    if let Err(error) = serde_json::to_writer(&mut body, value) {
        tracing::error!(%error, "an answer does not serialise");
        return Err(ApiError::internal());
    }
    // A large answer may wait for its caller: what it grew by and does not need is given back.
    if body.capacity() - body.len() > SPARE {
        body.shrink_to_fit();
    }
    let mut response = Response::new(Body::from(body));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    Ok(response)
}

/// 200.
///
/// # Errors
/// As [`json`].
pub fn ok(value: &impl Serialize) -> ApiResult {
    json(StatusCode::OK, value)
}

/// 201.
///
/// # Errors
/// As [`json`].
pub fn created(value: &impl Serialize) -> ApiResult {
    json(StatusCode::CREATED, value)
}
