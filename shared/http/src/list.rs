//! Answers with a list, which are read from the store as their caller takes them: callers that take nothing, of whom there may
//! be as many as there are connections, do not have whole pages of large entries wait for them in memory.

use std::fmt;
use std::future::Future;

use axum::body::Body;
use axum::response::Response;
use baton_api::task::Page as PageView;
use baton_store::{Page, PageRequest, StoreError};
use bytes::Bytes;
use futures::StreamExt as _;
use futures::stream;
use http::HeaderValue;
use http::header::CONTENT_TYPE;
use serde::Serialize;

use crate::error::{ApiError, ApiResult};
use crate::reply::ok;

/// An answer that has come to so many bytes ends: what is left of its page is the next one.
const ANSWER_BYTES: usize = 4 * 1024 * 1024;

/// Why an answer ended before it was whole. It says no more, as its caller hears no more.
#[derive(Debug)]
struct BrokenOff;

impl fmt::Display for BrokenOff {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the list broke off")
    }
}

impl std::error::Error for BrokenOff {}

/// Answers with a page of a list. `read` gives a part of it, and `show` is what the caller sees of an entry, if anything.
/// `in_parts`: whether the store reads a page in parts at no further cost; else it is read whole.
///
/// # Errors
/// Those of the store. Once a part was sent, an error can only break the answer off: it ends without its last chunk, by which
/// its caller knows that it is not whole.
pub async fn list<T, V, R, F, S>(request: PageRequest, in_parts: bool, read: R, show: S) -> ApiResult
where
    T: Send + 'static,
    V: Serialize,
    R: Fn(PageRequest) -> F + Send + 'static,
    F: Future<Output = Result<Page<T>, StoreError>> + Send + 'static,
    S: Fn(T) -> Option<V> + Send + 'static,
{
    if !in_parts {
        return whole(read(request).await?, show);
    }
    let mut answer = Answer { left: request.limit, bytes: 0, is_first: true };
    let first = read(PageRequest { after: request.after, ..answer.request() }).await?;
    if first.next.is_none() || first.items.len() >= request.limit as usize {
        return whole(first, show);
    }
    let part = answer.part(first, &show)?;
    let rest = stream::unfold(
        (answer, part.next.clone(), read, show),
        |(mut answer, next, read, show)| async move {
            let after = Some(next?);
            let read_part = read(PageRequest { after, ..answer.request() }).await;
            let part = read_part.map_err(ApiError::from).and_then(|page| answer.part(page, &show));
            Some(match part {
                Ok(part) => (Ok(part.text), (answer, part.next, read, show)),
                Err(error) => {
                    error.log();
                    tracing::warn!(code = error.code().as_str(), "a list broke off while its caller took it");
                    (Err(BrokenOff), (answer, None, read, show))
                }
            })
        },
    );
    let first = stream::once(std::future::ready(Ok(part.text)));
    let mut response = Response::new(Body::from_stream(first.chain(rest)));
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    Ok(response)
}

fn whole<T, V: Serialize>(page: Page<T>, show: impl Fn(T) -> Option<V>) -> ApiResult {
    let items = page.items.into_iter().filter_map(show).collect();
    ok(&PageView { items, next_cursor: page.next.map(|next| next.0) })
}

/// An answer on its way.
struct Answer {
    /// How many entries it may still have.
    left: u32,
    bytes: usize,
    /// Whether nothing was written yet.
    is_first: bool,
}

/// A piece of an answer's text.
struct Part {
    text: Bytes,
    /// Where the part behind it begins; none behind the last.
    next: Option<baton_store::Cursor>,
}

impl Answer {
    fn request(&self) -> PageRequest {
        PageRequest { in_parts: true, ..PageRequest::first(self.left.min(PageRequest::PART)) }
    }

    /// Writes what the store gave for [`Answer::request`], and the answer's end if it is the last.
    fn part<T, V: Serialize>(
        &mut self,
        page: Page<T>,
        show: impl Fn(T) -> Option<V>,
    ) -> Result<Part, ApiError> {
        let mut text = Vec::new();
        if self.is_first {
            text.extend_from_slice(b"{\"items\":[");
        }
        let found = u32::try_from(page.items.len()).unwrap_or(u32::MAX);
        let is_full = found >= self.request().limit;
        for item in page.items.into_iter().filter_map(show) {
            if !std::mem::take(&mut self.is_first) {
                text.push(b',');
            }
            write(&mut text, &item)?;
        }
        self.left = self.left.saturating_sub(found);
        self.bytes += text.len();
        // A part that is full neither of entries nor of bytes was looked for among many rows: the next request goes on.
        let goes_on = self.left > 0
            && self.bytes < ANSWER_BYTES
            && (is_full || text.len() >= PageRequest::PART_BYTES)
            && page.next.is_some();
        if goes_on {
            return Ok(Part { text: text.into(), next: page.next });
        }
        text.push(b']');
        if let Some(next) = page.next {
            text.extend_from_slice(b",\"next_cursor\":");
            write(&mut text, &next.0)?;
        }
        text.push(b'}');
        Ok(Part { text: text.into(), next: None })
    }
}

