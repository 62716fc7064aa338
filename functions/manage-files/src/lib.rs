//! Takes files in and gives them out, as streams: with a token, or by an address that was signed for one file.
//!
//! It serves where a server has a place for files, and on AWS, where large ones go past it, by addresses that the bucket takes itself
//! (`docs/decisions/0063-files-on-lambda.md`). Its routes are in `docs/files.md`.

mod answer;
mod named;
mod orphans;
mod range;
mod scheduled;
mod sweep;

use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::extract::{Path, State};
use axum::response::Response;
use axum::routing::{get, post};
use baton_api::ProblemCode;
use baton_api::address::{self, escaped};
use baton_api::file::{FileLinkView, FilesView};
use baton_files::{Cause, FileError, FileName, Files, Method, Presigned, Put, StoredFile, Upload};
use baton_http::arrivals::{self, LookError};
use baton_http::{ApiError, ApiResult, App, Caller, QueryFields, created, ok};
use baton_model::{Expected, ProjectId};
use futures::{StreamExt, TryStreamExt};
use http::header::{CONTENT_LENGTH, CONTENT_TYPE};
use http::{HeaderMap, Method as Verb, StatusCode};
use utoipa_axum::router::OpenApiRouter;

pub use scheduled::scheduled;
pub use sweep::run_sweep;

/// The paths of files, and how much longer than others their requests may take.
pub const SLOW: (&str, Duration) = ("/v1/files/*", Duration::from_secs(3_600));
/// The same of signed addresses.
pub const SLOW_SIGNED: (&str, Duration) = ("/v1/signed-files/*", Duration::from_secs(3_600));

/// For how long an address may be signed at most: as S3 has it.
const LONGEST: Duration = Duration::from_secs(7 * 86_400);

/// For how long an address of the bucket itself takes a file at most: it ends with the credentials of the process that has signed it, too.
const DIRECT: Duration = Duration::from_secs(3_600);

/// For how long a caller may follow to where a file's bytes are.
const FOLLOWED: Duration = Duration::from_secs(300);

/// The function's routes.
pub fn router() -> OpenApiRouter<App> {
    OpenApiRouter::new()
        .route("/v1/files", get(list))
        .route("/v1/files/{project}/{*path}", get(read).put(put).delete(remove))
        .route("/v1/file-links", post(link))
        .route("/v1/signed-files/{project}/{*path}", get(read_signed).put(put_signed))
}

/// The files of the server; a server without any has no such routes.
fn files(app: &App) -> Result<&Arc<dyn Files>, ApiError> {
    app.files.as_ref().ok_or_else(|| {
        ApiError::new(
            ProblemCode::RouteNotFound,
            "this server has no place for files; set files.url, and start it again",
        )
    })
}

/// What became of a file, as callers hear it.
fn problem(error: FileError) -> ApiError {
    match error {
        FileError::NotFound(_) => ApiError::new(
            ProblemCode::FileNotFound,
            format!("{error}; GET /v1/files lists those of a project"),
        ),
        FileError::TooLarge { .. } | FileError::OverQuota { .. } => {
            ApiError::new(ProblemCode::PayloadTooLarge, format!("{error}; nothing was kept"))
        }
        FileError::OutOfRange { .. } => ApiError::new(ProblemCode::RangeRefused, error.to_string()),
        FileError::Exists(_) => ApiError::new(ProblemCode::TransitionRefused, error.to_string()),
        FileError::CutOff(_) => {
            ApiError::new(ProblemCode::MalformedRequest, format!("{error}; nothing was kept, send it again"))
        }
        FileError::Unavailable { .. } | FileError::Unasked(_) => {
            tracing::error!(error = baton_model::with_causes(&error), "files cannot be read or written");
            ApiError::new(
                ProblemCode::StorageUnavailable,
                "the place for files is unavailable and nothing was changed; try again in a second",
            )
        }
    }
}

async fn put(
    State(app): State<App>,
    caller: Caller,
    Path((project, path)): Path<(String, String)>,
    headers: HeaderMap,
    body: Body,
) -> ApiResult {
    let name = named::of_path(&project, &path)?;
    named::reach(&app, &caller, &name).await?;
    take(&app, name, &headers, body).await
}

