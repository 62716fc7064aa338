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
        Self { server, server_named, out: Out::new(format) }
    }

    pub(crate) fn client(&self) -> Result<Client, Failure> {
        Ok(Client::builder(&self.server).deadline(PATIENCE).build()?)
    }

    pub(crate) fn now(&self) -> Timestamp {
        SystemClock.now()
    }
}
