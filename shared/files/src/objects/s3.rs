//! Buckets of S3, and of what speaks as S3 does.

use std::sync::Arc;

use object_store::ObjectStore;
use object_store::aws::AmazonS3Builder;
use object_store::prefix::PrefixStore;

/// Opens a bucket. Region, endpoint and credentials are those of AWS's own tools: `AWS_REGION`, `AWS_ENDPOINT_URL_S3` or `AWS_ENDPOINT_URL`,
/// `AWS_ACCESS_KEY_ID` and `AWS_SECRET_ACCESS_KEY`, or what the machine, the container or a web identity gives. Nothing is asked of the bucket
/// yet.
pub(super) fn open(bucket: &str, prefix: &str) -> Result<Arc<dyn ObjectStore>, object_store::Error> {
    // The one that all of Baton uses; what is in its place already is as good.
    let _ = rustls::crypto::ring::default_provider().install_default();
    // An engine on this machine has no certificate; who names such an address wants it so.
    let is_plain = ["AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL", "AWS_ENDPOINT"]
        .iter()
        .find_map(std::env::var_os)
        .is_some_and(|endpoint| endpoint.to_string_lossy().starts_with("http://"));
    let bucket = AmazonS3Builder::from_env().with_bucket_name(bucket).with_allow_http(is_plain).build()?;
    Ok(if prefix.is_empty() { Arc::new(bucket) } else { Arc::new(PrefixStore::new(bucket, prefix)) })
}
