//! Files, sent and fetched as streams.

use baton_api::file::{FileLinkView, FileView, FilesView};
use baton_model::ProjectId;
use bytes::Bytes;
use http_body::Body;
use reqwest::Url;
use reqwest::header::CONTENT_TYPE;

use crate::call::{Call, refused};
use crate::{Client, ClientError};

/// A file on its way here.
#[derive(Debug)]
pub struct Download {
    answer: reqwest::Response,
    base: String,
}

impl Download {
    /// How many bytes it has.
    pub fn size(&self) -> Option<u64> {
        self.answer.content_length()
    }

    /// Its next bytes; none at its end.
    ///
    /// # Errors
    /// If it is broken off.
    pub async fn next(&mut self) -> Result<Option<Bytes>, ClientError> {
        self.answer.chunk().await.map_err(|error| ClientError::unreachable(&self.base, error))
    }
}

impl Client {
    /// Sends a file. It is there once this has returned, and is never sent again by itself.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn put_file<B>(&self, name: &str, kind: Option<&str>, bytes: B) -> Result<FileView, ClientError>
    where
        B: Body<Data = Bytes> + Send + Sync + 'static,
        B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    {
        let url = self.file_url(name)?;
        let mut request = self.inner.http.put(url.clone()).body(reqwest::Body::wrap(bytes));
        if let Some(kind) = kind {
            request = request.header(CONTENT_TYPE, kind);
        }
        self.send_once(request, url.as_str()).await
    }

    /// Begins to fetch a file. Its head comes within the time of one request, and its bytes take as long as they take.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn get_file(&self, name: &str) -> Result<Download, ClientError> {
        let url = self.file_url(name)?;
        let answer = self.within(self.inner.http.get(url.clone()).send()).await?;
        let status = answer.status();
        if status.is_success() {
            return Ok(Download { answer, base: self.inner.base.clone() });
        }
        let body = self.within(answer.bytes()).await?;
        Err(refused(url.as_str(), status, &body))
    }

    async fn within<T>(
        &self,
        work: impl Future<Output = Result<T, reqwest::Error>>,
    ) -> Result<T, ClientError> {
        match tokio::time::timeout(self.inner.timeout, work).await {
            Ok(done) => done.map_err(|error| ClientError::unreachable(&self.inner.base, error)),
            Err(elapsed) => Err(ClientError::too_late(&self.inner.base, elapsed)),
        }
    }

    /// The files of a project whose paths begin so, by pages.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn files(
        &self,
        project: Option<&ProjectId>,
        prefix: &str,
        cursor: Option<&str>,
        limit: Option<u32>,
    ) -> Result<FilesView, ClientError> {
        let call = Call::get("/v1/files")
            .query("project", project)
            .query("prefix", Some(prefix).filter(|prefix| !prefix.is_empty()))
            .query("cursor", cursor)
            .query("limit", limit);
        self.call(call).await
    }

    /// Signs an address for one file: `get` or `put`.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn link_file(
        &self,
        name: &str,
        method: &str,
        seconds: u64,
    ) -> Result<FileLinkView, ClientError> {
        let call = Call::post("/v1/file-links", &())
            .query("name", Some(name))
            .query("method", Some(method))
            .query("expires_in_seconds", Some(seconds));
        self.call(call.repeatable(true)).await
    }

    fn file_url(&self, name: &str) -> Result<Url, ClientError> {
        let address = |reason: String| ClientError::Address { given: self.inner.base.clone(), reason };
        let mut url = Url::parse(&self.inner.base).map_err(|error| address(error.to_string()))?;
        match url.path_segments_mut() {
            Ok(mut path) => _ = path.pop_if_empty().extend(["v1", "files"]).extend(name.split('/')),
            Err(()) => return Err(address("it has no path".to_owned())),
        }
        Ok(url)
    }
}
