//! The letters themselves, as SQS gives them.

use std::collections::HashSet;
use std::time::Duration;

use baton_aws::letters::{Letter, REASON, REASON_CODE};
use baton_aws::queues::{QueueError, Sqs};
use baton_model::Timestamp;
use serde_json::{Value, json};

use super::{Chosen, Drop, List, Queue, Redrive};
use crate::context::Context;
use crate::exit::Failure;
use crate::out::{Column, Rows};
use crate::sqs::client;
use crate::text;

/// How long a letter that is looked at is hidden from others, unless it is given back before.
const HIDDEN: Duration = Duration::from_secs(120);

/// What the names of dead-letter queues end with.
const DEAD: &str = "-dead";

/// What a letter without a reason is chosen by.
const WITHOUT: &str = "none";

/// How much of a body a table shows at most.
const BODY_CHARS: usize = 120;

/// A dead-letter queue.
struct Dead {
    sqs: Sqs,
    url: String,
    /// The stack and the name of the queue that it belongs to, unless it was named by its URL.
    named: Option<(String, String)>,
}

impl Dead {
    async fn open(queue: Queue) -> Result<Self, Failure> {
        let sqs = client(&queue.queue).await?;
        if queue.queue.contains("://") {
            return Ok(Self { sqs, url: queue.queue, named: None });
        }
        let name = queue.queue.trim_end_matches(DEAD).to_owned();
        let full = format!("{}-{name}{DEAD}", queue.stack);
        match sqs.url_of(&full).await {
            Ok(Some(url)) => Ok(Self { sqs, url, named: Some((queue.stack, name)) }),
            Ok(None) => Err(Failure::NotFound(format!(
                "expected a queue {full}, got none in this account and region; name the stack by --stack, or the queue by its \
                 URL"
            ))),
            Err(error) => Err(Failure::failed(format!("the queue {full} could not be looked for: {error}"))),
        }
    }

    /// The queue that the letters came from.
    async fn source(&self, to: Option<String>) -> Result<String, Failure> {
        if let Some(to) = to {
            return Ok(to);
        }
        let Some((stack, name)) = &self.named else {
            let source = self.url.strip_suffix(DEAD).map(str::to_owned);
            return source.ok_or_else(|| {
                Failure::usage(format!(
                    "--to: expected the URL of the queue to send to, as {} does not end with {DEAD}",
                    self.url
                ))
            });
        };
        let full = format!("{stack}-{name}");
        match self.sqs.url_of(&full).await {
            Ok(Some(url)) => Ok(url),
            Ok(None) => Err(Failure::NotFound(format!(
                "expected a queue {full} to send back to, got none; events of tasks are sent again by `baton relay`, and a \
                 round of the reaper makes up for one that failed; --to names another queue"
            ))),
            Err(error) => Err(Failure::failed(format!("the queue {full} could not be looked for: {error}"))),
        }
    }

    /// Goes through the queue once: each letter that fits is handed on, up to a number; the others are given
    /// back at the end. `more`: there may be more that fit than that number.
    async fn walk(
        &self,
        fits: impl Fn(&Letter) -> bool,
        (limit, more): (usize, bool),
        mut each: impl AsyncFnMut(Letter) -> Result<Done, Failure>,
    ) -> Result<Walked, Failure> {
        // By the id under which it was first sent, and the one under which it was sent back: what is sent back and given up
        // again at once comes as a new one.
        let mut seen = HashSet::new();
        let mut stays = Vec::new();
        let mut walked = Walked::default();
        let done = loop {
            let letters = match self.sqs.letters(&self.url, HIDDEN).await {
                Ok(letters) => letters,
                Err(error) => break Err(Failure::failed(format!("{} could not be read: {error}", self.url))),
            };
            let fresh = letters.iter().filter(|letter| !seen.contains(letter.first_id())).count();
            let mut failed = None;
            for letter in letters {
                let is_fresh = seen.insert(letter.first_id().to_owned());
                if failed.is_some() || !is_fresh || !fits(&letter) || walked.fitting == limit {
                    walked.more |= is_fresh && failed.is_none() && fits(&letter);
                    stays.push(letter);
                    continue;
                }
                walked.fitting += 1;
                match each(letter).await {
                    Ok(done) => {
                        stays.extend(done.stays);
                        seen.extend(done.sent_as);
                    }
                    Err(failure) => failed = Some(failure),
                }
            }
            if let Some(failure) = failed {
                break Err(failure);
            }
            // Beyond the limit it goes on until it knows whether there are more.
            if fresh == 0 || walked.more || walked.fitting == limit && !more {
                break Ok(());
            }
        };
        for letter in &stays {
            if self.sqs.give_back(&self.url, letter).await.is_err() {
                walked.hidden += 1;
            }
        }
        done.map(|()| walked)
    }
}

