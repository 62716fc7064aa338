//! What `manage-tokens` is asked and answers.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use baton_model::{
    AuditId, Expected, Grant, Label, ProjectId, QueueName, Scope, Timestamp, Token, TokenId, TokenSecret,
    TokenStatus, limits,
};
use serde::{Deserialize, Serialize, Serializer};
use serde_json::value::RawValue;
use utoipa::ToSchema;

use crate::fields::{Fields, ReadFields, as_seconds, integer, list, parsed, span};

/// A token to make, or to take over from another system.
#[derive(Clone, PartialEq, Serialize, ToSchema)]
pub struct CreateToken {
    /// What it is for.
    #[schema(value_type = String)]
    pub name: Label,
    /// What its callers may do: any of `producer`, `worker`, `operator`.
    #[schema(value_type = Vec<String>)]
    pub scopes: Vec<Scope>,
    /// Only tasks of these queues, up to 32; of all if left out.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schema(value_type = Option<Vec<String>>)]
    pub queues: Vec<QueueName>,
    /// Only tasks of this project, which may not be `default`; of all if left out.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub project: Option<ProjectId>,
    /// How long it is good for, up to ten years; 90 days if neither this nor `expires_at` is given.
    #[serde(skip_serializing_if = "Option::is_none", serialize_with = "as_seconds")]
    #[schema(value_type = Option<f64>)]
    pub expires_in_seconds: Option<Duration>,
    /// When it ends (RFC 3339), or `never`. Not with `expires_in_seconds`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub expires_at: Option<Expiry>,
    /// The most requests a second, 1 to 1,000,000; the server's own limit if left out.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub requests_per_second: Option<u32>,
    /// A secret that exists already, such as a service key of another system: 16 to 4,096 characters without a space at either
    /// end. It is kept as a digest, and not shown again. One is made if it is left out.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub secret: Option<String>,
}

impl fmt::Debug for CreateToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let imported = self.secret.is_some();
        f.debug_struct("CreateToken")
            .field("name", &self.name)
            .field("scopes", &self.scopes)
            .field("imported", &imported)
            .finish_non_exhaustive()
    }
}

/// When a token ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Expiry {
    /// Not by itself.
    Never,
    /// Then.
    At(Timestamp),
}

impl fmt::Display for Expiry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Never => f.write_str("never"),
            Self::At(at) => at.fmt(f),
        }
    }
}

impl FromStr for Expiry {
    type Err = Expected;

    fn from_str(text: &str) -> Result<Self, Expected> {
        match text {
            "never" => Ok(Self::Never),
            time => time.parse().map(Self::At).map_err(|problem: Expected| {
                Expected::new(format!("never, or {}", problem.expected), problem.got)
            }),
        }
    }
}

impl Serialize for Expiry {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(self)
    }
}

impl CreateToken {
    /// A token of this name and these scopes with nothing else said.
    pub fn new(name: Label, scopes: Vec<Scope>) -> Self {
        Self {
            name,
            scopes,
            queues: Vec::new(),
            project: None,
            expires_in_seconds: None,
            expires_at: None,
            requests_per_second: None,
            secret: None,
        }
    }
}

impl ReadFields for CreateToken {
    type Limits = ();

    fn read(f: &mut Fields<'_>, (): &()) -> Option<Self> {
        let name = f.required("name", parsed);
        let scopes = f.required("scopes", list(1..=Scope::ALL.len(), parsed));
        let queues = f.optional("queues", list(1..=Grant::QUEUES, parsed));
        let project = f.optional("project", parsed::<ProjectId>);
        if let Some(Some(project)) = &project
            && *project == ProjectId::default()
        {
            let expected = "a project of its own: `default` holds the tasks of all who name none";
            f.refuse("project", Expected::text(expected, project.as_str()));
        }
        if f.has("expires_in_seconds") && f.has("expires_at") {
            f.refuse("expires_at", Expected::new("expires_in_seconds or expires_at, not both", "both"));
        }
        let expires_in_seconds =
            f.optional("expires_in_seconds", span(Duration::from_secs(1), limits::LONGEST_TOKEN));
        let expires_at = f.optional("expires_at", parsed);
        let requests_per_second = f.optional("requests_per_second", integer(1..=limits::TOKEN_REQUESTS));
        let secret = f.optional("secret", old_secret);
        Some(Self {
            name: name?,
            scopes: scopes?,
            queues: queues?.unwrap_or_default(),
            project: project?,
            expires_in_seconds: expires_in_seconds?,
            expires_at: expires_at?,
            requests_per_second: requests_per_second?,
            secret: secret?,
        })
    }
}

