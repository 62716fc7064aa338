//! `infra/deploy.sh`: what it runs, in which order, and where it stops. The programs that it calls are stand-ins that write
//! down how they were called.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test ends where it is surprised")]

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use tempfile::TempDir;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned()
}

/// What a stand-in answers, by how it was called.
const STAND_IN: &str = r#"#!/bin/sh
name="$(basename "$0")"
printf '%s %s\n' "$name" "$*" >> "$STATE/calls"
[ ! -e "$STATE/fails" ] || case "$name $*" in "$(cat "$STATE/fails")"*) exit 9 ;; esac
case "$name $*" in
  *OutputKey==\'Url*) echo https://api.example.org ;;
  *OutputKey==\'Store*) echo dynamodb:baton-tasks ;;
  'baton token create'*'--name deploy'*) printf '{\n  "secret": "short-lived"\n}\n' ;;
  'baton token create'*) echo first >> "$STATE/tokens"; echo the-secret ;;
  'baton token list'*) printf '{\n'; while read -r one; do printf '    "name": "%s",\n' "$one"; done < "$STATE/tokens"; printf '}\n' ;;
  'baton task create'*) [ "$BATON_TOKEN" = short-lived ] && printf '{\n  "id": "task-1",\n}\n' ;;
esac
"#;

/// The script with stand-ins for all that it calls.
struct Stage(TempDir);

impl Stage {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("tokens"), "").unwrap();
        for name in ["aws", "sam", "cargo", "cargo-lambda", "baton"] {
            let path = folder.path().join(name);
            // Written by another process: a file that this one had open for writing would be "busy" while another test forks.
            let mut shell = Command::new("sh");
            shell.args(["-c", "printf '%s' \"$1\" > \"$0\" && chmod 755 \"$0\""]).arg(&path).arg(STAND_IN);
            assert!(shell.status().unwrap().success(), "{}", path.display());
        }
        Self(folder)
    }

    fn run(&self, arguments: &[&str]) -> Output {
        let folder = self.0.path();
        let path = format!("{}:{}", folder.display(), std::env::var("PATH").unwrap());
        let mut command = Command::new("bash");
        command.arg("infra/deploy.sh").args(arguments).current_dir(root());
        command.env("PATH", path).env("STATE", folder).env("BATON", folder.join("baton"));
        command.output().unwrap()
    }

    /// How the stand-ins were called since this was last asked, each by its first words.
    fn calls(&self) -> Vec<String> {
        let path = self.0.path().join("calls");
        let calls = std::fs::read_to_string(&path).unwrap_or_default();
        drop(std::fs::remove_file(&path));
        let short = |call: &str| call.split(' ').take(3).collect::<Vec<_>>().join(" ");
        calls.lines().map(short).collect()
    }

    fn fail(&self, call: &str) {
        std::fs::write(self.0.path().join("fails"), call).unwrap();
    }
}

