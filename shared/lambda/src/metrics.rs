//! Metrics in CloudWatch's embedded metric format: a JSON line, from which CloudWatch makes metrics by itself, without a
//! request. Only what AWS does not count by itself is told: Lambda counts invocations, their durations and those that failed,
//! API Gateway its requests. An invocation that has nothing to add writes no line.
//!
//! The format: <https://docs.aws.amazon.com/AmazonCloudWatch/latest/monitoring/CloudWatch_Embedded_Metric_Format_Specification.html>.
//! It is written here, as it is one object, and the crates for it bring collectors and threads of their own.
//! Each pair of function and route is one set of metrics, and each metric of it is billed (0.30 $ a month): there are few,
//! and what did not happen is left out. A line costs as much as a tenth of a request to the API.

use std::collections::BTreeMap;
use std::io::Write;

use baton_model::Timestamp;
use serde::Serialize;

/// The namespace of the metrics.
pub const NAMESPACE: &str = "Baton";

/// What one invocation tells.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Measured {
    /// The function's name.
    pub function: String,
    /// The route of the request, or the kind of trigger: `queue`, `stream`, `schedule`.
    pub route: String,
    /// Whether it failed: an answer of 500 and above, a record that comes again, an invocation that was given up.
    pub failed: bool,
    /// What was done, by the metric's name; see [`crate::counted::Counts`].
    pub counts: BTreeMap<&'static str, u64>,
    /// The table that the function works on: that of one stack, so that the metrics of two do not mix.
    pub table: Option<String>,
    /// What a schedule found, whatever its function is called; told also where it is zero.
    pub gauges: Gauges,
    /// How many machines each pool should have, by its name.
    pub pools: BTreeMap<String, f64>,
}

/// Numbers as they are now, by their metrics' names. One that ends in `Seconds` is in seconds; others count.
pub type Gauges = BTreeMap<&'static str, f64>;

/// A line. It is written field by field, as each invocation writes one.
#[derive(Serialize)]
struct Line<'a> {
    #[serde(rename = "_aws")]
    aws: Declared,
    #[serde(rename = "Table", skip_serializing_if = "Option::is_none")]
    table: Option<&'a str>,
    #[serde(rename = "Function")]
    function: &'a str,
    #[serde(rename = "Route")]
    route: &'a str,
    request_id: &'a str,
    #[serde(flatten)]
    values: BTreeMap<&'static str, Number>,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Declared {
    timestamp: i64,
    cloud_watch_metrics: Vec<Metrics>,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Metrics {
    namespace: &'static str,
    dimensions: [&'static [&'static str]; 1],
    metrics: Vec<Metric>,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Metric {
    name: &'static str,
    unit: &'static str,
}

#[derive(Serialize)]
#[serde(untagged)]
enum Number {
    Count(u64),
    Value(f64),
}

impl Number {
    /// To the thousandth.
    fn rounded(value: f64) -> Self {
        Self::Value((value * 1e3).round() / 1e3)
    }
}

impl Measured {
    /// The line that tells it, if there is anything to tell.
    pub fn line(&self, now: Timestamp, request_id: &str) -> Option<String> {
        let table = self.table.as_deref();
        let (mut values, mut metrics) = (BTreeMap::new(), Vec::new());
        let failed = ("Errors", u64::from(self.failed));
        let counts = self.counts.iter().map(|(name, count)| (*name, *count));
        for (name, count) in [failed].into_iter().chain(counts).filter(|(_, count)| *count > 0) {
            metrics.push(Metric { name, unit: "Count" });
            values.insert(name, Number::Count(count));
        }
        let dimensions: &[&str] = match table {
            Some(_) => &["Table", "Function", "Route"],
            None => &["Function", "Route"],
        };
        let mut declared = Vec::new();
        if !metrics.is_empty() {
            declared.push(Metrics { namespace: NAMESPACE, dimensions: [dimensions], metrics });
        }
        // An alarm must name every dimension of its metric, and is about the stack.
        if !self.gauges.is_empty() && table.is_some() {
            let metrics = self.gauges.keys().map(|name| Metric { name, unit: unit(name) }).collect();
            declared.push(Metrics { namespace: NAMESPACE, dimensions: [&["Table"]], metrics });
            values.extend(self.gauges.iter().map(|(name, value)| (*name, Number::rounded(*value))));
        }
        if declared.is_empty() {
            return None;
        }
        let aws = Declared { timestamp: now.as_millis(), cloud_watch_metrics: declared };
        let (function, route) = (self.function.as_str(), self.route.as_str());
        // Names and numbers always serialise.
        serde_json::to_string(&Line { aws, table, function, route, request_id, values }).ok()
    }
}

/// A line of one pool: by its name and the table, so that whatever scales its machines takes it as it is.
#[derive(Serialize)]
struct PoolLine<'a> {
    #[serde(rename = "_aws")]
    aws: Declared,
    #[serde(rename = "Table")]
    table: &'a str,
    #[serde(rename = "Pool")]
    pool: &'a str,
    request_id: &'a str,
    #[serde(rename = "WantedMachines")]
    wanted: Number,
}

