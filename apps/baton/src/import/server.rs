//! One request to a server of another system, over plain HTTP.

use std::time::Duration;

use bytes::Bytes;
use http::header::HOST;
use http::{Request, StatusCode};
use http_body_util::{BodyExt as _, Empty, Limited};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::exit::Failure;

/// How long an answer may take.
const PATIENCE: Duration = Duration::from_secs(30);
/// How large it may be: a list comes whole, and the old server has all of it in memory.
const MOST: usize = 256 << 20;

/// What a path answers; none if there is nothing.
///
/// # Errors
/// If there is no answer, or another one.
pub(super) async fn get(url: &str, path: &str) -> Result<Option<String>, Failure> {
    let failed = |what: String| Failure::failed(format!("{url}{path}: {what}"));
    match timeout(PATIENCE, ask(url, path)).await {
        Err(_) => Err(failed(format!("no answer within {} s", PATIENCE.as_secs()))),
        Ok(Err(what)) => Err(failed(what)),
        Ok(Ok((StatusCode::OK, body))) => Ok(Some(body)),
        Ok(Ok((StatusCode::NOT_FOUND, _))) => Ok(None),
        Ok(Ok((status, _))) => Err(failed(format!("expected 200, got {status}"))),
    }
}

async fn ask(url: &str, path: &str) -> Result<(StatusCode, String), String> {
    let place = url.strip_prefix("http://").ok_or("expected an address that begins with http://")?;
    let host = place.split('/').next().unwrap_or_default();
    if host != place {
        return Err("expected an address without a path".to_owned());
    }
    let address = if host.contains(':') { host.to_owned() } else { format!("{host}:80") };
    let stream =
        TcpStream::connect(&address).await.map_err(|error| format!("it cannot be reached: {error}"))?;
    let shaken = http1::handshake(TokioIo::new(stream)).await;
    let (mut sender, connection) = shaken.map_err(|error| error.to_string())?;
    // It ends with the answer, or shows as its failure.
    let connection = tokio::spawn(connection);
    let request = Request::get(path).header(HOST, host).body(Empty::<Bytes>::new());
    let request = request.map_err(|error| error.to_string())?;
    let answer = sender.send_request(request).await.map_err(|error| error.to_string())?;
    let status = answer.status();
    let body = Limited::new(answer.into_body(), MOST).collect().await.map_err(|error| error.to_string())?;
    connection.abort();
    let body = String::from_utf8(body.to_bytes().into()).map_err(|error| error.to_string())?;
    Ok((status, body))
}
