//! No link of a document leads nowhere: files and headings that it names are there.

#![allow(clippy::unwrap_used, reason = "a test ends where it is surprised")]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Component, Path, PathBuf};

/// Folders that hold nothing of the repository's own.
const OTHERS: &[&str] = &["target", ".git", ".aws-sam", "node_modules"];

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned()
}

/// All documents below a folder.
fn documents(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap().map(Result::unwrap) {
        let (path, name) = (entry.path(), entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            if !OTHERS.iter().any(|other| name == *other) {
                documents(&path, found);
            }
        } else if path.extension().is_some_and(|extension| extension == "md") {
            found.push(path);
        }
    }
}

/// The lines of a document that are no code, with their numbers from 1, and without what stands in backquotes.
fn prose(text: &str) -> Vec<(usize, String)> {
    let mut fenced = false;
    let mut lines = Vec::new();
    for (number, line) in (1..).zip(text.lines()) {
        if line.trim_start().starts_with("```") {
            fenced = !fenced;
        } else if !fenced {
            lines.push((number, line.split('`').step_by(2).collect::<Vec<_>>().join("``")));
        }
    }
    lines
}

/// What the links of a line lead to: `[text](target)` and `[name]: target`.
fn targets(line: &str) -> Vec<String> {
    let inline = line.split("](").skip(1).filter_map(|rest| rest.split([')', ' ']).next());
    let named =
        line.strip_prefix('[').and_then(|rest| rest.split_once("]: ")).map(|(_, target)| target.trim());
    inline.chain(named).map(str::to_owned).collect()
}

/// The anchor that GitHub gives a heading: lower case, without punctuation, hyphens for spaces.
fn anchor(heading: &str) -> String {
    let heading = heading.trim().to_lowercase();
    let kept = heading.chars().filter(|c| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_'));
    kept.map(|c| if c == ' ' { '-' } else { c }).collect()
}

/// The anchors of a document.
fn anchors(text: &str) -> BTreeSet<String> {
    let mut seen = BTreeMap::new();
    let mut fenced = false;
    let mut anchors = BTreeSet::new();
    for line in text.lines() {
        if line.trim_start().starts_with("```") {
            fenced = !fenced;
        }
        let heading = line.trim_start_matches('#');
        if fenced || heading.len() == line.len() || !heading.starts_with(' ') {
            continue;
        }
        let anchor = anchor(heading);
        let times = seen.entry(anchor.clone()).or_insert(0);
        anchors.insert(if *times == 0 { anchor } else { format!("{anchor}-{times}") });
        *times += 1;
    }
    anchors
}

/// A path without `..`, which would otherwise lead through folders that are not there.
fn straight(path: &Path) -> PathBuf {
    let mut straight = PathBuf::new();
    for component in path.components() {
        match component {
            Component::ParentDir => drop(straight.pop()),
            Component::CurDir => {}
            other => straight.push(other),
        }
    }
    straight
}

/// What is wrong with the links of a document.
fn dead(document: &Path, text: &str) -> Vec<String> {
    let mut dead = Vec::new();
    for (number, line) in prose(text) {
        for target in targets(&line) {
            if target.contains("://") || target.starts_with("mailto:") {
                continue;
            }
            let (file, heading) =
                target.split_once('#').map_or((target.as_str(), None), |(f, h)| (f, Some(h)));
            let led_to = match file {
                "" => document.to_owned(),
                file => straight(&document.parent().unwrap().join(file)),
            };
            let wrong = if !led_to.exists() {
                Some("there is no such file")
            } else {
                let has = |heading| match file {
                    "" => anchors(text).contains(heading),
                    _ => fs::read_to_string(&led_to).is_ok_and(|text| anchors(&text).contains(heading)),
                };
                heading.filter(|heading| !has(*heading)).map(|_| "there is no such heading")
            };
            dead.extend(wrong.map(|wrong| format!("{}:{number}: {target}: {wrong}", document.display())));
        }
    }
    dead
}

#[test]
fn every_link_of_a_document_leads_somewhere() {
    let mut found = Vec::new();
    documents(&root(), &mut found);
    assert!(found.iter().any(|path| path.ends_with("docs/errors/batch_refused.md")), "{found:?}");
    let dead: Vec<String> =
        found.iter().flat_map(|path| dead(path, &fs::read_to_string(path).unwrap())).collect();
    assert!(dead.is_empty(), "dead links:\n{}", dead.join("\n"));
}

#[test]
fn a_dead_link_is_found() {
    let document = root().join("docs/workers.md");
    let text = "# One `two`, three\n\n[a](sqlite.md) [b](#one-two-three) [c](nowhere.md) [d](#four)\n`[e](code.md)`\n\
                ```\n[f](code.md)\n```\n[g]: errors/nowhere.md\n[h](https://example.org/x)\n";
    let dead = dead(&document, text);
    let told: Vec<&str> = dead.iter().filter_map(|line| line.split("workers.md:").nth(1)).collect();
    assert_eq!(
        told,
        [
            "3: nowhere.md: there is no such file",
            "3: #four: there is no such heading",
            "8: errors/nowhere.md: there is no such file",
        ]
    );
}