fn told(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// The commands that a run without running would run.
fn planned(arguments: &[&str]) -> Vec<String> {
    let mut command = Command::new("bash");
    command.arg("infra/deploy.sh").arg("--dry-run").args(arguments).current_dir(root());
    // Nothing that it may call is there.
    command.env_remove("BATON").env("PATH", "/usr/bin:/bin");
    let output = command.output().unwrap();
    assert!(output.status.success(), "{}", told(&output));
    assert!(output.stdout.is_empty(), "stdout is for a new token alone");
    told(&output)
        .lines()
        .filter_map(|line| line.strip_prefix("+ ").map(|line| line.replace('\\', "")))
        .collect()
}

#[test]
fn a_dry_run_prints_every_command_and_runs_none() {
    let mut functions: Vec<String> = std::fs::read_dir(root().join("functions"))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        // One without a program is served by baton alone.
        .filter(|folder| folder.join("src/main.rs").exists())
        .map(|folder| format!("baton-{}", folder.file_name().unwrap().to_string_lossy()))
        .collect();
    functions.sort();
    let packages = functions.iter().map(|name| format!("--package {name}")).collect::<Vec<_>>().join(" ");
    let features = functions.iter().map(|name| format!("{name}/lambda")).collect::<Vec<_>>().join(",");
    let build = |tree: &str, processor: &str| {
        format!(
            "env -C {tree} -u CARGO_TARGET_DIR cargo lambda build --locked --profile function {processor} --output-format zip \
             {packages} --features {features}"
        )
    };
    let output = |stack: &str, name: &str| {
        format!(
            "aws cloudformation describe-stacks --stack-name {stack} --output text --query Stacks[0].Outputs[?OutputKey=='{name}'].OutputValue"
        )
    };
    let deploy = |stack: &str, template: &str, parameters: &str| {
        format!(
            "sam deploy --template-file {template} --stack-name {stack} --resolve-s3 --capabilities CAPABILITY_IAM \
             --no-confirm-changeset --no-fail-on-empty-changeset --parameter-overrides {parameters}"
        )
    };
    let baton = "target/release/baton";
    let wanted = [
        "aws sts get-caller-identity".to_owned(),
        build(".", "--arm64"),
        "env -u CARGO_TARGET_DIR cargo build --locked --release --package baton --features dynamodb,sqs"
            .to_owned(),
        deploy("baton", "infra/template.yaml", "Architecture=arm64 AlarmTopic=arn:x"),
        output("baton", "Url"),
        output("baton", "Store"),
        format!("{baton} table create --store <Store of baton> --statistics stream"),
        format!("{baton} table check --store <Store of baton>"),
        format!(
            "{baton} token create --store <Store of baton> --name deploy --scope operator --expires 15m -o json"
        ),
        format!("{baton} token list -o json"),
        format!("{baton} token create --store <Store of baton> --name first --scope operator"),
        format!("{baton} task create --type smoke --queue smoke-test -o json"),
        format!("{baton} worker run --id smoke-test --queue smoke-test -- true"),
        format!("{baton} task watch --timeout 2m ID"),
    ];
    assert_eq!(planned(&["deploy", "--parameter", "AlarmTopic=arn:x"]), wanted);

    let back = planned(&["rollback", "HEAD", "--stack", "two", "--arch", "x86_64"]);
    let tree = "target/rollback/two";
    assert!(back.contains(&format!("git worktree add --force --detach {tree} HEAD")), "{back:#?}");
    assert!(
        back.iter()
            .any(|line| line.starts_with(&format!("env -C {tree} -u CARGO_TARGET_DIR cargo lambda build")))
    );
    let template = format!("{tree}/infra/template.yaml");
    assert!(back.contains(&deploy("two", &template, "Architecture=x86_64")), "{back:#?}");

    assert_eq!(
        planned(&["remove"]),
        ["aws sts get-caller-identity", "sam delete --stack-name baton --no-prompts"]
    );
    let all = planned(&["remove", "--with-table"]);
    assert_eq!(all.last().unwrap(), "aws dynamodb delete-table --table-name baton-tasks");
}

#[test]
fn the_steps_come_in_their_order_and_a_second_run_makes_no_second_token() {
    let stage = Stage::new();
    let first = stage.run(&["deploy"]);
    assert!(first.status.success(), "{}", told(&first));
    assert_eq!(String::from_utf8_lossy(&first.stdout), "the-secret\n");
    let mut calls = stage.calls();
    // The worker of the smoke test runs beside what follows.
    calls.retain(|call| call != "baton worker run");
    let steps = [
        "aws sts get-caller-identity",
        "cargo lambda build",
        "sam deploy --template-file",
        "aws cloudformation describe-stacks",
        "aws cloudformation describe-stacks",
        "baton table create",
        "baton table check",
        "baton token create",
        "baton token list",
        "baton token create",
        "baton task create",
        "baton task watch",
    ];
    assert_eq!(calls, steps);

    let again = stage.run(&["deploy"]);
    assert!(again.status.success(), "{}", told(&again));
    assert!(
        again.stdout.is_empty() && told(&again).contains("there is a token first already"),
        "{}",
        told(&again)
    );
    assert_eq!(
        stage.calls().iter().filter(|call| *call == "baton token create").count(),
        1,
        "the short-lived one"
    );
}

#[test]
fn it_stops_at_the_first_step_that_fails_and_says_what_to_do() {
    let stage = Stage::new();
    for (call, last, advice) in [
        ("cargo lambda", "cargo lambda build", "mend what the compiler says"),
        ("sam deploy", "sam deploy --template-file", "see the stack's events in CloudFormation"),
        ("baton table check", "baton table check", "may be repeated at any time"),
        ("baton task create", "baton task create", "the logs of create-task"),
    ] {
        stage.fail(call);
        let output = stage.run(&["upgrade"]);
        let told = told(&output);
        assert_eq!(output.status.code(), Some(1), "{call}: {told}");
        assert!(told.contains("!!! stopped: ") && told.contains(advice), "{call}: {told}");
        assert_eq!(stage.calls().last().map(String::as_str), Some(last));
    }
}

#[test]
fn a_wrong_command_line_says_what_is_right() {
    for arguments in [
        &[][..],
        &["destroy"],
        &["deploy", "--arch", "mips"],
        &["deploy", "--stack"],
        &["rollback"],
        &["deploy", "--force"],
        &["deploy", "--stack", "a b"],
    ] {
        let output = Stage::new().run(arguments);
        assert_eq!(output.status.code(), Some(2), "{arguments:?}: {}", told(&output));
        assert!(
            told(&output).contains("expected") && told(&output).contains("--dry-run"),
            "{}",
            told(&output)
        );
    }
}
