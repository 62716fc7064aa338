//! Clients of DynamoDB: one HTTP client with *ring* for TLS, shared by all clients of a process, and short time limits,
//! as the store sends again by itself what may be sent again.

use std::time::Duration;

use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::config::retry::RetryConfig;
use aws_sdk_dynamodb::config::timeout::TimeoutConfig;
use aws_sdk_dynamodb::config::{BehaviorVersion, Builder, Config, Credentials, Region, SharedHttpClient};
use aws_smithy_http_client::tls::Provider;
use aws_smithy_http_client::tls::rustls_provider::CryptoMode;

/// The HTTP client that a process makes one of and gives to all of its clients. It speaks plain HTTP, too, to engines
/// on the same machine.
pub fn http_client() -> SharedHttpClient {
    aws_smithy_http_client::Builder::new().tls_provider(Provider::Rustls(CryptoMode::Ring)).build_https()
}

/// Sets what the store expects of a client: its own time limits, and that the SDK sends nothing twice.
pub fn suited(config: Builder) -> Builder {
    config
        .behavior_version(BehaviorVersion::v2026_01_12())
        .retry_config(RetryConfig::disabled())
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
