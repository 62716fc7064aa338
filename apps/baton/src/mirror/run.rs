//! The mirror as it runs: connecting, going on after what passes, ending.

use std::time::{Duration, Instant};

use baton_client::Client;
use tokio::time::sleep;

use super::Mirror;
use super::doubts::{DOUBTED, Doubts};
use super::known::Known;
use super::round::{Done, Mirroring};
use super::statements::Base;
use super::table;
use super::trouble::{Pauses, Trouble};
use crate::context::Context;
use crate::exit::Failure;
use crate::postgres::Database;
use crate::progress::Teller;
use crate::signals::Signals;

/// How long a round waits after the one before.
const PAUSE: Duration = Duration::from_millis(500);

/// How long the server is asked again before it counts as out of reach.
const PATIENCE: Duration = Duration::from_secs(2);

/// How long one request may take: pages may have megabytes.
const REQUEST: Duration = Duration::from_secs(30);

/// How long the lock of a mirror is waited for that has just ended.
const LOCKED: Duration = Duration::from_secs(10);

/// Has the database notice within a minute that this machine is gone, and let go of the lock; and look rows up by their ids,
/// whatever it believes of the table's size: one that was small a moment ago and is being filled is read whole for each page, at
/// 430 rows a second instead of 7,000. What it takes for dear then is not worth compiling either.
const SESSION: &str = "SET tcp_keepalives_idle = 20; SET tcp_keepalives_interval = 10; SET tcp_keepalives_count = 3; \
                       SET enable_seqscan = off; SET enable_mergejoin = off; SET jit = off";

pub(super) async fn run(mirror: Mirror, context: &Context) -> Result<(), Failure> {
    let mut signals = Signals::listen()?;
    let once = mirror.once;
    let running = Running::new(mirror, context)?;
    tokio::select! {
        ended = running.run() => ended,
        _ = signals.next() => {
            if once {
                let told = "interrupted; what was written stays: run the same command again to go on";
                return Err(Failure::failed(told));
            }
            context.out.note("ended; the same command goes on where it stands");
            Ok(())
        }
    }
}

struct Running<'a> {
    mirror: Mirror,
    context: &'a Context,
    database: Database,
    client: Client,
    /// Whether it has come so far that what passes is waited for.
    started: bool,
    /// Whether it was said that something is out of reach.
    troubled: bool,
    pauses: Pauses,
    done: Done,
    begun: Instant,
}

impl<'a> Running<'a> {
    fn new(mirror: Mirror, context: &'a Context) -> Result<Self, Failure> {
        let database = Database::new(&mirror.to)?;
        let client = context.client_builder()?.deadline(PATIENCE).timeout(REQUEST).build()?;
        Ok(Self {
            mirror,
            context,
            database,
            client,
            started: false,
            troubled: false,
            pauses: Pauses::new(),
            done: Done::default(),
            begun: Instant::now(),
        })
    }

    async fn run(mut self) -> Result<(), Failure> {
        loop {
            match self.connected().await {
                Ok(()) => return self.tell(),
                Err(trouble) if self.started && trouble.passes() => {
                    if !self.troubled {
                        self.context.out.note(&format!("{}; trying again", trouble.told(&self.database)));
                        self.troubled = true;
                    }
                    sleep(self.pauses.next()).await;
                }
                Err(trouble) => return Err(trouble.failure(&self.database)),
            }
        }
    }

    /// Mirrors until something is lost, or all is done.
    async fn connected(&mut self) -> Result<(), Trouble> {
        let client = self.client.clone();
        let mut mirroring = self.connect(&client).await?;
        if self.mirror.once {
            return self.once(&mut mirroring).await;
        }
        loop {
            let swept = mirroring.standing.sweep > 0 && !mirroring.standing.urgent;
            mirroring.round(self.context.now()).await?;
            self.done = mirroring.done;
            self.answered(&mirroring, swept);
            if !mirroring.standing.urgent {
                sleep(PAUSE).await;
            }
        }
    }