/// What was done with a letter.
#[derive(Default)]
struct Done {
    /// It, if it is to be given back.
    stays: Option<Letter>,
    /// The id under which it was sent to another queue.
    sent_as: Option<String>,
}

/// What a walk through a queue has come by.
#[derive(Default)]
struct Walked {
    fitting: usize,
    /// Whether there was a further one that fits.
    more: bool,
    /// How many could not be given back, and show later.
    hidden: usize,
}

impl Walked {
    fn tell(&self, context: &Context) {
        if self.more {
            context.out.note("there are more; --limit says how many are taken at most");
        }
        if self.hidden > 0 {
            let seconds = HIDDEN.as_secs();
            context.out.note(&format!("{} letters show again within {seconds} s only", self.hidden));
        }
    }
}

/// The code of a letter's reason, as it is shown and chosen by.
fn code(letter: &Letter) -> &str {
    letter.attribute(REASON_CODE).unwrap_or(WITHOUT)
}

impl Chosen {
    fn fits(&self, letter: &Letter) -> bool {
        self.all || self.ids.contains(&letter.id) || self.reason.iter().any(|reason| reason == code(letter))
    }

    /// How many letters are taken at most, and whether more may fit.
    fn most(&self, limit: u32) -> (usize, bool) {
        let limit = limit as usize;
        if self.ids.len() > limit || self.ids.is_empty() { (limit, true) } else { (self.ids.len(), false) }
    }

    /// An id that no letter had.
    fn missing(&self, outcomes: &[Outcome]) -> Option<&String> {
        self.ids.iter().find(|id| !outcomes.iter().any(|outcome| outcome.id == **id))
    }
}

fn view(letter: &Letter) -> Value {
    json!({
        "id": letter.id,
        "reason_code": letter.attribute(REASON_CODE),
        "reason": letter.attribute(REASON),
        "sent_at": letter.sent_at.map(|at| Timestamp::from_millis(at).to_string()),
        "received": letter.received,
        "body": letter.body,
    })
}

pub(super) async fn list(context: &Context, list: List) -> Result<(), Failure> {
    let dead = Dead::open(list.queue).await?;
    let reasons = list.reason;
    let fits = |letter: &Letter| reasons.is_empty() || reasons.iter().any(|reason| reason == code(letter));
    let mut found = Vec::new();
    let each = async |letter: Letter| {
        found.push(letter.clone());
        Ok(Done { stays: Some(letter), ..Done::default() })
    };
    let walked = dead.walk(fits, (list.limit as usize, true), each).await?;
    found.sort_by_key(|letter| letter.sent_at);
    if context.out.is_json() {
        let items: Vec<Value> = found.iter().map(view).collect();
        context.out.json(&json!({ "queue": dead.url, "items": items, "more": walked.more }))?;
    } else {
        let times = list.shown.begin(context);
        let mut rows = Rows::of(&[
            Column::new("ID"),
            Column::new("REASON"),
            Column::new("WHY").cut(),
            Column::new("SENT"),
            Column::new("RECEIVED").room(),
            Column::new("BODY").cut(),
        ]);
        for letter in &found {
            let sent = letter.sent_at.map(|at| times.at(Timestamp::from_millis(at)));
            rows.add(vec![
                letter.id.clone(),
                code(letter).to_owned(),
                letter.attribute(REASON).unwrap_or("it failed too often").to_owned(),
                sent.unwrap_or_default(),
                letter.received.map(|times| times.to_string()).unwrap_or_default(),
                text::short(&letter.body, BODY_CHARS),
            ]);
        }
        context.out.table(rows, "no dead letters")?;
    }
    walked.tell(context);
    Ok(())
}

