//! What the template says that money depends on.

use std::path::PathBuf;

/// What Lambda itself logs of an invocation, unless its own lines are off: START, END and REPORT.
const LAMBDAS_OWN_LINES: u64 = 300;

const ALARM: &str = "Type: AWS::CloudWatch::Alarm";

/// The conditions of alarms that are there for what is off unless asked for: the dialect's clients, the archive, alerts.
const OFF: [&str; 4] = ["EdgeSpoken", "ArchiveMatters", "AlertsKept", "AlertsMatter"];

pub(super) struct Template {
    /// How long API Gateway keeps a verdict on a token.
    pub(super) token_cache_seconds: f64,
    /// How long the stream's records are gathered before a function takes them.
    pub(super) stream_window_seconds: f64,
    /// A line of the API's access log.
    access_line: String,
    /// What functions log, as `log.level` has it.
    pub(super) log_level: String,
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
            access_line: access_line(&text),
            log_level: default(&text, "LogLevel").unwrap_or_else(|| "info".to_owned()),
            logged_by_lambda: if quiet { 0 } else { LAMBDAS_OWN_LINES },
            alarms: text.matches(ALARM).count()
                - OFF
                    .iter()
                    .map(|off| text.matches(&format!("{ALARM}\n    Condition: {off}\n")).count())
                    .sum::<usize>(),
        }
    }

    /// Bytes of a line of the API's access log about a request to this route, with the end of the line.
    pub(super) fn access_line(&self, route: &str) -> usize {
        self.access_line.replace(ROUTE, route).len() + 1
    }
}

/// The default of a parameter.
fn default(text: &str, parameter: &str) -> Option<String> {
    let at = text.find(&format!("\n  {parameter}:\n"))?;
    let of = text[at + 1..].lines().skip(1).take_while(|line| line.starts_with("    "));
    let default = of.filter_map(|line| line.trim().strip_prefix("Default: ")).next()?;
    Some(default.trim_matches('"').to_owned())
}

/// What stands for a request's route in a line of the access log.
const ROUTE: &str = "$context.routeKey";

/// A line of the access log, with what stands for each variable but the route.
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
    assert!(line.contains(ROUTE), "expected the access log's format, got {line:?}");
    for (variable, value) in [
        ("$context.requestId", "JKJaXmPLvHcESHA="),
        ("$context.identity.sourceIp", "203.0.113.195"),
        ("$context.authorizer.token_id", "01980a6e-5b7c-7cc3-98c4-dc0c0c073900"),
        ("$context.responseLatency", "42"),
        ("$context.error.responseType", "-"),
        ("$context.status", "200"),
    ] {
        line = line.replace(variable, value);
    }
    assert_eq!(
        line.matches("$context.").count(),
        1,
        "expected nothing but the route without a value in {line:?}"
    );
    line
}
