//! What every command is given: the server's address, the token to present, the form of the output, and the time.

use std::path::{Path, PathBuf};
use std::time::Duration;

use baton_client::{Client, ClientBuilder};
use baton_model::{Timestamp, TokenSecret};
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
    token: TokenSource,
}

/// Where the token to present is to be found. It is never an argument, which every process of the machine could read.
pub(crate) enum TokenSource {
    /// In a file that the command line names.
    Flag(PathBuf),
    /// In the environment: BATON_TOKEN, or else the file that BATON_TOKEN_FILE names; perhaps there is none.
    Environment(Option<PathBuf>),
}

/// The variable that holds a token.
const TOKEN: &str = "BATON_TOKEN";

impl Context {
    pub(crate) fn new(server: String, server_named: bool, token: TokenSource, format: Format) -> Self {
        Self { server: with_scheme(server), server_named, out: Out::new(format), token }
    }

    pub(crate) fn client(&self) -> Result<Client, Failure> {
        Ok(self.client_builder()?.deadline(PATIENCE).build()?)
    }

    /// A client in the making, with the token if there is one.
    pub(crate) fn client_builder(&self) -> Result<ClientBuilder, Failure> {
        let builder = Client::builder(&self.server);
        let Some(token) = self.token()? else { return Ok(builder) };
        self.warn_in_clear();
        Ok(builder.token(token))
    }

    /// Warns if a token passes a network unencrypted on its way to the server.
    pub(crate) fn warn_in_clear(&self) {
        if goes_in_clear(&self.server) {
            self.out.note(&format!(
                "warning: the token goes to {} over plain http, and whoever is between can read it; put a proxy with \
                 TLS before the server, and name it by https://",
                self.server
            ));
        }
    }

    /// The token to present, if there is one.
    pub(crate) fn token(&self) -> Result<Option<TokenSecret>, Failure> {
        match &self.token {
            TokenSource::Flag(file) => token_of_file(file).map(Some),
            TokenSource::Environment(file) => match std::env::var_os(TOKEN).filter(|value| !value.is_empty())
            {
                Some(value) => parse_token(&value.to_string_lossy(), TOKEN).map(Some),
                None => file.as_deref().map(token_of_file).transpose(),
            },
        }
    }

    /// The file with the token, if the command line names one.
    pub(crate) fn token_file(&self) -> Option<&Path> {
        match &self.token {
            TokenSource::Flag(file) => Some(file),
            TokenSource::Environment(_) => None,
        }
    }

    pub(crate) fn now(&self) -> Timestamp {
        SystemClock.now()
    }
}

fn token_of_file(file: &Path) -> Result<TokenSecret, Failure> {
    let text = std::fs::read_to_string(file)
        .map_err(|error| Failure::usage(format!("cannot read the token in {}: {error}", file.display())))?;
    parse_token(&text, &format!("the file {}", file.display()))
}

/// Reads a token. What is wrong with it is not repeated: it may be a secret with a slip.
fn parse_token(text: &str, origin: &str) -> Result<TokenSecret, Failure> {
    // Editors of Windows put a byte order mark before the text of a file.
    let text = text.trim_start_matches('\u{feff}').trim();
    TokenSecret::parse(text).ok_or_else(|| {
        let prefix = TokenSecret::PREFIX;
        Failure::usage(format!(
            "expected a token ({prefix} and 97 more characters) in {origin}, got another text of {} bytes; \
             `baton token create` makes tokens",
            text.len()
        ))
    })
}

/// Whether what is sent to this address passes a network unencrypted.
fn goes_in_clear(server: &str) -> bool {
    server.to_ascii_lowercase().starts_with("http://") && !baton_client::stays_on_this_machine(server)
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
    fn what_leaves_the_machine_goes_in_clear_over_http() {
        for near in ["http://127.0.0.1:7410", "http://localhost/", "http://[::1]:7410", "https://example.org"]
        {
            assert!(!goes_in_clear(near), "{near}");
        }
        for far in ["http://10.0.0.7:7410", "http://baton.example.org", "http://127.0.0.1.example.org:80"] {
            assert!(goes_in_clear(far), "{far}");
        }
    }

    #[test]
    fn a_token_with_a_slip_is_not_repeated() {
        let secret = TokenSecret::new(baton_model::TokenId::from_bytes([1; 16]), [2; 32]).reveal();
        assert!(parse_token(&format!(" {secret}\n"), "a test").is_ok());
        assert!(parse_token(&format!("\u{feff}{secret}\r\n"), "a test").is_ok());
        let Failure::Usage(told) = parse_token(&secret[1..], "a test").unwrap_err() else { panic!("usage") };
        assert!(told.contains("102 bytes") && !told.contains("0202"), "{told}");
    }

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
