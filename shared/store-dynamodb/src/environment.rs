//! A client by the standard settings of AWS; [`baton_aws::environment`] has them.

use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::config::{Builder, SharedHttpClient};
use baton_aws::environment::{self, EnvironmentError};

use crate::client::suited;

/// A client by the environment, that is known to have a region and credentials.
///
/// # Errors
/// What is missing, and what to set.
pub async fn client(http_client: SharedHttpClient) -> Result<Client, EnvironmentError> {
    let config = environment::config(http_client, None).await?;
    Ok(Client::from_conf(suited(Builder::from(&config)).build()))
}
