//! `baton top`: queues, workers and tasks on a terminal, with keys to act on them.

use std::io::{self, IsTerminal as _};
use std::time::Duration;

use baton_runtime::{Clock as _, SystemClock};
use baton_top::{Gathered, Options};
use baton_verdict::PATIENCE;
use clap::Args;

use crate::context::Context;
use crate::debug;
use crate::exit::Failure;
use crate::signals::Signals;
use crate::text;

/// How long a request may take: the next one is at hand.
const TIMEOUT: Duration = Duration::from_secs(5);

/// The shortest and the longest time between two looks.
const INTERVAL: (Duration, Duration) = (Duration::from_millis(500), Duration::from_secs(3_600));

/// Watch queues, workers and tasks on a terminal, and cancel, retry, pause and drain by keys.
#[derive(Args)]
#[command(
    after_help = "Keys: 1 queues, 2 workers, 3 tasks, 4 what is wrong; Enter looks into what is chosen, Esc
goes back, / filters, s sorts; c cancels, r retries, p pauses, d drains, each once y
is pressed; ? shows all keys, q quits. docs/top.md shows it.

Examples:
  baton top
  baton top --read-only --interval 10s --server https://baton.example.org"
)]
pub(crate) struct Top {
    /// How often the server is asked.
    #[arg(long, value_name = "SPAN", default_value = "2s", value_parser = interval)]
    interval: Duration,
    /// Change nothing, whatever key is pressed.
    #[arg(long)]
    read_only: bool,
}

fn interval(given: &str) -> Result<Duration, String> {
    let (least, most) = INTERVAL;
    let span = text::parse_span(given)?;
    if span < least || span > most {
        return Err(format!("expected 500ms to 1h, got {given}"));
    }
    Ok(span)
}

impl Top {
    pub(crate) async fn run(self, context: &Context) -> Result<(), Failure> {
        let instead =
            "`baton debug health` tells what is wrong, and `baton stats` how much there is of everything";
        if context.out.is_json() {
            return Err(Failure::usage(format!("baton top writes no JSON: {instead}, each with -o json")));
        }
        if !io::stdout().is_terminal() {
            return Err(Failure::usage(format!("baton top needs a terminal, and stdout is none: {instead}")));
        }
        if context.out.is_dumb() {
            return Err(Failure::usage(format!(
                "baton top needs a terminal that can move its cursor, and TERM is dumb: {instead}"
            )));
        }
        let client = context.client_builder()?.timeout(TIMEOUT).deadline(Duration::ZERO).build()?;
        let asking = client.clone();
        let gather = move || -> Gathered {
            let client = asking.clone();
            Box::pin(async move { debug::facts(|| SystemClock.now(), &client, PATIENCE).await })
        };
        let options = Options {
            interval: self.interval,
            read_only: self.read_only,
            colours: context.out.has_colours(),
            clock: Box::new(|| SystemClock.now()),
            gather: Box::new(gather),
        };
        let mut signals = Signals::listen()?;
        let stop = async {
            signals.next().await;
        };
        let shown = baton_top::run(options, client, stop).await;
        shown.map_err(|error| Failure::failed(format!("the terminal cannot be used: {error}")))
    }
}
