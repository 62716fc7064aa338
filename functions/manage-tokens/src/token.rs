//! Tokens: made with a secret that is shown once, listed without it, revoked.

use axum::extract::State;
use baton_api::ReadFields as _;
use baton_api::task::Page;
use baton_api::token::{CreateToken, Expiry};
use baton_api::token::{CreatedTokenView, OwnTokenView, TokenView};
use baton_http::{ApiError, ApiResult, App, Caller, JsonBody, PathId, QueryFields, created, ok, wire};
use baton_model::{Expected, Grant, Label, Timestamp, Token, TokenId, TokenSecret, TokenStatus, limits};
use baton_runtime::Ids;
use baton_store::{StoreError, StoredToken, TokenStore};
use http::HeaderValue;
use http::header::CACHE_CONTROL;

/// Make a token
///
/// The answer shows the token's secret, once: the server keeps a digest alone. The request has no idempotency key, as a
/// repetition would have to show the secret again; if its answer is lost, revoke that token and make another. With `secret`
/// the token is that of another system's old key: its secret is not shown, and the same request again changes nothing.
#[utoipa::path(
    post,
    path = "/v1/tokens",
    operation_id = "create_token",
    tag = "tokens",
    request_body = CreateToken,
    responses(
        (status = 201, description = "The token, with its secret", body = CreatedTokenView),
        (status = "default", description = "A problem", body = baton_api::Problem,
            content_type = "application/problem+json"),
    ),
)]
pub(crate) async fn create(
    State(app): State<App>,
    caller: Caller,
    JsonBody(request): JsonBody<CreateToken>,
) -> ApiResult {
    // An operator that reaches everything has all that can be granted, so that no token grants more than its maker's.
    caller.reach_everything()?;
    let now = app.now();
    let imported = request.secret.is_some();
    let (stored, secret) = new_token(request, &*app.ids, now, caller.name())?;
    let token = keep_token(&*app.store, stored).await?;
    tracing::info!(token_id = %token.id, token_name = %token.name, imported, "token created");
    let secret = (!imported).then(|| secret.reveal());
    let answer = CreatedTokenView { secret, token: TokenView::new(token, now) };
    let mut response = created(&answer)?;
    response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    Ok(response)
}

/// Reads a request for a token as the route does, for a program that makes one without it.
///
/// # Errors
/// What does not fit, in words.
pub fn read_request(text: &str) -> Result<CreateToken, String> {
    CreateToken::from_json(text, &()).map_err(|error| ApiError::from(error).into_problem().detail)
}

/// Keeps a new token, and gives it as it stands: one that is imported may be known already.
///
/// # Errors
/// 422 if its secret is that of a token which allows something else, or has ended; the store's own failures.
pub async fn keep_token(store: &(impl TokenStore + ?Sized), new: StoredToken) -> Result<Token, ApiError> {
    store.create_token(new.clone()).await?;
    let id = new.token.id;
    let standing = store.token(id).await?.ok_or(StoreError::TokenNotFound(id))?.token;
    let same = standing.name == new.token.name && standing.grant == new.token.grant;
    if same && standing.status(new.token.created_at) == TokenStatus::Active {
        return Ok(standing);
    }
    let expected = "a secret that no token has yet, or the name, scopes and bounds of the token that has it";
    let got = format!("that of the token {id} ({}), which has others, or has ended", standing.name);
    Err(ApiError::field("secret", Expected::new(expected, got)))
}

/// A new token as it is stored, and its secret, which is to be shown to its caller alone.
///
/// # Errors
/// 422 if it would end before it began, 500 if the system gives no random bytes.
pub fn new_token(
    request: CreateToken,
    ids: &dyn Ids,
    now: Timestamp,
    by: Option<Label>,
) -> Result<(StoredToken, TokenSecret), ApiError> {
    let expires_at = match (request.expires_at, request.expires_in_seconds) {
        (Some(Expiry::Never), _) => None,
        (Some(Expiry::At(at)), _) if at <= now => {
            let problem = Expected::text(format!("a time after now, {now}, or never"), &at.to_string());
            return Err(ApiError::field("expires_at", problem));
        }
        (Some(Expiry::At(at)), _) => Some(at),
        (None, span) => Some(now.plus(span.unwrap_or(limits::DEFAULT_TOKEN))),
    };
    let secret = match request.secret.as_deref().and_then(TokenSecret::imported) {
        Some(imported) => imported,
        None => ids.token().map_err(|error| {
            let what = "the system gives no random bytes for a token's secret".to_owned();
            StoreError::Internal { what, cause: Some(error.into()) }
        })?,
    };
    let grant = Grant {
        scopes: request.scopes.into_iter().collect(),
        queues: request.queues.into_iter().collect(),
        project: request.project,
    };
    let token = Token {
        id: secret.id(),
        name: request.name,
        grant,
        requests_per_second: request.requests_per_second,
        created_at: now,
        created_by: by,
        expires_at,
        revoked_at: None,
        last_used_at: None,
    };
    Ok((StoredToken { token, digest: secret.digest() }, secret))
}

