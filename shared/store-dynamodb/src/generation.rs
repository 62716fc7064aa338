//! Generations as items.

use std::time::Duration;

use aws_sdk_dynamodb::types::AttributeValue;
use baton_model::{Generation, Output, Payload, ProjectId, QueueName, TaskType, WorkerId};
use baton_store::{Omitted, StoreError};

use crate::attr::{Fields, Item, json, n, s, time};
use crate::db::Db;
use crate::error::{corrupt, damaged};
use crate::keys::{self, Kind};
use crate::text::{INLINE, Text};

/// How long the work took by the worker's word, in milliseconds.
pub(crate) fn ran_of(generation: &Generation) -> Option<AttributeValue> {
    generation.ran.map(|ran| n(u64::try_from(ran.as_millis()).unwrap_or(u64::MAX)))
}

/// A generation's item, with the texts that are kept apart.
///
/// # Errors
/// If its files cannot be written as JSON.
pub(crate) fn generation_item(
    generation: &Generation,
    spread: u64,
) -> Result<(Item, Vec<(Text, String)>), StoreError> {
    let mut item = keys::by_id(Kind::Generation, generation.id.as_bytes(), &generation.id, spread);
    let mut apart = Vec::new();
    for (payload, inline, reference) in
        [(&generation.output.metadata, "me", "mx"), (&generation.output.result, "re", "rx")]
    {
        if let Some(payload) = payload {
            let text = Text::of(inline, payload.as_str());
            text.put(&mut item, inline, reference);
            if matches!(text, Text::Apart { .. }) {
                apart.push((text, payload.as_str().to_owned()));
            }
        }
    }
    let mut put = |name: &str, value| item.insert(name.to_owned(), value);
    put("tk", s(generation.task.to_string()));
    put("qu", s(generation.queue.as_str()));
    put("ty", s(generation.task_type.as_str()));
    put("at", n(generation.attempt));
    put("wk", s(generation.worker.as_str()));
    put("ca", time(generation.created_at));
    put("cl", time(generation.started_at));
    put("fa", time(generation.finished_at));
    if let Some(ran) = ran_of(generation) {
        put("rn", ran);
    }
    if generation.project != ProjectId::default() {
        put("pj", s(generation.project.as_str()));
    }
    if let Some(location) = &generation.output.location {
        put("lo", s(location));
    }
    if let Some(kind) = &generation.output.kind {
        put("ki", s(kind));
    }
    if !generation.output.files.is_empty() {
        put("fi", s(json("a generation's files", &generation.output.files)?));
    }
    Ok((item, apart))
}

/// A generation as its item tells it, before what is kept apart is read.
#[derive(Clone, Debug)]
pub(crate) struct StoredGeneration {
    generation: Generation,
    metadata: Option<Text>,
    result: Option<Text>,
}

impl StoredGeneration {
    /// The record without metadata and result.
    pub(crate) fn plain(&self) -> &Generation {
        &self.generation
    }

    /// The record with metadata and result as far as they lie with its item, and whether each was left out: what is kept apart
    /// is larger than what comes along with a task that waited for it.
    pub(crate) fn small(self) -> Result<(Generation, Omitted), StoreError> {
        const { assert!(INLINE == baton_model::limits::INPUT_BYTES) };
        let Self { mut generation, metadata, result } = self;
        let small = |text: Option<Text>| match text {
            None => Ok::<_, StoreError>((None, false)),
            Some(Text::Apart { .. }) => Ok((None, true)),
            Some(Text::Inline(json)) => {
                let payload = Payload::from_stored(json);
                Ok((Some(payload.map_err(|error| corrupt("a generation's output", error))?), false))
            }
        };
        let mut omitted = Omitted::default();
        (generation.output.metadata, omitted.metadata) = small(metadata)?;
        (generation.output.result, omitted.result) = small(result)?;
        Ok((generation, omitted))
    }

    pub(crate) fn read(item: &Item) -> Result<Self, StoreError> {
        let fields = Fields(item);
        let id = fields.text("sk")?;
        let task = fields.text("tk")?;
        let generation = Generation {
            id: id.parse().map_err(|_| damaged(format!("expected a generation's id, got {id}")))?,
            task: task.parse().map_err(|_| damaged(format!("expected a task's id, got {task}")))?,
            project: fields.maybe_text("pj")?.map_or_else(ProjectId::default, ProjectId::from_stored),
            queue: QueueName::from_stored(fields.text("qu")?),
            task_type: TaskType::from_stored(fields.text("ty")?),
            attempt: fields.number("at")?,
            worker: WorkerId::from_stored(fields.text("wk")?),
            output: Output {
                location: fields.maybe_text("lo")?.map(str::to_owned),
                kind: fields.maybe_text("ki")?.map(str::to_owned),
                metadata: None,
                result: None,
                files: match fields.maybe_text("fi")? {
                    None => Vec::new(),
                    Some(json) => {
                        serde_json::from_str(json).map_err(|error| corrupt("a generation's files", error))?
                    }
                },
            },
            created_at: fields.time("ca")?,
            started_at: fields.time("cl")?,
            finished_at: fields.time("fa")?,
            ran: fields.maybe_number("rn")?.map(Duration::from_millis),
        };
        Ok(Self {
            generation,
            metadata: Text::read(fields, "me", "mx")?,
            result: Text::read(fields, "re", "rx")?,
        })
    }
}

impl Db {
    /// The whole generation of an item; none if it is being removed.
    pub(crate) async fn generation_of(
        &self,
        stored: StoredGeneration,
    ) -> Result<Option<Generation>, StoreError> {
        let StoredGeneration { mut generation, metadata, result } = stored;
        let owner = keys::apart(&generation.id);
        for (text, field) in
            [(metadata, &mut generation.output.metadata), (result, &mut generation.output.result)]
        {
            if let Some(text) = text {
                let Some(payload) = self.read_payload(&owner, &text).await? else { return Ok(None) };
                *field = Some(payload);
            }
        }
        Ok(Some(generation))
    }
}
