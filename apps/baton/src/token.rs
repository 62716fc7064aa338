//! `baton token`.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use baton_api::token::{CreateToken, Expiry};
use baton_api::token::{CreatedTokenView, TokenView};
use baton_client::Client;
use baton_model::{Label, ProjectId, QueueName, Scope, TokenId, limits};
use baton_runtime::{Ids as _, RandomIds};
use baton_store::{AuditEntry, NoDoorbell, Settled};
use clap::{Args, Subcommand};

use crate::context::Context;
use crate::exit::Failure;
use crate::ids;
use crate::layers::{flag, load};
use crate::out::{Column, Rows};
use crate::store::Store;
use crate::when::{Paged, Times};
use crate::{input, pages, text};

#[derive(Subcommand)]
pub(crate) enum Token {
    /// Make a token; its secret goes to stdout, and is shown this once.
    Create(Create),
    /// Take over a key of another system, read from stdin or a file, so that its callers need no new one.
    Import(Import),
    /// All tokens, without their secrets.
    List(List),
    /// End a token now.
    Revoke(Revoke),
}

#[derive(Args)]
#[command(after_help = "Examples:
  baton token create --name admin --scope operator --store sqlite:baton.db
  baton token create --name ci --scope producer --project film > ci.token
  baton token create --name farm --scope worker --queue gpu --expires 365d

The first token is made on the store itself, with the server stopped; all
others by asking the server, with a token of an operator.

  producer   creates tasks, follows and cancels them, reads their outputs
  worker     claims tasks and ends them
  operator   everything")]
pub(crate) struct Create {
    #[command(flatten)]
    granted: Granted,
    /// How long it is good for, such as 30d, or `never` for ever.
    #[arg(long, value_name = "SPAN", default_value = "90d", value_parser = parse_expires)]
    expires: Expires,
}

#[derive(Args)]
#[command(after_help = "Examples:
  baton token import --name service-key --scope operator old.key
  printenv SERVICE_KEY | baton token import --name service-key --scope operator -
  baton token import --name ada --scope producer --project film ada.key

The key is any text of 16 characters or more, as another system has made it.
Baton keeps a digest of it, and knows its callers by it wherever they present
it: as a bearer, and where a dialect reads keys (`apikey`, `?token=`). The same
import again changes nothing.")]
pub(crate) struct Import {
    /// The file that holds the key; - for stdin. A line's end behind it is no part of it.
    #[arg(default_value = "-", value_name = "FILE")]
    file: PathBuf,
    #[command(flatten)]
    granted: Granted,
    /// How long it is good for, such as 30d, or `never` for ever.
    #[arg(long, value_name = "SPAN", default_value = "never", value_parser = parse_expires)]
    expires: Expires,
}

/// What a token allows, and where it is kept.
#[derive(Args)]
struct Granted {
    /// What it is for.
    #[arg(long)]
    name: Label,
    /// What its callers may do: producer, worker or operator; several with commas.
    #[arg(long, value_delimiter = ',', required = true)]
    scope: Vec<Scope>,
    /// Only tasks of these queues; several with commas.
    #[arg(long, value_delimiter = ',')]
    queue: Vec<QueueName>,
    /// Only tasks of this project: the owner of what its callers do.
    #[arg(long)]
    project: Option<ProjectId>,
    /// How many requests a second it may make, if other than the server says.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=i64::from(limits::TOKEN_REQUESTS)))]
    requests_per_second: Option<u32>,
    /// Make it in this store instead of asking a server, which must not have it open if it is a file (sqlite:PATH).
    #[arg(long, value_name = "URL")]
    store: Option<String>,
    /// Show its end in UTC instead of this machine's time zone.
    #[arg(long)]
    utc: bool,
}

#[derive(Args)]
pub(crate) struct List {
    /// Only these columns, with commas, in this order.
    #[arg(long, value_name = "NAMES", value_delimiter = ',')]
    columns: Vec<String>,
    #[command(flatten)]
    shown: Paged,
}

#[derive(Args)]
pub(crate) struct Revoke {
    /// The token's id, as `baton token list` shows it, or the beginning of it.
    id: String,
}

