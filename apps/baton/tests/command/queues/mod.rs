//! `baton relay` and `baton dead-letters`, against a stand-in for SQS that keeps messages.

mod dead_letters;
mod relay;
mod stand_in;

use std::process::{Command, Output};

use serde_json::Value;

/// The tool with this environment, and nothing of the machine's.
fn tool(arguments: &[&str], environment: &[(&str, &str)]) -> Command {
    let mut command = crate::support::tool();
    for (name, _) in std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("AWS_")) {
        command.env_remove(name);
    }
    command.envs([("AWS_CONFIG_FILE", "/nonexistent"), ("AWS_SHARED_CREDENTIALS_FILE", "/nonexistent")]);
    command.envs([
        ("AWS_EC2_METADATA_DISABLED", "true"),
        ("AWS_REGION", "eu-west-1"),
        ("AWS_ACCESS_KEY_ID", "test"),
        ("AWS_SECRET_ACCESS_KEY", "test"),
    ]);
    command.args(arguments).envs(environment.iter().copied());
    command
}

fn told(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

fn json(output: &Output) -> Value {
    serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{error}: {}", told(output)))
}
