//! What is generated or written by hand about the API agrees with the API.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use baton_api::ProblemCode;
use serde_json::Value;

fn docs() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs")
}

#[test]
fn the_openapi_document_is_up_to_date() {
    let path = docs().join("openapi.json");
    if std::env::var_os("UPDATE").is_some() {
        std::fs::write(&path, baton_server::openapi()).unwrap();
    }
    let kept = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(
        kept == baton_server::openapi(),
        "docs/openapi.json is stale; to write it anew: UPDATE=1 cargo test -p baton-server --test http documents"
    );
}

#[test]
fn the_openapi_document_is_whole() {
    let document: Value = serde_json::from_str(baton_server::openapi()).unwrap();
    assert!(document["openapi"].as_str().unwrap().starts_with("3.1"), "{}", document["openapi"]);
    let schemas: BTreeSet<&String> = document["components"]["schemas"].as_object().unwrap().keys().collect();
    let mut references = BTreeSet::new();
    find_references(&document, &mut references);
    for reference in &references {
        let name = reference.strip_prefix("#/components/schemas/").unwrap();
        assert!(schemas.iter().any(|schema| *schema == name), "{reference} leads nowhere");
    }
    for (path, item) in document["paths"].as_object().unwrap() {
        for (method, operation) in item.as_object().unwrap() {
            assert!(operation["summary"].is_string(), "{method} {path} has no summary");
            assert!(operation["tags"].is_array(), "{method} {path} has no tag");
            let id = operation["operationId"].as_str().unwrap();
            assert!(references.len() > 10 && !id.is_empty(), "{method} {path}");
        }
    }
}

fn find_references(value: &Value, found: &mut BTreeSet<String>) {
    match value {
        Value::Object(members) => members.iter().for_each(|(name, value)| match value {
            Value::String(text) if name == "$ref" => _ = found.insert(text.clone()),
            value => find_references(value, found),
        }),
        Value::Array(items) => items.iter().for_each(|item| find_references(item, found)),
        _ => {}
    }
}

#[test]
fn each_problem_code_has_its_page_and_each_page_its_code() {
    let files: BTreeSet<String> = std::fs::read_dir(docs().join("errors"))
        .unwrap()
        .map(|file| file.unwrap().path().file_stem().unwrap().to_str().unwrap().to_owned())
        .collect();
    let codes: BTreeSet<String> = ProblemCode::ALL.iter().map(|code| code.as_str().to_owned()).collect();
    assert_eq!(files, codes);
    for code in ProblemCode::ALL {
        let page = baton_server::error_page(*code);
        assert_eq!(page, std::fs::read_to_string(docs().join(format!("errors/{code}.md"))).unwrap());
        assert!(
            page.starts_with(&format!("# {}\n\n`{code}` · HTTP {} ", code.title(), code.status())),
            "{code}"
        );
        for part in ["## What happened\n", "## Why\n", "## What to do\n", "## Example\n"] {
            assert!(page.contains(part), "{code} lacks {part}");
        }
        let (_, example) = page.split_once("```json\n").unwrap();
        let example: baton_api::Problem = serde_json::from_str(example.split("```").next().unwrap()).unwrap();
        assert_eq!(
            (example.page.as_str(), example.title.as_str(), example.status, example.code.as_str()),
            (code.page().as_str(), code.title(), code.status(), code.as_str())
        );
    }
}

#[test]
fn the_guide_to_tokens_has_the_table_of_the_rules() {
    use baton_http::auth::{Access, RULES};
    use baton_model::Scope;

    let mut table = String::from("| route | producer | worker | operator | audited |\n");
    table.push_str("|-------|----------|--------|----------|---------|\n");
    for rule in RULES {
        let Access::Scopes(scopes) = rule.access else { continue };
        let mark = |so: bool| if so { "yes" } else { "" };
        let producer = mark(scopes.contains(&Scope::Producer));
        let worker = mark(scopes.contains(&Scope::Worker));
        let audited = if rule.audited { format!("`{}`", rule.operation) } else { String::new() };
        let route = format!("`{} {}`", rule.method, rule.path);
        table.push_str(&format!("| {route} | {producer} | {worker} | yes | {audited} |\n"));
    }
    let path = docs().join("tokens.md");
    let page = std::fs::read_to_string(&path).unwrap();
    if std::env::var_os("UPDATE").is_some() {
        let (before, rest) = page.split_once("| route |").unwrap();
        let (_, after) = rest.split_once("\n\n").unwrap();
        std::fs::write(&path, format!("{before}{table}\n{after}")).unwrap();
    }
    let page = std::fs::read_to_string(&path).unwrap();
    assert!(page.contains(&table), "docs/tokens.md has another table than the rules:\n{table}");
}
