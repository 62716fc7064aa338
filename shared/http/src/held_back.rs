//! Whose requests were too many, as this process has seen it, for those who look after callers: a token that is held back shows in the list
//! of tokens and in `baton debug health`.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use baton_api::token::HeldBackView;
use baton_model::{Timestamp, TokenId};

/// For how long it is told of.
const LATELY: Duration = Duration::from_secs(3_600);

/// The tokens whose requests were refused of late. Only good ones are held to a rate, so that no caller can make them many.
#[derive(Debug, Default)]
pub struct HeldBack(Mutex<HashMap<TokenId, HeldBackView>>);

impl HeldBack {
    fn known(&self) -> MutexGuard<'_, HashMap<TokenId, HeldBackView>> {
        // An entry is whole after each statement that writes it.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Counts a request that was refused.
    pub(crate) fn count(&self, token: TokenId, requests_per_second: u32, now: Timestamp) {
        let mut known = self.known();
        if !known.contains_key(&token) {
            known.retain(|_, one| is_lately(one, now));
        }
        let one =
            known.entry(token).or_insert(HeldBackView { requests: 0, last_at: now, requests_per_second });
        if !is_lately(one, now) {
            one.requests = 0;
        }
        *one = HeldBackView { requests: one.requests + 1, last_at: now, requests_per_second };
    }

    /// The requests of a token that were refused of late, if there were any.
    pub fn of(&self, token: TokenId, now: Timestamp) -> Option<HeldBackView> {
        self.known().get(&token).filter(|one| is_lately(one, now)).copied()
    }
}

fn is_lately(one: &HeldBackView, now: Timestamp) -> bool {
    now.since(one.last_at) < LATELY
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_refused_is_told_of_for_an_hour_and_then_forgotten() {
        let (held, at) = (HeldBack::default(), |seconds: i64| Timestamp::from_millis(seconds * 1_000));
        let token = |n| TokenId::from_bytes([n; 16]);
        (0..3).for_each(|second| held.count(token(1), 5, at(second)));
        assert_eq!(
            held.of(token(1), at(3_000)),
            Some(HeldBackView { requests: 3, last_at: at(2), requests_per_second: 5 })
        );
        assert_eq!((held.of(token(2), at(3)), held.of(token(1), at(3_602))), (None, None));
        held.count(token(1), 5, at(9_000));
        assert_eq!(held.of(token(1), at(9_000)).map(|one| one.requests), Some(1));
        held.count(token(2), 5, at(20_000));
        assert_eq!(held.known().len(), 1);
    }
}
