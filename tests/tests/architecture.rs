//! Dependencies point one way: model ← api, store ← stores; {model, api, store, http, runtime} ← functions ← dialects ← apps.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test ends where it is surprised"
)]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// What each crate of `shared/` may depend on besides libraries.
const SHARED: &[(&str, &[&str])] = &[
    ("baton-model", &[]),
    ("baton-alerts", &["baton-model"]),
    ("baton-api", &["baton-alerts", "baton-model"]),
    ("baton-store", &["baton-model"]),
    ("baton-store-sqlite", &["baton-model", "baton-store"]),
    ("baton-files", &["baton-model"]),
    ("baton-archive", &["baton-model", "baton-store", "baton-files"]),
    ("baton-processes", &[]),
    ("baton-scaling", &["baton-model"]),
    ("baton-verdict", &["baton-model", "baton-api"]),
    ("baton-aws", &["baton-model"]),
    ("baton-store-dynamodb", &["baton-model", "baton-store", "baton-aws"]),
    ("baton-runtime", &["baton-alerts", "baton-model", "baton-scaling", "baton-store"]),
    (
        "baton-http",
        &[
            "baton-alerts",
            "baton-model",
            "baton-api",
            "baton-files",
            "baton-scaling",
            "baton-store",
            "baton-runtime",
        ],
    ),
    ("baton-client", &["baton-model", "baton-api", "baton-aws"]),
    (
        "baton-webhooks",
        &[
            "baton-alerts",
            "baton-model",
            "baton-api",
            "baton-client",
            "baton-store",
            "baton-runtime",
            "baton-http",
        ],
    ),
    (
        "baton-lambda",
        &[
            "baton-model",
            "baton-api",
            "baton-files",
            "baton-store",
            "baton-store-dynamodb",
            "baton-aws",
            "baton-http",
            "baton-runtime",
        ],
    ),
];

/// What a function may depend on; on `baton-lambda` for its binary alone, by its feature `lambda`.
const FUNCTION: &[&str] = &[
    "baton-alerts",
    "baton-model",
    "baton-api",
    "baton-files",
    "baton-scaling",
    "baton-store",
    "baton-http",
    "baton-runtime",
    "baton-lambda",
];

/// What a function may depend on besides: the stream that it relays is the table's; the one that speaks a dialect has no routes of
/// its own; the reaper's rounds archive; and those of alerts send.
const BESIDES: &[(&str, &str)] = &[
    ("baton-relay-events", "baton-store-dynamodb"),
    ("baton-reap-stale-workers", "baton-archive"),
    ("baton-manage-alerts", "baton-webhooks"),
    ("baton-edge-functions", "baton-dialect-edge-functions"),
];

/// Libraries that only some crates may know.
const PRIVATE: &[(&str, &[&str])] = &[
    // `baton` reads the files of other systems, and no store of its own.
    ("rusqlite", &["baton-store-sqlite", "baton"]),
    ("object_store", &["baton-files", "baton-archive"]),
    ("axum", &["baton-http", "functions", "dialects", "baton-server", "baton-dashboard", "baton-lambda"]),
    ("askama", &["baton-dashboard"]),
    ("prost", &["baton-keda", "baton-otlp"]),
    (
        "reqwest",
        &["baton-client", "baton-dashboard", "baton-machines", "baton-otlp", "baton-webhooks", "baton-tests"],
    ),
    ("opentelemetry-proto", &["baton-otlp"]),
    ("clap", &["baton"]),
    ("ratatui", &["baton-top"]),
    ("lambda_runtime", &["baton-lambda"]),
    ("aws-config", &["baton-aws"]),
    ("aws-sdk-dynamodb", &["baton-store-dynamodb"]),
    ("aws-sdk-sqs", &["baton-aws"]),
    ("aws-smithy-http-client", &["baton-aws"]),
];

struct Package {
    folder: String,
    targets: Vec<Target>,
    needs: BTreeSet<String>,
    /// Of these, those that a feature brings.
    optional: BTreeSet<String>,
}

/// A library, a program or a file of tests, and what `cargo test` does with it.
struct Target {
    kind: String,
    source: PathBuf,
    test: bool,
    doctest: bool,
}

