//! A server behind a proxy that speaks TLS, as one on a network is.

use std::process::Output;
use std::sync::Arc;

use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::PrivateKeyDer;

use crate::support::{World, told};

/// Takes TLS off connections and passes them on to `server`; gives its address, and its certificate as PEM.
async fn proxy(server: String) -> (String, String) {
    let own = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let key = PrivateKeyDer::Pkcs8(own.signing_key.serialize_der().into());
    let config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![own.cert.der().clone()], key)
        .unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let acceptor = TlsAcceptor::from(Arc::new(config));
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let (acceptor, server) = (acceptor.clone(), server.clone());
            tokio::spawn(async move {
                // A caller that does not trust the certificate goes away.
                let Ok(mut near) = acceptor.accept(stream).await else { return };
                let mut far = TcpStream::connect(server).await.unwrap();
                let _ = copy_bidirectional(&mut near, &mut far).await;
            });
        }
    });
    (format!("https://localhost:{port}"), own.cert.pem())
}

async fn stats(world: &World, url: &str, trusted: &str) -> Output {
    let mut command = world.command(&["stats", "-o", "json"]);
    command.env("BATON_URL", url).env("SSL_CERT_FILE", trusted);
    tokio::task::spawn_blocking(move || command.output().unwrap()).await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn commands_reach_a_server_behind_tls_if_they_trust_its_certificate() {
    let world = World::new(&[]);
    let (url, certificate) = proxy(world.url.strip_prefix("http://").unwrap().to_owned()).await;
    let (trusted, other) = (world.path("trusted.pem"), world.path("other.pem"));
    std::fs::write(&trusted, certificate).unwrap();
    let stranger = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    std::fs::write(&other, stranger.cert.pem()).unwrap();

    let output = stats(&world, &url, trusted.to_str().unwrap()).await;
    assert_eq!(output.status.code(), Some(0), "{}", told(&output));

    let output = stats(&world, &url, other.to_str().unwrap()).await;
    assert_eq!(output.status.code(), Some(5), "{}", told(&output));
    let error = String::from_utf8(output.stderr).unwrap();
    assert!(error.contains("certificate"), "{error}");
}