/// A secret that another system has made. What is wrong with it is told without any of it.
fn old_secret(raw: &RawValue) -> Result<String, Expected> {
    let text: Option<String> = serde_json::from_str(raw.get()).ok();
    text.filter(|text| TokenSecret::imported(text).is_some()).ok_or_else(|| {
        let expected = "a secret of 16 to 4,096 characters without control characters or a space at either end, and \
                        none of Baton's own";
        Expected::new(expected, "another one")
    })
}

/// A token, without its secret.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[schema(as = Token)]
pub struct TokenView {
    /// The public part of it.
    #[schema(value_type = String, format = "uuid")]
    pub id: TokenId,
    /// What it is for.
    #[schema(value_type = String)]
    pub name: Label,
    /// `active`, `expired` or `revoked`.
    #[schema(value_type = String)]
    pub status: TokenStatus,
    /// What its callers may do: any of `producer`, `worker`, `operator`.
    #[schema(value_type = Vec<String>)]
    pub scopes: Vec<Scope>,
    /// Only tasks of these queues; of all if left out.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schema(value_type = Option<Vec<String>>)]
    pub queues: Vec<QueueName>,
    /// Only tasks of this project; of all if left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub project: Option<ProjectId>,
    /// The most requests a second; the server's own limit if left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub requests_per_second: Option<u32>,
    /// When it was made.
    #[schema(value_type = String, format = "date-time")]
    pub created_at: Timestamp,
    /// The name of the token that it was made with.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub created_by: Option<Label>,
    /// When it ends by itself; never if left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = "date-time")]
    pub expires_at: Option<Timestamp>,
    /// When it was revoked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = "date-time")]
    pub revoked_at: Option<Timestamp>,
    /// When it was last used, to the minute.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = "date-time")]
    pub last_used_at: Option<Timestamp>,
    /// Its requests of the last hour that were refused with 429, as it made too many, by the process that answers; left out if
    /// there were none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub held_back: Option<HeldBackView>,
}

/// Requests of a token that were too many.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[schema(as = HeldBack)]
pub struct HeldBackView {
    /// How many since it was last let alone for an hour.
    pub requests: u64,
    /// When the latest.
    #[schema(value_type = String, format = "date-time")]
    pub last_at: Timestamp,
    /// How many a second it may make.
    pub requests_per_second: u32,
}

impl TokenView {
    /// The token as of `now`.
    pub fn new(token: Token, now: Timestamp) -> Self {
        Self {
            held_back: None,
            id: token.id,
            status: token.status(now),
            name: token.name,
            scopes: token.grant.scopes.into_iter().collect(),
            queues: token.grant.queues.into_iter().collect(),
            project: token.grant.project,
            requests_per_second: token.requests_per_second,
            created_at: token.created_at,
            created_by: token.created_by,
            expires_at: token.expires_at,
            revoked_at: token.revoked_at,
            last_used_at: token.last_used_at,
        }
    }
}

/// Who asks, as the server knows them.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[schema(as = OwnToken)]
pub struct OwnTokenView {
    /// The token that the request presents. Left out if it presents none, where none is needed: then everything is allowed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub token: Option<TokenView>,
}

/// A token that was made now, with its secret, which nobody is shown again.
#[derive(Clone, PartialEq, Serialize, Deserialize, ToSchema)]
#[schema(as = CreatedToken)]
pub struct CreatedTokenView {
    /// What callers present: `Authorization: Bearer` and this text. Left out of a token whose secret was imported.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secret: Option<String>,
    /// The token.
    pub token: TokenView,
}

impl fmt::Debug for CreatedTokenView {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CreatedTokenView").field("token", &self.token).finish_non_exhaustive()
    }
}

/// One thing that was done, or tried, to tasks, queues, workers or tokens.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[schema(as = AuditEntry)]
pub struct AuditView {
    /// The entry.
    #[schema(value_type = String, format = "uuid")]
    pub id: AuditId,
    /// When it was asked for.
    #[schema(value_type = String, format = "date-time")]
    pub at: Timestamp,
    /// What was asked for: the operation's name in this document, such as `cancel_task`.
    pub action: String,
    /// The path that it was asked with.
    pub target: String,
    /// The token that was presented; left out where none was needed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = "uuid")]
    pub token_id: Option<TokenId>,
    /// The token's name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub token_name: Option<Label>,
    /// The request's id, to be found in the log.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub request_id: Option<String>,
    /// Who asked, by the request's own word.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub by: Option<Label>,
    /// Why, by the request's own word.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// The HTTP status of its answer; left out if the request was broken off: then the thing itself tells whether it was
    /// done.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub outcome: Option<u16>,
    /// What it has changed, if that is a setting.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub change: Option<ChangeView>,
}

/// A setting before and after it was changed, in words.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[schema(as = SettingChange)]
pub struct ChangeView {
    /// Before; left out if there was none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<String>,
    /// After; left out if there is none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub to: Option<String>,
}
