//! The id in a path.

use std::str::FromStr;

use axum::extract::{FromRequestParts, RawPathParams};
use baton_model::Expected;
use http::request::Parts;

use crate::error::ApiError;

/// The one parameter of a path, such as a task's id. If it does not fit, the problem names the parameter.
#[derive(Clone, Copy, Debug)]
pub struct PathId<T>(pub T);

impl<T, S> FromRequestParts<S> for PathId<T>
where
    T: FromStr<Err = Expected>,
    S: Send + Sync,
{
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, ApiError> {
        let params = RawPathParams::from_request_parts(parts, state).await.map_err(|_| {
            ApiError::field("(path)", Expected::new("UTF-8 behind the percent signs", "other bytes"))
        })?;
        let Some((name, value)) = params.iter().next() else {
            return Err(ApiError::field("(path)", Expected::new("an id", "nothing")));
        };
        value.parse().map(Self).map_err(|problem| ApiError::field(name, problem))
    }
}
