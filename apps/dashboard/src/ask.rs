//! Asking the routes on behalf of whoever came.

use axum::body::Body;
use axum::response::Response;
use baton_http::ApiError;
use http::header::RANGE;
use http::{HeaderMap, HeaderValue, Method};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::address::path;
use crate::source::{fault, read, whole};
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

    /// The text that a route answers with, up to so many bytes of it.
    pub(crate) async fn beginning(&self, path: &str, most: u64) -> Result<String, ApiError> {
        let mut headers = self.headers.clone();
        let part = format!("bytes=0-{}", most.saturating_sub(1));
        headers.insert(RANGE, HeaderValue::from_str(&part).map_err(|_| ApiError::internal())?);
        let response = self.send_with(&headers, Method::GET, path, Body::empty()).await?;
        let status = response.status();
        if !status.is_success() {
            return Err(fault(&format!("expected bytes, got status {status}")));
        }
        Ok(String::from_utf8_lossy(&whole(response).await?).into_owned())
    }

    /// What a route answers, as it is.
    pub(crate) async fn send(&self, method: Method, path: &str, body: Body) -> Result<Response, ApiError> {
        self.send_with(&self.headers, method, path, body).await
    }

    /// The same to a request with these headers.
    pub(crate) async fn send_with(
        &self,
        headers: &HeaderMap,
        method: Method,
        path: &str,
        body: Body,
    ) -> Result<Response, ApiError> {
        self.ui.source.send(method, path, headers, body).await
    }
}
