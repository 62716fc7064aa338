//! What the virtual clients do in each phase.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use baton_model::TokenSecret;

use crate::bench::Until;
use crate::bench::client::{Client, Held};
use crate::bench::report::PhaseReport;
use crate::exit::Failure;

/// The queue of tasks that wait.
pub(super) const BACK: &str = "back";
/// The queue of whole lifecycles.
pub(crate) const WHOLE: &str = "whole";
/// How many clients create a backlog.
const LOADERS: u32 = 4;
/// How many tasks go into one batch of a backlog.
const BATCH: u64 = 1_000;
/// How often a client asks for a task of which there must be one.
const CLAIM_TRIES: u32 = 10;

/// What the phases against one server have in common.
pub(crate) struct Setup {
    pub(crate) url: String,
    pub(crate) clients: u32,
    /// Part of the queues' names.
    pub(crate) run: String,
    pub(crate) named_claims: bool,
    /// The token to present, if there is one.
    pub(crate) token: Option<TokenSecret>,
}

type Played = Result<Client, Failure>;

pub(crate) async fn ceiling(setup: &Setup, until: Arc<Until>) -> Result<PhaseReport, Failure> {
    async fn play(mut client: Client, until: Arc<Until>) -> Played {
        while until.go_on() {
            client.livez().await?;
        }
        Ok(client)
    }
    setup.measure("ceiling", "none", until, play).await
}

pub(crate) async fn create(setup: &Setup, until: Arc<Until>) -> Result<PhaseReport, Failure> {
    async fn play(mut client: Client, until: Arc<Until>) -> Played {
        while until.go_on() {
            client.create().await?;
        }
        Ok(client)
    }
    setup.measure("create", "made", until, play).await
}

/// Of what [`create`] has left, until there is no more.
pub(crate) async fn claim(setup: &Setup, until: Arc<Until>) -> Result<PhaseReport, Failure> {
    async fn play(mut client: Client, until: Arc<Until>) -> Played {
        while until.go_on() {
            match client.claim().await? {
                Some(held) => client.complete(&held).await?,
                None => break,
            }
        }
        Ok(client)
    }
    setup.measure("claim", "made", until, play).await
}

pub(crate) async fn lifecycle(setup: &Setup, name: &str, until: Arc<Until>) -> Result<PhaseReport, Failure> {
    async fn play(mut client: Client, until: Arc<Until>) -> Played {
        while until.go_on() {
            client.create().await?;
            let held = claim_one(&mut client).await?;
            client.complete(&held).await?;
        }
        Ok(client)
    }
    setup.measure(name, WHOLE, until, play).await
}

pub(crate) async fn fused(setup: &Setup, name: &str, until: Arc<Until>) -> Result<PhaseReport, Failure> {
    async fn play(mut client: Client, until: Arc<Until>) -> Played {
        client.create().await?;
        let mut held = claim_one(&mut client).await?;
        while until.go_on() {
            client.create().await?;
            held = match client.complete_and_claim(&held).await? {
                Some(next) => next,
                None => claim_one(&mut client).await?,
            };
        }
        client.complete(&held).await?;
        Ok(client)
    }
    setup.measure(name, "fused", until, play).await
}

/// Claims while a backlog stands: what is taken from it is completed and made anew.
pub(crate) async fn backlog(setup: &Setup, backlog: u64, until: Arc<Until>) -> Result<PhaseReport, Failure> {
    async fn play(mut client: Client, until: Arc<Until>) -> Played {
        while until.go_on() {
            let held = claim_one(&mut client).await?;
            client.complete(&held).await?;
            client.create().await?;
        }
        Ok(client)
    }
    setup.measure(&format!("backlog {backlog}"), BACK, until, play).await
}

/// Creates the tasks that [`backlog`] finds.
pub(crate) async fn preload(setup: &Setup, tasks: u64) -> Result<(), Failure> {
    let share = tasks / u64::from(LOADERS);
    let mut loaders = tokio::task::JoinSet::new();
    for loader in 0..LOADERS {
        let mut left = if loader == 0 { tasks - share * u64::from(LOADERS - 1) } else { share };
        let mut client = setup.client(loader, BACK).await?;
        loaders.spawn(async move {
            while left > 0 {
                let batch = left.min(BATCH);
                client.create_batch(batch).await?;
                left -= batch;
            }
            Ok::<(), Failure>(())
        });
    }
    while let Some(loaded) = loaders.join_next().await {
        loaded.map_err(|error| Failure::failed(error.to_string()))??;
    }
    Ok(())
}

/// Claims a task, of which there must be one: each client claims after it has created. Yet a claim may find none at
/// first: its time is that of its arrival, and the one task that others have left may have been created within the
/// millisecond after it. Such claims are measured too.
async fn claim_one(client: &mut Client) -> Result<Held, Failure> {
    for _ in 0..CLAIM_TRIES {
        if let Some(held) = client.claim().await? {
            return Ok(held);
        }
    }
    Err(Failure::failed(format!("{CLAIM_TRIES} claims found no task although one must wait")))
}

impl Setup {
    /// The name of a phase's queue.
    pub(crate) fn queue(&self, queue: &str) -> String {
        format!("{}-{queue}", self.run)
    }

    pub(super) async fn client(&self, number: u32, queue: &str) -> Result<Client, Failure> {
        let queue = self.queue(queue);
        let worker = format!("{}-{number}", self.run);
        Client::connect(&self.url, worker, queue, self.named_claims, self.token.as_ref()).await
    }

    /// Lets all clients do the same until it is over, and checks what they were given.
    pub(super) async fn measure<P: Future<Output = Played> + Send + 'static>(
        &self,
        name: &str,
        queue: &str,
        until: Arc<Until>,
        play: impl Fn(Client, Arc<Until>) -> P,
    ) -> Result<PhaseReport, Failure> {
        let mut clients = Vec::new();
        for number in 0..self.clients {
            clients.push(self.client(number, queue).await?);
        }
        let begun = Instant::now();
        let mut playing = tokio::task::JoinSet::new();
        for client in clients {
            playing.spawn(play(client, Arc::clone(&until)));
        }
        let mut clients = Vec::new();
        while let Some(played) = playing.join_next().await {
            clients.push(played.map_err(|error| Failure::failed(error.to_string()))??);
        }
        let elapsed = begun.elapsed().max(Duration::from_micros(1));
        check(&clients)?;
        Ok(PhaseReport::new(name, elapsed, &clients))
    }
}

/// No task and attempt may have been given out twice.
pub(super) fn check(clients: &[Client]) -> Result<(), Failure> {
    let mut seen = HashSet::new();
    match clients.iter().flat_map(|client| &client.given).find(|given| !seen.insert(*given)) {
        None => Ok(()),
        Some((task, attempt)) => {
            Err(Failure::failed(format!("task {task}, attempt {attempt} was given to two clients")))
        }
    }
}
