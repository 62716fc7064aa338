//! A stand-in for the table, over TLS.

use std::convert::Infallible;
use std::ffi::OsString;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper_util::rt::TokioIo;
use serde_json::json;
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::pki_types::PrivateKeyDer;

use crate::Failed;

/// A table over TLS that has nothing in it, and takes everything.
pub(crate) struct Table {
    addr: SocketAddr,
    certificate: PathBuf,
}

impl Table {
    pub(crate) async fn start(dir: &Path) -> Result<Self, Failed> {
        let own = rcgen::generate_simple_self_signed(["localhost".to_owned()])?;
        let certificate = dir.join("certificate.pem");
        std::fs::write(&certificate, own.cert.pem())?;
        let key = PrivateKeyDer::Pkcs8(own.signing_key.serialize_der().into());
        let mut config = ServerConfig::builder()
            .with_no_client_auth()
            .with_single_cert(vec![own.cert.der().clone()], key)?;
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        let acceptor = TlsAcceptor::from(Arc::new(config));
        let listener = TcpListener::bind(("localhost", 0)).await?;
        let addr = listener.local_addr()?;
        tokio::spawn(async move {
            while let Ok((socket, _)) = listener.accept().await {
                let acceptor = acceptor.clone();
                tokio::spawn(async move {
                    let _ = socket.set_nodelay(true);
                    let Ok(stream) = acceptor.accept(socket).await else { return };
                    let service = hyper::service::service_fn(answer);
                    // It ends when the measured process does.
                    let _ = hyper::server::conn::http1::Builder::new()
                        .serve_connection(TokioIo::new(stream), service)
                        .await;
                });
            }
        });
        Ok(Self { addr, certificate })
    }

    /// The variables by which a function finds it and trusts it.
    pub(crate) fn environment(&self) -> [(&'static str, OsString); 4] {
        [
            ("AWS_ENDPOINT_URL", format!("https://localhost:{}", self.addr.port()).into()),
            ("SSL_CERT_FILE", self.certificate.clone().into()),
            ("BATON_AWS_ROOTS", "native".into()),
            ("BATON_STORE_URL", "dynamodb:baton-tasks".into()),
        ]
    }
}

async fn answer(request: Request<Incoming>) -> Result<Response<Full<Bytes>>, Infallible> {
    let target =
        request.headers().get("x-amz-target").and_then(|target| target.to_str().ok()).unwrap_or_default();
    let operation = target.rsplit('.').next().unwrap_or_default().to_owned();
    // Whatever is asked is read whole, as the client waits for that.
    let _ = request.into_body().collect().await;
    let answer = match operation.as_str() {
        "GetItem" => {
            json!({"Item": {"pk": {"S": "M"}, "sk": {"S": "table"}, "ve": {"N": "1"}, "sp": {"N": "8"},
                "se": {"N": "1"}, "sb": {"N": "0"}, "sl": {"N": "1"}}})
        }
        "Query" => json!({"Items": [], "Count": 0, "ScannedCount": 0}),
        "BatchGetItem" => json!({"Responses": {}, "UnprocessedKeys": {}}),
        "BatchWriteItem" => json!({"UnprocessedItems": {}}),
        _ => json!({}),
    };
    let response = Response::builder().header("content-type", "application/x-amz-json-1.0");
    Ok(response.body(Full::new(Bytes::from(answer.to_string()))).unwrap_or_default())
}
