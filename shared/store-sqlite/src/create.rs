//! Creating tasks.

use std::borrow::Cow;
use std::collections::{HashMap, HashSet};

use baton_model::{BatchId, Digest, EventDetail, EventKind, Fingerprint, Label, TaskId, TaskSpec, Timestamp};
use baton_store::batch::Item;
use baton_store::unique::{First, after_firsts, as_sibling};
use baton_store::{Accepted, Create, CreateAnswer, ItemRefusal, StoreError};
use rusqlite::{OptionalExtension, params};

use crate::batches;
use crate::codes::Code;
use crate::defaults;
use crate::dependency;
use crate::error::{Failure, corrupt};
use crate::idempotency;
use crate::limit::{self, Line};
use crate::links::{Links, mark_waited_for, note_blocked};
use crate::rows::{PUT_ASIDE, affinity_code, millis_of, to_json};
use crate::transaction::Transaction;
use crate::unique;

/// Up to how many bytes params lie in the row that each transition writes anew: as much as the rest of the row takes a few
/// times over, and little against the page that is written anyway.
pub(crate) const INLINE_BYTES: usize = 1_024;

/// A task that has the id already.
struct Existing {
    created_at: Timestamp,
    digest: Option<Digest>,
}

/// What is to be done about one task of the batch.
enum Plan {
    Insert(Option<Digest>),
    Answer(Result<Accepted, ItemRefusal>),
    /// Another one of the batch holds its key.
    Sibling(usize),
}

pub(crate) fn create(transaction: &mut Transaction<'_>, create: &Create) -> Result<CreateAnswer, Failure> {
    if let Some(answer) = kept_answer(transaction, create)? {
        return Ok(answer);
    }
    let created_at = create.now;
    let mut plans = plan(transaction, create, created_at)?;
    let specs = keep_unique(transaction, create, &mut plans)?;
    let specs = defaults::fill(transaction, specs)?;
    let waited_for: HashSet<TaskId> = specs.iter().flat_map(|spec| &spec.depends_on).copied().collect();
    if !waited_for.is_empty() {
        refuse_dependants(transaction, &specs, &mut plans)?;
    }
    if create.atomic {
        let refusal = |plan: &Plan| match plan {
            Plan::Answer(Err(refusal)) => Some(refusal.clone()),
            _ => None,
        };
        let refusals: Vec<_> = plans
            .iter()
            .enumerate()
            .filter_map(|(index, plan)| match plan {
                Plan::Sibling(first) => Some((index, refusal(&plans[*first])?)),
                plan => Some((index, refusal(plan)?)),
            })
            .collect();
        if !refusals.is_empty() {
            return Err(StoreError::BatchRefused { refusals }.into());
        }
    }
    let mut inserted = HashSet::new();
    let mut waiting = Vec::new();
    let mut items = Vec::with_capacity(plans.len());
    for (spec, plan) in specs.iter().zip(plans) {
        items.push(match plan {
            Plan::Answer(answer) => answer,
            Plan::Sibling(first) => as_sibling(&specs[first], &items[first], created_at),
            Plan::Insert(digest) => {
                let links = Links {
                    waited_for: waited_for.contains(&spec.id),
                    waits: !spec.depends_on.is_empty(),
                    choice: spec.if_dependency_fails,
                };
                if links.waits {
                    waiting.push(spec);
                }
                if links.waited_for {
                    inserted.insert(spec.id);
                }
                Ok(insert(transaction, spec, digest, links, create.by.as_ref(), created_at)?)
            }
        });
    }
    if !waiting.is_empty() {
        let before = |id: &&TaskId| !inserted.contains(*id);
        let before: HashSet<&TaskId> =
            waiting.iter().flat_map(|spec| &spec.depends_on).filter(before).collect();
        transaction.state.leased.clear();
        mark_waited_for(transaction.db, before)?;
        // What waits for new tasks alone waits: whichever of these ends by what it depends on has it follow.
        let may_go = |spec: &&TaskSpec| spec.depends_on.iter().any(|id| !inserted.contains(id));
        for spec in waiting.into_iter().filter(may_go) {
            dependency::let_go(transaction, spec.id, created_at)?;
        }
    }
    let answer = CreateAnswer { items, replayed: false };
    if let Some(idempotency) = &create.idempotency {
        idempotency::keep(transaction, idempotency, &answer, create.now)?;
    }
    Ok(answer)
}

