//! Whose a path is, and what is left of it.

use super::*;

const FIRST: &[Rule] =
    &[Rule::get("/task/{id}", "first.get", &[]), Rule::post("/task/{id}", "first.change", &[])];
const SECOND: &[Rule] =
    &[Rule::get("/task/list", "second.list", &[]), Rule::get("/{*rest}", "second.rest", &[])];
const SAME: &[Rule] = &[Rule::get("/task/{name}", "third.get", &[])];

fn paths(of: &[(&str, &str, &'static [Rule])]) -> Result<Paths, SamePath> {
    let mut paths = Paths::default();
    paths.add("of Baton itself", "", Rules::of_baton().all(), None)?;
    for (index, (name, prefix, rules)) in of.iter().enumerate() {
        paths.add(name, prefix, Rules::new(rules).all(), Some(index))?;
    }
    Ok(paths)
}

fn whose(paths: &Paths, path: &str) -> Option<usize> {
    paths.found.at(path).ok().and_then(|found| *found.value)
}

#[test]
fn a_path_belongs_to_the_dialect_with_the_closest_route() {
    let paths = paths(&[("first", "", FIRST), ("second", "", SECOND), ("third", "/x", SAME)]).unwrap();
    for (path, expected) in [
        ("/task/a", Some(0)),
        ("/task/list", Some(1)),
        ("/anything/else", Some(1)),
        ("/x/task/a", Some(2)),
        ("/v1/tasks", None),
        ("/v1/tasks/a", None),
    ] {
        assert_eq!(whose(&paths, path), expected, "{path}");
    }
}

#[test]
fn dialects_with_the_same_path_are_told_apart_by_a_prefix_or_not_at_all() {
    let same = paths(&[("first", "", FIRST), ("third", "", SAME)]).err().unwrap();
    assert_eq!((same.first.as_str(), same.second.as_str()), ("first", "third"));
    assert!(same.to_string().ends_with("give one of them a prefix, or an address of its own"), "{same}");
    const LIVE: &[Rule] = &[Rule::open("/livez", "health")];
    let same = paths(&[("fourth", "", LIVE)]).err().unwrap();
    assert!(same.to_string().starts_with("the dialects of Baton itself and fourth"), "{same}");
    assert!(paths(&[("first", "/a", FIRST), ("third", "/b", SAME)]).is_ok());
}

#[test]
fn a_prefix_is_taken_off_and_the_query_stays() {
    let rest = |uri: &str| without(&uri.parse().unwrap(), "/x").to_string();
    assert_eq!(rest("/x/task?a=/x/b"), "/task?a=/x/b");
    assert_eq!(rest("/x"), "/");
    assert_eq!(rest("/x?a=1"), "/?a=1");
    assert_eq!(rest("http://localhost/x/y"), "http://localhost/y");
}
