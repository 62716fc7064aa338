//! The HTTP of a stand-in for SQS.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};

use serde_json::Value;

/// A request as SQS gets it.
#[derive(Clone, Debug)]
pub(crate) struct Asked {
    pub(crate) operation: String,
    pub(crate) authorization: String,
    pub(crate) body: Value,
}

/// Serves on a port of its own, in a thread that ends with the program: each request is answered with a status and a body. The
/// answer is the address.
pub(crate) fn serve<F>(answer: impl FnOnce(String) -> F) -> String
where
    F: Fn(Asked) -> (u16, String) + Send + 'static,
{
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let answer = answer(url.clone());
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            // A connection that breaks off has asked for nothing.
            let Some((mut stream, request)) = stream.ok().and_then(read) else { continue };
            let (status, body) = answer(request);
            let head = format!(
                "HTTP/1.1 {status} -\r\ncontent-type: application/x-amz-json-1.0\r\ncontent-length: {}\r\nconnection: close\r\n\r\n",
                body.len()
            );
            let _ = stream.write_all((head + &body).as_bytes());
        }
    });
    url
}

fn read(stream: TcpStream) -> Option<(TcpStream, Asked)> {
    let mut reader = BufReader::new(stream);
    let (mut operation, mut authorization, mut length) = (String::new(), String::new(), 0);
    loop {
        let mut line = String::new();
        reader.read_line(&mut line).ok()?;
        if line.trim().is_empty() {
            break;
        }
        let Some((name, value)) = line.split_once(": ") else { continue };
        match name.to_ascii_lowercase().as_str() {
            "x-amz-target" => operation = value.trim().strip_prefix("AmazonSQS.")?.to_owned(),
            "authorization" => authorization = value.trim().to_owned(),
            "content-length" => length = value.trim().parse().ok()?,
            _ => {}
        }
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body).ok()?;
    Some((reader.into_inner(), Asked { operation, authorization, body: serde_json::from_slice(&body).ok()? }))
}