async fn put_signed(
    State(app): State<App>,
    Path((project, path)): Path<(String, String)>,
    query: QueryFields,
    headers: HeaderMap,
    body: Body,
) -> ApiResult {
    let name = named::of_path(&project, &path)?;
    check(&app, Method::Put, &name, query).await?;
    take(&app, name, &headers, body).await
}

/// What an upload was not kept for, or that tasks cannot be looked up.
fn look_problem(error: LookError) -> ApiError {
    match error {
        LookError::Files(error) => problem(error),
        LookError::Store(error) => error.into(),
    }
}

async fn read(
    State(app): State<App>,
    caller: Caller,
    Path((project, path)): Path<(String, String)>,
    verb: Verb,
    mut query: QueryFields,
    headers: HeaderMap,
) -> ApiResult {
    let name = named::of_path(&project, &path)?;
    named::reach(&app, &caller, &name).await?;
    match query.text("about").as_deref() {
        None => give_file(&app, &name, &verb, &headers).await,
        Some("true") => ok(&answer::view(look(&app, &name).await?)),
        Some(other) => {
            Err(ApiError::field("about", Expected::text("true, for what is kept of the file", other)))
        }
    }
}

async fn read_signed(
    State(app): State<App>,
    Path((project, path)): Path<(String, String)>,
    query: QueryFields,
    verb: Verb,
    headers: HeaderMap,
) -> ApiResult {
    let name = named::of_path(&project, &path)?;
    check(&app, Method::Get, &name, query).await?;
    give_file(&app, &name, &verb, &headers).await
}

async fn remove(
    State(app): State<App>,
    caller: Caller,
    Path((project, path)): Path<(String, String)>,
) -> ApiResult {
    let name = named::of_path(&project, &path)?;
    named::reach(&app, &caller, &name).await?;
    files(&app)?.remove(&name).await.map_err(problem)?;
    tracing::info!(file = %name, "file removed");
    let mut response = Response::new(Body::empty());
    *response.status_mut() = StatusCode::NO_CONTENT;
    Ok(response)
}

async fn list(State(app): State<App>, caller: Caller, mut query: QueryFields) -> ApiResult {
    let project = query.one::<ProjectId>("project");
    let prefix = query.text("prefix").unwrap_or_default();
    let page = query.page();
    query.finish()?;
    let project = named::project(&caller, project)?;
    let after = page.after.map(|cursor| cursor.0);
    let found = files(&app)?.list(&project, &prefix, after.as_deref(), page.limit as usize).await;
    let found = found.map_err(problem)?;
    ok(&FilesView { items: found.items.into_iter().map(answer::view).collect(), next_cursor: found.next })
}

async fn link(State(app): State<App>, caller: Caller, mut query: QueryFields) -> ApiResult {
    let name = query.text("name").unwrap_or_default().parse::<FileName>();
    if let Err(problem) = &name {
        query.refuse("name", problem.clone());
    }
    let method = query.text("method");
    let seconds = query.text("expires_in_seconds");
    let method = match method.as_deref() {
        Some("get") | None => Method::Get,
        Some("put") => Method::Put,
        Some(other) => {
            query.refuse("method", Expected::text("get or put", other));
            Method::Get
        }
    };
    let most = LONGEST.as_secs();
    let seconds =
        seconds.map_or(Some(3_600), |text| text.parse().ok()).filter(|some| (1..=most).contains(some));
    if seconds.is_none() {
        query.refuse(
            "expires_in_seconds",
            Expected::new(format!("a whole number from 1 to {most}"), "something else"),
        );
    }
    query.finish()?;
    let name = name.map_err(|problem| ApiError::field("name", problem))?;
    named::reach(&app, &caller, &name).await?;
    let time = Duration::from_secs(seconds.unwrap_or(most));
    if method == Method::Put {
        let id = app.ids.uuid().as_u128();
        let upload = Upload { name: name.clone(), id, attempt: None, kept_until: None };
        let held = time.min(DIRECT);
        if let Some(url) = files(&app)?.put_at(&upload, held).await.map_err(problem)? {
            let expires_at = app.now().plus(held);
            return created(&FileLinkView { url, method: method.as_str().to_owned(), expires_at });
        }
    }
    let key = files(&app)?.key().await.map_err(problem)?;
    let expires_at = app.now().plus(time);
    let Presigned { expires, signature } = key.sign(method, &name, expires_at);
    let path = escaped(&name.to_string(), address::PATH);
    let url = format!("/v1/signed-files/{path}?expires={expires}&signature={signature}");
    created(&FileLinkView { url, method: method.as_str().to_owned(), expires_at })
}

