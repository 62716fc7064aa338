//! Digests of bytes, as they are told of files.

use futures::TryStreamExt as _;
use sha2::{Digest as _, Sha256};

use crate::{ByteStream, Cause};

/// Bytes in hexadecimal digits.
pub(crate) fn hex<'a>(bytes: impl IntoIterator<Item = &'a u8>) -> String {
    bytes.into_iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The SHA-256 of bytes, as that of a file is told.
pub fn sha256(bytes: &[u8]) -> String {
    hex(Sha256::digest(bytes).iter())
}

/// The same of bytes that come one part after the other.
///
/// # Errors
/// Why no more of them came.
pub async fn sha256_of(mut bytes: ByteStream) -> Result<String, Cause> {
    let mut hash = Sha256::new();
    while let Some(some) = bytes.try_next().await? {
        hash.update(&some);
    }
    Ok(hex(hash.finalize().iter()))
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use futures::{FutureExt as _, StreamExt as _, stream};

    use super::*;

    #[test]
    fn parts_have_the_digest_of_the_whole() {
        let whole = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        assert_eq!(sha256(b"abc"), whole);
        let parts = stream::iter(["a", "", "bc"].map(|part| Ok(Bytes::from(part)))).boxed();
        assert_eq!(sha256_of(parts).now_or_never().unwrap().unwrap(), whole);
    }
}
