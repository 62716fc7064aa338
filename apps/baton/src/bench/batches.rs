//! Lifecycles in batches: tasks are created, claimed and ended by the hundred, beside lifecycles one by one.

use std::sync::Arc;

use http::StatusCode;
use serde::Deserialize;

use crate::bench::Until;
use crate::bench::client::{Client, Held, Operation};
use crate::bench::phases::{BACK, Setup, WHOLE};
use crate::bench::report::PhaseReport;
use crate::exit::Failure;

/// How many tasks go together.
const TOGETHER: usize = 100;

/// How often a client asks for what it has created itself.
const TRIES: u32 = 10;

#[derive(Deserialize)]
struct Accepted {
    accepted: usize,
}

#[derive(Deserialize)]
struct Ended {
    accepted: usize,
    next: Option<Claimed>,
}

#[derive(Deserialize)]
struct Claimed {
    tasks: Vec<Task>,
}

#[derive(Deserialize)]
struct Task {
    id: String,
    attempt: u32,
}

/// Each client creates a hundred tasks by one request, and ends a hundred by another, which claims as many.
pub(crate) async fn batches(setup: &Setup, name: &str, until: Arc<Until>) -> Result<PhaseReport, Failure> {
    async fn play(mut client: Client, until: Arc<Until>) -> Result<Client, Failure> {
        client.create_hundred().await?;
        let mut held = client.claim_hundred().await?;
        while until.go_on() {
            client.create_hundred().await?;
            held = client.end_and_claim(&held).await?;
            if held.is_empty() {
                // Others have taken what waited, and leave as much.
                held = client.claim_hundred().await?;
            }
        }
        client.end(&held).await?;
        Ok(client)
    }
    setup.measure(name, WHOLE, until, play).await
}

/// Has so many more tasks be created and come to their end, to within some hundreds.
pub(crate) async fn fill(setup: &Setup, tasks: u64) -> Result<(), Failure> {
    let hundreds = (tasks / TOGETHER as u64).saturating_sub(u64::from(setup.clients));
    batches(setup, "fill", Arc::new(Until::rounds(hundreds))).await.map(drop)
}

/// Claims and ends what was created before by the hundred, until there is no more.
pub(crate) async fn drain(setup: &Setup, tasks: u64) -> Result<PhaseReport, Failure> {
    async fn play(mut client: Client, _: Arc<Until>) -> Result<Client, Failure> {
        let mut held = client.claim_some().await?;
        while !held.is_empty() {
            held = client.end_and_claim(&held).await?;
        }
        Ok(client)
    }
    let measured = setup.measure(&format!("drain {tasks}"), BACK, Arc::new(Until::told()), play).await?;
    expect(measured.lifecycles(), tasks, "tasks drained")?;
    Ok(measured)
}

impl Client {
    async fn create_hundred(&mut self) -> Result<(), Failure> {
        let task = format!(
            r#"{{"type":"bench","queue":"{}","params":{{"file":"in/0001.png","width":320}},"domain":"bench"}}"#,
            self.queue
        );
        let tasks = vec![task; TOGETHER].join(",");
        let body = format!(r#"{{"tasks":[{tasks}]}}"#);
        let answer = self.many(Operation::CreateBatch, "/v1/tasks/batch", body, StatusCode::CREATED).await?;
        let answer: Accepted = read(&answer)?;
        expect(answer.accepted as u64, TOGETHER as u64, "tasks created")
    }

    /// Up to a hundred tasks, or none if none wait.
    async fn claim_some(&mut self) -> Result<Vec<Held>, Failure> {
        let body = self.claim_of(TOGETHER);
        let answer = self.many(Operation::Claim, "/v1/claims", body, StatusCode::OK).await?;
        Ok(self.taken(read(&answer)?))
    }

    async fn claim_hundred(&mut self) -> Result<Vec<Held>, Failure> {
        for _ in 0..TRIES {
            let held = self.claim_some().await?;
            if !held.is_empty() {
                return Ok(held);
            }
        }
        Err(Failure::failed(format!("{TRIES} claims found no task although some must wait")))
    }

    async fn end_and_claim(&mut self, held: &[Held]) -> Result<Vec<Held>, Failure> {
        let claim = self.claim_of(TOGETHER);
        self.end_with(held, &format!(r#","claim":{claim}"#)).await
    }

    async fn end(&mut self, held: &[Held]) -> Result<(), Failure> {
        self.end_with(held, "").await.map(drop)
    }

    async fn end_with(&mut self, held: &[Held], claim: &str) -> Result<Vec<Held>, Failure> {
        let ending = |held: &Held| {
            format!(r#"{{"task_id":"{}","completion":{}}}"#, held.id, self.completion(held, ""))
        };
        let endings: Vec<String> = held.iter().map(ending).collect();
        let body = format!(r#"{{"endings":[{}]{claim}}}"#, endings.join(","));
        let answer = self.many(Operation::EndAndClaim, "/v1/endings", body, StatusCode::OK).await?;
        let Ended { accepted, next } = read(&answer)?;
        expect(accepted as u64, held.len() as u64, "attempts ended")?;
        self.lifecycles += held.len() as u64;
        Ok(next.map(|next| self.taken(next)).unwrap_or_default())
    }

    fn taken(&mut self, claimed: Claimed) -> Vec<Held> {
        self.given.extend(claimed.tasks.iter().map(|task| (task.id.clone(), task.attempt)));
        claimed.tasks.into_iter().map(|Task { id, attempt }| Held { id, attempt }).collect()
    }
}

fn read<'a, T: Deserialize<'a>>(answer: &'a [u8]) -> Result<T, Failure> {
    serde_json::from_slice(answer).map_err(|error| {
        Failure::failed(format!("an answer does not fit: {error}: {}", String::from_utf8_lossy(answer)))
    })
}

fn expect(got: u64, expected: u64, what: &str) -> Result<(), Failure> {
    if got == expected {
        return Ok(());
    }
    Err(Failure::failed(format!("expected {expected} {what}, got {got}")))
}
