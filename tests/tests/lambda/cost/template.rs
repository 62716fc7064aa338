//! What the template says that money depends on.

use std::path::PathBuf;

/// What Lambda itself logs of an invocation, unless its own lines are off: START, END and REPORT.
const LAMBDAS_OWN_LINES: u64 = 300;

/// An alarm; those of the dialect's clients are there if these are answered, which they are not unless asked for.
const ALARM: &str = "Type: AWS::CloudWatch::Alarm";

pub(super) struct Template {
    /// How long API Gateway keeps a verdict on a token.
    pub(super) token_cache_seconds: f64,
    /// How long the stream's records are gathered before a function takes them.
    pub(super) stream_window_seconds: f64,
    /// Bytes of a line of the API's access log.
    pub(super) access_line: usize,
    /// Bytes that Lambda itself logs of an invocation.
    pub(super) logged_by_lambda: u64,
    /// How many alarms there are, where a topic is given for them.
    pub(super) alarms: usize,
}

impl Template {
    pub(super) fn read() -> Self {
        let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../infra/template.yaml");
        let text = std::fs::read_to_string(path).unwrap();
        let quiet = text.contains("SystemLogLevel: !Ref PlatformLogLevel")
            && default(&text, "PlatformLogLevel").is_some_and(|level| level == "WARN");
        let number = |name: &str| default(&text, name).map_or(0.0, |value| value.parse().unwrap());
        Self {
            token_cache_seconds: number("TokenCacheSeconds"),
            stream_window_seconds: number("StreamWindowSeconds"),
            access_line: access_line(&text).len() + 1,
            logged_by_lambda: if quiet { 0 } else { LAMBDAS_OWN_LINES },
            alarms: text.matches(ALARM).count()
                - text.matches(&format!("{ALARM}\n    Condition: EdgeSpoken\n")).count(),
        }
    }
}

/// The default of a parameter.
fn default(text: &str, parameter: &str) -> Option<String> {
    let at = text.find(&format!("\n  {parameter}:\n"))?;
    let of = text[at + 1..].lines().skip(1).take_while(|line| line.starts_with("    "));
    let default = of.filter_map(|line| line.trim().strip_prefix("Default: ")).next()?;
    Some(default.trim_matches('"').to_owned())
}

/// A line of the access log, with what stands for each variable.
fn access_line(text: &str) -> String {
    let Some(at) = text.find("AccessLogSettings:") else { return String::new() };
    let format = text[at..].split_once("Format: ").unwrap().1;
    let indent = |line: &str| line.len() - line.trim_start().len();
    let mut lines = format.lines();
    let first = lines.next().unwrap();
    let mut line =
        if first.starts_with('>') { String::new() } else { first.trim().trim_matches('\'').to_owned() };
    let more: Vec<&str> =
        lines.take_while(|line| indent(line) >= 10 && line.trim_start().starts_with(['"', '{'])).collect();
    line.push_str(&more.iter().map(|line| line.trim()).collect::<Vec<_>>().join(" "));
    assert!(line.contains("$context."), "expected the access log's format, got {line:?}");
    for (variable, value) in [
        ("$context.requestTime", "02/Feb/2026:02:40:00 +0000"),
        ("$context.requestId", "JKJaXmPLvHcESHA="),
        ("$context.identity.sourceIp", "203.0.113.195"),
        ("$context.authorizer.token_id", "01980a6e-5b7c-7cc3-98c4-dc0c0c073900"),
        ("$context.httpMethod", "POST"),
        ("$context.routeKey", "POST /v1/tasks/{id}/complete"),
        ("$context.responseLatency", "42"),
        ("$context.responseLength", "512"),
        ("$context.integrationStatus", "200"),
        ("$context.integrationLatency", "40"),
        ("$context.authorizer.status", "200"),
        ("$context.status", "200"),
    ] {
        line = line.replace(variable, value);
    }
    line
}