/// The answer that a creation's key keeps.
pub(crate) fn kept_answer(
    transaction: &Transaction<'_>,
    create: &Create,
) -> Result<Option<CreateAnswer>, Failure> {
    match &create.idempotency {
        Some(idempotency) => idempotency::kept(transaction, idempotency),
        None => Ok(None),
    }
}

/// Says for each task, before anything is written, whether it can be created.
fn plan(transaction: &Transaction<'_>, create: &Create, created_at: Timestamp) -> Result<Vec<Plan>, Failure> {
    let mut batch: HashMap<TaskId, Option<Digest>> = HashMap::new();
    let mut plans = Vec::with_capacity(create.tasks.len());
    for spec in &create.tasks {
        let fingerprint = spec.id_chosen.then(|| spec.fingerprint());
        let digest = fingerprint.as_ref().map(Fingerprint::digest);
        let existing = match batch.get(&spec.id) {
            Some(&digest) => Some(Existing { created_at, digest }),
            // Nobody has chosen this id, and a new one is like no other (RFC 9562 §6.9); were it, the unique index would
            // undo the command.
            None if !spec.id_chosen => None,
            None => existing(transaction, spec.id)?,
        };
        plans.push(match existing {
            None => {
                batch.insert(spec.id, digest);
                Plan::Insert(digest)
            }
            Some(existing)
                if let (Some(fingerprint), Some(stored)) = (&fingerprint, existing.digest)
                    && fingerprint.matches(stored) =>
            {
                let run_after = spec.run_after.resolve(existing.created_at);
                Plan::Answer(Ok(Accepted {
                    id: spec.id,
                    created_at: existing.created_at,
                    run_after,
                    new: false,
                    deduplicated: None,
                }))
            }
            Some(_) => Plan::Answer(Err(ItemRefusal::IdConflict { id: spec.id })),
        });
    }
    Ok(plans)
}

/// Leaves out the tasks whose keys others hold; gives the batch as it is then.
fn keep_unique<'a>(
    transaction: &Transaction<'_>,
    create: &'a Create,
    plans: &mut [Plan],
) -> Result<Cow<'a, [TaskSpec]>, Failure> {
    if create.tasks.iter().all(|spec| spec.unique.is_none()) {
        return Ok(Cow::Borrowed(&create.tasks));
    }
    let firsts = unique::keep(transaction.db, create, |place| matches!(plans[place], Plan::Insert(_)))?;
    for (place, first) in &firsts {
        plans[*place] = match first {
            First::Standing(accepted) => Plan::Answer(Ok(accepted.clone())),
            First::Sibling(first) => Plan::Sibling(*first),
        };
    }
    Ok(Cow::Owned(after_firsts(&create.tasks, &firsts)))
}

/// Refuses the tasks that depend on what they cannot depend on.
fn refuse_dependants(
    transaction: &Transaction<'_>,
    specs: &[TaskSpec],
    plans: &mut [Plan],
) -> Result<(), Failure> {
    let items: Vec<Item> = plans
        .iter()
        .map(|plan| match plan {
            Plan::Insert(_) => Item::New,
            Plan::Answer(Ok(_)) | Plan::Sibling(_) => Item::Standing,
            Plan::Answer(Err(_)) => Item::Refused,
        })
        .collect();
    for (place, refusal) in dependency::refusals(transaction.db, specs, &items)? {
        plans[place] = Plan::Answer(Err(refusal));
    }
    Ok(())
}

fn existing(transaction: &Transaction<'_>, id: TaskId) -> Result<Option<Existing>, Failure> {
    let mut statement = transaction.db.prepare_cached("SELECT created_at, digest FROM task WHERE id = ?1")?;
    let existing = statement
        .query_row([id.as_bytes()], |row| {
            let digest: Option<[u8; 16]> = row.get(1)?;
            Ok(Existing {
                created_at: Timestamp::from_millis(row.get(0)?),
                digest: digest.map(Digest::from_bytes),
            })
        })
        .optional()?;
    Ok(existing)
}

