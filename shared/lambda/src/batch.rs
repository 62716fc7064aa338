//! Batches of queue messages: each message stands by itself, and what of the batch is to come again is named.

use std::collections::BTreeMap;
use std::panic::AssertUnwindSafe;

pub use baton_aws::letters::{MESSAGE_ID, REASON, REASON_CODE};
use baton_http::{ApiError, Message};
use futures::{FutureExt, StreamExt};
use serde_json::value::RawValue;

use crate::answer::{BatchAnswer, Failed};
use crate::counted::Count;
use crate::event::QueueRecord;
use crate::function::MessageHandler;
use crate::opened::Opened;
use crate::queues::Outgoing;

/// How many messages of a batch are worked on at once.
const AT_ONCE: usize = 16;

/// The most characters of a reason: the rest of a long list helps nobody, and the message must fit.
const REASON_CHARS: usize = 1_000;

/// Has each message handled. One that can never succeed goes to the dead-letter queue with its reason, which the
/// queue's own redrive could not tell; one that may succeed later is to come again.
pub(crate) async fn handle(
    opened: &Opened,
    handler: &MessageHandler,
    records: Vec<&RawValue>,
) -> Result<BatchAnswer, Failed> {
    // Each with the id that it has in the queue.
    let mut messages = Vec::with_capacity(records.len());
    for record in records {
        let record: QueueRecord = serde_json::from_str(record.get())
            .map_err(|error| Failed::event(format!("a record of a queue cannot be read: {error}")))?;
        // One that was given up and sent back has an id of its own: it is what it was.
        let first = record.message_attributes.get(MESSAGE_ID).and_then(|value| value.string_value.clone());
        let id = first.unwrap_or_else(|| record.message_id.clone());
        messages.push((Message { id, body: record.body }, record.message_id));
    }
    let handled = futures::stream::iter(messages)
        .map(|(message, id)| async move { (!one(opened, handler, message).await).then_some(id) });
    let failed: Vec<Option<String>> = handled.buffered(AT_ONCE).collect().await;
    Ok(BatchAnswer::again(failed.into_iter().flatten()))
}

/// Has one message handled; says whether it is done with.
async fn one(opened: &Opened, handler: &MessageHandler, message: Message) -> bool {
    let handling = AssertUnwindSafe((handler.handle)(opened.app.clone(), message.clone())).catch_unwind();
    let problem = match handling.await {
        Ok(Ok(())) => return true,
        Ok(Err(problem)) => problem,
        Err(_) => {
            // The panic itself is in the log.
            tracing::error!(message_id = message.id, "a message's handler panicked; the message comes again");
            return false;
        }
    };
    problem.log();
    let code = problem.code().as_str();
    if problem.may_pass() {
        tracing::warn!(message_id = message.id, code, "a message could not be handled now and comes again");
        return false;
    }
    match buried(opened, handler, &message, problem).await {
        Ok(true) => {
            opened.counts.add(Count::DeadLettered, 1);
            tracing::warn!(
                message_id = message.id,
                code,
                "a message can never succeed; it is in the dead-letter queue"
            );
            true
        }
        Ok(false) => {
            tracing::warn!(
                message_id = message.id,
                code,
                "a message can never succeed, and no queue for such is set"
            );
            false
        }
        Err(error) => {
            tracing::error!(message_id = message.id, code, %error, "the dead-letter queue did not take a message");
            false
        }
    }
}

/// Puts a message into the dead-letter queue; false if there is none.
async fn buried(
    opened: &Opened,
    handler: &MessageHandler,
    message: &Message,
    problem: ApiError,
) -> Result<bool, crate::queues::QueueError> {
    let Some((queues, dead)) = opened.queues.as_ref().zip((handler.dead)(&opened.queue_settings)) else {
        return Ok(false);
    };
    let code = problem.code().as_str();
    let letter = letter(&message.body, code, &reason(problem), &message.id);
    queues.send(&dead, &[letter]).await.into_iter().collect::<Result<(), _>>().map(|()| true)
}

/// A dead letter: what could not be done, whole, and why.
pub(crate) fn letter(body: &str, code: &str, reason: &str, id: &str) -> Outgoing {
    Outgoing {
        attributes: BTreeMap::from([
            (REASON_CODE.to_owned(), code.to_owned()),
            (REASON.to_owned(), plain(reason)),
            (MESSAGE_ID.to_owned(), id.to_owned()),
        ]),
        // What was a message before holds no other characters.
        ..Outgoing::of_json(body.to_owned())
    }
}

/// A text that SQS takes: of the characters of XML 1.0 alone, and not too long.
fn plain(text: &str) -> String {
    let allowed = |c: &char| !c.is_control() && !matches!(c, '\u{fffe}' | '\u{ffff}');
    text.chars().filter(allowed).take(REASON_CHARS).collect()
}

/// A problem in one text, with each field that is wrong.
fn reason(problem: ApiError) -> String {
    let problem = problem.into_problem();
    let mut told = problem.detail;
    if problem.errors.len() > 1 {
        let fields: Vec<String> = problem.errors.iter().map(ToString::to_string).collect();
        told = format!("{told}: {}", fields.join("; "));
    }
    plain(&told)
}

#[cfg(test)]
mod tests {
    use baton_api::{FieldError, ProblemCode};

    use super::*;

    #[test]
    fn a_reason_names_each_wrong_field_and_keeps_to_what_sqs_takes() {
        let wrong =
            |field: &str| FieldError { field: field.into(), expected: "a\u{0}b".into(), got: "c".into() };
        let told = reason(ApiError::fields(vec![wrong("type"), wrong("queue")]));
        assert!(told.contains("type: expected ab, got c; queue: expected ab, got c"), "{told}");
        let long = reason(ApiError::new(ProblemCode::MalformedJson, "ü".repeat(5_000)));
        assert_eq!(long.chars().count(), REASON_CHARS);
    }
}
