//! `baton worker run --completions-queue` and `--ready-queue`, against a stand-in for SQS.

use std::sync::{Arc, Mutex};

use nix::sys::signal::Signal;
use serde_json::{Value, json};

use crate::support::sqs_wire::{Asked, serve};
use crate::support::{PATIENT, Running, World, events, tool, until};

const MISSING: &str =
    r#"{"__type":"com.amazonaws.sqs#QueueDoesNotExist","message":"The specified queue does not exist."}"#;
const DENIED: &str = r#"{"__type":"com.amazon.coral.service#AccessDeniedException","message":"User: arn:aws:iam::1:user/w is not authorized to perform: sqs:sendmessage"}"#;

/// What SQS answers: a status and a body, by the operation.
type Answer = fn(&Asked) -> (u16, String);

fn takes_all(asked: &Asked) -> (u16, String) {
    let answer = match asked.operation.as_str() {
        "GetQueueAttributes" => json!({"Attributes": {"QueueArn": "arn:aws:sqs:eu-west-1:1:completions"}}),
        "SendMessageBatch" => {
            let taken = |entry: &Value| json!({"Id": entry["Id"], "MessageId": "m", "MD5OfMessageBody": "0"});
            let entries: Vec<Value> = asked.body["Entries"].as_array().unwrap().iter().map(taken).collect();
            json!({"Successful": entries, "Failed": []})
        }
        "DeleteMessageBatch" => {
            let gone = |entry: &Value| json!({"Id": entry["Id"]});
            let entries: Vec<Value> = asked.body["Entries"].as_array().unwrap().iter().map(gone).collect();
            json!({"Successful": entries, "Failed": []})
        }
        other => panic!("nobody asks for {other}"),
    };
    (200, answer.to_string())
}

/// A queue that rings without end, as for tasks that come and come.
fn rings(asked: &Asked) -> (u16, String) {
    if asked.operation != "ReceiveMessage" {
        return takes_all(asked);
    }
    let ring = json!({"queue": "default", "count": 1, "run_after": "2026-02-02T02:40:00Z"}).to_string();
    let told = json!({"ApproximateReceiveCount": "1"});
    let message = json!({"MessageId": "m", "ReceiptHandle": "r-1", "Body": ring, "Attributes": told});
    (200, json!({"Messages": [message]}).to_string())
}

/// A stand-in for SQS.
struct Sqs {
    url: String,
    asked: Arc<Mutex<Vec<Asked>>>,
}

impl Sqs {
    fn new(answer: Answer) -> Self {
        let asked = Arc::<Mutex<Vec<Asked>>>::default();
        let heard = Arc::clone(&asked);
        let url = serve(|_| {
            move |request| {
                let answered = answer(&request);
                heard.lock().unwrap().push(request);
                answered
            }
        });
        Self { url, asked }
    }

    fn queue(&self) -> String {
        format!("{}/000000000000/completions", self.url)
    }

    fn asked(&self, operation: &str) -> Vec<Asked> {
        let asked = self.asked.lock().unwrap();
        asked.iter().filter(|asked| asked.operation == operation).cloned().collect()
    }

    /// Starts a worker that runs this script, with this queue as its detour.
    fn worker(&self, world: &World, script: &str) -> Running {
        self.worker_at(world, "--completions-queue", script)
    }

    /// Starts a worker that runs this script, with this queue by this flag.
    fn worker_at(&self, world: &World, flag: &str, script: &str) -> Running {
        let out = std::fs::File::create(world.path("worker.json")).unwrap();
        let log = std::fs::File::create(world.path("worker.log")).unwrap();
        let mut command = world.command(&[
            "worker",
            "run",
            "--id",
            "w1",
            "--queue",
            "default",
            flag,
            &self.queue(),
            "-o",
            "json",
        ]);
        command.args(["--", "sh", "-c", script]).current_dir(world.folder.path()).stdout(out).stderr(log);
        command.envs(self.environment());
        Running(command.spawn().unwrap())
    }

    fn environment(&self) -> [(&str, &str); 4] {
        [
            ("AWS_ENDPOINT_URL_SQS", &self.url),
            ("AWS_REGION", "eu-west-1"),
            ("AWS_ACCESS_KEY_ID", "AKIDEXAMPLE"),
            ("AWS_SECRET_ACCESS_KEY", "wJalrXUtnFEMI"),
        ]
    }
}

