use std::process::Output;

use serde_json::json;

use super::stand_in::Sqs;
use super::{json as read, told, tool};

const DEAD: &str = "baton-submissions-dead";
const SOURCE: &str = "baton-submissions";

fn run(sqs: &Sqs, arguments: &[&str]) -> Output {
    tool(&[&["dead-letters"], arguments].concat(), &sqs.environment()).output().unwrap()
}

/// Two letters with reasons, and one that has only failed too often.
fn three() -> (Sqs, [String; 3]) {
    let sqs = Sqs::new(&[SOURCE, DEAD]);
    let reasons =
        |code, why| [("baton-reason-code", code), ("baton-reason", why), ("baton-message-id", "first")];
    let bad = reasons("invalid_fields", "type: expected a text, got 7");
    let ids = [
        sqs.put(
            DEAD,
            "{\"type\": 7, \"x\": \"\u{1b}[31mred\u{202e}\"}",
            &[&bad[..], &[("own", "kept")]].concat(),
        ),
        sqs.put(DEAD, "{", &[("baton-reason-code", "malformed_json"), ("baton-reason", "it ends early")]),
        sqs.put(DEAD, "{\"type\": \"a\"}", &[]),
    ];
    (sqs, ids)
}

#[test]
fn letters_are_shown_with_their_reasons_and_stay() {
    let (sqs, ids) = three();
    let shown = run(&sqs, &["list", "submissions"]);
    assert!(shown.status.success(), "{}", told(&shown));
    let text = String::from_utf8(shown.stdout).unwrap();
    for part in [ids[0].as_str(), "invalid_fields", "type: expected a text, got 7", "malformed_json", "none"]
    {
        assert!(text.contains(part), "{part}: {text}");
    }
    assert!(!text.contains('\u{1b}') && !text.contains('\u{202e}'), "{text:?}");
    assert_eq!((sqs.messages(DEAD).len(), sqs.hidden(DEAD)), (3, 0), "each was given back");

    let listed = read(&run(&sqs, &["list", &sqs.queue(DEAD), "--reason", "malformed_json", "-o", "json"]));
    let item = json!({
        "id": ids[1], "reason_code": "malformed_json", "reason": "it ends early", "body": "{",
        "sent_at": "2026-02-02T02:40:00.000Z", "received": 3,
    });
    assert_eq!(listed, json!({"queue": sqs.queue(DEAD), "items": [item], "more": false}));
    let one = read(&run(&sqs, &["list", "submissions", "--limit", "1", "-o", "json"]));
    assert_eq!((one["items"].as_array().unwrap().len(), &one["more"]), (1, &json!(true)));
    assert_eq!((sqs.messages(DEAD).len(), sqs.hidden(DEAD)), (3, 0));
}

#[test]
fn a_letter_is_sent_back_before_it_is_removed_and_is_what_it_was() {
    let (sqs, ids) = three();
    let done = run(
        &sqs,
        &["redrive", "submissions", "--reason", "invalid_fields", "--reason", "none", "-o", "json"],
    );
    assert!(done.status.success(), "{}", told(&done));
    let outcome = |id: &str| json!({"id": id, "outcome": "redriven", "error": null});
    let outcomes = [outcome(&ids[0]), outcome(&ids[2])];
    assert_eq!(read(&done), json!({"queue": sqs.queue(DEAD), "to": sqs.queue(SOURCE), "outcomes": outcomes}));
    let one = [format!("SendMessage {SOURCE}"), format!("DeleteMessage {DEAD}")];
    assert_eq!(sqs.asked(&["SendMessage", "DeleteMessage"]), [&one[..], &one[..]].concat());

    let left = sqs.messages(DEAD);
    assert_eq!((left.len(), left[0].id.as_str(), sqs.hidden(DEAD)), (1, ids[1].as_str(), 0));
    let back = sqs.messages(SOURCE);
    let text = |text: &str| json!({"DataType": "String", "StringValue": text});
    // A submission that was made already is known by the id that it was first sent under.
    assert_eq!(back[0].attributes, json!({"own": text("kept"), "baton-message-id": text("first")}));
    assert_eq!(back[1].attributes, json!({"baton-message-id": text(&ids[2])}));
    assert_eq!(back[1].body, "{\"type\": \"a\"}");
}

