//! `baton mirror`: a table `tasks` in a PostgreSQL database, kept up to date from a running server.
//!
//! What changed is found by looking: the server is asked for all unfinished tasks and for the newest ones again and again, and each
//! that is no longer among the unfinished is asked for by itself. A sweep through all tasks, a page at a time, finds the rest.
//! Why so: docs/decisions/0041-the-mirror-looks.md.

#[cfg(feature = "postgres")]
mod doubts;
#[cfg(feature = "postgres")]
mod known;
#[cfg(feature = "postgres")]
mod round;
#[cfg(feature = "postgres")]
mod row;
#[cfg(feature = "postgres")]
mod run;
#[cfg(feature = "postgres")]
mod server;
#[cfg(feature = "postgres")]
mod statements;
#[cfg(feature = "postgres")]
mod table;
#[cfg(feature = "postgres")]
mod trouble;

use std::time::Duration;

use clap::Args;

use crate::context::Context;
use crate::exit::Failure;
use crate::{postgres, text};

#[derive(Args)]
#[command(after_help = "Examples:
  baton mirror --to postgres://ray@db/seedcore
  baton mirror --to postgres://ray@db/seedcore --once
  baton mirror --to postgres://ray@db/seedcore --keep --check-every 1h

It makes the table public.tasks if there is none, fills it, and follows. It
may be ended and started again at any time, and goes on where it stood. The
tables baton_mirror and baton_mirror_task beside it are its own.
docs/mirror.md tells what the columns hold.")]
pub(crate) struct Mirror {
    /// The database: postgres://USER:PASSWORD@HOST/DATABASE.
    #[arg(long, value_name = "URL", env = "BATON_MIRROR_TO", hide_env_values = true)]
    to: String,
    /// Compare all rows once, and end.
    #[arg(long)]
    once: bool,
    /// Keep the rows of tasks that Baton has removed.
    #[arg(long)]
    keep: bool,
    /// How long after all rows were compared with the server they are compared again.
    #[arg(long, value_name = "SPAN", default_value = "1m", value_parser = text::parse_span)]
    check_every: Duration,
}

impl Mirror {
    pub(crate) async fn run(self, context: &Context) -> Result<(), Failure> {
        if !postgres::is_address(&self.to) {
            return Err(Failure::usage(
                "--to: expected the address of a PostgreSQL database, such as postgres://ray@db/seedcore, got another text",
            ));
        }
        #[cfg(feature = "postgres")]
        return run::run(self, context).await;
        #[cfg(not(feature = "postgres"))]
        {
            let _ = (context, self.once, self.keep, self.check_every);
            Err(postgres::not_built(&self.to, ""))
        }
    }
}
