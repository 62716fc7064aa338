//! Answers with files: told as they are, and shown so that a browser runs nothing of them.

use axum::body::Body;
use axum::response::{IntoResponse, Response};
use baton_api::address::{self, escaped};
use baton_api::file::FileView;
use baton_files::{Content, StoredFile, is_inert};
use baton_http::ApiError;
use http::header::{
    ACCEPT_RANGES, CACHE_CONTROL, CONTENT_DISPOSITION, CONTENT_LENGTH, CONTENT_RANGE,
    CONTENT_SECURITY_POLICY, CONTENT_TYPE, ETAG, LOCATION, X_CONTENT_TYPE_OPTIONS,
};
use http::{HeaderName, HeaderValue, StatusCode};

/// A file as it is told.
pub(crate) fn view(file: StoredFile) -> FileView {
    FileView {
        project: file.name.project().clone(),
        path: file.name.path().to_owned(),
        size: file.size,
        sha256: file.sha256,
        content_type: file.content_type,
        created_at: file.created_at,
        task_id: file.task,
    }
}

/// A file's bytes.
pub(crate) fn content(content: Content) -> Response {
    let Content { file, range, bytes } = content;
    let is_part = range.end - range.start < file.size;
    let mut response = Response::new(Body::from_stream(bytes));
    describe(&mut response, &file);
    set(&mut response, CONTENT_LENGTH, &(range.end - range.start).to_string());
    if is_part {
        *response.status_mut() = StatusCode::PARTIAL_CONTENT;
        let last = range.end.saturating_sub(1);
        set(&mut response, CONTENT_RANGE, &format!("bytes {}-{last}/{}", range.start, file.size));
    }
    response
}

/// That the caller has it already.
pub(crate) fn not_modified(file: &StoredFile) -> Response {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = StatusCode::NOT_MODIFIED;
    set(&mut response, ETAG, &file.etag());
    response
}

/// Where its bytes are, for a moment. The same request is sent there: a range goes along, and no token may.
pub(crate) fn elsewhere(url: &str) -> Response {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = StatusCode::TEMPORARY_REDIRECT;
    set(&mut response, LOCATION, url);
    set(&mut response, CACHE_CONTROL, "no-store");
    response
}

/// That no such part of it is there.
pub(crate) fn out_of_range(problem: ApiError, size: u64) -> Response {
    let mut response = problem.into_response();
    set(&mut response, CONTENT_RANGE, &format!("bytes */{size}"));
    response
}

/// Says what a file is, and has a browser show only what it runs nothing of; all else it saves.
fn describe(response: &mut Response, file: &StoredFile) {
    set(response, CONTENT_TYPE, &file.content_type);
    set(response, X_CONTENT_TYPE_OPTIONS, "nosniff");
    set(response, CONTENT_SECURITY_POLICY, "default-src 'none'; sandbox");
    set(response, ACCEPT_RANGES, "bytes");
    set(response, ETAG, &file.etag());
    // Another may take its place at any time, and not everybody may have it.
    set(response, CACHE_CONTROL, "private, no-cache");
    let shown = if is_inert(&file.content_type) { "inline" } else { "attachment" };
    // RFC 8187 §3.2.1.
    let name = escaped(file.name.last(), address::NAME);
    set(response, CONTENT_DISPOSITION, &format!("{shown}; filename*=UTF-8''{name}"));
}

fn set(response: &mut Response, name: HeaderName, value: &str) {
    // All of them are made of letters, digits and marks.
    if let Ok(value) = HeaderValue::from_str(value) {
        response.headers_mut().insert(name, value);
    }
}
