//! Caller tokens: who may call, and what a caller may do.
//!
//! A token is a random secret that its caller presents and of which Baton keeps a digest only. What it allows is its
//! [`Grant`]: scopes say which kinds of request, queues and project say about which tasks.

use std::collections::BTreeSet;
use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use subtle::ConstantTimeEq;

use crate::expected::Expected;
use crate::id::{Label, ProjectId, QueueName, TokenId};
use crate::time::Timestamp;

/// A kind of requests that a token allows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Scope {
    /// Creates tasks, follows and cancels them, and reads their outputs.
    Producer,
    /// Claims tasks, beats, and ends its attempts.
    Worker,
    /// Everything.
    Operator,
}

impl Scope {
    /// Every scope.
    pub const ALL: [Self; 3] = [Self::Producer, Self::Worker, Self::Operator];

    /// The scope's stable name.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Producer => "producer",
            Self::Worker => "worker",
            Self::Operator => "operator",
        }
    }
}

impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Scope {
    type Err = Expected;

    fn from_str(text: &str) -> Result<Self, Expected> {
        let named = Self::ALL.into_iter().find(|scope| scope.as_str() == text);
        named.ok_or_else(|| Expected::text("producer, worker or operator", text))
    }
}

/// What a token allows.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Grant {
    /// Which kinds of request; at least one.
    pub scopes: BTreeSet<Scope>,
    /// Only tasks of these queues; of all if empty.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub queues: BTreeSet<QueueName>,
    /// Only tasks of this project; of all if none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub project: Option<ProjectId>,
}

impl Grant {
    /// The most queues that a token may be bound to.
    pub const QUEUES: usize = 32;

    /// Whether one of these scopes is granted; an operator has them all.
    pub fn has(&self, any: &[Scope]) -> bool {
        self.scopes.contains(&Scope::Operator) || any.iter().any(|scope| self.scopes.contains(scope))
    }

    /// Whether it reaches all tasks.
    pub fn is_unbound(&self) -> bool {
        self.queues.is_empty() && self.project.is_none()
    }

    /// Whether it reaches tasks of this queue.
    pub fn covers_queue(&self, queue: &QueueName) -> bool {
        self.queues.is_empty() || self.queues.contains(queue)
    }

    /// Whether it reaches tasks of this project.
    pub fn covers_project(&self, project: &ProjectId) -> bool {
        self.project.as_ref().is_none_or(|bound| bound == project)
    }

    /// Whether it reaches a task.
    pub fn covers(&self, queue: &QueueName, project: &ProjectId) -> bool {
        self.covers_queue(queue) && self.covers_project(project)
    }
}

/// A caller's token as it is known: all but its secret.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Token {
    /// The public part of what the caller presents.
    pub id: TokenId,
    /// What it is for, in its maker's words.
    pub name: Label,
    /// What it allows.
    pub grant: Grant,
    /// The most requests a second; the server's own limit if none.
    pub requests_per_second: Option<u32>,
    /// When it was made.
    pub created_at: Timestamp,
    /// Who made it: the name of the token that was presented for it, if one was.
    pub created_by: Option<Label>,
    /// When it ends by itself; never if none.
    pub expires_at: Option<Timestamp>,
    /// When it was revoked.
    pub revoked_at: Option<Timestamp>,
    /// When it was last used, to the minute.
    pub last_used_at: Option<Timestamp>,
}

impl Token {
    /// What it is good for at `now`.
    pub fn status(&self, now: Timestamp) -> TokenStatus {
        if self.revoked_at.is_some() {
            TokenStatus::Revoked
        } else if self.expires_at.is_some_and(|end| end <= now) {
            TokenStatus::Expired
        } else {
            TokenStatus::Active
        }
    }

    /// When it ceased, or will cease, to be good for anything: the earlier of revocation and expiry.
    pub fn ends_at(&self) -> Option<Timestamp> {
        match (self.revoked_at, self.expires_at) {
            (Some(revoked), Some(expires)) => Some(revoked.min(expires)),
            (revoked, expires) => revoked.or(expires),
        }
    }
}

/// Whether a token is good.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TokenStatus {
    /// It is.
    Active,
    /// Its time is over.
    Expired,
    /// It was revoked.
    Revoked,
}

impl TokenStatus {
    /// The status's stable name.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Active => "active",
            Self::Expired => "expired",
            Self::Revoked => "revoked",
        }
    }
}

/// What a caller presents: `baton_`, the token's id in 32 hexadecimal digits, `_`, the secret in 64; or a secret of another
/// system that was imported.
///
/// An imported secret names no id, so that its id is made of it: a digest that is cut to an id's size. To look one up is to
/// read one token by its id, in every store and without an index (docs/decisions/0037).
///
/// Its text is shown once, by [`TokenSecret::reveal`]; `Debug` tells the id alone, and there is no `Display`.
#[derive(Clone)]
pub struct TokenSecret {
    id: TokenId,
    secret: [u8; TokenSecret::BYTES],
}

