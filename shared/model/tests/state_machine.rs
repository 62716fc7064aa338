//! `docs/state-machine.md` shows the machine that `decide` is: neither has a transition that the other lacks.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "test code")]

mod support;

use std::collections::BTreeSet;

use baton_model::transition::{Decision, decide};
use baton_model::{EventKind, LossReason, State};
use support::{at, every_command, every_head, name_of};

const PAGE: &str = include_str!("../../../docs/state-machine.md");

/// (from, command, to, event).
type Row = (String, String, String, String);

fn by_decide() -> BTreeSet<Row> {
    let mut rows = BTreeSet::new();
    for head in every_head() {
        for command in every_command() {
            if let Ok(Decision::Apply(change)) = decide(&head, &command, at(100)) {
                let texts = [
                    change.from.as_str(),
                    name_of(&command),
                    change.head.state.state().as_str(),
                    change.kind.as_str(),
                ];
                let [from, command, to, event] = texts.map(str::to_owned);
                rows.insert((from, command, to, event));
            }
        }
    }
    rows
}

fn table() -> Vec<Row> {
    let lines = PAGE.lines().skip_while(|line| *line != "| from | command | to | event |").skip(2);
    let rows: Vec<_> = lines
        .take_while(|line| line.starts_with('|'))
        .map(|line| {
            let cells: Vec<_> =
                line.trim_matches('|').split('|').map(|cell| cell.trim().to_owned()).collect();
            let [from, command, to, event] = cells.try_into().expect("four cells a row");
            (from, command, to, event)
        })
        .collect();
    assert!(!rows.is_empty(), "the page has its table");
    rows
}

#[test]
fn the_table_has_each_transition_of_decide_once() {
    let table = table();
    let rows: BTreeSet<_> = table.iter().cloned().collect();
    assert_eq!(rows.len(), table.len(), "no row twice");
    assert_eq!(rows, by_decide());
}

#[test]
fn the_picture_has_the_arrows_of_the_table() {
    let arrows = PAGE
        .lines()
        .skip_while(|line| *line != "stateDiagram-v2")
        .take_while(|line| *line != "```")
        .filter(|line| line.contains("-->") && !line.contains("[*]"));
    let pictured: BTreeSet<_> = arrows
        .map(|line| {
            let (from, rest) = line.split_once("-->").unwrap();
            let (to, label) = rest.split_once(':').expect("each arrow names its command");
            let command = label.split(',').next().unwrap();
            [from, command, to].map(|text| text.trim().to_owned())
        })
        .collect();
    let tabled: BTreeSet<_> = table().into_iter().map(|(from, command, to, _)| [from, command, to]).collect();
    assert_eq!(pictured, tabled);
}

#[test]
fn the_page_names_every_state_event_and_reason() {
    let names = State::ALL.map(State::as_str).into_iter();
    let names = names.chain(EventKind::ALL.map(EventKind::as_str));
    for name in names.chain(LossReason::ALL.map(LossReason::as_str)) {
        assert!(PAGE.contains(name), "{name}");
    }
}
