//! Callers' tokens. A request reads its caller's as of now, so that a revoked one is refused at once.
//!
//! How many there are is counted in one item, by the very transactions that make and remove them. DynamoDB must not
//! remove any by itself, therefore: a purge finds those that have ended by the index.

use aws_sdk_dynamodb::types::{Delete, Put, TransactWriteItem, Update};
use baton_model::watch::AHEAD;
use baton_model::{Label, SecretDigest, Timestamp, Token, TokenId};
use baton_store::transfer::{ImportError, Verdict, token_onto};
use baton_store::{Page, PageRequest, StoreError, StoredToken};

use crate::attr::{Fields, Item, b, json, n, s, time};
use crate::db::{Query, Range, unbuilt};
use crate::error::{TransactError, WriteError, contended, damaged};
use crate::expression::Expression;
use crate::keys;
use crate::newest::Wanted;
use crate::store::Inner;

fn item(stored: &StoredToken) -> Result<Item, StoreError> {
    let StoredToken { token, digest } = stored;
    let mut item = keys::token(token.id);
    let mut put = |name: &str, value| item.insert(name.to_owned(), value);
    put("dg", b(*digest.as_bytes()));
    put("nm", s(token.name.as_str()));
    put("gr", s(json("a token's grant", &token.grant)?));
    put("ca", time(token.created_at));
    if let Some(most) = token.requests_per_second {
        put("rl", n(most));
    }
    if let Some(by) = &token.created_by {
        put("cb", s(by.as_str()));
    }
    if let Some(at) = token.expires_at {
        put("ea", time(at));
    }
    if let Some(at) = token.revoked_at {
        put("rv", time(at));
    }
    if let Some(at) = token.last_used_at {
        put("lu", time(at));
    }
    if let Some(end) = token.ends_at() {
        put("ip", s(keys::TOKEN_ENDS));
        put("is", s(place(end, token.id)));
    }
    Ok(item)
}

/// The place of a token in the index: by its end, then by id.
fn place(end: Timestamp, id: TokenId) -> String {
    format!("{}#{id}", keys::sortable(end))
}

fn id_of(item: &Item) -> Result<TokenId, StoreError> {
    let text = Fields(item).text("sk")?;
    text.parse().map_err(|_| damaged(format!("expected a token's id, got {text}")))
}

/// Reads a token's item.
pub(crate) fn read(item: &Item) -> Result<StoredToken, StoreError> {
    let fields = Fields(item);
    let id = id_of(item)?;
    let digest = fields.maybe_bytes("dg")?.and_then(|bytes| bytes.try_into().ok());
    Ok(StoredToken {
        token: Token {
            id,
            name: Label::from_stored(fields.text("nm")?),
            grant: fields.maybe_json("gr")?.ok_or_else(|| damaged(format!("token {id} lacks its grant")))?,
            requests_per_second: fields.maybe_number("rl")?,
            created_at: fields.time("ca")?,
            created_by: fields.maybe_text("cb")?.map(Label::from_stored),
            expires_at: fields.maybe_time("ea")?,
            revoked_at: fields.maybe_time("rv")?,
            last_used_at: fields.maybe_time("lu")?,
        },
        digest: SecretDigest::from_bytes(
            digest.ok_or_else(|| damaged(format!("token {id} lacks its secret's digest")))?,
        ),
    })
}

impl Inner {
    pub(crate) async fn create_token(&self, stored: &StoredToken) -> Result<(), StoreError> {
        let most = self.options.max_tokens;
        let absent = Expression::new().when_absent("pk");
        let put = Put::builder()
            .table_name(&self.db.table)
            .set_item(Some(item(stored)?))
            .set_condition_expression(absent.condition())
            .set_expression_attribute_names(absent.names());
        let room = Expression::new().add("n", n(1)).when_absent_or("n", "<", n(most));
        let writes = vec![
            TransactWriteItem::builder().put(put.build().map_err(unbuilt)?).build(),
            TransactWriteItem::builder().update(self.counted(&room)?).build(),
        ];
        let name = format!("token#{}#{}", stored.token.id, self.db.draw());
        match self.db.transact(writes, &name).await {
            Ok(()) => Ok(()),
            // It is there from an earlier sending.
            Err(TransactError::Conditions(told)) if told.first().is_some_and(|(failed, _)| *failed) => Ok(()),
            Err(TransactError::Conditions(_)) => Err(StoreError::TooManyTokens { most }),
            Err(TransactError::Failed(error)) => Err(error),
        }
    }

    /// A change of the count of tokens.
    fn counted(&self, change: &Expression) -> Result<Update, StoreError> {
        let update = Update::builder()
            .table_name(&self.db.table)
            .set_key(Some(keys::meta("tokens")))
            .update_expression(change.update())
            .set_condition_expression(change.condition())
            .set_expression_attribute_names(change.names())
            .set_expression_attribute_values(change.values());
        update.build().map_err(unbuilt)
    }