/// Lets a request pass whose address was signed for it.
async fn check(app: &App, method: Method, name: &FileName, mut query: QueryFields) -> Result<(), ApiError> {
    let expires = query.text("expires").and_then(|text| text.parse().ok());
    let signature = query.text("signature");
    query.finish()?;
    let (Some(expires), Some(signature)) = (expires, signature) else {
        return Err(ApiError::new(
            ProblemCode::SignatureRefused,
            "expected expires and signature in the address, got others; POST /v1/file-links makes such addresses",
        ));
    };
    let key = files(app)?.key().await.map_err(problem)?;
    let checked = key.check(method, name, &Presigned { expires, signature }, app.now());
    checked.map_err(|wrong| ApiError::new(ProblemCode::SignatureRefused, wrong.to_string()))
}

/// Takes a file in.
async fn take(app: &App, name: FileName, headers: &HeaderMap, body: Body) -> ApiResult {
    let bounds = app.file_bounds();
    let length = headers.get(CONTENT_LENGTH).and_then(|length| length.to_str().ok()?.parse::<u64>().ok());
    if length.is_some_and(|length| length > bounds.file_bytes) {
        return Err(problem(FileError::TooLarge { most: bounds.file_bytes }));
    }
    let put = Put {
        now: app.now(),
        id: app.ids.uuid().as_u128(),
        content_type: headers.get(CONTENT_TYPE).and_then(|kind| kind.to_str().ok()).map(str::to_owned),
        task: name.task(),
        kept_until: None,
        only_new: false,
        name,
        bounds,
    };
    let bytes = body.into_data_stream().map_err(|error| Box::new(error) as Cause);
    let file = files(app)?.put(put, bytes.boxed()).await.map_err(problem)?;
    tracing::info!(file = %file.name, bytes = file.size, content_type = file.content_type, "file taken in");
    created(&answer::view(file))
}

/// What is kept of a file, for whoever has put it.
async fn look(app: &App, name: &FileName) -> Result<StoredFile, ApiError> {
    arrivals::head(app, &**files(app)?, name).await.map_err(look_problem)
}

async fn give_file(app: &App, name: &FileName, verb: &Verb, headers: &HeaderMap) -> ApiResult {
    let file = arrivals::standing(app, &**files(app)?, name).await.map_err(look_problem)?;
    give_known(app, &file, verb, headers).await
}

/// Gives a file out that was looked at, or the part of it that the headers ask for, so that no browser runs anything of it; or says where its
/// bytes are, if there are more than this process carries.
///
/// # Errors
/// If it is not there any more, or cannot be read.
pub async fn give_known(app: &App, file: &StoredFile, verb: &Verb, headers: &HeaderMap) -> ApiResult {
    if range::is_known(headers, &file.etag()) {
        return Ok(answer::not_modified(file));
    }
    let part = range::of(headers, &file.etag());
    // An address is signed for one method: who asks for the head is told it here.
    let elsewhere = match *verb == Verb::HEAD {
        true => Ok(None),
        false => files(app)?.fetched_at(file, &part, FOLLOWED).await,
    };
    let given = match elsewhere {
        Ok(Some(url)) => return Ok(answer::elsewhere(&url)),
        Ok(None) => files(app)?.get(&file.name, part).await,
        Err(error) => Err(error),
    };
    match given {
        Ok(content) => Ok(answer::content(content)),
        Err(FileError::OutOfRange { size }) => {
            Ok(answer::out_of_range(problem(FileError::OutOfRange { size }), size))
        }
        Err(error) => Err(problem(error)),
    }
}