#[test]
fn what_the_queue_does_not_take_stays_and_the_others_go() {
    let (sqs, ids) = three();
    sqs.refuse("SendMessage", "red");
    let done = run(&sqs, &["redrive", "submissions", "--all"]);
    assert_eq!(done.status.code(), Some(1));
    let text = String::from_utf8_lossy(&done.stdout).into_owned();
    assert!(text.contains(&format!("{}  failed", ids[0])) && text.contains("not today"), "{text}");
    assert!(text.contains(&format!("{}  redriven", ids[2])), "{text}");
    assert!(told(&done).contains("1 of 3 letters were not done with"), "{}", told(&done));
    let left = sqs.messages(DEAD);
    assert_eq!((left.len(), left[0].id.as_str(), sqs.hidden(DEAD)), (1, ids[0].as_str(), 0));
    assert_eq!(sqs.messages(SOURCE).len(), 2);
}

#[test]
fn a_letter_that_was_sent_and_could_not_be_removed_is_told() {
    let (sqs, ids) = three();
    sqs.refuse("DeleteMessage", "red");
    let done = run(&sqs, &["redrive", "submissions", &ids[0], "-o", "json"]);
    assert_eq!(done.status.code(), Some(1));
    assert_eq!(read(&done)["outcomes"][0]["outcome"], "sent_and_kept");
    assert_eq!((sqs.messages(DEAD).len(), sqs.messages(SOURCE).len()), (3, 1));
}

#[test]
fn a_letter_that_is_given_up_again_at_once_is_sent_back_once() {
    let (sqs, _) = three();
    sqs.give_up(SOURCE, DEAD);
    let done = run(&sqs, &["redrive", "submissions", "--all", "-o", "json"]);
    assert!(done.status.success(), "{}", told(&done));
    assert_eq!(read(&done)["outcomes"].as_array().unwrap().len(), 3);
    assert_eq!((sqs.messages(DEAD).len(), sqs.hidden(DEAD)), (3, 0));
}

#[test]
fn only_what_is_named_is_dropped() {
    let (sqs, ids) = three();
    let without = run(&sqs, &["drop", "submissions"]);
    assert_eq!(without.status.code(), Some(2), "{}", told(&without));
    let unknown = run(&sqs, &["drop", "submissions", "no-such-letter"]);
    assert_eq!(unknown.status.code(), Some(3));
    assert!(told(&unknown).contains("no-such-letter"), "{}", told(&unknown));
    assert_eq!((sqs.messages(DEAD).len(), sqs.hidden(DEAD)), (3, 0));

    let done = run(&sqs, &["drop", "submissions", &ids[1], "-o", "json"]);
    assert_eq!(read(&done)["outcomes"], json!([{"id": ids[1], "outcome": "dropped", "error": null}]));
    assert!(run(&sqs, &["drop", "submissions", "--reason", "invalid_fields"]).status.success());
    let left: Vec<String> = sqs.messages(DEAD).into_iter().map(|message| message.id).collect();
    assert_eq!(left, [ids[2].clone()]);
    assert_eq!(sqs.asked(&["SendMessage"]), Vec::<String>::new());
}

#[test]
fn all_of_a_long_queue_are_gone_through_and_no_more_than_the_limit() {
    let sqs = Sqs::new(&[SOURCE, DEAD]);
    (0..35).for_each(|n| drop(sqs.put(DEAD, &n.to_string(), &[])));
    let some = run(&sqs, &["redrive", "submissions", "--all", "--limit", "10"]);
    assert!(told(&some).contains("there are more"), "{}", told(&some));
    assert_eq!((sqs.messages(SOURCE).len(), sqs.messages(DEAD).len(), sqs.hidden(DEAD)), (10, 25, 0));
    assert!(run(&sqs, &["redrive", "submissions", "--all"]).status.success());
    assert_eq!((sqs.messages(SOURCE).len(), sqs.messages(DEAD).len()), (35, 0));
}

#[test]
fn a_queue_that_is_not_there_and_letters_that_came_from_none_are_told() {
    let sqs = Sqs::new(&["baton-relay-dead"]);
    let missing = run(&sqs, &["list", "completions", "--stack", "other"]);
    assert_eq!(missing.status.code(), Some(3));
    assert!(told(&missing).contains("other-completions-dead"), "{}", told(&missing));
    let relayed = run(&sqs, &["redrive", "relay", "--all"]);
    assert_eq!(relayed.status.code(), Some(3));
    assert!(told(&relayed).contains("`baton relay`"), "{}", told(&relayed));
    let unnamed = run(&sqs, &["redrive", &sqs.queue("other"), "--all"]);
    assert_eq!(unnamed.status.code(), Some(2));
    assert!(told(&unnamed).contains("--to"), "{}", told(&unnamed));
}