/// List tokens
///
/// The newest first, those that have ended included until they are removed 30 days later.
#[utoipa::path(
    get,
    path = "/v1/tokens",
    operation_id = "list_tokens",
    tag = "tokens",
    params(
        ("cursor" = Option<String>, Query, description = "The next_cursor of the page before"),
        ("limit" = Option<u32>, Query, description = "1 to 1,000; 50 if left out"),
    ),
    responses(
        (status = 200, description = "A page", body = Page<TokenView>),
        (status = "default", description = "A problem", body = baton_api::Problem,
            content_type = "application/problem+json"),
    ),
)]
pub(crate) async fn list(State(app): State<App>, caller: Caller, mut query: QueryFields) -> ApiResult {
    caller.reach_everything()?;
    let page = query.page();
    query.finish()?;
    let now = app.now();
    let page = app.store.tokens(page).await?;
    ok(&wire::page(page, |token| view(&app, token, now)))
}

fn view(app: &App, token: Token, now: Timestamp) -> TokenView {
    TokenView { held_back: app.held_back.of(token.id, now), ..TokenView::new(token, now) }
}

/// Show the caller's own token
///
/// What the token that the request presents allows, and until when; never its secret.
#[utoipa::path(
    get,
    path = "/v1/token",
    operation_id = "get_own_token",
    tag = "tokens",
    responses(
        (status = 200, description = "The token", body = OwnTokenView),
        (status = "default", description = "A problem", body = baton_api::Problem,
            content_type = "application/problem+json"),
    ),
)]
pub(crate) async fn own(State(app): State<App>, caller: Caller) -> ApiResult {
    let token = caller.token().cloned().map(|token| view(&app, token, app.now()));
    ok(&OwnTokenView { token })
}

/// Revoke a token
///
/// It is good for nothing from now on. A token that was revoked before stays as it is.
#[utoipa::path(
    post,
    path = "/v1/tokens/{id}/revoke",
    operation_id = "revoke_token",
    tag = "tokens",
    params(("id" = String, Path, description = "The token's id, not its secret")),
    responses(
        (status = 200, description = "The token is revoked", body = TokenView),
        (status = "default", description = "A problem", body = baton_api::Problem,
            content_type = "application/problem+json"),
    ),
)]
pub(crate) async fn revoke(State(app): State<App>, caller: Caller, PathId(id): PathId<TokenId>) -> ApiResult {
    caller.reach_everything()?;
    let now = app.now();
    let token = app.store.revoke_token(id, now).await?;
    let by = caller.name();
    let by = by.as_ref().map(tracing::field::display);
    tracing::info!(token_id = %token.id, token_name = %token.name, by, "token revoked");
    ok(&TokenView::new(token, now))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use baton_model::Scope;
    use baton_runtime::RandomIds;

    use super::*;

    const NOW: i64 = 1_770_000_000_000;

    fn made(change: impl FnOnce(&mut CreateToken)) -> Result<StoredToken, ApiError> {
        let mut request = CreateToken::new("ci".parse().unwrap(), vec![Scope::Producer]);
        change(&mut request);
        new_token(request, &RandomIds, Timestamp::from_millis(NOW), None).map(|(stored, _)| stored)
    }

    #[test]
    fn a_token_ends_after_90_days_unless_it_is_said_otherwise() {
        let now = Timestamp::from_millis(NOW);
        let ends = |stored: StoredToken| stored.token.expires_at.map(|at| at.since(now).as_secs());
        assert_eq!(ends(made(|_| {}).unwrap()), Some(90 * 86_400));
        assert_eq!(
            ends(made(|token| token.expires_in_seconds = Some(Duration::from_secs(7))).unwrap()),
            Some(7)
        );
        assert_eq!(ends(made(|token| token.expires_at = Some(Expiry::Never)).unwrap()), None);
        let at = |seconds| Some(Expiry::At(now.plus(Duration::from_secs(seconds))));
        assert_eq!(ends(made(|token| token.expires_at = at(5)).unwrap()), Some(5));
        let problem = made(|token| token.expires_at = at(0)).unwrap_err().into_problem();
        assert_eq!((problem.status, problem.errors[0].field.as_str()), (422, "expires_at"));
    }

    #[test]
    fn the_secret_belongs_to_what_is_stored() {
        let request = CreateToken::new("ci".parse().unwrap(), vec![Scope::Producer]);
        let (stored, secret) =
            new_token(request, &RandomIds, Timestamp::from_millis(NOW), Some("ada".parse().unwrap()))
                .unwrap();
        assert!(stored.token.id == secret.id() && stored.digest == secret.digest());
        assert_eq!(stored.token.created_by.unwrap().as_str(), "ada");
    }
}
