//! Large batches with an idempotency key: more tasks than a transaction takes.
//!
//! The key is written first, with the ids and the time that its tasks are to have, and without an answer. Whoever sends
//! the same request finds it so, creates under these ids what is not there yet, and writes the answer. So a batch cut
//! off in the middle is finished by its repetition, and no task of it is created twice.

use aws_sdk_dynamodb::types::AttributeValue;
use baton_model::{TaskId, TaskSpec, Timestamp};
use baton_store::{Create, CreateAnswer, Idempotency, StoreError};

use crate::attr::{Fields, Item, b, json, s};
use crate::create::{Batch, forgotten, open_key};
use crate::error::{WriteError, contended, damaged};
use crate::expression::Expression;
use crate::keys;
use crate::store::Inner;
use crate::transition::is_marked;

/// What an open key says of its batch.
struct Begun {
    created_at: Timestamp,
    ids: Vec<TaskId>,
}

impl Begun {
    fn read(item: &Item) -> Result<Self, StoreError> {
        let fields = Fields(item);
        let ids = fields.maybe_bytes("op")?.unwrap_or_default().chunks_exact(16);
        let ids = ids.filter_map(|id| id.try_into().ok()).map(TaskId::from_bytes).collect();
        Ok(Self { created_at: fields.time("ca")?, ids })
    }
}

impl Inner {
    /// Creates a batch step by step under its key.
    pub(crate) async fn create_under_key(
        &self,
        create: &Create,
        idempotency: &Idempotency,
    ) -> Result<CreateAnswer, StoreError> {
        let mark = self.mark(&(create.now, &idempotency.key));
        let ids: Vec<u8> = create.tasks.iter().flat_map(|spec| *spec.id.as_bytes()).collect();
        let mut item = open_key(idempotency, create.now, mark);
        item.insert("op".to_owned(), b(ids));
        let begun = match self.db.put(item.clone(), forgotten(create.now)).await {
            Ok(()) => None,
            Err(WriteError::Condition(Some(standing))) if is_marked(&standing, mark)? => None,
            Err(WriteError::Condition(Some(standing))) => {
                // The same key: asked for the same, by now answered or still open.
                if let Some(answer) = self.kept_answer(idempotency, create.now).await? {
                    return Ok(answer);
                }
                Some(Begun::read(&standing)?)
            }
            Err(WriteError::Condition(None)) => return Err(contended("the idempotency key")),
            Err(WriteError::Failed(error)) => return Err(error),
        };
        let resumed = begun.is_some();
        let batch = match begun {
            None => create.clone(),
            Some(begun) if begun.ids.len() == create.tasks.len() => {
                let named = create.tasks.iter().zip(begun.ids);
                let tasks = named.map(|(spec, id)| TaskSpec { id, ..spec.clone() }).collect();
                Create { now: begun.created_at, tasks, ..create.clone() }
            }
            Some(_) => {
                return Err(damaged("an idempotency key names another number of tasks than its request"));
            }
        };
        let epoch = if resumed { self.db.epochs().await?.latest() } else { None };
        let answer =
            self.create_each(&batch, Batch { resumed, epoch }).await.map_err(|error| match error {
                // The key is there, and perhaps some of the tasks: the repetition goes on with them.
                StoreError::Unavailable(cause) => StoreError::Unknown(cause),
                other => other,
            })?;
        let done =
            Expression::new().when_present("op").remove("op").set("an", s(json("an answer", &answer.items)?));
        match self.db.update(keys::idempotency(&idempotency.key), &done).await {
            Ok(_) => Ok(CreateAnswer { replayed: resumed, ..answer }),
            // Another sending was faster, or the key was purged meanwhile.
            Err(WriteError::Condition(Some(standing)))
                if standing.get("an").is_some_and(AttributeValue::is_s) =>
            {
                let kept = self.kept_answer(idempotency, create.now).await?;
                Ok(kept.unwrap_or(CreateAnswer { replayed: true, ..answer }))
            }
            Err(WriteError::Condition(_)) => Ok(CreateAnswer { replayed: resumed, ..answer }),
            Err(WriteError::Failed(error)) => Err(error),
        }
    }
}