fn insert(
    transaction: &mut Transaction<'_>,
    spec: &TaskSpec,
    digest: Option<Digest>,
    links: Links,
    by: Option<&Label>,
    created_at: Timestamp,
) -> Result<Accepted, Failure> {
    let run_after = spec.run_after.resolve(created_at);
    let expires_at = spec.expires_at(created_at);
    let state = spec.first_state().state();
    let inline = spec.params.size() <= INLINE_BYTES && spec.description.is_none();
    let db = transaction.db;
    transaction.know_queue(&spec.queue, created_at)?;
    let limits = &mut transaction.state.limits;
    let wait = if limits.is_empty() || run_after > created_at || links.waits {
        None
    } else {
        limits.first_wait(spec.shared(), created_at)
    };
    let whose = limits.whose(spec.shared());
    transaction.held.execute(
        "INSERT INTO task (id, state, priority, queue, task_type, project, run_after, attempt, forgiven, max_attempts, \
         events, created_at, updated_at, timeout_ms, domain, assigned_by, backoff, \
         drift_score, digest, params, links, concurrency_key, waits_at, start_by, only_one, fair, affinity, retention, batch, trace) \
         VALUES (?1, ?16, ?2, ?3, ?4, ?5, ?6, 0, 0, ?7, 1, ?8, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?17, ?18, ?19, ?20, \
         ?21, ?22, ?23, ?24, ?25, ?26)",
        params![
        spec.id.as_bytes(),
        spec.priority.code(),
        spec.queue.as_str(),
        spec.task_type.as_str(),
        spec.project.as_str(),
        run_after.as_millis(),
        spec.max_attempts,
        created_at.as_millis(),
        spec.timeout.map(|timeout| timeout.as_millis() as i64),
        spec.domain.as_ref().map(Label::as_str),
        spec.assigned_by.as_ref().map(Label::as_str),
        spec.backoff.as_ref().map(|backoff| to_json("a backoff", backoff)).transpose()?,
        spec.drift_score,
        digest.as_ref().map(Digest::as_bytes),
        inline.then(|| spec.params.as_str()),
        wait.as_ref().map_or(state.code(), |_| PUT_ASIDE),
        links.code(),
        spec.concurrency_key.as_ref().map(Label::as_str),
        wait.as_ref().map(|(on, _)| on.to_string()),
        expires_at.map(Timestamp::as_millis),
        spec.unique.as_ref().map(|unique| to_json("a unique key", unique)).transpose()?,
        whose.as_deref().or(spec.affinity.as_ref().map(|_| "")),
        affinity_code(spec.affinity.as_ref()),
        spec.retention.map(millis_of),
        spec.batch.as_ref().map(BatchId::as_bytes),
        spec.trace.as_ref().map(ToString::to_string),
    ])?;
    let n = db.last_insert_rowid();
    if n >= 1 << (63 - crate::rows::EVENT_BITS) {
        return Err(corrupt("the numbering of tasks", "it has reached its end").into());
    }
    if !inline {
        db.prepare_cached("INSERT INTO task_body (n, params, description) VALUES (?1, ?2, ?3)")?
            .execute(params![n, spec.params.as_str(), spec.description])?;
    }
    let detail = EventDetail::created(by, run_after, created_at);
    transaction.event(n, 1, created_at, EventKind::Created, None, state, 0, &detail)?;
    transaction.tally(&spec.queue, &spec.task_type, state, 1);
    transaction.state.expiring.note(expires_at);
    unique::hold_new(db, spec, created_at)?;
    if let Some(batch) = spec.batch {
        batches::follow(transaction, (batch, spec.id), (None, state), created_at)?;
    }
    if links.waits {
        dependency::insert_edges(db, n, &spec.depends_on)?;
        note_blocked(db, n, true)?;
    } else if let Some((on, has_room)) = wait {
        let line = Line {
            queue: spec.queue.clone(),
            task_type: spec.task_type.clone(),
            project: spec.project.clone(),
            affinity: spec.affinity.clone(),
            priority: spec.priority,
        };
        limit::settle_new(transaction, &on, &line, has_room, created_at)?;
    } else {
        transaction.ring(&spec.queue, &spec.task_type, run_after);
    }
    Ok(Accepted { id: spec.id, created_at, run_after, new: true, deduplicated: None })
}
