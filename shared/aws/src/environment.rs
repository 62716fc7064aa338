//! Region and credentials by the standard settings of AWS: environment variables, the shared files of `~/.aws`, and what
//! a container or an instance is given. Nothing here is Baton's own, so that what other tools honour holds for Baton, too:
//! `AWS_REGION`, `AWS_PROFILE`, `AWS_ACCESS_KEY_ID`, `AWS_ENDPOINT_URL`, `AWS_ENDPOINT_URL_DYNAMODB` and the rest.

use std::time::Duration;

use aws_config::{BehaviorVersion, Region};
use aws_credential_types::provider::ProvideCredentials;
use aws_smithy_runtime_api::client::http::SharedHttpClient;

pub use aws_config::SdkConfig;

/// How long region and credentials are looked for. Off AWS, the look for an instance's own runs into nothing; it must
/// end in a word, and not in a wait.
const PATIENCE: Duration = Duration::from_secs(10);

/// What is missing for a client.
#[derive(Debug, thiserror::Error)]
pub enum EnvironmentError {
    /// No region is set.
    #[error(
        "expected a region of AWS, got none: set AWS_REGION, or region for the profile in ~/.aws/config (for an engine \
         of your own, any region does, and AWS_ENDPOINT_URL says where it is)"
    )]
    NoRegion,
    /// No credentials are found.
    #[error(
        "expected credentials of AWS, got none: set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_PROFILE for one \
         of ~/.aws, or run where a role is given; a profile of single sign-on is not read, take its keys with \
         `aws configure export-credentials --format env`"
    )]
    NoCredentials(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// Looking for them takes too long.
    #[error(
        "expected region and credentials of AWS, got no answer in {} s: set AWS_REGION, AWS_ACCESS_KEY_ID and \
         AWS_SECRET_ACCESS_KEY, or AWS_PROFILE; AWS_EC2_METADATA_DISABLED=true leaves out the look for an instance's",
        PATIENCE.as_secs()
    )]
    TooLate,
}

/// What clients are made of, by the environment: known to have a region and credentials. `region` goes before the
/// environment's.
///
/// # Errors
/// What is missing, and what to set.
pub async fn config(
    http_client: SharedHttpClient,
    region: Option<String>,
) -> Result<SdkConfig, EnvironmentError> {
    let found = tokio::time::timeout(PATIENCE, found(http_client, region)).await;
    found.unwrap_or(Err(EnvironmentError::TooLate))
}

async fn found(http_client: SharedHttpClient, region: Option<String>) -> Result<SdkConfig, EnvironmentError> {
    let mut loader = aws_config::defaults(BehaviorVersion::v2026_01_12()).http_client(http_client);
    if let Some(region) = region {
        loader = loader.region(Region::new(region));
    }
    let config = loader.load().await;
    if config.region().is_none() {
        return Err(EnvironmentError::NoRegion);
    }
    let missing = |error: Box<dyn std::error::Error + Send + Sync>| EnvironmentError::NoCredentials(error);
    let provider = config.credentials_provider().ok_or_else(|| missing("no provider of them".into()))?;
    // Asked for now, so that a start tells what is missing, and not the first request.
    provider.provide_credentials().await.map_err(|error| missing(error.into()))?;
    Ok(config)
}
