//! Measures how a function's binary starts: from its exec to its first question for an event, and to its first answer;
//! its memory after that, and its size. `docs/lambda.md` tells how to run it and has the figures.
//!
//! The binary runs against stand-ins on this machine: Lambda's Runtime API, and a table over TLS that has nothing in it
//! and takes everything. What is measured is the function, and no network and no database.

#![allow(clippy::print_stdout, reason = "it tells its figures")]

use std::convert::Infallible;
use std::error::Error;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::Arc;
use std::time::{Duration, Instant};

use baton_lambda::stub::{Outcome, RuntimeApi};
use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::process::Command;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::pki_types::PrivateKeyDer;

type Failed = Box<dyn Error + Send + Sync>;

const USAGE: &str = "usage: cold-start BINARY EVENT.json [RUNS [EVENTS]]

Starts BINARY, a function's binary for AWS Lambda, RUNS times (20) and gives it
the event of EVENT.json, EVENTS times (1). With more events, the time of one that
is not the first is told, too.";

#[tokio::main]
async fn main() -> Result<(), Failed> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [binary, event, numbers @ ..] = arguments.as_slice() else { return Err(USAGE.into()) };
    let number = |place: usize, default: usize| numbers.get(place).map_or(Ok(default), |text| text.parse());
    let (runs, events) = (number(0, 20)?.max(1), number(1, 1)?.max(1));
    let event: Value = serde_json::from_slice(&std::fs::read(event)?)?;
    let dir = tempfile::tempdir()?;
    let table = Table::start(dir.path()).await?;
    let mut starts = Vec::with_capacity(runs);
    for _ in 0..runs {
        starts.push(start(Path::new(binary), &event, events, &table).await?);
    }
    let megabytes = std::fs::metadata(binary)?.len() as f64 / 1e6;
    println!("{binary}: {megabytes:.2} MB, {runs} starts");
    let millis = |time: Duration| time.as_secs_f64() * 1e3;
    tell("exec to first question, ms", starts.iter().map(|start| millis(start.polled)));
    tell("exec to first answer, ms", starts.iter().map(|start| millis(start.answered)));
    tell("memory after it, MB", starts.iter().map(|start| start.resident as f64 / 1e6));
    if events > 1 {
        tell("a later event, ms", starts.iter().map(|start| millis(start.later)));
    }
    Ok(())
}

fn tell(what: &str, figures: impl Iterator<Item = f64>) {
    let mut figures: Vec<f64> = figures.collect();
    figures.sort_by(f64::total_cmp);
    println!("  {what:<26} min {:7.2}   median {:7.2}", figures[0], figures[figures.len() / 2]);
}

struct Start {
    polled: Duration,
    answered: Duration,
    later: Duration,
    /// Bytes.
    resident: u64,
}

async fn start(binary: &Path, event: &Value, events: usize, table: &Table) -> Result<Start, Failed> {
    let api = RuntimeApi::start().await?;
    let began = Instant::now();
    let mut process = Command::new(binary)
        .env_clear()
        .envs(api.environment("measured"))
        .env("AWS_ENDPOINT_URL", format!("https://localhost:{}", table.addr.port()))
        .env("SSL_CERT_FILE", &table.certificate)
        .env("BATON_TLS_ROOTS", "native")
        .env("BATON_STORE_URL", "dynamodb:baton-tasks")
        .env("BATON_LOG_LEVEL", std::env::var("BATON_LOG_LEVEL").unwrap_or_else(|_| "warn".to_owned()))
        .stdout(Stdio::null())
        .kill_on_drop(true)
        .spawn()?;
    let polling = async {
        api.polled().await;
        began.elapsed()
    };
    let answering = async { (api.invoke(event).await, began.elapsed()) };
    let (polled, (outcome, answered)) = tokio::join!(polling, answering);
    check(outcome)?;
    let resident = resident(process.id().ok_or("the binary has ended")?)?;
    let warm = Instant::now();
    for _ in 1..events {
        check(api.invoke(event).await)?;
    }
    let later = warm.elapsed().checked_div(u32::try_from(events - 1)?).unwrap_or_default();
    process.kill().await?;
    Ok(Start { polled, answered, later, resident })
}

fn check(outcome: Option<Outcome>) -> Result<(), Failed> {
    match outcome {
        Some(Outcome::Answer(answer)) if answer["statusCode"].as_u64().is_none_or(|status| status < 300) => {
            Ok(())
        }
        other => Err(format!("expected an answer of success, got {other:?}").into()),
    }
}

/// The memory of a process, as Linux tells it.
fn resident(pid: u32) -> Result<u64, Failed> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status"))?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).ok_or("no VmRSS in /proc")?;
    Ok(line.trim().trim_end_matches("kB").trim().parse::<u64>()? * 1_024)
}

/// A table over TLS that has nothing in it, and takes everything.
struct Table {
    addr: SocketAddr,
    certificate: PathBuf,
}

impl Table {
    async fn start(dir: &Path) -> Result<Self, Failed> {
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
}

async fn answer(request: Request<Incoming>) -> Result<Response<Full<Bytes>>, Infallible> {
    let target =
        request.headers().get("x-amz-target").and_then(|target| target.to_str().ok()).unwrap_or_default();
    let operation = target.rsplit('.').next().unwrap_or_default().to_owned();
    // Whatever is asked is read whole, as the client waits for that.
    let _ = request.into_body().collect().await;
    let answer = match operation.as_str() {
        "GetItem" => {
            json!({"Item": {"pk": {"S": "M"}, "sk": {"S": "table"}, "ve": {"N": "1"}, "sp": {"N": "8"}}})
        }
        "Query" => json!({"Items": [], "Count": 0, "ScannedCount": 0}),
        "BatchGetItem" => json!({"Responses": {}, "UnprocessedKeys": {}}),
        "BatchWriteItem" => json!({"UnprocessedItems": {}}),
        _ => json!({}),
    };
    let response = Response::builder().header("content-type", "application/x-amz-json-1.0");
    Ok(response.body(Full::new(Bytes::from(answer.to_string()))).unwrap_or_default())
}