impl TokenSecret {
    /// How many random bytes a secret has: 256 bits, which nobody guesses, so that a plain digest keeps it.
    pub const BYTES: usize = 32;
    /// How every token's text begins, so that scanners for leaked secrets can know it.
    pub const PREFIX: &'static str = "baton_";

    /// The secret of a token, of random bytes from the operating system's source.
    pub const fn new(id: TokenId, secret: [u8; Self::BYTES]) -> Self {
        Self { id, secret }
    }

    /// The fewest characters of a secret that is imported: shorter ones are guessed.
    pub const IMPORTED_LEAST: usize = 16;
    /// The most bytes of it.
    pub const IMPORTED_MOST: usize = 4096;

    /// A secret that another system has made, such as a service key; none if it is too short or too long, could not be
    /// presented in a header, or reads as one of Baton's own.
    pub fn imported(text: &str) -> Option<Self> {
        let fits = text.chars().count() >= Self::IMPORTED_LEAST
            && text.len() <= Self::IMPORTED_MOST
            && text.trim() == text
            && !text.chars().any(char::is_control)
            && Self::parse(text).is_none();
        let digest = |purpose: &str| -> [u8; 32] {
            let mut hash = Sha256::new();
            hash.update(purpose.as_bytes());
            hash.update(text.as_bytes());
            hash.finalize().into()
        };
        fits.then(|| {
            let id = TokenId::of_own_bits(&[b"baton imported token: id\0", text.as_bytes()]);
            Self { id, secret: digest("baton imported token: secret\0") }
        })
    }

    /// Reads what a caller presents: Baton's own, or else one that may have been imported.
    pub fn presented(text: &str) -> Option<Self> {
        Self::parse(text).or_else(|| Self::imported(text))
    }

    /// The token that it claims to be.
    pub const fn id(&self) -> TokenId {
        self.id
    }

    /// What is stored of it.
    pub fn digest(&self) -> SecretDigest {
        let mut hash = Sha256::new();
        hash.update(self.id.as_bytes());
        hash.update(self.secret);
        SecretDigest(hash.finalize().into())
    }

    /// The whole text, to be shown to its caller and to nobody else.
    pub fn reveal(&self) -> String {
        let hex = |bytes: &[u8]| bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
        format!("{}{}_{}", Self::PREFIX, hex(self.id.as_bytes()), hex(&self.secret))
    }

    /// Reads what a caller presents. What is wrong with it is not told in detail: it may be a secret with a slip.
    pub fn parse(presented: &str) -> Option<Self> {
        let (id, secret) = presented.strip_prefix(Self::PREFIX)?.split_once('_')?;
        Some(Self { id: TokenId::from_bytes(unhex(id.as_bytes())?), secret: unhex(secret.as_bytes())? })
    }
}

/// Bytes of lower-case hexadecimal digits, which are the only ones that there may be.
pub(crate) fn unhex<const N: usize>(digits: &[u8]) -> Option<[u8; N]> {
    if digits.len() != 2 * N || !digits.iter().all(|digit| matches!(digit, b'0'..=b'9' | b'a'..=b'f')) {
        return None;
    }
    let value = |digit: u8| if digit <= b'9' { digit - b'0' } else { digit - b'a' + 10 };
    let mut bytes = [0; N];
    for (byte, pair) in bytes.iter_mut().zip(digits.chunks_exact(2)) {
        *byte = value(pair[0]) << 4 | value(pair[1]);
    }
    Some(bytes)
}

impl fmt::Debug for TokenSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "TokenSecret({}, …)", self.id)
    }
}

/// The SHA-256 of a token's id and secret. Two are compared in a time that does not depend on where they differ.
#[derive(Clone, Copy)]
pub struct SecretDigest([u8; 32]);

impl SecretDigest {
    /// The digest's bytes, for a store.
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// The digest that [`Self::as_bytes`] gave.
    pub const fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }
}

impl PartialEq for SecretDigest {
    fn eq(&self, other: &Self) -> bool {
        self.0.ct_eq(&other.0).into()
    }
}

impl Eq for SecretDigest {}