fn packages() -> BTreeMap<String, Package> {
    let output = Command::new(env!("CARGO"))
        .args(["metadata", "--no-deps", "--format-version", "1", "--offline"])
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()
        .unwrap();
    let metadata: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let root = metadata["workspace_root"].as_str().unwrap().to_owned();
    let package = |package: &serde_json::Value| {
        let manifest = package["manifest_path"].as_str().unwrap().strip_prefix(&root).unwrap().to_owned();
        let folder = manifest.trim_start_matches('/').trim_end_matches("Cargo.toml").to_owned();
        let needs = package["dependencies"].as_array().unwrap().iter();
        // What only tests use may point anywhere.
        let needs: Vec<_> = needs.filter(|need| need["kind"] != "dev").collect();
        let name = |need: &&serde_json::Value| need["name"].as_str().unwrap().to_owned();
        let optional = needs.iter().filter(|need| need["optional"] == true).map(name).collect();
        let needs = needs.iter().map(name).collect();
        let target = |target: &serde_json::Value| Target {
            kind: target["kind"][0].as_str().unwrap().to_owned(),
            source: target["src_path"].as_str().unwrap().into(),
            test: target["test"] == true,
            doctest: target["doctest"] == true,
        };
        let targets = package["targets"].as_array().unwrap().iter().map(target).collect();
        (package["name"].as_str().unwrap().to_owned(), Package { folder, targets, needs, optional })
    };
    metadata["packages"].as_array().unwrap().iter().map(package).collect()
}

#[test]
fn dependencies_point_one_way() {
    let packages = packages();
    for (name, package) in &packages {
        let allowed: Vec<&str> = match package.folder.split('/').next().unwrap() {
            "shared" => {
                let known = SHARED.iter().find(|(crate_name, _)| crate_name == name);
                known.unwrap_or_else(|| panic!("{name} is not in the table of shared crates")).1.to_vec()
            }
            "functions" => FUNCTION.to_vec(),
            // It calls what functions do, each in its library, and no other dialect.
            "dialects" => {
                let functions = packages.iter().filter(|(_, other)| other.folder.starts_with("functions/"));
                let functions = functions.map(|(name, _)| name.as_str());
                FUNCTION.iter().copied().filter(|need| *need != "baton-lambda").chain(functions).collect()
            }
            "apps" | "tests" => continue,
            other => panic!("{name} lies in {other}/, which is no place for a crate"),
        };
        for need in package.needs.iter().filter(|need| packages.contains_key(*need)) {
            let besides = BESIDES.contains(&(name, need));
            assert!(besides || allowed.contains(&need.as_str()), "{name} must not depend on {need}");
            let always = need == "baton-lambda" && !package.optional.contains(need);
            assert!(!always, "{name} may depend on {need} by its feature `lambda` alone");
        }
    }
}

#[test]
fn a_function_knows_no_other_function() {
    let packages = packages();
    for (name, package) in packages.iter().filter(|(_, package)| package.folder.starts_with("functions/")) {
        for need in &package.needs {
            let function = packages.get(need).is_some_and(|need| need.folder.starts_with("functions/"));
            assert!(!function, "{name} must not depend on {need}");
        }
    }
}

#[test]
fn libraries_stay_where_they_belong() {
    for (name, package) in packages() {
        for (library, owners) in PRIVATE {
            let owned = owners.contains(&name.as_str())
                || owners.iter().any(|owner| package.folder.starts_with(&format!("{owner}/")));
            assert!(owned || !package.needs.contains(*library), "{name} must not depend on {library}");
        }
    }
}

/// The crates in a build of a package, each with its version.
fn crates(package: &str, features: &[&str]) -> BTreeSet<String> {
    let output = Command::new(env!("CARGO"))
        .args(["tree", "--offline", "--package", package, "--edges", "normal", "--prefix", "none"])
        .args(features)
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let tree = String::from_utf8(output.stdout).unwrap();
    let named = |line: &str| line.split(' ').take(2).collect::<Vec<_>>().join(" ");
    tree.lines().filter(|line| !line.is_empty()).map(named).collect()
}

/// The crates of AWS in a build of a package.
fn aws_crates(package: &str, features: &[&str]) -> Vec<String> {
    let ours = |name: &String| name.starts_with("aws-") || name.starts_with("lambda");
    crates(package, features).into_iter().filter(ours).collect()
}

#[test]
fn the_default_build_has_no_aws_crates() {
    assert_eq!(aws_crates("baton", &[]), Vec::<String>::new());
}

#[test]
fn the_store_on_dynamodb_is_one_feature_and_brings_no_more_of_aws_than_it_needs() {
    let crates = aws_crates("baton", &["--features", "dynamodb"]);
    let is = |name: &str| crates.iter().any(|line| line.starts_with(&format!("{name} ")));
    assert!(is("aws-sdk-dynamodb") && is("aws-config"), "{crates:?}");
    // Single sign-on and a second TLS stack cost build time and start time.
    assert!(!is("aws-sdk-sso") && !is("aws-sdk-ssooidc") && !is("aws-lc-rs"), "{crates:?}");
}