/// Runs a worker that cannot start.
fn refused(arguments: &[&str], environment: &[(&str, &str)]) -> (Option<i32>, String) {
    let mut command = tool();
    for name in
        ["AWS_PROFILE", "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_REGION", "AWS_DEFAULT_REGION"]
    {
        command.env_remove(name);
    }
    let folder = tempfile::tempdir().unwrap();
    // Neither files nor an instance's own credentials of this machine.
    command
        .env("HOME", folder.path())
        .env("AWS_EC2_METADATA_DISABLED", "true")
        .envs(environment.iter().copied());
    let told = folder.path().join("told");
    command.args(["worker", "run"]).args(arguments).args(["--", "true"]);
    let mut worker = Running(command.stderr(std::fs::File::create(&told).unwrap()).spawn().unwrap());
    (worker.wait().code(), std::fs::read_to_string(told).unwrap())
}

#[test]
fn an_outcome_of_an_outage_goes_into_the_queue_and_the_server_is_told_once_it_is_back() {
    let mut world = World::new(PATIENT);
    let sqs = Sqs::new(takes_all);
    let mut worker =
        sqs.worker(&world, "touch started; while [ ! -e go ]; do sleep 0.02; done; echo '{\"pages\": 12}'");
    let id = world.create(&[]);
    until("the program runs", || world.path("started").exists().then_some(()));
    assert_eq!(sqs.asked("GetQueueAttributes").len(), 1, "a start looks whether there is the queue");
    world.kill_server();
    std::fs::write(world.path("go"), "").unwrap();

    let sent = until("the outcome is in the queue", || sqs.asked("SendMessageBatch").pop());
    assert_eq!(sent.body["QueueUrl"], sqs.queue());
    assert!(sent.authorization.contains("/eu-west-1/sqs/aws4_request"), "{}", sent.authorization);
    let entries = sent.body["Entries"].as_array().unwrap();
    assert_eq!(entries.len(), 1);
    let message: Value = serde_json::from_str(entries[0]["MessageBody"].as_str().unwrap()).unwrap();
    let run_seconds = &message["completion"]["run_seconds"];
    assert!(run_seconds.as_f64().unwrap() > 0.0, "{message}");
    let completion =
        json!({"worker_id": "w1", "attempt": 1, "result": {"pages": 12}, "run_seconds": run_seconds});
    assert_eq!(message, json!({"task_id": id, "completion": completion}));

    world.restart_server();
    let detail = world.becomes(&id, "completed");
    assert_eq!(detail["generation"]["result"], json!({"pages": 12}));
    assert_eq!(events(&detail), ["created", "claimed", "completed"]);
    until("the worker has heard of it", || {
        world.worker_log().contains("the server has the outcome").then_some(())
    });
    worker.signal(Signal::SIGTERM);
    assert!(worker.wait().success());
    let summary: Value =
        serde_json::from_str(&std::fs::read_to_string(world.path("worker.json")).unwrap()).unwrap();
    assert_eq!(
        (&summary["completed"], &summary["detoured"], &summary["unconfirmed"]),
        (&json!(1), &json!(1), &json!(0))
    );
    assert_eq!(sqs.asked("SendMessageBatch").len(), 1);
    let log = world.worker_log();
    assert!(log.contains("the outcome went by the detour"), "{log}");
    assert!(!log.contains("wJalrXUtnFEMI"), "{log}");
}

#[test]
fn a_worker_without_the_right_to_send_says_so_with_the_queue_and_goes_on_with_the_server() {
    let mut world = World::new(PATIENT);
    let sqs = Sqs::new(|asked| match asked.operation.as_str() {
        "SendMessageBatch" => (403, DENIED.to_owned()),
        _ => takes_all(asked),
    });
    let _worker = sqs.worker(&world, "touch started; while [ ! -e go ]; do sleep 0.02; done; echo 1");
    let id = world.create(&[]);
    until("the program runs", || world.path("started").exists().then_some(()));
    world.kill_server();
    std::fs::write(world.path("go"), "").unwrap();
    let line = until("the refusal is logged", || {
        world.worker_log().lines().find(|line| line.contains("the detour does not take")).map(str::to_owned)
    });
    assert!(line.contains(&sqs.queue()), "{line}");
    assert!(
        line.contains("AccessDenied") && line.contains("not authorized to perform: sqs:sendmessage"),
        "{line}"
    );
    world.restart_server();
    world.becomes(&id, "completed");
}

