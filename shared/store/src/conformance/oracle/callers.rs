//! The oracle's tokens and audit log.

use async_trait::async_trait;
use baton_model::watch::AHEAD;
use baton_model::{AuditId, Timestamp, Token, TokenId};

use super::Oracle;
use super::lists::{fits, page, within};
use crate::{
    AuditEntry, AuditFilter, AuditStore, Page, PageRequest, Settled, StoreError, StoredToken, TokenStore,
};

#[async_trait]
impl TokenStore for Oracle {
    async fn create_token(&self, token: StoredToken) -> Result<(), StoreError> {
        let mut inner = self.lock();
        if inner.tokens.contains_key(&token.token.id) {
            return Ok(());
        }
        if inner.tokens.len() >= self.most_tokens {
            return Err(StoreError::TooManyTokens { most: self.most_tokens });
        }
        inner.tokens.insert(token.token.id, token);
        Ok(())
    }

    async fn token(&self, id: TokenId) -> Result<Option<StoredToken>, StoreError> {
        Ok(self.lock().tokens.get(&id).cloned())
    }

    async fn tokens(&self, asked: PageRequest) -> Result<Page<Token>, StoreError> {
        let inner = self.lock();
        let tokens = inner.tokens.values().map(|kept| (kept.token.id.to_string(), kept.token.clone()));
        page("k:", tokens.collect(), true, &asked)
    }

    async fn revoke_token(&self, id: TokenId, now: Timestamp) -> Result<Token, StoreError> {
        let mut inner = self.lock();
        let kept = inner.tokens.get_mut(&id).ok_or(StoreError::TokenNotFound(id))?;
        kept.token.revoked_at = kept.token.revoked_at.or(Some(now));
        Ok(kept.token.clone())
    }

    async fn token_used(&self, id: TokenId, at: Timestamp) -> Result<(), StoreError> {
        if let Some(kept) = self.lock().tokens.get_mut(&id) {
            let noted = kept.token.last_used_at.filter(|noted| *noted <= at.plus(AHEAD));
            kept.token.last_used_at = noted.max(Some(at));
        }
        Ok(())
    }
}

#[async_trait]
impl AuditStore for Oracle {
    async fn record(&self, entry: AuditEntry) -> Result<(), StoreError> {
        self.lock().audit.entry(entry.id).or_insert(entry);
        Ok(())
    }

    async fn settle(&self, id: AuditId, settled: Settled) -> Result<(), StoreError> {
        if let Some(entry) = self.lock().audit.get_mut(&id) {
            let Settled { outcome, by, reason, change } = settled;
            (entry.outcome, entry.by, entry.reason, entry.change) = (Some(outcome), by, reason, change);
        }
        Ok(())
    }

    async fn audit(&self, filter: AuditFilter, asked: PageRequest) -> Result<Page<AuditEntry>, StoreError> {
        let inner = self.lock();
        let wanted = |entry: &&AuditEntry| {
            fits(&filter.token, entry.token.as_ref())
                && fits(&filter.action, Some(&entry.action))
                && within(entry.at, filter.from, filter.before)
        };
        let entries = inner.audit.values().filter(wanted);
        page("a:", entries.map(|entry| (entry.id.to_string(), entry.clone())).collect(), true, &asked)
    }
}