#[derive(Clone, Copy)]
enum Expires {
    Never,
    After(Duration),
}

fn parse_expires(text: &str) -> Result<Expires, String> {
    match text {
        "never" => Ok(Expires::Never),
        span => text::parse_span(span).map(Expires::After).map_err(|wrong| format!("{wrong}, or never")),
    }
}

impl Token {
    pub(crate) async fn run(self, context: &Context) -> Result<(), Failure> {
        match self {
            Self::Create(create) => create.run(context).await,
            Self::Import(import) => import.run(context).await,
            Self::List(asked) => list(context, asked).await,
            Self::Revoke(revoke) => {
                let client = context.client()?;
                let token = client.revoke_token(resolve(&client, &revoke.id).await?).await?;
                if context.out.is_json() {
                    return context.out.json(&token);
                }
                context.out.note(&format!("token {} ({}) is revoked", token.id, token.name));
                Ok(())
            }
        }
    }
}

impl Create {
    async fn run(self, context: &Context) -> Result<(), Failure> {
        self.granted.make(context, self.expires, None).await
    }
}

impl Import {
    async fn run(self, context: &Context) -> Result<(), Failure> {
        let text = input::read("FILE", &self.file)?;
        let secret =
            text.strip_suffix('\n').map_or(text.as_str(), |line| line.strip_suffix('\r').unwrap_or(line));
        self.granted.make(context, self.expires, Some(secret.to_owned())).await
    }
}

impl Granted {
    async fn make(self, context: &Context, expires: Expires, secret: Option<String>) -> Result<(), Failure> {
        if self.store.is_some() && context.server_named {
            return Err(Failure::usage(
                "--store cannot be used with --server: the token is made in the one or by the other",
            ));
        }
        let utc = self.utc;
        let (store, request) = self.request(expires, secret);
        let created = match &store {
            Some(url) => in_store(context, url, request).await?,
            None => context.client()?.create_token(&request).await.map_err(|error| {
                Failure::from(error).by_flags(&[
                    ("name", "--name"),
                    ("scopes", "--scope"),
                    ("queues", "--queue"),
                    ("project", "--project"),
                    ("expires_in_seconds", "--expires"),
                    ("secret", "FILE"),
                ])
            })?,
        };
        if context.out.is_json() {
            return context.out.json(&created);
        }
        let token = &created.token;
        let times = Times::new(context.now(), utc);
        let end = token.expires_at.map_or_else(|| "never".to_owned(), |at| times.at(at));
        let Some(secret) = &created.secret else {
            context.out.note(&format!(
                "token {} ({}), ends: {end}; its callers present the key that they have",
                token.id, token.name
            ));
            return Ok(());
        };
        context.out.note(&format!(
            "token {} ({}), ends: {end}; its secret is shown this once:",
            token.id, token.name
        ));
        context.out.line(secret)
    }

    fn request(self, expires: Expires, secret: Option<String>) -> (Option<String>, CreateToken) {
        let mut request = CreateToken {
            queues: self.queue,
            project: self.project,
            requests_per_second: self.requests_per_second,
            secret,
            ..CreateToken::new(self.name, self.scope)
        };
        match expires {
            Expires::Never => request.expires_at = Some(Expiry::Never),
            Expires::After(span) => request.expires_in_seconds = Some(span),
        }
        (self.store, request)
    }
}