impl Measured {
    /// A line for each pool: one line has one value of a metric.
    pub fn pool_lines(&self, now: Timestamp, request_id: &str) -> Vec<String> {
        let Some(table) = self.table.as_deref() else { return Vec::new() };
        let line = |(pool, wanted): (&String, &f64)| {
            let metrics = vec![Metric { name: "WantedMachines", unit: "Count" }];
            let declared = Metrics { namespace: NAMESPACE, dimensions: [&["Table", "Pool"]], metrics };
            let aws = Declared { timestamp: now.as_millis(), cloud_watch_metrics: vec![declared] };
            let wanted = Number::rounded(*wanted);
            serde_json::to_string(&PoolLine { aws, table, pool, request_id, wanted }).ok()
        };
        self.pools.iter().filter_map(line).collect()
    }
}

fn unit(gauge: &str) -> &'static str {
    if gauge.ends_with("Seconds") { "Seconds" } else { "Count" }
}

/// Writes a line to stdout, where Lambda takes it from.
pub fn tell(line: &str) {
    // A metric that cannot be written has nobody to be told to.
    let _ = writeln!(std::io::stdout().lock(), "{line}");
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    #[test]
    fn a_line_declares_the_metrics_that_it_has_and_no_others() {
        let measured = Measured {
            function: "complete-task".into(),
            route: "queue".into(),
            failed: true,
            counts: [("Completed", 3), ("Claimed", 0)].into(),
            ..Measured::default()
        };
        let line: Value =
            serde_json::from_str(&measured.line(Timestamp::from_millis(7), "r-1").unwrap()).unwrap();
        let declared = &line["_aws"]["CloudWatchMetrics"][0];
        assert_eq!(declared["Namespace"], "Baton");
        assert_eq!(declared["Dimensions"], json!([["Function", "Route"]]));
        let names: Vec<&str> = declared["Metrics"]
            .as_array()
            .unwrap()
            .iter()
            .map(|metric| metric["Name"].as_str().unwrap())
            .collect();
        assert_eq!(names, ["Errors", "Completed"]);
        for name in names {
            assert!(line[name].is_number(), "{name}");
        }
        assert_eq!((&line["_aws"]["Timestamp"], &line["Function"]), (&json!(7), &json!("complete-task")));
        assert_eq!((&line["Completed"], &line["request_id"]), (&json!(3), &json!("r-1")));
        assert_eq!(line.get("Claimed"), None);
        assert_eq!(line["_aws"]["CloudWatchMetrics"].as_array().unwrap().len(), 1);
    }

    #[test]
    fn an_invocation_that_has_nothing_to_add_to_what_aws_counts_writes_no_line() {
        let measured = Measured {
            function: "claim-task".into(),
            route: "POST /v1/claims".into(),
            counts: [("Claimed", 0)].into(),
            ..Measured::default()
        };
        assert_eq!(measured.line(Timestamp::from_millis(7), "r-1"), None);
    }

    #[test]
    fn the_metrics_of_one_table_are_its_own_and_gauges_are_by_it_alone() {
        let measured = Measured {
            function: "reap-stale-workers".into(),
            route: "schedule".into(),
            table: Some("baton-tasks".into()),
            counts: [("Reaped", 1)].into(),
            gauges: [("OldestReadySeconds", 7.0004), ("WorkersLost", 0.0)].into(),
            ..Measured::default()
        };
        let line: Value =
            serde_json::from_str(&measured.line(Timestamp::from_millis(7), "r-1").unwrap()).unwrap();
        let [counters, gauges] = line["_aws"]["CloudWatchMetrics"].as_array().unwrap().as_slice() else {
            panic!("{line}")
        };
        assert_eq!(counters["Dimensions"], json!([["Table", "Function", "Route"]]));
        let metrics = json!([
            {"Name": "OldestReadySeconds", "Unit": "Seconds"},
            {"Name": "WorkersLost", "Unit": "Count"},
        ]);
        assert_eq!(*gauges, json!({"Namespace": "Baton", "Dimensions": [["Table"]], "Metrics": metrics}));
        assert_eq!(
            (&line["Table"], &line["OldestReadySeconds"], &line["WorkersLost"]),
            (&json!("baton-tasks"), &json!(7.0), &json!(0.0))
        );
    }

    #[test]
    fn each_pool_has_a_line_by_its_name_and_the_table() {
        let measured = Measured {
            table: Some("baton-tasks".into()),
            pools: [("cpu".to_owned(), 0.0), ("gpu".to_owned(), 3.0)].into(),
            ..Measured::default()
        };
        let lines = measured.pool_lines(Timestamp::from_millis(7), "r-1");
        let lines: Vec<Value> = lines.iter().map(|line| serde_json::from_str(line).unwrap()).collect();
        let told: Vec<_> = lines.iter().map(|line| (&line["Pool"], &line["WantedMachines"])).collect();
        assert_eq!(told, [(&json!("cpu"), &json!(0.0)), (&json!("gpu"), &json!(3.0))]);
        let metrics = json!([{"Name": "WantedMachines", "Unit": "Count"}]);
        assert_eq!(
            lines[1]["_aws"]["CloudWatchMetrics"],
            json!([{"Namespace": "Baton", "Dimensions": [["Table", "Pool"]], "Metrics": metrics}])
        );
        assert_eq!(Measured::default().pool_lines(Timestamp::from_millis(7), "r-1"), Vec::<String>::new());
    }
}