    pub(crate) async fn stored_token(&self, id: TokenId) -> Result<Option<StoredToken>, StoreError> {
        self.db.get(keys::token(id)).await?.as_ref().map(read).transpose()
    }

    pub(crate) async fn tokens(&self, request: &PageRequest) -> Result<Page<Token>, StoreError> {
        let below = match &request.after {
            None => None,
            Some(cursor) => Some(cursor.0.parse::<TokenId>().map_err(|_| StoreError::BadCursor)?.to_string()),
        };
        let wanted = Wanted {
            partitions: (0..keys::TOKEN_PARTS).map(keys::token_partition).collect(),
            from: None,
            below,
            filter: None,
            consistent: true,
        };
        self.newest(wanted, request, |item| read(item).map(|stored| stored.token)).await
    }

    pub(crate) async fn revoke_token(&self, id: TokenId, now: Timestamp) -> Result<Token, StoreError> {
        let Some(StoredToken { token, .. }) = self.stored_token(id).await? else {
            return Err(StoreError::TokenNotFound(id));
        };
        if token.revoked_at.is_some() {
            return Ok(token);
        }
        // When it expires is never changed, so that its end may be told by what was read.
        let revoked = Token { revoked_at: Some(now), ..token };
        let end = revoked.ends_at().unwrap_or(now);
        let update = Expression::new()
            .when_present("pk")
            .when_absent("rv")
            .set("rv", time(now))
            .set("ip", s(keys::TOKEN_ENDS))
            .set("is", s(place(end, id)));
        let standing = match self.db.update(keys::token(id), &update).await {
            Ok(item) => item,
            // Another revocation was faster, or this very one was sent before.
            Err(WriteError::Condition(Some(item))) => item,
            Err(WriteError::Condition(None)) => return Err(StoreError::TokenNotFound(id)),
            Err(WriteError::Failed(error)) => return Err(error),
        };
        read(&standing).map(|stored| stored.token)
    }

    pub(crate) async fn token_used(&self, id: TokenId, at: Timestamp) -> Result<(), StoreError> {
        // A time further ahead than clocks differ was told by a wrong one.
        let update = Expression::new()
            .when_present("pk")
            .when_absent_or_outside("lu", time(at), time(at.plus(AHEAD)))
            .set("lu", time(at));
        match self.db.update_unseen(keys::token(id), &update).await {
            Ok(()) | Err(WriteError::Condition(_)) => Ok(()),
            Err(WriteError::Failed(error)) => Err(error),
        }
    }

    /// Takes in a token that another store has read out. A new one is counted, as one that is made here.
    pub(crate) async fn import_token(&self, record: &StoredToken) -> Result<Verdict, ImportError> {
        let id = record.token.id;
        let standing = self.stored_token(id).await?;
        let verdict = token_onto(record, standing.as_ref())?;
        match (verdict, standing) {
            (Verdict::Later, Some(StoredToken { token, .. })) => {
                let as_read = Expression::new()
                    .when_present("pk")
                    .when_still("rv", token.revoked_at.map(time))
                    .when_still("lu", token.last_used_at.map(time));
                match self.db.put(item(record)?, as_read).await {
                    Ok(()) => {}
                    // The first sending of this very write went through, and its answer was lost.
                    Err(WriteError::Condition(Some(item))) if read(&item)? == *record => {}
                    Err(WriteError::Condition(_)) => return Err(contended("the token").into()),
                    Err(WriteError::Failed(error)) => return Err(error.into()),
                }
            }
            (Verdict::New, _) => self.create_token(record).await?,
            (Verdict::Later | Verdict::Same, _) => {}
        }
        Ok(verdict)
    }

    /// Removes tokens that ended before a time, up to a limit. What has ended never begins again, so that the index
    /// can be believed however far it trails.
    pub(crate) async fn purge_tokens(&self, before: Timestamp, limit: usize) -> Result<u64, StoreError> {
        let query = Query {
            range: Range::Below(keys::sortable(before)),
            limit: i32::try_from(limit).ok(),
            ..Query::index(keys::TOKEN_ENDS)
        };
        let mut removed = 0;
        for item in self.db.query(&query).await?.items {
            let Some(id) = self.db.read_one(&item, id_of) else { continue };
            let there = Expression::new().when_present("pk");
            let delete = Delete::builder()
                .table_name(&self.db.table)
                .set_key(Some(keys::token(id)))
                .set_condition_expression(there.condition())
                .set_expression_attribute_names(there.names());
            let writes = vec![
                TransactWriteItem::builder().delete(delete.build().map_err(unbuilt)?).build(),
                TransactWriteItem::builder()
                    .update(self.counted(&Expression::new().add("n", n(-1)))?)
                    .build(),
            ];
            match self.db.transact(writes, &format!("purge#{id}#{}", self.db.draw())).await {
                Ok(()) => removed += 1,
                // Another purge was faster.
                Err(TransactError::Conditions(_)) => {}
                Err(TransactError::Failed(error)) => return Err(error),
            }
        }
        Ok(removed)
    }
}