impl fmt::Debug for SecretDigest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SecretDigest(…)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn secret() -> TokenSecret {
        TokenSecret::new(TokenId::from_bytes([0xab; 16]), [0x5c; 32])
    }

    fn grant(scopes: &[Scope], queues: &[&str], project: Option<&str>) -> Grant {
        Grant {
            scopes: scopes.iter().copied().collect(),
            queues: queues.iter().map(|name| name.parse().unwrap()).collect(),
            project: project.map(|name| name.parse().unwrap()),
        }
    }

    #[test]
    fn a_secret_reads_back_from_its_text() {
        let text = secret().reveal();
        assert_eq!(text.len(), 6 + 32 + 1 + 64);
        let again = TokenSecret::parse(&text).unwrap();
        assert_eq!(again.id(), secret().id());
        assert!(again.digest() == secret().digest());
    }

    #[test]
    fn what_is_not_a_token_does_not_read() {
        let text = secret().reveal();
        for bad in
            ["", "baton_", "baton_ab_5c", &text[1..], &text[..102], &text.to_uppercase(), &format!("{text}0")]
        {
            assert!(TokenSecret::parse(bad).is_none(), "{bad}");
        }
        assert!(TokenSecret::parse(&text.replace("5c5c", "5cé")).is_none());
    }

    #[test]
    fn an_imported_secret_is_known_by_its_text_alone() {
        let text = "eyJhbGciOiJIUzI1NiJ9.eyJyb2xlIjoic2VydmljZV9yb2xlIn0.c2lnbmF0dXJl";
        let (first, again) = (TokenSecret::imported(text).unwrap(), TokenSecret::presented(text).unwrap());
        assert!(first.id() == again.id() && first.digest() == again.digest());
        let other = TokenSecret::imported(&text.replace("c2ln", "c2lm")).unwrap();
        assert!(other.id() != first.id() && other.digest() != first.digest());
        let id = first.id().to_string();
        assert!(id.as_bytes()[14] == b'8' && id.parse::<TokenId>().is_ok(), "{id}");
        assert!(!format!("{first:?}").contains("eyJ"));
    }

    #[test]
    fn an_imported_secret_is_long_enough_and_none_of_batons_own() {
        for good in
            ["sixteen letters!", "schlüssel-für-alte-systeme", &"x".repeat(TokenSecret::IMPORTED_MOST)]
        {
            assert!(TokenSecret::imported(good).is_some(), "{good}");
        }
        let own = secret().reveal();
        let long = "x".repeat(TokenSecret::IMPORTED_MOST + 1);
        for bad in ["", "fifteen letters", " sixteen letters!", "sixteen\nletters!", own.as_str(), &long] {
            assert!(TokenSecret::imported(bad).is_none(), "{bad}");
        }
        assert!(TokenSecret::presented(&own).unwrap().id() == secret().id());
    }

    #[test]
    fn neither_secret_nor_digest_shows_in_debug_output() {
        let secret = secret();
        let shown = format!("{secret:?} {:?}", secret.digest());
        assert!(!shown.contains("5c") && shown.contains("abababab"), "{shown}");
    }

    #[test]
    fn another_secret_or_another_id_has_another_digest() {
        let other = TokenSecret::new(secret().id(), [0x5d; 32]);
        assert!(other.digest() != secret().digest());
        let other = TokenSecret::new(TokenId::from_bytes([0xac; 16]), [0x5c; 32]);
        assert!(other.digest() != secret().digest());
    }

    #[test]
    fn an_operator_has_every_scope_and_others_have_their_own() {
        assert!(grant(&[Scope::Operator], &[], None).has(&[Scope::Worker]));
        assert!(grant(&[Scope::Operator], &[], None).has(&[]));
        assert!(grant(&[Scope::Worker, Scope::Producer], &[], None).has(&[Scope::Producer]));
        assert!(!grant(&[Scope::Worker], &[], None).has(&[Scope::Producer]));
        assert!(!grant(&[Scope::Worker], &[], None).has(&[]));
    }

    #[test]
    fn a_bound_grant_covers_its_queues_and_its_project_only() {
        let (queue, project) = ("gpu".parse().unwrap(), "film".parse().unwrap());
        assert!(grant(&[Scope::Worker], &[], None).covers(&queue, &project));
        assert!(grant(&[Scope::Worker], &["gpu"], Some("film")).covers(&queue, &project));
        assert!(!grant(&[Scope::Worker], &["cpu"], None).covers(&queue, &project));
        assert!(!grant(&[Scope::Worker], &[], Some("game")).covers(&queue, &project));
    }

    #[test]
    fn a_token_ends_by_expiry_or_revocation() {
        let at = |second: i64| Timestamp::from_millis(second * 1_000);
        let mut token = Token {
            id: TokenId::from_bytes([1; 16]),
            name: "render farm".parse().unwrap(),
            grant: grant(&[Scope::Worker], &[], None),
            requests_per_second: None,
            created_at: at(0),
            created_by: None,
            expires_at: Some(at(10)),
            revoked_at: None,
            last_used_at: None,
        };
        assert_eq!(token.status(at(9)), TokenStatus::Active);
        assert_eq!(token.status(at(10)), TokenStatus::Expired);
        token.revoked_at = Some(at(5));
        assert_eq!(token.status(at(6)), TokenStatus::Revoked);
        assert_eq!(token.ends_at(), Some(at(5)));
    }
}
