//! Files, sent and fetched as streams.

use std::fmt::Write as _;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use baton_api::file::{FileLinkView, FileView, FilesView};
use baton_model::ProjectId;
use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use reqwest::Url;
use reqwest::header::{CONTENT_LENGTH, CONTENT_TYPE, LOCATION};
use sha2::{Digest as _, Sha256};

use crate::builder::http_client;
use crate::call::{Call, refused};
use crate::{Client, ClientError};

/// What has more bytes is put where the server says, if that is elsewhere: functions on AWS take no more in a request.
const DIRECT: u64 = 4 << 20;

/// How often it is asked whether a file was taken in that was put elsewhere, and the pauses between: one of 5 GiB is read for some minutes.
const LOOKS: u32 = 120;
const FIRST_PAUSE: Duration = Duration::from_millis(200);
const LONGEST_PAUSE: Duration = Duration::from_secs(5);

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
    /// Sends a file of so many bytes. It is there once this has returned, and is never sent again by itself.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn put_file<B>(
        &self,
        name: &str,
        kind: Option<&str>,
        size: u64,
        bytes: B,
    ) -> Result<FileView, ClientError>
    where
        B: Body<Data = Bytes> + Send + Sync + 'static,
        B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    {
        if size > DIRECT {
            let link = self.link_file(name, "put", 3_600).await?;
            // A server that carries files itself says where by a path of its own.
            if let Ok(elsewhere) = Url::parse(&link.url) {
                let sent = Sent::default();
                put_elsewhere(elsewhere, kind, size, Hashed { bytes: Box::pin(bytes), sent: sent.clone() })
                    .await?;
                return self.taken_in(name, &sent).await;
            }
        }
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
        let location = answer.headers().get(LOCATION).and_then(|location| location.to_str().ok());
        if let Some(elsewhere) =
            location.filter(|_| status.is_redirection()).and_then(|to| Url::parse(to).ok())
        {
            return self.get_elsewhere(elsewhere).await;
        }
        let body = self.within(answer.bytes()).await?;
        Err(refused(url.as_str(), status, &body))
    }

    /// Begins to fetch a file from where the server says that it is; no token goes there.
    async fn get_elsewhere(&self, url: Url) -> Result<Download, ClientError> {
        let base = shown(&url);
        let http = client_of(&url)?;
        let answer = self.within(http.get(url).send()).await?;
        let status = answer.status();
        if status.is_success() {
            return Ok(Download { answer, base });
        }
        let body = self.within(answer.bytes()).await?;
        Err(refused(&base, status, &body))
    }

    /// Waits until a file is there that was put elsewhere. What stands may be another: an older one, as this one was refused, or one that was
    /// put in its place.
    async fn taken_in(&self, name: &str, sent: &Sent) -> Result<FileView, ClientError> {
        let mut url = self.file_url(name)?;
        url.query_pairs_mut().append_pair("about", "true");
        let (mut looks, mut pause) = (1, FIRST_PAUSE);
        loop {
            match self.send_once(self.inner.http.get(url.clone()), url.as_str()).await {
                Err(error) if error.is_passing() && looks < LOOKS => looks += 1,
                Ok(told) if sent.is(&told) => return Ok(told),
                Ok(_) => return Err(ClientError::NotKept { name: name.to_owned() }),
                Err(error) => return Err(error),
            }
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
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

/// What was sent of a file so far.
#[derive(Clone, Default)]
struct Sent(Arc<Mutex<(Sha256, u64)>>);

impl Sent {
    fn more(&self, bytes: &[u8]) {
        // What is in it is whole after each statement.
        let mut sent = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        sent.0.update(bytes);
        sent.1 += bytes.len() as u64;
    }

    /// Whether a file is the one that was sent.
    fn is(&self, told: &FileView) -> bool {
        let (hash, size) = self.0.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let mut digest = String::with_capacity(64);
        for byte in &hash.finalize() {
            // Writing to a text does not fail.
            let _ = write!(digest, "{byte:02x}");
        }
        told.size == size && told.sha256 == digest
    }
}

/// A body that notes what is sent of it.
struct Hashed<B> {
    bytes: Pin<Box<B>>,
    sent: Sent,
}

impl<B: Body<Data = Bytes>> Body for Hashed<B> {
    type Data = Bytes;
    type Error = B::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, B::Error>>> {
        let next = self.bytes.as_mut().poll_frame(context);
        if let Poll::Ready(Some(Ok(frame))) = &next
            && let Some(bytes) = frame.data_ref()
        {
            self.sent.more(bytes);
        }
        next
    }

    fn is_end_stream(&self) -> bool {
        self.bytes.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.bytes.size_hint()
    }
}

/// Puts a file at an address that says itself what it allows; no token goes there.
async fn put_elsewhere<B>(url: Url, kind: Option<&str>, size: u64, bytes: B) -> Result<(), ClientError>
where
    B: Body<Data = Bytes> + Send + Sync + 'static,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    let base = shown(&url);
    let http = client_of(&url)?;
    let mut request = http.put(url).header(CONTENT_LENGTH, size).body(reqwest::Body::wrap(bytes));
    if let Some(kind) = kind {
        request = request.header(CONTENT_TYPE, kind);
    }
    let unreachable = |error| ClientError::unreachable(&base, error);
    let answer = request.send().await.map_err(unreachable)?;
    let status = answer.status();
    if status.is_success() {
        return Ok(());
    }
    let body = answer.bytes().await.map_err(unreachable)?;
    Err(refused(&base, status, &body))
}

fn client_of(url: &Url) -> Result<reqwest::Client, ClientError> {
    http_client(url).map_err(|reason| ClientError::Address { given: shown(url), reason })
}

/// An address without what lets whoever has it use it.
fn shown(url: &Url) -> String {
    let mut url = url.clone();
    url.set_query(None);
    url.into()
}
