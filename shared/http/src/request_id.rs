//! The name of a request, by which its answer, its log lines and its audit entry are found.

use std::sync::atomic::{AtomicU64, Ordering};

use baton_model::RequestKey;
use baton_runtime::Ids;
use bytes::Bytes;
use http::{HeaderName, HeaderValue};

/// The header that carries a request's id, there and back.
pub const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// Makes ids for the requests of one process.
#[derive(Debug)]
pub(crate) struct RequestIds {
    /// Differs from process to process.
    seed: u64,
    count: AtomicU64,
}

impl RequestIds {
    /// Begins at the random part of an id.
    pub(crate) fn new(ids: &dyn Ids) -> Self {
        let mut random = [0; 8];
        random.copy_from_slice(&ids.uuid().as_bytes()[8..]);
        Self { seed: u64::from_be_bytes(random), count: AtomicU64::new(0) }
    }

    /// The caller's id for its request if it is sane, else a fresh one.
    pub(crate) fn of(&self, given: Option<&HeaderValue>) -> HeaderValue {
        if let Some(given) = given
            && given.to_str().is_ok_and(|text| text.parse::<RequestKey>().is_ok())
        {
            return given.clone();
        }
        // SplitMix64's mixer is a bijection, so that no two requests of a process share an id.
        let mut id = self.seed.wrapping_add(self.count.fetch_add(1, Ordering::Relaxed));
        id = (id ^ (id >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        id = (id ^ (id >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        id ^= id >> 31;
        let hex = b"0123456789abcdef";
        let digits: Vec<u8> = (0..16).map(|place| hex[(id >> (60 - 4 * place)) as usize & 15]).collect();
        HeaderValue::from_maybe_shared(Bytes::from(digits)).unwrap_or(HeaderValue::from_static("0"))
    }
}
