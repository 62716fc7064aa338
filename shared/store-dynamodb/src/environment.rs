//! A client by the standard settings of AWS: environment variables, the shared files of `~/.aws`, and what a container
//! or an instance is given. Nothing here is Baton's own, so that what other tools honour holds for Baton, too:
//! `AWS_REGION`, `AWS_PROFILE`, `AWS_ACCESS_KEY_ID`, `AWS_ENDPOINT_URL`, `AWS_ENDPOINT_URL_DYNAMODB` and the rest.

use std::time::Duration;

use aws_config::SdkConfig;
use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::config::{BehaviorVersion, Builder, ProvideCredentials, SharedHttpClient};

use crate::client::suited;

/// How long region and credentials are looked for. Off AWS, the look for an instance's own runs into nothing; it must
/// end in a word, and not in a wait.
const PATIENCE: Duration = Duration::from_secs(10);

/// What is missing for a client.
#[derive(Debug, thiserror::Error)]
pub enum EnvironmentError {
    /// No region is set.
    #[error(
        "expected a region of AWS, got none: set AWS_REGION, or region for the profile in ~/.aws/config (for an engine \
         of your own, any region does, and AWS_ENDPOINT_URL_DYNAMODB says where it is)"
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

/// A client by the environment, that is known to have a region and credentials.
///
/// # Errors
/// What is missing, and what to set.
pub async fn client(http_client: SharedHttpClient) -> Result<Client, EnvironmentError> {
    let found = tokio::time::timeout(PATIENCE, found(http_client)).await;
    let config = found.unwrap_or(Err(EnvironmentError::TooLate))?;
    Ok(Client::from_conf(suited(Builder::from(&config)).build()))
}

async fn found(http_client: SharedHttpClient) -> Result<SdkConfig, EnvironmentError> {
    let config = aws_config::defaults(BehaviorVersion::v2026_01_12()).http_client(http_client).load().await;
    if config.region().is_none() {
        return Err(EnvironmentError::NoRegion);
    }
    let missing = |error: Box<dyn std::error::Error + Send + Sync>| EnvironmentError::NoCredentials(error);
    let provider = config.credentials_provider().ok_or_else(|| missing("no provider of them".into()))?;
    // Asked for now, so that a start tells what is missing, and not the first request.
    provider.provide_credentials().await.map_err(|error| missing(error.into()))?;
    Ok(config)
}