fn write(text: &mut Vec<u8>, value: &impl Serialize) -> Result<(), ApiError> {
    serde_json::to_writer(text, value).map_err(|error| {
        tracing::error!(%error, "an entry of a list does not serialise");
        ApiError::internal()
    })
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use baton_store::Cursor;
    use http_body_util::BodyExt as _;
    use proptest::prelude::*;
    use serde_json::Value;

    use super::*;

    /// A list of texts of these lengths. Each is told by its place; the cursor is a place, too.
    #[derive(Clone)]
    struct List {
        lengths: Arc<[usize]>,
        reads: Arc<AtomicUsize>,
    }

    impl List {
        fn new(lengths: &[usize]) -> Self {
            Self { lengths: lengths.into(), reads: Arc::default() }
        }

        /// As a store gives a part.
        fn read(&self, request: &PageRequest) -> Page<(usize, usize)> {
            self.reads.fetch_add(1, Ordering::Relaxed);
            assert!(request.in_parts && request.limit > 0, "{request:?}");
            let from = request.after.as_ref().map_or(0, |after| after.0.parse().unwrap());
            let (mut items, mut bytes) = (Vec::new(), 0);
            for (place, length) in self.lengths.iter().enumerate().skip(from) {
                items.push((place, *length));
                bytes += length;
                if items.len() >= request.limit as usize || bytes > PageRequest::PART_BYTES {
                    break;
                }
            }
            let next = from + items.len();
            Page { items, next: (next < self.lengths.len()).then(|| Cursor(next.to_string())) }
        }

        async fn ask(&self, after: Option<Cursor>, limit: u32) -> Response {
            let list = self.clone();
            let read = move |request: PageRequest| std::future::ready(Ok(list.read(&request)));
            let request = PageRequest { after, ..PageRequest::first(limit) };
            super::list(request, true, read, |(place, length)| Some((place, "x".repeat(length))))
                .await
                .unwrap()
        }
    }

    fn places(page: &Value) -> Vec<usize> {
        let items = page["items"].as_array().unwrap();
        items.iter().map(|item| usize::try_from(item[0].as_u64().unwrap()).unwrap()).collect()
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        /// However large the entries are and the pages: each is a JSON document of at most `limit` entries, and one behind
        /// the other they have every entry once, in order.
        #[test]
        fn pages_in_parts_have_every_entry_once(
            lengths in prop::collection::vec(prop_oneof![0..100_usize, 0..200_000_usize], 0..60),
            limit in prop_oneof![1..8_u32, Just(1_000)],
        ) {
            let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
            let list = List::new(&lengths);
            let (mut seen, mut after) = (Vec::new(), None);
            loop {
                let body = runtime.block_on(async { list.ask(after, limit).await.into_body().collect().await.unwrap() });
                let page: Value = serde_json::from_slice(&body.to_bytes()).unwrap();
                let places = places(&page);
                prop_assert!(places.len() <= limit as usize);
                seen.extend(places);
                match page.get("next_cursor") {
                    Some(next) => after = Some(Cursor(next.as_str().unwrap().to_owned())),
                    None => break,
                }
            }
            prop_assert_eq!(seen, (0..lengths.len()).collect::<Vec<_>>());
        }
    }

    #[tokio::test]
    async fn what_nobody_takes_is_not_read() {
        let list = List::new(&[100_000; 30]);
        let mut response = list.ask(None, 1_000).await;
        assert_eq!(list.reads.load(Ordering::Relaxed), 1);
        response.body_mut().frame().await.unwrap().unwrap();
        assert_eq!(list.reads.load(Ordering::Relaxed), 1);
        response.body_mut().frame().await.unwrap().unwrap();
        assert_eq!(list.reads.load(Ordering::Relaxed), 2);
    }

    #[tokio::test]
    async fn an_answer_whose_store_fails_breaks_off() {
        let list = List::new(&[100_000; 30]);
        let reads = Arc::clone(&list.reads);
        let read = move |request: PageRequest| {
            let fails = reads.load(Ordering::Relaxed) == 2;
            let gone = || StoreError::Gone { what: "the file".to_owned() };
            std::future::ready(if fails { Err(gone()) } else { Ok(list.read(&request)) })
        };
        let show = |(place, length)| Some((place, "x".repeat(length)));
        let response = super::list(PageRequest::first(1_000), true, read, show).await.unwrap();
        assert!(response.into_body().collect().await.is_err(), "half a list is no list");
    }
}
