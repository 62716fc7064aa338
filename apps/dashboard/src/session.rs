//! Sessions: who has signed in, in the memory of this process alone.
//!
//! A cookie names a session and is no token: what it leads to ends with the process, by signing out, when nobody has come for eight
//! hours, and with the token itself, which is looked at again at each request.

use std::collections::HashMap;
use std::fmt::Write as _;
use std::io;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use baton_model::{Timestamp, TokenId, TokenSecret};
use baton_runtime::Ids;

/// How long nobody may have come before a session ends.
const IDLE: Duration = Duration::from_secs(8 * 3_600);
/// How many there are at most; of more, the one that nobody has come to for longest ends.
const MOST: usize = 1_000;
/// The same of one token, so that its holder ends nobody else's.
const MOST_OF_ONE: usize = 20;

/// Somebody who has signed in.
#[derive(Clone)]
pub(crate) struct Session {
    /// What is presented to the routes.
    pub(crate) token: TokenSecret,
    /// Stands in each form of its pages.
    pub(crate) form: String,
}

struct Kept {
    session: Session,
    seen: Timestamp,
}

/// All sessions, by what their cookies hold.
#[derive(Default)]
pub(crate) struct Sessions(Mutex<HashMap<String, Kept>>);

impl Sessions {
    /// Begins a session. Gives what its cookie holds.
    pub(crate) fn begin(&self, ids: &dyn Ids, now: Timestamp, token: TokenSecret) -> io::Result<String> {
        let (id, form) = (random(ids)?, random(ids)?);
        let mut kept = self.kept();
        kept.retain(|_, one| !is_over(one, now));
        let of = token.id();
        while kept.values().filter(|one| one.session.token.id() == of).count() >= MOST_OF_ONE {
            end_longest_idle(&mut kept, Some(of));
        }
        while kept.len() >= MOST {
            end_longest_idle(&mut kept, None);
        }
        kept.insert(id.clone(), Kept { session: Session { token, form }, seen: now });
        Ok(id)
    }

    /// The session that a cookie names, if it has not ended; somebody has come to it.
    pub(crate) fn find(&self, id: &str, now: Timestamp) -> Option<Session> {
        let mut kept = self.kept();
        let one = kept.get_mut(id)?;
        if is_over(one, now) {
            kept.remove(id);
            return None;
        }
        one.seen = now;
        Some(one.session.clone())
    }

    /// Ends a session.
    pub(crate) fn end(&self, id: &str) {
        self.kept().remove(id);
    }

    fn kept(&self) -> MutexGuard<'_, HashMap<String, Kept>> {
        // A map of whole entries is never half changed.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn is_over(one: &Kept, now: Timestamp) -> bool {
    // A clock that was set back ends nothing.
    now.since(one.seen) > IDLE
}

fn end_longest_idle(kept: &mut HashMap<String, Kept>, of: Option<TokenId>) {
    let mine = |one: &Kept| of.is_none_or(|of| one.session.token.id() == of);
    let idlest = kept.iter().filter(|(_, one)| mine(one)).min_by_key(|(_, one)| one.seen);
    if let Some(id) = idlest.map(|(id, _)| id.clone()) {
        kept.remove(&id);
    }
}

/// 256 bits that nobody can guess, in hexadecimal digits.
pub(crate) fn random(ids: &dyn Ids) -> io::Result<String> {
    // The digest of a secret that is kept nowhere.
    let digest = ids.token()?.digest();
    let mut text = String::with_capacity(64);
    for byte in digest.as_bytes() {
        // A string takes whatever is written to it.
        let _ = write!(text, "{byte:02x}");
    }
    Ok(text)
}
