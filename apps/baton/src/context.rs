//! What every command is given: the server's address, the form of the output, and the time.

use std::time::Duration;

use baton_client::Client;
use baton_model::Timestamp;
use baton_runtime::{Clock as _, SystemClock};

use crate::exit::Failure;
use crate::out::{Format, Out};

/// How long a command repeats a request that gets no answer.
const PATIENCE: Duration = Duration::from_secs(2);

pub(crate) struct Context {
    pub(crate) server: String,
    /// Whether the server's address was given on the command line, and not by the environment or as default.
    pub(crate) server_named: bool,
    pub(crate) out: Out,
}

impl Context {
    pub(crate) fn new(server: String, server_named: bool, format: Format) -> Self {
        Self { server: with_scheme(server), server_named, out: Out::new(format) }
    }

    pub(crate) fn client(&self) -> Result<Client, Failure> {
        Ok(Client::builder(&self.server).deadline(PATIENCE).build()?)
    }

    pub(crate) fn now(&self) -> Timestamp {
        SystemClock.now()
    }
}

/// `HOST:PORT` means `http://HOST:PORT`; all else is left to the client to judge.
fn with_scheme(server: String) -> String {
    let port = server.rsplit_once(':').filter(|(host, _)| !host.is_empty() && !host.contains('/'));
    match port.map(|(_, port)| port.trim_end_matches('/').parse::<u16>()) {
        Some(Ok(_)) => format!("http://{server}"),
        _ => server,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_may_go_without_its_scheme() {
        for (given, meant) in [
            ("127.0.0.1:7410", "http://127.0.0.1:7410"),
            ("localhost:7410/", "http://localhost:7410/"),
            ("[::1]:7410", "http://[::1]:7410"),
            ("http://127.0.0.1:7410", "http://127.0.0.1:7410"),
            ("localhost", "localhost"),
            ("https://x", "https://x"),
            (":7410", ":7410"),
        ] {
            assert_eq!(with_scheme(given.to_owned()), meant);
        }
    }
}
