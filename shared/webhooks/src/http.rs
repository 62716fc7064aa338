//! The way to a receiver.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use baton_alerts::{Delivery, Outcome, Webhook, address, sign};
use baton_model::Timestamp;
use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use reqwest::header::CONTENT_TYPE;
use reqwest::{StatusCode, Url};

/// How long a receiver may take for its answer.
pub(crate) const LONGEST: Duration = Duration::from_secs(15);
/// How long it may take to connect to it.
const CONNECTING: Duration = Duration::from_secs(5);
/// How much of an answer is read, so that its connection serves again. Nobody reads what it says.
const READ: usize = 16 * 1024;
/// How many characters are told of a failure.
const TOLD: usize = 200;

/// Sends messages.
#[derive(Clone, Debug)]
pub struct Sender {
    http: reqwest::Client,
    private: bool,
}

impl Sender {
    /// One that sends to public addresses alone, unless `private`.
    ///
    /// # Errors
    /// Why HTTP cannot be spoken.
    pub fn new(private: bool) -> Result<Self, String> {
        // Without the machine's roots of TLS, receivers by plain HTTP can be reached all the same.
        let tls = baton_client::tls_config(true).or_else(|why| {
            tracing::warn!(why, "webhooks cannot be sent to by https");
            baton_client::tls_config(false)
        })?;
        let http = reqwest::Client::builder()
            .tls_backend_preconfigured(tls)
            // A proxy would connect to whatever it likes, and a redirect lead anywhere.
            .no_proxy()
            .redirect(reqwest::redirect::Policy::none())
            .dns_resolver(Public { private })
            .connect_timeout(CONNECTING)
            .timeout(LONGEST)
            .pool_max_idle_per_host(4)
            .user_agent(concat!("baton/", env!("CARGO_PKG_VERSION")))
            .build()
            .map_err(|error| error.to_string())?;
        Ok(Self { http, private })
    }

    /// Tries to send a message, as of `now`.
    pub(crate) async fn send(&self, webhook: &Webhook, message: &Delivery, now: Timestamp) -> Outcome {
        let refused = |why: &str| Outcome::Refused(why.to_owned());
        let Ok(url) = webhook.url.as_str().parse::<Url>() else {
            return refused("its address cannot be read");
        };
        // What is no name is not looked up.
        if let Some(literal) = literal(&url)
            && !self.private
            && !address::is_public(literal)
        {
            return refused(PRIVATE);
        }
        let seconds = now.as_millis() / 1_000;
        let signature = sign::signature(&webhook.secret, &message.id, seconds, &message.body);
        let request = self
            .http
            .post(url)
            .header(CONTENT_TYPE, "application/json")
            .header(sign::ID, &message.id)
            .header(sign::TIMESTAMP, seconds)
            .header(sign::SIGNATURE, signature)
            .body(message.body.clone());
        match request.send().await {
            Ok(mut answer) => {
                let status = answer.status();
                let mut read = 0;
                while read < READ
                    && let Ok(Some(part)) = answer.chunk().await
                {
                    read += part.len();
                }
                match status {
                    StatusCode::GONE => Outcome::Gone,
                    status if status.is_success() => Outcome::Taken(status.as_u16()),
                    status if status.is_redirection() => {
                        Outcome::Refused(format!("answered {}: redirects are not followed", status.as_u16()))
                    }
                    status => Outcome::Refused(format!("answered {}", status.as_u16())),
                }
            }
            // The address may hold a secret.
            Err(error) => Outcome::Refused(told(&error.without_url())),
        }
    }
}

/// Why an address is refused.
const PRIVATE: &str =
    "its address is of this machine or of a private network, and those are refused (server.private_webhooks)";

fn literal(url: &Url) -> Option<IpAddr> {
    let host = url.host_str()?;
    host.trim_start_matches('[').trim_end_matches(']').parse().ok()
}

/// A failure with what caused it, cut.
fn told(error: &dyn std::error::Error) -> String {
    let (mut text, mut next) = (String::new(), Some(error));
    while let Some(error) = next {
        if !text.is_empty() {
            text.push_str(": ");
        }
        text.push_str(&error.to_string());
        next = error.source();
    }
    text.chars().take(TOLD).collect()
}

/// Looks names up, and gives the addresses that may be connected to alone: what is connected to is among them.
struct Public {
    private: bool,
}

impl Resolve for Public {
    fn resolve(&self, name: Name) -> Resolving {
        let private = self.private;
        Box::pin(async move {
            let all = tokio::net::lookup_host((name.as_str(), 0)).await?;
            let allowed: Vec<SocketAddr> =
                all.filter(|found| private || address::is_public(found.ip())).collect();
            if allowed.is_empty() {
                return Err(PRIVATE.into());
            }
            let addresses: Addrs = Box::new(allowed.into_iter());
            Ok(addresses)
        })
    }
}
