//! The modules of a crate know each other one way only: files in a circle say that a third thing has no room of its own.

#![allow(clippy::unwrap_used, reason = "a test ends where it is surprised")]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

/// The crates whose modules are looked at: a folder of them, or one.
///
/// Not so the model, the stores and `http`: a store's commands, its table and its statistics speak of one type that is in one
/// file, and each has methods in the files of the others.
const CRATES: &[&str] = &[
    "apps/*",
    "dialects/*",
    "functions/*",
    "shared/api",
    "shared/aws",
    "shared/client",
    "shared/lambda",
    "shared/runtime",
];

fn crates() -> Vec<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let listed = CRATES.iter().flat_map(|name| match name.strip_suffix("/*") {
        Some(folder) => fs::read_dir(root.join(folder)).unwrap().map(|entry| entry.unwrap().path()).collect(),
        None => vec![root.join(name)],
    });
    listed.filter(|folder| folder.join("src").is_dir()).collect()
}

/// Adds what the files below a folder know, to the module that each belongs to: the first part of its path.
fn read(folder: &Path, module: Option<&str>, known: &mut BTreeMap<String, BTreeSet<String>>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let stem = path.file_stem().unwrap().to_str().unwrap().to_owned();
        let module = module.unwrap_or(&stem);
        if path.is_dir() {
            read(&path, Some(module), known);
        } else if path.extension().is_some_and(|extension| extension == "rs")
            && !matches!(module, "lib" | "main")
        {
            known.entry(module.to_owned()).or_default().extend(named(&fs::read_to_string(&path).unwrap()));
        }
    }
}

/// The modules of its own crate that a file names, outside its unit tests and comments.
fn named(text: &str) -> BTreeSet<String> {
    let code = text.split("#[cfg(test)]").next().unwrap_or_default().lines();
    let code: String =
        code.filter(|line| !line.trim_start().starts_with("//")).flat_map(|line| [line, "\n"]).collect();
    code.split("crate::").skip(1).flat_map(firsts).collect()
}

/// The first names of what follows `crate::`: one, or those of a group in braces.
fn firsts(after: &str) -> Vec<String> {
    let name =
        |text: &str| text.trim_start().chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect();
    let Some(group) = after.strip_prefix('{') else { return vec![name(after)] };
    let (mut depth, mut names) = (1, vec![name(group)]);
    for (at, letter) in group.char_indices() {
        match letter {
            '{' => depth += 1,
            '}' => depth -= 1,
            ',' if depth == 1 => names.push(name(&group[at + 1..])),
            _ => {}
        }
        if depth == 0 {
            break;
        }
    }
    names
}

/// The modules that stand in circles, or between them: what is left once those that know none of the others are taken away.
fn circles(mut known: BTreeMap<String, BTreeSet<String>>) -> BTreeMap<String, BTreeSet<String>> {
    loop {
        let names: BTreeSet<_> = known.keys().cloned().collect();
        for (module, others) in &mut known {
            others.retain(|other| other != module && names.contains(other));
        }
        let before = known.len();
        known.retain(|_, others| !others.is_empty());
        if known.len() == before {
            return known;
        }
    }
}

#[test]
fn modules_know_each_other_one_way_only() {
    for folder in crates() {
        let mut known = BTreeMap::new();
        read(&folder.join("src"), None, &mut known);
        let circles = circles(known);
        assert!(circles.is_empty(), "{}: {circles:#?}", folder.display());
    }
}

#[test]
fn a_circle_is_seen_however_it_is_written() {
    let known = |files: &[(&str, &str)]| {
        files.iter().map(|(module, text)| ((*module).to_owned(), named(text))).collect::<BTreeMap<_, _>>()
    };
    let a = ("a", "use crate::{b::{c, d}, e};\n#[cfg(test)]\nmod tests { use crate::f; }");
    assert_eq!(named(a.1), ["b", "e"].map(str::to_owned).into());
    assert!(circles(known(&[a, ("b", "// crate::a\n"), ("e", "")])).is_empty());
    let circle = circles(known(&[
        a,
        ("b", "fn f() { crate::g::h() }"),
        ("e", ""),
        ("g", "use crate::{\n    x, a,\n};"),
    ]));
    assert_eq!(circle.keys().collect::<Vec<_>>(), ["a", "b", "g"]);
}
