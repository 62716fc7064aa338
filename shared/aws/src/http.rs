//! The HTTP client of all clients of AWS: *ring* for TLS, and Amazon's roots.

use std::str::FromStr;

use aws_smithy_http_client::tls::rustls_provider::CryptoMode;
use aws_smithy_http_client::tls::{Provider, TlsContext, TrustStore};
use aws_smithy_runtime_api::client::http::SharedHttpClient;
use baton_model::Expected;

/// The roots that AWS endpoints' certificates lead to, in PEM.
const AMAZON: &str = include_str!("../roots/amazon.pem");

/// Whose certificates an HTTP client trusts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Roots {
    /// Amazon's five roots, which are part of the program: all that AWS endpoints need. To read the machine's hundred or
    /// more takes 7 ms, most of what is left of a cold start.
    #[default]
    Amazon,
    /// Those of the machine, for endpoints behind a private authority or a proxy that speaks TLS itself.
    Native,
}

impl Roots {
    /// The environment variable that chooses.
    pub const VARIABLE: &str = "BATON_AWS_ROOTS";

    /// What the environment chooses by [`Roots::VARIABLE`]; Amazon's if it says nothing.
    ///
    /// # Errors
    /// If it says neither `amazon` nor `native`.
    pub fn from_environment() -> Result<Self, Expected> {
        match std::env::var_os(Self::VARIABLE) {
            Some(text) => text.to_string_lossy().parse(),
            None => Ok(Self::default()),
        }
    }

    #[expect(
        clippy::expect_used,
        reason = "a context of certificates alone lacks nothing; a test reads them"
    )]
    fn context(self) -> TlsContext {
        let store = match self {
            Self::Amazon => TrustStore::empty().with_pem_certificate(AMAZON),
            Self::Native => TrustStore::empty().with_native_roots(true),
        };
        TlsContext::builder().with_trust_store(store).build().expect("certificates make a context")
    }
}

impl FromStr for Roots {
    type Err = Expected;

    fn from_str(text: &str) -> Result<Self, Expected> {
        match text {
            "amazon" => Ok(Self::Amazon),
            "native" => Ok(Self::Native),
            other => Err(Expected::text("amazon or native", other)),
        }
    }
}

/// The HTTP client that a process makes one of and gives to all of its clients. It trusts Amazon's roots, and speaks
/// plain HTTP, too, to engines on the same machine.
pub fn http_client() -> SharedHttpClient {
    http_client_with(Roots::Amazon)
}

/// An HTTP client as [`http_client`]'s that trusts these roots.
pub fn http_client_with(roots: Roots) -> SharedHttpClient {
    aws_smithy_http_client::Builder::new()
        .tls_provider(Provider::Rustls(CryptoMode::Ring))
        .tls_context(roots.context())
        .build_https()
}

#[cfg(test)]
mod tests {
    use sha2::{Digest, Sha256};

    use super::*;

    /// The certificates of a PEM text, by the SHA-256 of their DER form.
    fn fingerprints(pem: &str) -> Vec<String> {
        let parts = pem.split("-----BEGIN CERTIFICATE-----").skip(1);
        let body = |part: &str| part.split("-----END").next().unwrap().split_whitespace().collect::<String>();
        let digest = |body: String| Sha256::digest(aws_smithy_types::base64::decode(body).unwrap());
        parts.map(|part| digest(body(part)).iter().map(|byte| format!("{byte:02x}")).collect()).collect()
    }

    #[test]
    fn the_pinned_store_has_exactly_amazons_roots() {
        // As https://www.amazontrust.com/repository publishes them: Amazon Root CA 1 to 4, Starfield Services G2.
        let expected = [
            "8ecde6884f3d87b1125ba31ac3fcb13d7016de7f57cc904fe1cb97c6ae98196e",
            "1ba5b2aa8c65401a82960118f80bec4f62304d83cec4713a19c39c011ea46db4",
            "18ce6cfe7bf14e60b2e347b8dfe868cb31d02ebb3ada271569f50343b46db3a4",
            "e35d28419ed02025cfa69038cd623962458da5c695fbdea3c22b0bfb25897092",
            "568d6905a2c88708a4b3025190edcfedb1974a606a13c6e5290fcb2ae63edab5",
        ];
        assert_eq!(fingerprints(AMAZON), expected);
        for fingerprint in expected {
            assert!(AMAZON.contains(&format!("# sha256 {fingerprint}\n")), "{fingerprint}");
        }
        let store = format!("{:?}", Roots::Amazon.context());
        assert!(store.contains("enable_native_roots: false"), "the machine's are not trusted besides");
    }

    #[test]
    fn roots_are_chosen_by_name() {
        for (text, roots) in [("amazon", Roots::Amazon), ("native", Roots::Native)] {
            assert_eq!(text.parse(), Ok(roots));
        }
        let refused = "mozilla".parse::<Roots>().unwrap_err();
        assert!(refused.to_string().contains("amazon or native"), "{refused}");
    }
}
