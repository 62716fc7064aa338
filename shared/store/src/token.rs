//! What a store keeps of callers: their tokens, and what operators did.

use std::time::Duration;

use async_trait::async_trait;
use baton_model::{AuditId, Label, SecretDigest, Timestamp, Token, TokenId};
use serde::{Deserialize, Serialize};

use crate::error::StoreError;
use crate::query::{Page, PageRequest};

/// A token with what is kept of its secret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredToken {
    /// The token.
    pub token: Token,
    /// The digest that a presented secret must have.
    pub digest: SecretDigest,
}

/// A store of callers' tokens.
///
/// What it answers is never older than the last change that was answered, by whichever process: a token that was revoked
/// is refused at once.
#[async_trait]
pub trait TokenStore: Send + Sync {
    /// Keeps a new token. The same one again changes nothing.
    ///
    /// # Errors
    /// [`StoreError::TooManyTokens`] beyond [`crate::Capabilities::tokens`], and the store's own failures.
    async fn create_token(&self, token: StoredToken) -> Result<(), StoreError>;

    /// A token, whether it is still good or not; none if it is unknown.
    ///
    /// # Errors
    /// The store's own failures.
    async fn token(&self, id: TokenId) -> Result<Option<StoredToken>, StoreError>;

    /// Tokens, the newest first: by their ids, the last one first.
    ///
    /// # Errors
    /// [`StoreError::BadCursor`].
    async fn tokens(&self, page: PageRequest) -> Result<Page<Token>, StoreError>;

    /// Ends a token now. One that was revoked before stays as it is.
    ///
    /// # Errors
    /// [`StoreError::TokenNotFound`].
    async fn revoke_token(&self, id: TokenId, now: Timestamp) -> Result<Token, StoreError>;

    /// Notes that a token was used; an earlier time than the one noted changes nothing, unless that lies further ahead than
    /// clocks differ ([`baton_model::watch::AHEAD`]). Nor does an unknown token.
    ///
    /// # Errors
    /// The store's own failures.
    async fn token_used(&self, id: TokenId, at: Timestamp) -> Result<(), StoreError>;
}

/// The most tokens that a store holds, unless it is opened for fewer.
pub const TOKENS: usize = 10_000;

/// How long an entry of the audit log is kept: 400 days.
pub const AUDIT_KEPT: Duration = Duration::from_secs(400 * 86_400);

/// One thing that an operator did, or tried to do.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AuditEntry {
    /// Its id: a UUIDv7 whose time is [`AuditEntry::at`], give or take a minute. Entries sort by it.
    pub id: AuditId,
    /// When it was asked for.
    pub at: Timestamp,
    /// What was asked for, by the operation's name in the OpenAPI document, such as `cancel_task`.
    pub action: String,
    /// The path that it was asked with, which names what it was done to.
    pub target: String,
    /// The token that was presented; none where none is needed.
    pub token: Option<TokenId>,
    /// The token's name at that time.
    pub token_name: Option<Label>,
    /// The id of the request, as it stands in the log.
    pub request_id: Option<String>,
    /// Who asked, by the request's own word.
    pub by: Option<Label>,
    /// Why, by the request's own word.
    pub reason: Option<String>,
    /// The HTTP status that it was answered with; none if the process ended before, or cannot have noted it: then the
    /// thing itself tells whether it was done.
    pub outcome: Option<u16>,
    /// What it has changed, if that is a setting.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub change: Option<SettingChange>,
}

/// A setting before and after it was changed, in words.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SettingChange {
    /// Before; none if there was none.
    pub from: Option<String>,
    /// After; none if there is none.
    pub to: Option<String>,
}

/// What became of an entry's request: what is known of it once it was answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settled {
    /// The HTTP status that it was answered with.
    pub outcome: u16,
    /// Who asked, by the request's own word.
    pub by: Option<Label>,
    /// Why, by the request's own word.
    pub reason: Option<String>,
    /// What it has changed, if that is a setting.
    pub change: Option<SettingChange>,
}

impl Settled {
    /// With this status, of a request that said neither who asks nor why.
    pub const fn with(outcome: u16) -> Self {
        Self { outcome, by: None, reason: None, change: None }
    }
}

/// Which entries of the audit log are asked for: those that fit every field that is set.
#[derive(Clone, Debug, Default)]
pub struct AuditFilter {
    /// Made with this token.
    pub token: Option<TokenId>,
    /// Of this action.
    pub action: Option<String>,
    /// At this time or later.
    pub from: Option<Timestamp>,
    /// Before this time.
    pub before: Option<Timestamp>,
}

/// A log of what operators did. An entry is written before the thing is done, so that nothing is done without one.
#[async_trait]
pub trait AuditStore: Send + Sync {
    /// Adds an entry. The same one again changes nothing.
    ///
    /// # Errors
    /// The store's own failures.
    async fn record(&self, entry: AuditEntry) -> Result<(), StoreError>;

    /// Notes how an entry's request was answered, and what it said of itself. An unknown entry changes nothing.
    ///
    /// # Errors
    /// The store's own failures.
    async fn settle(&self, id: AuditId, settled: Settled) -> Result<(), StoreError>;

    /// Entries by filter, the newest first. A page may be shorter than asked while it names a next one.
    ///
    /// # Errors
    /// [`StoreError::BadCursor`].
    async fn audit(&self, filter: AuditFilter, page: PageRequest) -> Result<Page<AuditEntry>, StoreError>;
}
