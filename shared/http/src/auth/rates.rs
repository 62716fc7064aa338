//! How often each token may ask, and when its use was noted last.
//!
//! The limit is the generic cell rate algorithm (ITU-T I.371, appendix): one number a token, the time at which its
//! requests so far would be through at an even pace. A second's worth of requests may come at once. It is written out, and
//! not taken from a crate, as the one map of tokens serves the noting of their use too, and as the clock is handed in.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use baton_model::{Timestamp, Token, TokenId};

/// How often a token's use is noted at most, and how long an unused token is remembered.
const MINUTE: Duration = Duration::from_secs(60);

const SECOND: i128 = 1_000_000_000;

/// The tokens that were used within the last minutes, which are at most as many as there are good ones: nothing is kept
/// of a request whose token is not good.
#[derive(Debug)]
pub(super) struct Rates {
    /// Whether tokens are held to their limits at all.
    limited: bool,
    seen: Mutex<Seen>,
}

#[derive(Debug, Default)]
struct Seen {
    tokens: HashMap<TokenId, Entry>,
    swept_at: Timestamp,
}

#[derive(Debug)]
struct Entry {
    /// When the requests so far are through at an even pace, in nanoseconds since 1970.
    through_at: i128,
    last_at: Timestamp,
    noted_at: Option<Timestamp>,
}

/// What a token's request may do.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Turn {
    /// It goes on; the token's use is to be noted, or has been within the minute.
    GoOn { note_use: bool },
    /// It is one too many.
    Wait { limit: u32, wait: Duration },
}

impl Rates {
    pub(super) fn new() -> Self {
        Self { limited: true, seen: Mutex::default() }
    }

    /// Holds nobody back, and only says when a use is to be noted.
    pub(super) fn unlimited() -> Self {
        Self { limited: false, seen: Mutex::default() }
    }

