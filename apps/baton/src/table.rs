//! `baton table`: the table of a store on DynamoDB.

use std::path::PathBuf;

use baton_runtime::Settings;
use baton_runtime::settings::StoreLocation;
use clap::{Args, Subcommand};

use crate::context::Context;
use crate::exit::Failure;
use crate::serve::{flag, load};

#[derive(Subcommand)]
#[command(after_help = "Examples:
  baton table create --store dynamodb:baton
  baton table check --store dynamodb:baton

Region, credentials and endpoint are those of AWS's own tools: AWS_REGION,
AWS_PROFILE, AWS_ACCESS_KEY_ID, AWS_ENDPOINT_URL_DYNAMODB and so on.")]
pub(crate) enum Table {
    /// Make the table, or finish one that was begun; what is there stays.
    ///
    /// With its index, stream, removal of what has ended, and backups where the engine has them.
    Create(Of),
    /// Say what of the table differs from what the store needs; exit code 1 if it cannot work so.
    Check(Of),
}

#[derive(Args)]
pub(crate) struct Of {
    /// The table: dynamodb: and its name.
    #[arg(long, value_name = "URL")]
    store: Option<String>,
    /// A file of settings.
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
}

impl Of {
    fn settings(self) -> Result<(Settings, StoreLocation, String), Failure> {
        let settings = load(self.config, [flag("--store", "store.url", self.store)])?;
        match settings.store.location.clone() {
            StoreLocation::Dynamodb(table) => {
                let location = StoreLocation::Dynamodb(table.clone());
                Ok((settings, location, table))
            }
            other => Err(Failure::usage(format!(
                "--store (or store.url): expected a table such as dynamodb:baton, got {other}; a file needs no making"
            ))),
        }
    }
}

impl Table {
    pub(crate) async fn run(self, context: &Context) -> Result<(), Failure> {
        match self {
            Self::Create(of) => {
                let (settings, location, table) = of.settings()?;
                create(context, &settings, &location, &table).await
            }
            Self::Check(of) => {
                let (_, location, table) = of.settings()?;
                check(context, &location, &table).await
            }
        }
    }
}

#[cfg(not(feature = "dynamodb"))]
async fn create(_: &Context, _: &Settings, location: &StoreLocation, _: &str) -> Result<(), Failure> {
    Err(crate::store::not_built(location))
}

#[cfg(not(feature = "dynamodb"))]
async fn check(_: &Context, location: &StoreLocation, _: &str) -> Result<(), Failure> {
    Err(crate::store::not_built(location))
}

#[cfg(feature = "dynamodb")]
use with_dynamodb::{check, create};

#[cfg(feature = "dynamodb")]
mod with_dynamodb {
    use baton_store_dynamodb::table::{self, Finding, TableOptions};
    use serde_json::{Value, json};

    use super::*;
    use crate::store::dynamodb::client;

    pub(super) async fn create(
        context: &Context,
        settings: &Settings,
        location: &StoreLocation,
        name: &str,
    ) -> Result<(), Failure> {
        let client = client(location).await?;
        let dynamodb = &settings.store.dynamodb;
        let options =
            TableOptions { spread: dynamodb.spread, recovery: dynamodb.recovery, ..TableOptions::default() };
        let failed = |error: baton_store::StoreError| {
            Failure::failed(format!("cannot make the table {name}: {}", error.report()))
        };
        table::create(&client, name, options).await.map_err(failed)?;
        // What an engine lacks, such as backups on one of your own, is told and is no failure.
        let findings = table::check(&client, name).await.map_err(failed)?.unwrap_or_default();
        told(context, name, "made", &findings)
    }

    pub(super) async fn check(
        context: &Context,
        location: &StoreLocation,
        name: &str,
    ) -> Result<(), Failure> {
        let client = client(location).await?;
        let findings = table::check(&client, name).await.map_err(|error| {
            Failure::failed(format!("cannot look at the table {name}: {}", error.report()))
        })?;
        let Some(findings) = findings else {
            return Err(Failure::NotFound(format!(
                "expected a table {name}, got none in this account and region; make it with `baton table create \
                 --store {location}`"
            )));
        };
        told(context, name, "looked at", &findings)
    }

    fn told(context: &Context, name: &str, done: &str, findings: &[Finding]) -> Result<(), Failure> {
        let works = findings.iter().all(|finding| !finding.fatal);
        let shown = |finding: &Finding| json!({ "what": finding.what, "fatal": finding.fatal });
        if context.out.is_json() {
            let findings: Vec<Value> = findings.iter().map(shown).collect();
            context.out.json(&json!({ "table": name, "works": works, "findings": findings }))?;
        } else {
            for finding in findings {
                let word = if finding.fatal { "broken" } else { "missing" };
                context.out.line(&format!("{word}  {}", finding.what))?;
            }
        }
        if !works {
            return Err(Failure::failed(format!(
                "the table {name} cannot be used as it is; see above what to do"
            )));
        }
        let but = if findings.is_empty() { "all of it is as it should be" } else { "it works" };
        context.out.note(&format!("table {name} {done}: {but}"));
        Ok(())
    }
}
