//! Clients of DynamoDB, with short time limits, as the store sends again by itself what may be sent again.

use std::time::Duration;

use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::config::retry::RetryConfig;
use aws_sdk_dynamodb::config::timeout::TimeoutConfig;
use aws_sdk_dynamodb::config::{
    BehaviorVersion, Builder, Config, Credentials, Region, SharedHttpClient, StalledStreamProtectionConfig,
};

pub use baton_aws::{Roots, http_client, http_client_with};

/// Sets what the store expects of a client: its own time limits, and that the SDK sends nothing twice. What the SDK does besides
/// against bodies that stand still, it does for each request, and the limit of an attempt covers them as well.
pub fn suited(config: Builder) -> Builder {
    config
        .behavior_version(BehaviorVersion::v2026_01_12())
        .retry_config(RetryConfig::disabled())
        .stalled_stream_protection(StalledStreamProtectionConfig::disabled())
        .timeout_config(
            TimeoutConfig::builder()
                .connect_timeout(Duration::from_secs(2))
                .operation_attempt_timeout(Duration::from_secs(5))
                .build(),
        )
}

/// A client of an engine at an address, such as `http://127.0.0.1:8000`, which believes any credentials.
pub fn local(endpoint: &str, http_client: SharedHttpClient) -> Client {
    let config = Config::builder()
        .region(Region::new("us-east-1"))
        .credentials_provider(Credentials::new("local", "local", None, None, "baton"))
        .endpoint_url(endpoint)
        .http_client(http_client);
    Client::from_conf(suited(config).build())
}

#[cfg(test)]
mod tests {
    use aws_sdk_dynamodb::error::SdkError;

    use super::*;

    #[tokio::test]
    async fn a_client_can_be_made_with_either_roots() {
        // Nobody speaks TLS there: what matters is that the certificates are read before the first word.
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = format!("https://{}", listener.local_addr().unwrap());
        drop(listener);
        for roots in [Roots::Amazon, Roots::Native] {
            let client = local(&address, http_client_with(roots));
            let error = client.list_tables().send().await.unwrap_err();
            assert!(matches!(error, SdkError::DispatchFailure(_)), "{error:?}");
        }
    }
}