    async fn connect<'c>(&self, client: &'c Client) -> Result<Mirroring<'c>, Trouble> {
        let mut connection = self.database.connect().await.map_err(|error| match self.started {
            true => Trouble::from(error),
            false => self.database.cannot("cannot connect to", &error).into(),
        })?;
        connection.batch_execute(SESSION).await?;
        self.lock(&connection).await?;
        // The server is asked first: nothing is made in the database for a server that is none.
        super::server::page(client, super::server::List::All, None, 1).await?;
        let held = table::prepare(&mut connection, self.database.name()).await?;
        let base = Base::new(connection, held).await?;
        let (source, standing) = base.standing(&self.context.server).await?;
        if source != self.context.server {
            let (name, server) = (self.database.name(), &self.context.server);
            return Err(Failure::Conflict(format!(
                "{name} mirrors {source}, got {server}; if that is the same server, say so by UPDATE public.baton_mirror SET \
                 source = '{server}', or else name another database"
            ))
            .into());
        }
        let known = Known::new(base.unfinished().await?);
        if !self.started && standing.sweep > 0 {
            self.context.out.note("goes on where it stood");
        }
        Ok(Mirroring {
            client,
            base,
            standing,
            known,
            keep: self.mirror.keep,
            check_every: self.mirror.check_every,
            hears_beats: true,
            beaten: None,
            doubts: Doubts::default(),
            done: self.done,
        })
    }

    /// Waits for the lock. The database may take a moment to see that a mirror that was killed is gone, or that its own connection of
    /// before is.
    async fn lock(&self, connection: &tokio_postgres::Client) -> Result<(), Trouble> {
        let begun = Instant::now();
        while !table::lock(connection).await? {
            if !self.started && begun.elapsed() >= LOCKED {
                return Err(Failure::Conflict(format!(
                    "another baton mirror writes into {}; end it first",
                    self.database.name()
                ))
                .into());
            }
            sleep(Duration::from_millis(200)).await;
        }
        Ok(())
    }

    /// A round through all tasks, and no more.
    async fn once(&mut self, mirroring: &mut Mirroring<'_>) -> Result<(), Trouble> {
        self.started = true;
        let mut teller = Teller::new();
        // One that was cut off has seen some tasks as they were then.
        let cut_off = mirroring.standing.sweeping;
        loop {
            mirroring.step(self.context.now()).await?;
            self.done = mirroring.done;
            teller.tell(|| self.progress());
            if !mirroring.standing.sweeping {
                break;
            }
        }
        teller.end();
        if cut_off {
            mirroring.round(self.context.now()).await?;
        }
        if !mirroring.doubts.is_empty() {
            sleep(DOUBTED).await;
        }
        while !mirroring.doubts.is_empty() {
            mirroring.settle_doubts().await?;
        }
        self.done = mirroring.done;
        Ok(())
    }

    /// Says what is to be said after a round that went well.
    fn answered(&mut self, mirroring: &Mirroring<'_>, swept: bool) {
        if self.troubled {
            self.context.out.note("both sides answer again; it goes on");
            self.troubled = false;
        }
        self.pauses = Pauses::new();
        let whole = mirroring.standing.sweep > 0 && !mirroring.standing.urgent;
        if (!self.started || !swept) && whole {
            self.context.out.note(&format!(
                "all tasks are in {}: {}; following",
                self.database.name(),
                self.progress()
            ));
        }
        self.started = true;
    }

    fn progress(&self) -> String {
        let Done { written, removed } = self.done;
        let a_second = written as f64 / self.begun.elapsed().as_secs_f64().max(0.001);
        format!("{written} rows written ({a_second:.0} a second), {removed} removed")
    }

    fn tell(&self) -> Result<(), Failure> {
        let Done { written, removed } = self.done;
        if self.context.out.is_json() {
            return self.context.out.json(&serde_json::json!({ "written": written, "removed": removed }));
        }
        self.context.out.line(&format!("{}: {}", self.database.name(), self.progress()))
    }
}
