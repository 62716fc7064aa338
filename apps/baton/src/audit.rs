//! `baton audit`.

use std::time::Duration;

use baton_client::AuditQuery;
use baton_model::TokenId;
use clap::Args;

use crate::context::Context;
use crate::exit::Failure;
use crate::out::{Column, Rows};
use crate::when::Shown;
use crate::{pages, text};

#[derive(Args)]
#[command(after_help = "Examples:
  baton audit --since 7d
  baton audit --action cancel_task --limit 20")]
pub(crate) struct Audit {
    /// Only what was done with this token (its id).
    #[arg(long, value_name = "ID")]
    token: Option<TokenId>,
    /// Only this operation, such as cancel_task, pause_queue or create_token.
    #[arg(long, value_name = "NAME")]
    action: Option<String>,
    /// Only what is not older than this, such as 7d.
    #[arg(long, value_name = "SPAN", value_parser = text::parse_span)]
    since: Option<Duration>,
    /// How many entries at most: the newest.
    #[arg(long, value_name = "N", default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..))]
    limit: u32,
    #[command(flatten)]
    shown: Shown,
}

impl Audit {
    pub(crate) async fn run(self, context: &Context) -> Result<(), Failure> {
        let client = context.client()?;
        let query = AuditQuery {
            token: self.token,
            action: self.action,
            from: self.since.map(|since| context.now().minus(since)),
            ..AuditQuery::default()
        };
        let asked = pages::first(self.limit as usize, async |cursor, most| {
            client.audit(&AuditQuery { cursor, limit: Some(most), ..query.clone() }).await
        });
        let (entries, _) =
            asked.await.map_err(|error| Failure::from(error).by_flags(&[("action", "--action")]))?;
        if context.out.is_json() {
            return context.out.json(&serde_json::json!({ "items": entries }));
        }
        let times = self.shown.begin(context);
        let mut rows = Rows::of(&[
            Column::new("AT"),
            Column::new("ACTION"),
            Column::new("TARGET").cut(),
            Column::new("TOKEN").cut(),
            Column::new("BY").cut().spare(),
            Column::new("OUTCOME"),
            Column::new("REASON").cut().spare(),
        ]);
        for entry in entries {
            rows.add(vec![
                times.at(entry.at),
                entry.action,
                entry.target,
                entry.token_name.map_or_else(|| "-".to_owned(), |name| name.to_string()),
                entry.by.map_or_else(|| "-".to_owned(), |name| name.to_string()),
                entry.outcome.map_or_else(|| "unknown".to_owned(), |status| status.to_string()),
                entry.reason.map_or_else(|| "-".to_owned(), |reason| text::short(&reason, 60)),
            ]);
        }
        context.out.table(rows, "nothing was done that is recorded here")
    }
}