/// Makes a token without a server, and records it as the server would.
async fn in_store(context: &Context, url: &str, request: CreateToken) -> Result<CreatedTokenView, Failure> {
    // Read as the server reads it, so that no token comes about that it would not make.
    let text = serde_json::to_string(&request).map_err(|error| Failure::failed(error.to_string()))?;
    let request = baton_server::read_token_request(&text).map_err(Failure::usage)?;
    let now = context.now();
    let imported = request.secret.is_some();
    let (stored, secret) = baton_server::new_token(request, &RandomIds, now, None)
        .map_err(|error| Failure::usage(error.into_problem().detail))?;
    let settings = load(None, [flag("--store", "store.url", Some(url.to_owned()))])?;
    let opened = Store::open(&settings, Arc::new(NoDoorbell)).await?;
    let store = opened.shared();
    let failed = |error: baton_store::StoreError| Failure::failed(format!("{url}: {}", error.report()));
    let entry = AuditEntry {
        id: RandomIds.audit(),
        at: now,
        action: "create_token".to_owned(),
        target: "/v1/tokens".to_owned(),
        token: None,
        token_name: None,
        request_id: None,
        by: None,
        reason: None,
        outcome: None,
        change: None,
    };
    let id = entry.id;
    store.record(entry).await.map_err(failed)?;
    let kept = baton_server::keep_token(&*store, stored).await;
    let outcome = kept.as_ref().map_or_else(|refused| refused.code().status(), |_| 201);
    store.settle(id, Settled::with(outcome)).await.map_err(failed)?;
    drop(store);
    opened.close().await.map_err(failed)?;
    let token = kept.map_err(|error| Failure::failed(format!("{url}: {}", error.into_problem().detail)))?;
    let secret = (!imported).then(|| secret.reveal());
    Ok(CreatedTokenView { secret, token: TokenView::new(token, now) })
}

/// The token that `text` means. All are looked at: there are at most 10,000, and to revoke the wrong one is no small slip.
async fn resolve(client: &Client, text: &str) -> Result<TokenId, Failure> {
    if let Ok(id) = text.parse() {
        return Ok(id);
    }
    let Some(prefix) = ids::prefix(text) else {
        return Err(Failure::usage(format!(
            "expected a token's id or at least 4 of its first characters, got {text:?}; `baton token list` shows ids"
        )));
    };
    let tokens = all(client).await?.into_iter().map(|token| token.id);
    let found: Vec<TokenId> = tokens.filter(|id| id.to_string().starts_with(&prefix)).collect();
    ids::only(&found, "token", &prefix, "`baton token list` shows ids")
}

async fn list(context: &Context, asked: List) -> Result<(), Failure> {
    let mut rows = Rows::of(&[
        Column::new("ID"),
        Column::new("NAME").cut(),
        Column::new("STATE"),
        Column::new("SCOPES"),
        Column::new("BOUND TO").cut().spare(),
        Column::new("USED"),
        Column::new("ENDS"),
    ]);
    rows.choose(&asked.columns).map_err(Failure::usage)?;
    let tokens = all(&context.client()?).await?;
    if context.out.is_json() {
        return context.out.json(&serde_json::json!({ "items": tokens }));
    }
    let times = asked.shown.begin(context);
    for token in tokens {
        rows.add(vec![
            token.id.to_string(),
            token.name.to_string(),
            token.status.as_str().to_owned(),
            list_of(token.scopes.iter().map(|scope| scope.as_str())),
            bounds(&token),
            token.last_used_at.map_or_else(|| "-".to_owned(), |at| times.ago(at)),
            ends(&token, &times),
        ]);
    }
    context.out.table(rows, "no tokens; make one with `baton token create`")
}

async fn all(client: &Client) -> Result<Vec<TokenView>, Failure> {
    let (tokens, _) = pages::first(pages::ALL, async |cursor: Option<String>, most| {
        client.tokens(cursor.as_deref(), Some(most)).await
    })
    .await?;
    Ok(tokens)
}

fn list_of<'a>(names: impl Iterator<Item = &'a str>) -> String {
    names.collect::<Vec<_>>().join(",")
}

fn bounds(token: &TokenView) -> String {
    let project = token.project.as_ref().map(|project| format!("project {project}"));
    let queues = list_of(token.queues.iter().map(QueueName::as_str));
    let queues = (!queues.is_empty()).then(|| format!("queue {queues}"));
    let bounds: Vec<String> = project.into_iter().chain(queues).collect();
    if bounds.is_empty() { "-".to_owned() } else { bounds.join("; ") }
}

fn ends(token: &TokenView, times: &Times) -> String {
    match (token.revoked_at, token.expires_at) {
        (Some(at), _) | (None, Some(at)) => times.ago(at),
        (None, None) => "never".to_owned(),
    }
}
