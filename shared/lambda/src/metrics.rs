//! Metrics in CloudWatch's embedded metric format: one JSON line an invocation, from which CloudWatch makes metrics by
//! itself, without a request.
//!
//! The format: <https://docs.aws.amazon.com/AmazonCloudWatch/latest/monitoring/CloudWatch_Embedded_Metric_Format_Specification.html>.
//! It is written here, as it is one object, and the crates for it bring collectors and threads of their own.
//! Each pair of function and route is one set of metrics, and each metric of it is billed: there are few, and what did
//! not happen is left out.

use std::collections::BTreeMap;
use std::io::Write;

use baton_model::Timestamp;
use serde::Serialize;
use serde_json::{Value, json};

/// The namespace of the metrics.
pub const NAMESPACE: &str = "Baton";

/// What one invocation tells.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Measured {
    /// The function's name.
    pub function: String,
    /// The route of the request, or the kind of trigger: `queue`, `stream`, `schedule`.
    pub route: String,
    /// How long it took, in milliseconds.
    pub millis: f64,
    /// Whether it failed: an answer of 500 and above, a record that comes again, an invocation that was given up.
    pub failed: bool,
    /// Whether it was the process's first.
    pub cold: bool,
    /// What was done, by the metric's name; see [`crate::counted::Counts`].
    pub counts: BTreeMap<&'static str, u64>,
    /// The table that the function works on: that of one stack, so that the metrics of two do not mix.
    pub table: Option<String>,
    /// What a schedule found, whatever its function is called; told also where it is zero.
    pub gauges: Gauges,
}

/// Numbers as they are now, by their metrics' names. One that ends in `Seconds` is in seconds; others count.
pub type Gauges = BTreeMap<&'static str, f64>;

#[derive(Serialize)]
struct Metric {
    #[serde(rename = "Name")]
    name: &'static str,
    #[serde(rename = "Unit")]
    unit: &'static str,
}

impl Measured {
    /// The line that tells it.
    pub fn line(&self, now: Timestamp, request_id: &str) -> String {
        let mut metrics = vec![
            Metric { name: "Invocations", unit: "Count" },
            Metric { name: "DurationMs", unit: "Milliseconds" },
        ];
        let mut line = json!({
            "Function": self.function,
            "Route": self.route,
            "request_id": request_id,
            "Invocations": 1,
            "DurationMs": (self.millis * 1e3).round() / 1e3,
        });
        let happened = [("Errors", u64::from(self.failed)), ("ColdStart", u64::from(self.cold))];
        for (name, count) in
            happened.into_iter().chain(self.counts.iter().map(|(name, count)| (*name, *count)))
        {
            if count > 0 {
                metrics.push(Metric { name, unit: "Count" });
                line[name] = Value::from(count);
            }
        }
        let mut dimensions = vec!["Function", "Route"];
        if let Some(table) = &self.table {
            dimensions.insert(0, "Table");
            line["Table"] = Value::from(table.as_str());
        }
        let declared = |dimensions: &[&str], metrics: &[Metric]| json!({"Namespace": NAMESPACE, "Dimensions": [dimensions], "Metrics": metrics});
        let mut all = vec![declared(&dimensions, &metrics)];
        let gauges: Vec<Metric> = self.gauges.keys().map(|name| Metric { name, unit: unit(name) }).collect();
        // An alarm must name every dimension of its metric, and is about the stack.
        if !gauges.is_empty() && self.table.is_some() {
            all.push(declared(&["Table"], &gauges));
            for (name, value) in &self.gauges {
                line[name] = Value::from((value * 1e3).round() / 1e3);
            }
        }
        line["_aws"] = json!({"Timestamp": now.as_millis(), "CloudWatchMetrics": all});
        line.to_string()
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
    use super::*;

    #[test]
    fn a_line_declares_the_metrics_that_it_has_and_no_others() {
        let measured = Measured {
            function: "complete-task".into(),
            route: "queue".into(),
            millis: 12.34567,
            failed: true,
            cold: false,
            counts: [("Completed", 3), ("Claimed", 0)].into(),
            table: None,
            gauges: Gauges::new(),
        };
        let line: Value = serde_json::from_str(&measured.line(Timestamp::from_millis(7), "r-1")).unwrap();
        let declared = &line["_aws"]["CloudWatchMetrics"][0];
        assert_eq!(declared["Namespace"], "Baton");
        assert_eq!(declared["Dimensions"], json!([["Function", "Route"]]));
        let names: Vec<&str> = declared["Metrics"]
            .as_array()
            .unwrap()
            .iter()
            .map(|metric| metric["Name"].as_str().unwrap())
            .collect();
        assert_eq!(names, ["Invocations", "DurationMs", "Errors", "Completed"]);
        for name in names {
            assert!(line[name].is_number(), "{name}");
        }
        assert_eq!((&line["_aws"]["Timestamp"], &line["Function"]), (&json!(7), &json!("complete-task")));
        assert_eq!(
            (&line["DurationMs"], &line["Completed"], &line["request_id"]),
            (&json!(12.346), &json!(3), &json!("r-1"))
        );
        assert_eq!((line.get("Claimed"), line.get("ColdStart")), (None, None));
        assert_eq!(line["_aws"]["CloudWatchMetrics"].as_array().unwrap().len(), 1);
    }

    #[test]
    fn the_metrics_of_one_table_are_its_own_and_gauges_are_by_it_alone() {
        let measured = Measured {
            function: "reap-stale-workers".into(),
            route: "schedule".into(),
            table: Some("baton-tasks".into()),
            gauges: [("OldestReadySeconds", 7.0004), ("WorkersLost", 0.0)].into(),
            ..Measured::default()
        };
        let line: Value = serde_json::from_str(&measured.line(Timestamp::from_millis(7), "r-1")).unwrap();
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
}
