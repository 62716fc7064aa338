//! How a client is set up.

use std::sync::Arc;
use std::time::Duration;

use baton_model::TokenSecret;
use reqwest::header::{AUTHORIZATION, HeaderMap, HeaderValue};

use crate::error::ClientError;
use crate::{Client, Inner, place, tls};

/// Sets up a [`Client`].
#[derive(Clone, Debug)]
pub struct ClientBuilder {
    base: String,
    timeout: Duration,
    connect_timeout: Duration,
    deadline: Duration,
    token: Option<TokenSecret>,
    gather_ends: bool,
}

impl ClientBuilder {
    pub(crate) fn new(base: &str) -> Self {
        Self {
            base: base.trim_end_matches('/').to_owned(),
            timeout: Duration::from_secs(10),
            connect_timeout: Duration::from_secs(3),
            deadline: Duration::from_secs(30),
            token: None,
            gather_ends: true,
        }
    }

    /// How long one request may take; 10 s unless set. A claim that waits is given its waiting time besides.
    #[must_use]
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }

    /// How long a connection may take to come about; 3 s unless set.
    #[must_use]
    pub fn connect_timeout(mut self, timeout: Duration) -> Self {
        self.connect_timeout = timeout;
        self
    }

    /// How long a request is repeated, where that is safe, before its error is given up to the caller; 30 s unless
    /// set. Zero: never repeated. Repeated are requests that got no answer, and answers 408, 429, 502, 503 and 504; the
    /// pauses double from 0.1 s to 3 s, less up to half by chance, and begin when the answer's `Retry-After` is over.
    #[must_use]
    pub fn deadline(mut self, deadline: Duration) -> Self {
        self.deadline = deadline;
        self
    }

    /// Whether attempts that end close together are told to the server by few requests; `true` unless set.
    ///
    /// Nothing waits for others on purpose: an end goes at once by its own route if none is under way. Those that come meanwhile gather
    /// until it is answered, or for 25 ms, and go by one request, up to 1,000 of them. Each call still answers with what became of its own
    /// end, and is repeated by itself. One that is dropped while it gathers is not sent, and takes no other along. By its own route goes
    /// what has more than 256 KiB, and a completion with a claim, which belongs to it alone, unless there are
    /// [`Client::with_next_claims`]; and so does all else, for ten minutes, if the server does not know how to end several attempts.
    #[must_use]
    pub fn gather_ends(mut self, gather_ends: bool) -> Self {
        self.gather_ends = gather_ends;
        self
    }

    /// Presents this token with each request. It travels as it is: to another machine, send it through a proxy that speaks
    /// TLS.
    #[must_use]
    pub fn token(mut self, token: TokenSecret) -> Self {
        self.token = Some(token);
        self
    }

    /// The client.
    ///
    /// # Errors
    /// [`ClientError::Address`] if the server's address is none.
    pub fn build(self) -> Result<Client, ClientError> {
        let wrong = |reason: String| ClientError::Address { given: self.base.clone(), reason };
        let url = server_address(&self.base)?;
        let mut headers = HeaderMap::new();
        if let Some(token) = &self.token {
            // Hexadecimal digits always make a header.
            let mut value = HeaderValue::try_from(format!("Bearer {}", token.reveal()))
                .map_err(|error| wrong(error.to_string()))?;
            value.set_sensitive(true);
            headers.insert(AUTHORIZATION, value);
        }
        let http = http(&url).map_err(wrong)?;
        let http = http.default_headers(headers).connect_timeout(self.connect_timeout);
        let http = http.build().map_err(|error| wrong(error.to_string()))?;
        let inner = Arc::new(Inner { http, base: self.base, timeout: self.timeout });
        let client = Client { inner, deadline: self.deadline, span: None, gather: None };
        Ok(if self.gather_ends { client.gathering(None) } else { client })
    }
}

/// Reads the address of a server, such as `http://127.0.0.1:7410`.
///
/// # Errors
/// [`ClientError::Address`] if it is none.
pub fn server_address(base: &str) -> Result<reqwest::Url, ClientError> {
    let wrong = |reason: String| ClientError::Address { given: base.to_owned(), reason };
    let url = reqwest::Url::parse(base).map_err(|error| wrong(error.to_string()))?;
    if !matches!(url.scheme(), "http" | "https") || !url.has_host() {
        return Err(wrong("it is neither http:// nor https:// with a host".to_owned()));
    }
    if url.query().is_some() || url.fragment().is_some() {
        return Err(wrong("it has a query or a fragment".to_owned()));
    }
    Ok(url)
}

/// How this program speaks HTTP: with the roots of TLS that the machine trusts, and without following redirects, which would carry
/// tokens elsewhere.
fn http(url: &reqwest::Url) -> Result<reqwest::ClientBuilder, String> {
    let tls = tls::config(url.scheme() == "https")?;
    let mut http = reqwest::Client::builder();
    if place::is_this_machine(url) {
        // A proxy would look for the server on its own machine, and read the tasks. `NO_PROXY` need not say so: few set it.
        http = http.no_proxy();
    }
    Ok(http
        .tls_backend_preconfigured(tls)
        .tcp_nodelay(true)
        .user_agent(concat!("baton-client/", env!("CARGO_PKG_VERSION")))
        .redirect(reqwest::redirect::Policy::none()))
}

/// An HTTP client for requests that [`Client`] does not make, as to another service than Baton's, set up as [`Client`]s are.
///
/// # Errors
/// Why there is none for this address: it is neither http:// nor https:// with a host, or the machine's roots of TLS cannot be read.
pub fn http_client(url: &reqwest::Url) -> Result<reqwest::Client, String> {
    if !matches!(url.scheme(), "http" | "https") || !url.has_host() {
        return Err("it is neither http:// nor https:// with a host".to_owned());
    }
    let http = http(url)?.connect_timeout(Duration::from_secs(10));
    http.build().map_err(|error| error.to_string())
}