#[test]
fn telling_a_collector_is_one_feature_that_brings_no_grpc_and_no_second_tls() {
    let (with, without) =
        (crates("baton", &[]), crates("baton", &["--no-default-features", "--features", "dialects"]));
    let is = |crates: &BTreeSet<String>, name: &str| {
        crates.iter().any(|line| line.starts_with(&format!("{name} ")))
    };
    assert!(is(&with, "opentelemetry-proto") && !is(&without, "opentelemetry-proto"));
    for library in ["tonic", "h2", "native-tls", "aws-lc-rs", "tracing-opentelemetry"] {
        assert!(!is(&with, library), "{library}");
    }
    for library in ["rustls", "reqwest", "hyper"] {
        let versions = with.iter().filter(|line| line.starts_with(&format!("{library} "))).count();
        assert_eq!(versions, 1, "{library}");
    }
}

#[test]
fn the_queue_of_a_worker_is_one_feature_and_brings_no_more_of_aws_than_it_needs() {
    let crates = aws_crates("baton", &["--features", "sqs"]);
    let is = |name: &str| crates.iter().any(|line| line.starts_with(&format!("{name} ")));
    assert!(is("aws-sdk-sqs") && is("aws-config"), "{crates:?}");
    assert!(!is("aws-sdk-dynamodb") && !is("aws-sdk-sso") && !is("aws-lc-rs"), "{crates:?}");
}

#[test]
fn files_in_a_bucket_are_one_feature_that_brings_no_sdk_and_no_second_tls() {
    let (plain, with) = (crates("baton", &[]), crates("baton", &["--features", "s3"]));
    let is = |name: &str| with.iter().any(|line| line.starts_with(&format!("{name} ")));
    // What S3 is spoken by.
    assert!(is("quick-xml") && !plain.iter().any(|line| line.starts_with("quick-xml ")));
    assert!(!is("aws-config") && !is("aws-lc-rs") && !is("aws-lc-sys"), "{with:?}");
    for library in ["rustls", "ring", "reqwest", "hyper"] {
        let versions = with.iter().filter(|line| line.starts_with(&format!("{library} "))).count();
        assert_eq!(versions, 1, "{library}");
    }
}

#[test]
fn kedas_external_scaler_is_one_feature_of_a_few_crates() {
    let (plain, with) = (crates("baton", &[]), crates("baton", &["--features", "keda"]));
    let is = |crates: &BTreeSet<String>, name: &str| {
        crates.iter().any(|line| line.starts_with(&format!("{name} ")))
    };
    assert!(is(&with, "prost") && is(&with, "h2"), "{with:?}");
    assert!(!is(&plain, "h2"), "the default build speaks HTTP/1.1 alone");
    assert!(!is(&with, "tonic") && with.difference(&plain).count() <= 8, "{:?}", with.difference(&plain));
}

#[test]
fn a_functions_binary_goes_without_the_chain_of_providers_of_aws() {
    for function in ["baton-create-task", "baton-authorize", "baton-relay-events"] {
        let crates = aws_crates(function, &["--features", "lambda"]);
        let is = |name: &str| crates.iter().any(|line| line.starts_with(&format!("{name} ")));
        assert!(is("lambda_runtime") && is("aws-sdk-dynamodb"), "{function}: {crates:?}");
        // What it would look for, Lambda sets in the environment, and to look costs a cold start milliseconds.
        assert!(!is("aws-config"), "{function}: {crates:?}");
    }
}

/// The lines of all sources in a folder.
fn lines(folder: &Path, found: &mut Vec<String>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            lines(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.extend(fs::read_to_string(&path).unwrap().lines().map(|line| line.trim_start().to_owned()));
        }
    }
}

/// The source of a program, with the modules that lie beside it.
fn program(main: &Path) -> String {
    let mut source = fs::read_to_string(main).unwrap();
    let module = |line: &str| Some(main.with_file_name(line.strip_prefix("mod ")?.replace(';', ".rs")));
    let modules: Vec<_> = source.lines().filter_map(module).collect();
    source.extend(modules.iter().map(|module| fs::read_to_string(module).unwrap()));
    source
}

/// Linking a test program in vain takes seconds, and so does looking for examples in a crate without any: such are left out
/// of `cargo test`. Whoever writes the first test or example there puts it in again.
#[test]
fn what_is_left_out_of_the_tests_has_none() {
    for (name, package) in packages() {
        for target in &package.targets {
            if target.kind == "bin" && !target.test {
                let source = program(&target.source);
                assert!(!source.contains("#[test]"), "{name} has a program whose tests are not run");
            }
            if target.kind == "lib" {
                let mut sources = Vec::new();
                lines(target.source.parent().unwrap(), &mut sources);
                let tests = sources.iter().any(|line| line.trim() == "#[cfg(test)]");
                assert!(target.test || !tests, "{name} has a library whose tests are not run");
                let example = |line: &String| line.starts_with("//! ```") || line.starts_with("/// ```");
                let examples = sources.iter().any(example);
                assert!(
                    target.doctest || !examples,
                    "{name} has examples that are not run: take `doctest` off"
                );
            }
        }
    }
}
