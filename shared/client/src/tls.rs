//! TLS as the client speaks it: *ring*, and the certificate authorities that the machine trusts.

use std::sync::Arc;

use rustls::{ClientConfig, RootCertStore};

/// The settings of TLS. An address of plain http needs no authorities, and a machine may have none.
///
/// # Errors
/// That the machine trusts nobody, or why it cannot be told whom.
pub fn config(needed: bool) -> Result<ClientConfig, String> {
    let mut roots = RootCertStore::empty();
    if needed {
        // Those of the system, or those that SSL_CERT_FILE or SSL_CERT_DIR name.
        let found = rustls_native_certs::load_native_certs();
        roots.add_parsable_certificates(found.certs);
        if roots.is_empty() {
            let why: String = found.errors.iter().map(|error| format!(" ({error})")).collect();
            return Err(format!(
                "no certificate authority is known to this machine{why}; install its ca-certificates, or name a file \
                 with SSL_CERT_FILE"
            ));
        }
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| error.to_string())?;
    Ok(config.with_root_certificates(roots).with_no_client_auth())
}
