//! Buckets of S3, and of what speaks as S3 does.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use baton_model::{Place, is_this_machine};
use object_store::aws::{AmazonS3, AmazonS3Builder, AmazonS3ConfigKey};
use object_store::path::Path;
use object_store::prefix::PrefixStore;
use object_store::signer::{Method, SignedUrlOptions, Signer};
use object_store::{BackoffConfig, ClientConfigKey, ObjectStore, RetryConfig};

use super::addresses::{Addresses, Shown};
use super::{ObjectFiles, Objects, OpenError};
use crate::{Cause, Files};

/// The most bytes of a file that a function on AWS gives out itself. Lambda carries 6 MB back, in which bytes are written as base64.
pub const THROUGH_LAMBDA: u64 = 4 << 20;

/// How long one request may take: a copy of 5 GiB within the bucket takes minutes, as does its reading. A function has 15.
const REQUEST: &str = "840 seconds";

/// How long a bucket may say nothing within a request. It does not until it has begun to copy, or has all of a part.
const SILENT: &str = "120 seconds";

/// For how long and how often what failed is tried again. What is longer than that fails at once, and is done anew by whoever asks again.
const RETRIED: RetryConfig = RetryConfig {
    backoff: BackoffConfig {
        init_backoff: Duration::from_millis(100),
        max_backoff: Duration::from_secs(15),
        base: 2.0,
    },
    max_retries: 10,
    retry_timeout: Duration::from_secs(180),
};

/// The files of a bucket, as a function on AWS has them: larger ones are fetched from the bucket and put there by addresses that it signs.
///
/// # Errors
/// If the place is no bucket, or cannot be opened.
pub fn in_bucket(place: &Place) -> Result<Arc<dyn Files>, Cause> {
    let Place::Bucket { bucket, prefix } = place else {
        return Err(format!("expected s3:// and a bucket, which functions share, got {place}").into());
    };
    let opened = connect(bucket).map_err(|cause| OpenError::Store { place: place.clone(), cause })?;
    let opened = Arc::new(opened);
    let objects = Objects { store: below(Arc::clone(&opened), prefix), place: place.clone() };
    let addresses = BucketAddresses { bucket: opened, prefix: Path::from(prefix.as_str()) };
    Ok(Arc::new(ObjectFiles::addressed(objects, Arc::new(addresses), THROUGH_LAMBDA)))
}

/// Opens a bucket. Region, endpoint and credentials are those of AWS's own tools: `AWS_REGION`, `AWS_ENDPOINT_URL_S3` or `AWS_ENDPOINT_URL`,
/// `AWS_ACCESS_KEY_ID` and `AWS_SECRET_ACCESS_KEY`, or what the machine, the container or a web identity gives. Nothing is asked of the bucket
/// yet.
pub(super) fn open(bucket: &str, prefix: &str) -> Result<Arc<dyn ObjectStore>, object_store::Error> {
    Ok(below(Arc::new(connect(bucket)?), prefix))
}

fn below(bucket: Arc<AmazonS3>, prefix: &str) -> Arc<dyn ObjectStore> {
    if prefix.is_empty() { bucket } else { Arc::new(PrefixStore::new(bucket, prefix)) }
}

fn connect(bucket: &str) -> Result<AmazonS3, object_store::Error> {
    described(bucket).build()
}

fn described(bucket: &str) -> AmazonS3Builder {
    // The one that all of Baton uses; what is in its place already is as good.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let endpoint =
        ["AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL", "AWS_ENDPOINT"].iter().find_map(std::env::var_os);
    let endpoint = endpoint.map(|endpoint| endpoint.to_string_lossy().into_owned()).unwrap_or_default();
    let described = AmazonS3Builder::from_env();
    let described = if is_near(&endpoint) { past_all_proxies(described) } else { described };
    described
        .with_bucket_name(bucket)
        // An engine on this machine has no certificate; who names such an address wants it so.
        .with_allow_http(endpoint.starts_with("http://"))
        .with_config(AmazonS3ConfigKey::Client(ClientConfigKey::Timeout), REQUEST)
        .with_config(AmazonS3ConfigKey::Client(ClientConfigKey::ReadTimeout), SILENT)
        .with_retry(RETRIED)
}

/// Whether an endpoint is on this machine.
fn is_near(endpoint: &str) -> bool {
    let Some((_, rest)) = endpoint.split_once("://") else { return false };
    let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
    let host = authority.rsplit('@').next().unwrap_or_default();
    let host = match host.find(']') {
        Some(end) => &host[..=end],
        None => host.split(':').next().unwrap_or_default(),
    };
    is_this_machine(host)
}

/// Has no request of a client go by a proxy, which would look for the engine on its own machine: `NO_PROXY` need not name this one, as few
/// set it. The library knows no word for it: a proxy of its own takes the place of those of the environment, and is asked for no host.
fn past_all_proxies(described: AmazonS3Builder) -> AmazonS3Builder {
    described.with_proxy_url("http://127.0.0.1:9").with_proxy_excludes("*, 0.0.0.0/0, ::/0")
}

/// The addresses of a bucket. None holds for longer than the credentials of whoever signs it.
struct BucketAddresses {
    bucket: Arc<AmazonS3>,
    prefix: Path,
}

impl BucketAddresses {
    async fn sign(
        &self,
        method: Method,
        object: &str,
        time: Duration,
        options: &SignedUrlOptions,
    ) -> Result<String, Cause> {
        let object = Path::parse(object)?;
        let at: Path = self.prefix.parts().chain(object.parts()).collect();
        Ok(self.bucket.signed_url_opts(method, &at, time, options).await?.into())
    }
}

#[async_trait]
impl Addresses for BucketAddresses {
    async fn get(&self, object: &str, shown: &Shown, time: Duration) -> Result<String, Cause> {
        let Shown { content_type, disposition } = shown;
        let options = SignedUrlOptions::default().with_query([
            ("response-content-type", content_type.as_str()),
            ("response-content-disposition", disposition.as_str()),
            ("response-cache-control", "private, no-cache"),
        ]);
        self.sign(Method::GET, object, time, &options).await
    }

    async fn put(&self, object: &str, time: Duration) -> Result<String, Cause> {
        self.sign(Method::PUT, object, time, &SignedUrlOptions::default()).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_endpoint_on_this_machine_is_told_by_its_host() {
        for near in [
            "http://127.0.0.1:9000",
            "http://[::1]:9000/",
            "https://localhost",
            "http://key:secret@s3.localhost:4566/path",
        ] {
            assert!(is_near(near), "{near}");
        }
        for far in
            ["https://s3.eu-central-1.amazonaws.com", "http://localhost@10.0.0.7:9000", "127.0.0.1", ""]
        {
            assert!(!is_near(far), "{far}");
        }
    }

    #[test]
    fn a_request_has_the_time_that_a_copy_of_a_large_file_takes() {
        let told = described("b");
        for (key, time) in [(ClientConfigKey::Timeout, REQUEST), (ClientConfigKey::ReadTimeout, SILENT)] {
            assert_eq!(told.get_config_value(&AmazonS3ConfigKey::Client(key)).as_deref(), Some(time));
        }
        // They are read when it is built.
        connect("b").unwrap();
    }
}
