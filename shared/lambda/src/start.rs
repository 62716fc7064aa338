//! How a function starts: settings and log, the clients of AWS, and the loop that takes events.
//!
//! The environment says everything: Lambda sets the region and the credentials in it, so that the chain of providers of
//! `aws-config`, which costs a cold start milliseconds, has nothing to look for.

use std::io::Write;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use baton_aws::aws_sdk_sqs::config::{Credentials, Region, SharedHttpClient};
use baton_aws::{Roots, aws_sdk_sqs, http_client_with, queues};
use baton_files::Files;
use baton_model::{Expected, Place, Timestamp};
use baton_runtime::settings::{FilePlace, StoreLocation};
use baton_runtime::{Clock, Ids, RandomIds, Settings, SettingsError, Sources, SystemClock, telemetry};
use baton_store::{Archive, ArchiveStore, Archiver, Doorbell, Store, StoreError};
use baton_store_dynamodb::client;
use baton_store_dynamodb::{DynamoStore, Options, aws_sdk_dynamodb};
use lambda_runtime::{LambdaEvent, Runtime, service_fn};
use serde_json::value::RawValue;

use crate::answer::{Answer, Failed, Invocation};
use crate::doorbell::QueueDoorbell;
use crate::function::Function;
use crate::host::Host;
use crate::opened::Services;
use crate::queues::{Queues, Sqs};

/// How long the store may take to open before the first event is asked for: Lambda ends a start that takes 10 s, and begins it
/// anew.
const OPENING: Duration = Duration::from_secs(5);

