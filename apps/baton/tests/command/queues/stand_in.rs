//! SQS, as far as the commands ask it: on a port of its own, with queues in memory.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use serde_json::{Value, json};

use crate::support::sqs_wire::{Asked, serve};

const MISSING: &str =
    r#"{"__type":"com.amazonaws.sqs#QueueDoesNotExist","message":"The specified queue does not exist."}"#;
const DENIED: &str = r#"{"__type":"com.amazon.coral.service#AccessDeniedException","message":"not today"}"#;

/// A message in a queue.
#[derive(Clone, Debug)]
pub(crate) struct Message {
    pub(crate) id: String,
    pub(crate) body: String,
    pub(crate) attributes: Value,
    hidden: bool,
}

#[derive(Default)]
struct State {
    queues: BTreeMap<String, Vec<Message>>,
    /// What was asked: the operation and the queue.
    asked: Vec<(String, String)>,
    /// Operations that are refused for messages of which a text is part.
    refused: Vec<(String, String)>,
    /// Queues whose messages go straight on into another, as if whoever reads them gave them up.
    given_up: BTreeMap<String, String>,
    sent: u32,
}

/// The stand-in; its thread ends with the program.
pub(crate) struct Sqs {
    pub(crate) url: String,
    state: Arc<Mutex<State>>,
}

impl Sqs {
    pub(crate) fn new(queues: &[&str]) -> Self {
        let queues = queues.iter().map(|name| ((*name).to_owned(), Vec::new())).collect();
        let state = Arc::new(Mutex::new(State { queues, ..State::default() }));
        let heard = Arc::clone(&state);
        let url = serve(|url| {
            move |Asked { operation, body, .. }| heard.lock().unwrap().answer(&url, &operation, &body)
        });
        Self { url, state }
    }

    pub(crate) fn queue(&self, name: &str) -> String {
        format!("{}/000000000000/{name}", self.url)
    }

    pub(crate) fn environment(&self) -> [(&str, &str); 1] {
        [("AWS_ENDPOINT_URL_SQS", &self.url)]
    }

    /// Puts a message into a queue, with attributes that are texts; the answer is its id.
    pub(crate) fn put(&self, queue: &str, body: &str, attributes: &[(&str, &str)]) -> String {
        let attributes = attributes
            .iter()
            .map(|(name, text)| ((*name).to_owned(), json!({"DataType": "String", "StringValue": text})));
        self.state.lock().unwrap().put(queue, body, Value::Object(attributes.collect()))
    }

    /// The messages of a queue, and whether each is hidden.
    pub(crate) fn messages(&self, queue: &str) -> Vec<Message> {
        self.state.lock().unwrap().queues[queue].clone()
    }

    pub(crate) fn hidden(&self, queue: &str) -> usize {
        self.messages(queue).iter().filter(|message| message.hidden).count()
    }

    pub(crate) fn refuse(&self, operation: &str, part: &str) {
        self.state.lock().unwrap().refused.push((operation.to_owned(), part.to_owned()));
    }

    pub(crate) fn give_up(&self, from: &str, to: &str) {
        self.state.lock().unwrap().given_up.insert(from.to_owned(), to.to_owned());
    }

    /// Of these operations, those that were asked for, in their order, with the queue of each.
    pub(crate) fn asked(&self, operations: &[&str]) -> Vec<String> {
        let state = self.state.lock().unwrap();
        let asked = state.asked.iter().filter(|(operation, _)| operations.contains(&operation.as_str()));
        asked.map(|(operation, queue)| format!("{operation} {queue}")).collect()
    }
}

impl State {
    fn put(&mut self, queue: &str, body: &str, attributes: Value) -> String {
        self.sent += 1;
        let id = format!("message-{}", self.sent);
        let message = Message { id: id.clone(), body: body.to_owned(), attributes, hidden: false };
        match self.given_up.get(queue).cloned() {
            Some(dead) => {
                let mut message = message;
                message.attributes["baton-reason-code"] =
                    json!({"DataType": "String", "StringValue": "again"});
                self.queues.get_mut(&dead).unwrap().push(message);
            }
            None => self.queues.get_mut(queue).unwrap().push(message),
        }
        id
    }

    fn answer(&mut self, base: &str, operation: &str, body: &Value) -> (u16, String) {
        let named = body["QueueUrl"].as_str().or(body["QueueName"].as_str()).unwrap();
        let queue = named.rsplit('/').next().unwrap().to_owned();
        self.asked.push((operation.to_owned(), queue.clone()));
        let Some(messages) = self.queues.get_mut(&queue) else { return (400, MISSING.to_owned()) };
        let text = match body["ReceiptHandle"].as_str() {
            Some(receipt) => messages.iter().find(|one| one.id == receipt).map(|one| one.body.clone()),
            None => Some(body["MessageBody"].to_string()),
        };
        let is_refused = |(which, part): &(String, String)| {
            which == operation && text.as_ref().is_some_and(|text| text.contains(part))
        };
        if self.refused.iter().any(is_refused) {
            return (403, DENIED.to_owned());
        }
        let answer = match operation {
            "GetQueueUrl" => json!({"QueueUrl": format!("{base}/000000000000/{queue}")}),
            "ReceiveMessage" => {
                let visible = messages.iter_mut().filter(|message| !message.hidden).take(10);
                let received = visible.map(|message| {
                    message.hidden = true;
                    json!({
                        "MessageId": message.id, "ReceiptHandle": message.id, "Body": message.body,
                        "MessageAttributes": message.attributes,
                        "Attributes": {"SentTimestamp": "1770000000000", "ApproximateReceiveCount": "3"},
                    })
                });
                json!({"Messages": received.collect::<Vec<_>>()})
            }
            "SendMessage" => {
                let attributes = body.get("MessageAttributes").cloned().unwrap_or_else(|| json!({}));
                let id = self.put(&queue, body["MessageBody"].as_str().unwrap(), attributes);
                json!({"MessageId": id, "MD5OfMessageBody": "0"})
            }
            "SendMessageBatch" => {
                let mut taken = Vec::new();
                for entry in body["Entries"].as_array().unwrap() {
                    let id = self.put(&queue, entry["MessageBody"].as_str().unwrap(), json!({}));
                    taken.push(json!({"Id": entry["Id"], "MessageId": id, "MD5OfMessageBody": "0"}));
                }
                json!({"Successful": taken, "Failed": []})
            }
            "DeleteMessage" => {
                messages.retain(|message| Some(message.id.as_str()) != body["ReceiptHandle"].as_str());
                json!({})
            }
            "ChangeMessageVisibility" => {
                let receipt = body["ReceiptHandle"].as_str();
                let one = messages.iter_mut().find(|message| Some(message.id.as_str()) == receipt);
                one.unwrap().hidden = body["VisibilityTimeout"] != 0;
                json!({})
            }
            other => panic!("nobody asks for {other}"),
        };
        (200, answer.to_string())
    }
}
