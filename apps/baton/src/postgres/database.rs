//! A database, connected to.

use std::time::Duration;

use tokio_postgres::{Client, Config, Error};

use super::tls::Tls;
use super::without_secrets;
use crate::exit::Failure;

/// How long a connection may take to come about, unless the address says.
const CONNECTING: Duration = Duration::from_secs(10);

/// How long what was sent may stay without an answer of the other machine before the connection counts as lost, unless the address
/// says.
const UNHEARD: Duration = Duration::from_secs(30);

/// A database that may be connected to.
pub(crate) struct Database {
    config: Config,
    tls: Tls,
    /// Its address without what is secret in it.
    name: String,
}

impl Database {
    /// The database of an address.
    ///
    /// # Errors
    /// If the address is none.
    pub(crate) fn new(url: &str) -> Result<Self, Failure> {
        let name = without_secrets(url);
        let read: Result<Config, Error> = url.parse();
        let mut config = read.map_err(|error| Failure::usage(format!("{name}: {}", told(&error))))?;
        if config.get_connect_timeout().is_none() {
            config.connect_timeout(CONNECTING);
        }
        if config.get_tcp_user_timeout().is_none() {
            config.tcp_user_timeout(UNHEARD);
        }
        let tls = Tls::new().map_err(|why| Failure::failed(format!("{name}: {why}")))?;
        Ok(Self { config, tls, name })
    }

    /// Its name for messages.
    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// Connects to it.
    ///
    /// # Errors
    /// If it cannot be reached, or does not let this user in.
    pub(crate) async fn connect(&self) -> Result<Client, Error> {
        let (client, connection) = self.config.connect(self.tls.clone()).await?;
        // It ends with the client; that it broke is told by the request that breaks with it.
        tokio::spawn(connection);
        Ok(client)
    }

    /// The failure to do something (such as `cannot read`) with it.
    pub(crate) fn cannot(&self, what: &str, error: &Error) -> Failure {
        Failure::failed(format!("{what} {}: {}", self.name, told(error)))
    }
}

/// An error with its causes: the outermost says no more than what was tried.
pub(crate) fn told(error: &Error) -> String {
    baton_model::with_causes(error)
}