    /// Counts a request of a good token. `usual`: how many requests a second a token may make that has no limit of its own.
    pub(super) fn take(&self, token: &Token, usual: Option<u32>, now: Timestamp) -> Turn {
        // An entry is whole after each statement that writes it.
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        if now.since(seen.swept_at) >= MINUTE || seen.swept_at > now {
            seen.tokens.retain(|_, entry| now.since(entry.last_at) < MINUTE);
            seen.swept_at = now;
        }
        let entry =
            seen.tokens.entry(token.id).or_insert(Entry { through_at: 0, last_at: now, noted_at: None });
        entry.last_at = now;
        if let Some(limit) = token.requests_per_second.or(usual).filter(|_| self.limited) {
            let present = i128::from(now.as_millis()) * (SECOND / 1_000);
            // A clock that was set back must not shut a token out: no more than a full second is ever due.
            entry.through_at = entry.through_at.clamp(present, present + SECOND);
            let through_at = entry.through_at + SECOND / i128::from(limit.max(1));
            if through_at > present + SECOND {
                let nanos = u64::try_from(through_at - present - SECOND).unwrap_or(0);
                return Turn::Wait { limit, wait: Duration::from_nanos(nanos) };
            }
            entry.through_at = through_at;
        }
        // Whichever is nearer: of what this process has noted and another, one may be from before the clock was set back.
        let noted_at = [entry.noted_at, token.last_used_at]
            .into_iter()
            .flatten()
            .min_by_key(|noted| now.since(*noted).max(noted.since(now)));
        // Either way: what was noted before the clock was set back is noted anew.
        let note_use = noted_at.is_none_or(|noted| now.since(noted).max(noted.since(now)) >= MINUTE);
        if note_use {
            entry.noted_at = Some(now);
        }
        Turn::GoOn { note_use }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use baton_model::{Grant, Scope};

    use super::*;

    fn token(id: u8, limit: Option<u32>) -> Token {
        let scopes = BTreeSet::from([Scope::Worker]);
        Token {
            id: TokenId::from_bytes([id; 16]),
            name: "t".parse().unwrap(),
            grant: Grant { scopes, queues: BTreeSet::new(), project: None },
            requests_per_second: limit,
            created_at: at(0),
            created_by: None,
            expires_at: None,
            revoked_at: None,
            last_used_at: None,
        }
    }

    fn at(millis: i64) -> Timestamp {
        Timestamp::from_millis(1_770_000_000_000 + millis)
    }

    /// Rates with a limit for tokens that have none of their own.
    struct Limited(Rates, Option<u32>);

    impl Limited {
        fn new(usual: Option<u32>) -> Self {
            Self(Rates::new(), usual)
        }

        fn take(&self, token: &Token, now: Timestamp) -> Turn {
            self.0.take(token, self.1, now)
        }
    }

    fn goes(rates: &Limited, token: &Token, millis: i64) -> bool {
        matches!(rates.take(token, at(millis)), Turn::GoOn { .. })
    }

    #[test]
    fn another_limit_holds_from_the_next_request_on() {
        let (rates, token) = (Rates::new(), token(1, None));
        let goes = |usual| matches!(rates.take(&token, usual, at(0)), Turn::GoOn { .. });
        assert!(goes(Some(1)) && !goes(Some(1)));
        assert!(goes(None) && !goes(Some(1)));
    }

    #[test]
    fn where_nobody_is_held_back_a_use_is_noted_once_a_minute_all_the_same() {
        let (rates, token) = (Limited(Rates::unlimited(), None), token(1, Some(1)));
        let noted = [0, 1, 2, 60_000].map(|millis| rates.take(&token, at(millis)));
        assert_eq!(noted, [true, false, false, true].map(|note_use| Turn::GoOn { note_use }));
    }

    #[test]
    fn a_seconds_worth_may_come_at_once_and_then_at_an_even_pace() {
        let (rates, token) = (Limited::new(Some(4)), token(1, None));
        assert_eq!((0..6).filter(|_| goes(&rates, &token, 0)).count(), 4);
        assert_eq!(rates.take(&token, at(0)), Turn::Wait { limit: 4, wait: Duration::from_millis(250) });
        assert!(goes(&rates, &token, 250) && !goes(&rates, &token, 250));
        assert_eq!((0..9).filter(|_| goes(&rates, &token, 60_000)).count(), 4);
    }

    #[test]
    fn over_a_long_time_the_limit_is_what_comes_through() {
        for limit in [1, 3, 7, 100] {
            let (rates, token) = (Limited::new(None), token(1, Some(limit)));
            let through = (0..10_000).filter(|millis| goes(&rates, &token, *millis)).count();
            let most = limit as usize * 11;
            assert!((most - 1..=most).contains(&through), "{through} of {most}");
        }
    }

    #[test]
    fn a_tokens_own_limit_goes_before_the_servers_and_each_token_counts_for_itself() {
        let rates = Limited::new(Some(2));
        let (own, other) = (token(1, Some(5)), token(2, None));
        assert_eq!((0..9).filter(|_| goes(&rates, &own, 0)).count(), 5);
        assert_eq!((0..9).filter(|_| goes(&rates, &other, 0)).count(), 2);
        let (rates, token) = (Limited::new(None), token(3, None));
        assert!((0..10_000).all(|_| goes(&rates, &token, 0)));
    }

    #[test]
    fn a_clock_that_is_set_back_shuts_nobody_out() {
        let (rates, token) = (Limited::new(Some(1)), token(1, None));
        assert!(goes(&rates, &token, 3_600_000));
        assert!(!goes(&rates, &token, 0));
        assert!(goes(&rates, &token, 1_000));
    }

    #[test]
    fn a_use_is_to_be_noted_once_a_minute() {
        let (rates, mut token) = (Limited::new(None), token(1, None));
        let notes = |token: &Token, millis| rates.take(token, at(millis)) == Turn::GoOn { note_use: true };
        assert!(notes(&token, 0) && !notes(&token, 1) && !notes(&token, 59_999) && notes(&token, 60_000));
        // Another process has noted it.
        token.last_used_at = Some(at(119_000));
        assert!(!notes(&token, 121_000));
    }

    #[test]
    fn a_use_that_was_noted_before_the_clock_was_set_back_is_noted_anew() {
        let (rates, mut token) = (Limited::new(None), token(1, None));
        let notes = |token: &Token, millis| rates.take(token, at(millis)) == Turn::GoOn { note_use: true };
        let ten_years = 315_360_000_000;
        assert!(notes(&token, ten_years));
        token.last_used_at = Some(at(ten_years));
        assert!(notes(&token, 0) && !notes(&token, 1_000) && notes(&token, 61_000));
    }

    #[test]
    fn tokens_that_are_no_longer_used_are_forgotten() {
        let rates = Limited::new(None);
        for id in 0..200 {
            assert!(goes(&rates, &token(id, None), 0));
        }
        assert!(goes(&rates, &token(1, None), 61_000));
        assert_eq!(rates.0.seen.lock().unwrap().tokens.len(), 1);
    }
}