/// What became of a letter.
struct Outcome {
    id: String,
    what: &'static str,
    error: Option<QueueError>,
}

impl Outcome {
    fn told(&self) -> Value {
        json!({ "id": self.id, "outcome": self.what, "error": self.error.as_ref().map(ToString::to_string) })
    }

    fn line(&self) -> String {
        let error = self.error.as_ref().map(|error| format!("  {error}")).unwrap_or_default();
        format!("{}  {}{error}", self.id, self.what)
    }
}

pub(super) async fn redrive(context: &Context, asked: Redrive) -> Result<(), Failure> {
    let dead = Dead::open(asked.queue).await?;
    let source = dead.source(asked.to).await?;
    let one = async |letter: Letter| {
        let id = letter.id.clone();
        let sent_as = match dead.sqs.send_back(&source, &letter).await {
            Ok(sent_as) => Some(sent_as),
            Err(error) => {
                let done = Done { stays: Some(letter), ..Done::default() };
                return (Outcome { id, what: "failed", error: Some(error) }, done);
            }
        };
        let done = Done { stays: None, sent_as };
        match dead.sqs.remove(&dead.url, &letter).await {
            Ok(()) => (Outcome { id, what: "redriven", error: None }, done),
            // It shows by itself in a while: it is not given back, as whoever redrives next would send it twice for sure.
            Err(error) => (Outcome { id, what: "sent_and_kept", error: Some(error) }, done),
        }
    };
    let outcomes = one_by_one(context, &dead, &asked.chosen, asked.limit, one).await?;
    told(context, &dead, Some(&source), &asked.chosen, &outcomes)
}

pub(super) async fn dropped(context: &Context, asked: Drop) -> Result<(), Failure> {
    let dead = Dead::open(asked.queue).await?;
    let one = async |letter: Letter| {
        let id = letter.id.clone();
        match dead.sqs.remove(&dead.url, &letter).await {
            Ok(()) => (Outcome { id, what: "dropped", error: None }, Done::default()),
            Err(error) => {
                let done = Done { stays: Some(letter), ..Done::default() };
                (Outcome { id, what: "failed", error: Some(error) }, done)
            }
        }
    };
    let outcomes = one_by_one(context, &dead, &asked.chosen, asked.limit, one).await?;
    told(context, &dead, None, &asked.chosen, &outcomes)
}

/// Does the same to each letter that is chosen, and says of each what became of it.
async fn one_by_one(
    context: &Context,
    dead: &Dead,
    chosen: &Chosen,
    limit: u32,
    one: impl AsyncFn(Letter) -> (Outcome, Done),
) -> Result<Vec<Outcome>, Failure> {
    let mut outcomes = Vec::new();
    let each = async |letter: Letter| {
        let (outcome, done) = one(letter).await;
        if !context.out.is_json() {
            context.out.line(&outcome.line())?;
        }
        outcomes.push(outcome);
        Ok(done)
    };
    let walked = dead.walk(|letter| chosen.fits(letter), chosen.most(limit), each).await?;
    walked.tell(context);
    Ok(outcomes)
}

fn told(
    context: &Context,
    dead: &Dead,
    source: Option<&str>,
    chosen: &Chosen,
    outcomes: &[Outcome],
) -> Result<(), Failure> {
    if context.out.is_json() {
        let each: Vec<Value> = outcomes.iter().map(Outcome::told).collect();
        context.out.json(&json!({ "queue": dead.url, "to": source, "outcomes": each }))?;
    }
    let failed = outcomes.iter().filter(|outcome| outcome.error.is_some()).count();
    if failed > 0 {
        return Err(Failure::failed(format!(
            "{failed} of {} letters were not done with; see above why, and run the same command again",
            outcomes.len()
        )));
    }
    if let Some(id) = chosen.missing(outcomes) {
        return Err(Failure::NotFound(format!(
            "expected the ids of letters of {}, got {id}, which none of them has; `baton dead-letters list` shows them",
            dead.url
        )));
    }
    let done = if source.is_some() { "sent back" } else { "removed" };
    context.out.note(&format!("{} letters {done}", outcomes.len()));
    Ok(())
}
