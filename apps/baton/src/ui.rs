//! `baton ui`: the dashboard on this machine, over the API of a server elsewhere.

use std::net::SocketAddr;
use std::sync::Arc;

use baton_runtime::{RandomIds, SystemClock, telemetry};
use baton_server::{Elsewhere, RunningUi};
use clap::Args;

use crate::context::Context;
use crate::exit::Failure;
use crate::layers::only;
use crate::signals::Signals;

/// Show the dashboard of a server elsewhere, such as one on AWS, on this machine.
#[derive(Args)]
#[command(after_help = "\
The pages are those that `baton serve` shows at /ui. Each asks the server
that --server names, with the token of whoever has signed in; the token stays
in the memory of this program. docs/dashboard.md tells more.

Examples:
  baton ui --server https://baton.example.org
  BATON_URL=https://….execute-api.eu-central-1.amazonaws.com baton ui
  baton ui --listen 127.0.0.1:0 -o json   prints its url and pid")]
pub(crate) struct Ui {
    /// Address and port to show it on; port 0 takes any free one. On an address that others than this machine reach, everybody has to
    /// sign in.
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:7420")]
    listen: SocketAddr,
}

impl Ui {
    pub(crate) async fn run(self, context: &Context) -> Result<(), Failure> {
        if context.token_file().is_some() {
            // Whoever reached the address would have what it allows.
            return Err(Failure::usage(
                "`baton ui` takes no --token-file: each person signs in with a token of their own",
            ));
        }
        let api = Elsewhere::new(&context.server)?;
        context.warn_in_clear();
        let settings = only(&["BATON_LOG_"], [])?;
        let logs = telemetry::start(&settings.log).map_err(|error| Failure::failed(error.to_string()))?;
        // Signals that come while it starts are not lost.
        let mut signals = Signals::listen()?;
        let (clock, ids) = (Arc::new(SystemClock), Arc::new(RandomIds));
        let running = RunningUi::start(self.listen, api, &settings.server, clock, ids)
            .await
            .map_err(|error| Failure::failed(error.to_string()))?;
        tell(context, running.addr())?;
        signals.next().await;
        let answered = running.shutdown().await;
        drop(logs);
        if answered {
            Ok(())
        } else {
            Err(Failure::failed("some requests were broken off at the end of the grace"))
        }
    }
}

/// Says where the pages are.
fn tell(context: &Context, addr: SocketAddr) -> Result<(), Failure> {
    let (url, server) = (format!("http://{addr}/ui"), &context.server);
    if !context.out.is_json() {
        context.out.note(&format!("the dashboard of {server} is at {url}"));
        return Ok(());
    }
    let ready = serde_json::json!({ "url": url, "pid": std::process::id(), "server": server });
    match context.out.json_line(&ready) {
        // It was started to serve, and not to be read.
        Err(Failure::Unread) => {
            tracing::warn!("nobody reads the line that says that the dashboard is ready");
            Ok(())
        }
        told => told,
    }
}