#[test]
fn a_queue_that_is_not_there_is_found_out_at_the_start() {
    let sqs = Sqs::new(|_| (400, MISSING.to_owned()));
    let (code, told) = refused(&["--completions-queue", &sqs.queue()], &sqs.environment());
    assert_eq!(code, Some(2), "{told}");
    assert!(told.contains(&sqs.queue()) && told.contains("CompletionsQueue"), "{told}");
}

#[test]
fn without_credentials_it_does_not_start_and_says_what_to_set() {
    let queue = "https://sqs.eu-west-1.amazonaws.com/1/completions";
    let (code, told) = refused(&["--completions-queue", queue], &[]);
    assert_eq!(code, Some(2), "{told}");
    assert!(told.contains(queue) && told.contains("AWS_ACCESS_KEY_ID"), "{told}");
}

#[test]
fn the_queue_may_be_named_by_the_environment() {
    let sqs = Sqs::new(|_| (400, MISSING.to_owned()));
    let queue = sqs.queue();
    let mut environment = sqs.environment().to_vec();
    environment.push(("BATON_QUEUES_COMPLETIONS", &queue));
    let (code, told) = refused(&[], &environment);
    assert_eq!(code, Some(2), "{told}");
    assert_eq!(sqs.asked("GetQueueAttributes").len(), 1);
}

#[test]
fn a_worker_that_waits_at_the_queue_is_rung_and_takes_the_ring_out() {
    let world = World::new(PATIENT);
    let sqs = Sqs::new(rings);
    let _worker = sqs.worker_at(&world, "--ready-queue", "echo 1");
    let id = world.create(&[]);
    world.becomes(&id, "completed");
    let asked = until("the ring is taken out", || sqs.asked("DeleteMessageBatch").pop());
    assert_eq!(asked.body["QueueUrl"], sqs.queue());
    assert_eq!(asked.body["Entries"][0]["ReceiptHandle"], "r-1");
    let heard = sqs.asked("ReceiveMessage").remove(0);
    assert_eq!((&heard.body["MaxNumberOfMessages"], &heard.body["WaitTimeSeconds"]), (&json!(1), &json!(20)));
    assert_eq!(heard.body["MessageSystemAttributeNames"], json!(["ApproximateReceiveCount"]));
}

#[test]
fn a_worker_that_cannot_hear_the_queue_says_so_with_what_to_check_and_waits_at_the_server() {
    for (status, told) in [(403, DENIED), (400, MISSING)] {
        let world = World::new(PATIENT);
        let sqs = Sqs::new(if status == 403 {
            |_| (403, DENIED.to_owned())
        } else {
            |_| (400, MISSING.to_owned())
        });
        let _worker = sqs.worker_at(&world, "--ready-queue", "echo 1");
        let line = until("the refusal is logged", || {
            let log = world.worker_log();
            log.lines().find(|line| line.contains("the queue of rings cannot be used")).map(str::to_owned)
        });
        assert!(line.contains(&sqs.queue()) && line.contains("sqs:ReceiveMessage"), "{told}: {line}");
        assert!(line.contains("claims wait at the server"), "{line}");
        let id = world.create(&[]);
        world.becomes(&id, "completed");
    }
}

#[test]
fn a_worker_at_a_queue_without_credentials_does_not_start_and_says_what_to_set() {
    let queue = "https://sqs.eu-west-1.amazonaws.com/1/ready";
    for (arguments, environment) in
        [(&["--ready-queue", queue][..], &[][..]), (&[], &[("BATON_QUEUES_READY", queue)])]
    {
        let (code, told) = refused(arguments, environment);
        assert_eq!(code, Some(2), "{told}");
        assert!(told.contains(queue) && told.contains("AWS_ACCESS_KEY_ID"), "{told}");
    }
}
