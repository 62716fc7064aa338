//! Asking the routes on behalf of whoever came.

use axum::body::Body;
use axum::response::Response;
use baton_http::ApiError;
use http::header::CONTENT_TYPE;
use http::{HeaderValue, Method, Request};
use http_body_util::BodyExt;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::address::path;
use crate::visit::Visit;

impl Visit {
    /// What a route answers to a `GET`.
    pub(crate) async fn get<T: DeserializeOwned>(
        &self,
        parts: &[&str],
        query: &[(&str, &str)],
    ) -> Result<T, ApiError> {
        read(self.send(Method::GET, &path(parts, query), Body::empty()).await?).await
    }

    /// The same of a route that answers only some of those who come, and is not to be asked by others.
    pub(crate) async fn get_if_allowed<T: DeserializeOwned>(
        &self,
        operation: &str,
        parts: &[&str],
        query: &[(&str, &str)],
    ) -> Result<Option<T>, ApiError> {
        if !self.rights.may(operation) {
            return Ok(None);
        }
        self.get(parts, query).await.map(Some)
    }

    /// What a route answers to a `POST`.
    pub(crate) async fn post<T: DeserializeOwned>(
        &self,
        parts: &[&str],
        body: &impl Serialize,
    ) -> Result<T, ApiError> {
        self.ask(Method::POST, parts, body).await
    }

    /// What a route answers to a request with a body.
    pub(crate) async fn ask<T: DeserializeOwned>(
        &self,
        method: Method,
        parts: &[&str],
        body: &impl Serialize,
    ) -> Result<T, ApiError> {
        let body = serde_json::to_vec(body).map_err(|error| fault(&error))?;
        read(self.send(method, &path(parts, &[]), Body::from(body)).await?).await
    }

    /// What a route answers, as it is.
    pub(crate) async fn send(&self, method: Method, path: &str, body: Body) -> Result<Response, ApiError> {
        let mut request = Request::new(body);
        *request.method_mut() = method;
        *request.uri_mut() = path.parse().map_err(|_| ApiError::internal())?;
        *request.headers_mut() = self.headers.clone();
        request.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        self.ui.inside.ask(request).await
    }
}

async fn read<T: DeserializeOwned>(response: Response) -> Result<T, ApiError> {
    let body = response.into_body().collect().await.map_err(|error| fault(&error))?.to_bytes();
    serde_json::from_slice(&body).map_err(|error| fault(&error))
}

fn fault(error: &dyn std::fmt::Display) -> ApiError {
    tracing::error!(%error, "the dashboard cannot read what a route answers");
    ApiError::internal()
}