/// Why a function cannot start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// It is not on Lambda.
    #[error(
        "expected to be started by AWS Lambda, which sets AWS_LAMBDA_RUNTIME_API, got no such variable; on a machine of \
         your own, run `baton serve`"
    )]
    NoLambda,
    /// A variable of the environment is missing.
    #[error("expected {0} in the environment, as Lambda sets it, got nothing; set it")]
    Missing(&'static str),
    /// The store is none that functions share.
    #[error(
        "store.url: expected dynamodb: and a table's name, which functions share, got a file; set BATON_STORE_URL"
    )]
    NoTable,
    /// `BATON_AWS_ROOTS` names no roots.
    #[error("{variable}: {0}", variable = Roots::VARIABLE)]
    Roots(#[from] Expected),
    /// The archive is no place that outlives the function.
    #[error(
        "archive.url: expected s3:// and a bucket, as a function's folder is gone with it, got {0}; set BATON_ARCHIVE_URL"
    )]
    ArchiveFolder(Place),
    /// The archive cannot be opened.
    #[error("archive.url: {0}")]
    Archive(String),
    /// The place for files cannot be opened.
    #[error("files.url: {0}; set BATON_FILES_URL")]
    Files(String),
    /// Settings do not fit.
    #[error(transparent)]
    Settings(#[from] SettingsError),
    /// The log cannot be written.
    #[error(transparent)]
    Telemetry(#[from] telemetry::TelemetryError),
    /// The process lacks something.
    #[error("cannot start the runtime: {0}")]
    Runtime(#[from] std::io::Error),
    /// Lambda's Runtime API broke off.
    #[error("the loop of events ended: {0}")]
    Loop(#[source] lambda_runtime::Error),
}

impl Function {
    /// Runs it on AWS Lambda, until its environment is taken down.
    pub fn run(self) -> ExitCode {
        let Err(error) = try_run(self);
        // The log may not be there yet; this is a line like its own.
        let line = serde_json::json!({ "level": "ERROR", "message": "the function cannot start", "error": error.to_string() });
        let _ = writeln!(std::io::stderr(), "{line}");
        ExitCode::FAILURE
    }
}

fn try_run(function: Function) -> Result<std::convert::Infallible, StartError> {
    if std::env::var_os("AWS_LAMBDA_RUNTIME_API").is_none() {
        return Err(StartError::NoLambda);
    }
    let settings = Settings::load(&Sources::from_environment())?;
    telemetry::start_unbuffered(&settings.log)?;
    let clients =
        Clients::from_environment(|name| std::env::var(name).ok().filter(|value| !value.is_empty()))?;
    let StoreLocation::Dynamodb(table) = settings.store.location.clone() else {
        return Err(StartError::NoTable);
    };
    let archive = archive_of(&function, &settings)?;
    let files = files_of(&function, &settings)?;
    let table_name = table.clone();
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    let opening = {
        let clock = Arc::clone(&clock);
        move || {
            let (clients, settings, table) = (clients.clone(), settings.clone(), table.clone());
            let (clock, archive, files) = (Arc::clone(&clock), archive.clone(), files.clone());
            Box::pin(async move {
                let opened = open(&clients, settings, table, clock, archive).await?;
                Ok(Services { files, ..opened })
            }) as _
        }
    };
    let host = Arc::new(Host::new(function, clock, Box::new(opening)).on_table(table_name));
    // One event at a time: a second thread would wait, and cost the start its making.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(serve(host))
}

/// The archive that the function writes finished tasks to, if it archives and the settings name a place for them. Nothing is asked of it yet.
fn archive_of(function: &Function, settings: &Settings) -> Result<Option<Arc<dyn Archive>>, StartError> {
    let (Some(open), Some(place)) = (function.archive, &settings.archive) else { return Ok(None) };
    match place {
        Place::Folder(_) => Err(StartError::ArchiveFolder(place.clone())),
        Place::Bucket { .. } => open(place).map(Some).map_err(StartError::Archive),
    }
}

/// The files that the function works with, if it has a place for them and the settings name one. Nothing is asked of it yet.
fn files_of(function: &Function, settings: &Settings) -> Result<Option<Arc<dyn Files>>, StartError> {
    let (Some(open), FilePlace::At(place)) = (function.files, &settings.files.place) else { return Ok(None) };
    let opened = open(place).map_err(|error| StartError::Files(baton_model::with_causes(&*error)))?;
    Ok(Some(opened))
}

async fn serve(host: Arc<Host>) -> Result<std::convert::Infallible, StartError> {
    // Before the first event is asked for: until then Lambda gives a function a whole core, and 0.14 of one afterwards, at 256 MB.
    // What takes a processor, as a handshake of TLS does, takes seven times as long then. And an environment that is made in
    // advance is frozen once it asks, which a connection half made would not live through.
    match tokio::time::timeout(OPENING, host.open()).await {
        Ok(Ok(_)) => {}
        Ok(Err(error)) => {
            tracing::error!(
                error = error.report(),
                "the store cannot be opened; the first event tries again"
            );
        }
        Err(_) => tracing::error!(
            seconds = OPENING.as_secs(),
            "the store is not open in time; the first event tries again"
        ),
    }
    let handle = |event: LambdaEvent<Box<RawValue>>| {
        let host = Arc::clone(&host);
        async move {
            let (payload, context) = event.into_parts();
            let deadline = i64::try_from(context.deadline).ok().map(Timestamp::from_millis);
            let (request_id, trace_id) = (context.request_id, context.xray_trace_id);
            let invocation = Invocation { request_id, trace_id, deadline };
            host.handle(payload.get(), &invocation).await as Result<Answer, Failed>
        }
    };
    Runtime::new(service_fn(handle)).run().await.map_err(StartError::Loop)?;
    Err(StartError::Loop("Lambda gives no more events".into()))
}

/// What clients of AWS are made of.
#[derive(Clone)]
struct Clients {
    region: Region,
    credentials: Credentials,
    http: SharedHttpClient,
    dynamodb_endpoint: Option<String>,
    sqs_endpoint: Option<String>,
}

impl Clients {
    fn from_environment(variable: impl Fn(&'static str) -> Option<String>) -> Result<Self, StartError> {
        let required = |name| variable(name).ok_or(StartError::Missing(name));
        let region = variable("AWS_REGION").map_or_else(|| required("AWS_DEFAULT_REGION"), Ok);
        let credentials = Credentials::new(
            required("AWS_ACCESS_KEY_ID")?,
            required("AWS_SECRET_ACCESS_KEY")?,
            variable("AWS_SESSION_TOKEN"),
            None,
            "environment",
        );
        let endpoint = |own| variable(own).or_else(|| variable("AWS_ENDPOINT_URL"));
        Ok(Self {
            region: Region::new(region.map_err(|_| StartError::Missing("AWS_REGION"))?),
            credentials,
            http: http_client_with(Roots::from_environment()?),
            dynamodb_endpoint: endpoint("AWS_ENDPOINT_URL_DYNAMODB"),
            sqs_endpoint: endpoint("AWS_ENDPOINT_URL_SQS"),
        })
    }

    fn dynamodb(&self) -> aws_sdk_dynamodb::Client {
        let mut config = aws_sdk_dynamodb::Config::builder()
            .region(self.region.clone())
            .credentials_provider(self.credentials.clone())
            .http_client(self.http.clone());
        config.set_endpoint_url(self.dynamodb_endpoint.clone());
        aws_sdk_dynamodb::Client::from_conf(client::suited(config).build())
    }

    fn sqs(&self) -> aws_sdk_sqs::Client {
        let mut config = aws_sdk_sqs::Config::builder()
            .region(self.region.clone())
            .credentials_provider(self.credentials.clone())
            .http_client(self.http.clone());
        config.set_endpoint_url(self.sqs_endpoint.clone());
        aws_sdk_sqs::Client::from_conf(queues::suited(config).build())
    }
}

async fn open(
    clients: &Clients,
    settings: Settings,
    table: String,
    clock: Arc<dyn Clock>,
    archive: Option<Arc<dyn Archive>>,
) -> Result<Services, StoreError> {
    let ids: Arc<dyn Ids> = Arc::new(RandomIds);
    let named = &settings.queues;
    let sends = [
        &named.ready,
        &named.submissions_dead,
        &named.completions_dead,
        &named.task_events,
        &named.relay_dead,
    ];
    let queues: Option<Arc<dyn Queues>> =
        sends.iter().any(|queue| queue.is_some()).then(|| Arc::new(Sqs::new(clients.sqs())) as _);
    let doorbell = QueueDoorbell::new(Arc::clone(&clock), queues.clone(), named.ready.clone());
    let options = Options {
        policy: settings.leases,
        shards: settings.store.dynamodb.queue_shards.clone(),
        keep_finished: settings.retention.finished,
        keep_logs: settings.retention.logs,
        archived: settings.archive.is_some(),
        // Nothing is done between events.
        flush_every: None,
        // Anybody may ask for it, without a token.
        health_writes: false,
        tells_waiting: true,
        ..Options::seeded(seed(&*ids))
    };
    let rung = Arc::clone(&doorbell) as Arc<dyn Doorbell>;
    let dynamo = Arc::new(DynamoStore::open(clients.dynamodb(), table, options, rung).await?);
    let archiver = match archive {
        None => None,
        Some(archive) => {
            // Whoever opens the table from then on leaves finished tasks to their archiver.
            dynamo.begin_archiving().await?;
            Some(Archiver { store: Arc::clone(&dynamo) as Arc<dyn ArchiveStore>, archive })
        }
    };
    let store = Arc::clone(&dynamo) as Arc<dyn Store>;
    Ok(Services {
        settings,
        store,
        dynamo: Some(dynamo),
        doorbell,
        queues,
        clock,
        ids,
        archiver,
        files: None,
    })
}

/// Sixty-four bits that differ from process to process, from the random part of an id.
fn seed(ids: &dyn Ids) -> u64 {
    let mut random = [0; 8];
    random.copy_from_slice(&ids.uuid().as_bytes()[8..]);
    u64::from_be_bytes(random)
}
