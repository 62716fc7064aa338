//! Figures in the words of OTLP: what `GET /metrics` tells, as its text says it.
//!
//! The text is the one place where all figures come together, from the store and from counts of the process; to tell them a second time
//! for another protocol would be to have them differ one day.

use std::time::Duration;

use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::common::v1::KeyValue;
use opentelemetry_proto::tonic::metrics::v1::metric::Data;
use opentelemetry_proto::tonic::metrics::v1::{
    AggregationTemporality, Gauge, Histogram, HistogramDataPoint, Metric, NumberDataPoint, ResourceMetrics,
    ScopeMetrics, Sum, number_data_point,
};
use opentelemetry_proto::tonic::resource::v1::Resource;
use prost::Message as _;
use prost::bytes::Bytes;

use crate::encode::{nanos, scope, text as named};

/// The body that tells of figures; counts are from `began` on.
pub(crate) fn encode(resource: &Resource, text: &str, began: Duration, now: Duration) -> Bytes {
    let metrics = read(text, nanos(began), nanos(now));
    let scope_metrics = vec![ScopeMetrics { scope: Some(scope()), metrics, ..ScopeMetrics::default() }];
    let all =
        ResourceMetrics { resource: Some(resource.clone()), scope_metrics, ..ResourceMetrics::default() };
    ExportMetricsServiceRequest { resource_metrics: vec![all] }.encode_to_vec().into()
}

/// The metrics of a text, each family as one. A line that is none of the format's is passed over.
fn read(text: &str, began: u64, now: u64) -> Vec<Metric> {
    let mut families: Vec<Family> = Vec::new();
    for line in text.lines() {
        match line.strip_prefix("# ") {
            Some(about) => {
                let mut words = about.splitn(3, ' ');
                let (Some(what), Some(name), rest) = (words.next(), words.next(), words.next()) else {
                    continue;
                };
                if families.last().is_none_or(|last| last.name != name) {
                    families.push(Family::named(name));
                }
                let Some(family) = families.last_mut() else { continue };
                match (what, rest) {
                    ("HELP", Some(help)) => family.help = help.trim_end_matches('.').to_owned(),
                    ("TYPE", Some(kind)) => family.kind = kind.to_owned(),
                    _ => {}
                }
            }
            None => {
                if let (Some(family), Some(sample)) = (families.last_mut(), Sample::read(line)) {
                    family.samples.push(sample);
                }
            }
        }
    }
    families.into_iter().filter_map(|family| family.metric(began, now)).collect()
}

/// The lines of one metric.
struct Family {
    name: String,
    help: String,
    kind: String,
    samples: Vec<Sample>,
}

impl Family {
    fn named(name: &str) -> Self {
        Self { name: name.to_owned(), help: String::new(), kind: String::new(), samples: Vec::new() }
    }

    fn metric(self, began: u64, now: u64) -> Option<Metric> {
        if self.samples.is_empty() {
            return None;
        }
        let cumulative = AggregationTemporality::Cumulative.into();
        let numbers = |samples: Vec<Sample>, began: u64| {
            samples.into_iter().map(|sample| sample.point(began, now)).collect::<Vec<_>>()
        };
        let data = match self.kind.as_str() {
            "counter" => Data::Sum(Sum {
                data_points: numbers(self.samples, began),
                aggregation_temporality: cumulative,
                is_monotonic: true,
            }),
            "histogram" => Data::Histogram(Histogram {
                data_points: histograms(&self.name, self.samples, began, now),
                aggregation_temporality: cumulative,
            }),
            _ => Data::Gauge(Gauge { data_points: numbers(self.samples, 0) }),
        };
        Some(Metric { name: self.name, description: self.help, data: Some(data), ..Metric::default() })
    }
}

/// Names and values.
type Labels = Vec<(String, String)>;

/// The points of a histogram, each of its own labels. Lines of one point follow each other.
fn histograms(name: &str, samples: Vec<Sample>, began: u64, now: u64) -> Vec<HistogramDataPoint> {
    let mut points: Vec<(Labels, HistogramDataPoint, u64)> = Vec::new();
    for mut sample in samples {
        let le = sample.labels.iter().position(|(name, _)| name == "le").map(|at| sample.labels.remove(at).1);
        if points.last().is_none_or(|(labels, ..)| *labels != sample.labels) {
            let attributes = attributes(&sample.labels);
            let point = HistogramDataPoint {
                attributes,
                start_time_unix_nano: began,
                time_unix_nano: now,
                ..HistogramDataPoint::default()
            };
            points.push((sample.labels.clone(), point, 0));
        }
        let Some((_, point, below)) = points.last_mut() else { continue };
        match sample.name.strip_prefix(name) {
            Some("_sum") => point.sum = Some(sample.value),
            Some("_count") => point.count = sample.value as u64,
            Some("_bucket") => {
                // The text counts all up to a bound, the points those between two.
                let up_to = sample.value as u64;
                point.bucket_counts.push(up_to.saturating_sub(*below));
                *below = up_to;
                let bound = le.and_then(|le| le.parse::<f64>().ok()).filter(|bound| bound.is_finite());
                point.explicit_bounds.extend(bound);
            }
            _ => {}
        }
    }
    points.into_iter().map(|(_, point, _)| point).collect()
}

fn attributes(labels: &[(String, String)]) -> Vec<KeyValue> {
    labels.iter().map(|(name, value)| named(name, value.clone())).collect()
}

/// One line.
struct Sample {
    name: String,
    labels: Labels,
    value: f64,
    /// The value, if it is a whole number.
    whole: Option<i64>,
}

impl Sample {
    fn read(line: &str) -> Option<Self> {
        let end = line.find(['{', ' '])?;
        let (name, mut rest) = line.split_at(end);
        let mut labels = Vec::new();
        if let Some(inside) = rest.strip_prefix('{') {
            rest = inside;
            while !rest.starts_with('}') {
                let (label, after) = rest.split_once("=\"")?;
                let (value, after) = quoted(after)?;
                labels.push((label.trim_start_matches(',').to_owned(), value));
                rest = after;
            }
            rest = &rest[1..];
        }
        // A time or an exemplar may follow.
        let number = rest.split_ascii_whitespace().next()?;
        let value: f64 = number.parse().ok()?;
        Some(Self { name: name.to_owned(), labels, value, whole: number.parse().ok() })
    }

    fn point(self, began: u64, now: u64) -> NumberDataPoint {
        let value = match self.whole {
            Some(whole) => number_data_point::Value::AsInt(whole),
            None => number_data_point::Value::AsDouble(self.value),
        };
        NumberDataPoint {
            attributes: attributes(&self.labels),
            start_time_unix_nano: began,
            time_unix_nano: now,
            value: Some(value),
            ..NumberDataPoint::default()
        }
    }
}

/// A text up to its closing quote, and what follows that.
fn quoted(text: &str) -> Option<(String, &str)> {
    let mut value = String::new();
    let mut chars = text.char_indices();
    while let Some((at, c)) = chars.next() {
        match c {
            '"' => return Some((value, &text[at + 1..])),
            '\\' => match chars.next()?.1 {
                'n' => value.push('\n'),
                other => value.push(other),
            },
            other => value.push(other),
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "\
# HELP baton_tasks Tasks by what they do.
# TYPE baton_tasks gauge
baton_tasks{state=\"waiting\"} 3
baton_tasks{state=\"a \\\"b\\\\\\n}\",queue=\"q,=\"} 0.5
# HELP baton_claims Tasks given out.
# TYPE baton_claims counter
baton_claims_total 7
# HELP baton_run_seconds How long.
# TYPE baton_run_seconds histogram
baton_run_seconds_sum 4.5
baton_run_seconds_count 6
baton_run_seconds_bucket{le=\"0.1\"} 2
baton_run_seconds_bucket{le=\"1.0\"} 5
baton_run_seconds_bucket{le=\"+Inf\"} 6
# HELP nothing Nothing.
# TYPE nothing gauge
broken{ 1
# EOF
";

    #[test]
    fn what_the_text_says_is_what_is_told() {
        let metrics = read(TEXT, 1, 2);
        let names: Vec<_> = metrics.iter().map(|metric| metric.name.as_str()).collect();
        assert_eq!(names, ["baton_tasks", "baton_claims", "baton_run_seconds"]);
        assert_eq!(metrics[0].description, "Tasks by what they do");
        let Some(Data::Gauge(gauge)) = &metrics[0].data else { panic!("expected a gauge") };
        assert_eq!(gauge.data_points[0].value, Some(number_data_point::Value::AsInt(3)));
        assert_eq!(gauge.data_points[1].value, Some(number_data_point::Value::AsDouble(0.5)));
        assert_eq!(gauge.data_points[1].attributes, [named("state", "a \"b\\\n}"), named("queue", "q,=")]);
        let Some(Data::Sum(sum)) = &metrics[1].data else { panic!("expected a sum") };
        assert!(sum.is_monotonic && sum.data_points[0].start_time_unix_nano == 1);
        let Some(Data::Histogram(histogram)) = &metrics[2].data else { panic!("expected a histogram") };
        let point = &histogram.data_points[0];
        assert_eq!((point.count, point.sum), (6, Some(4.5)));
        assert_eq!((&*point.bucket_counts, &*point.explicit_bounds), (&[2, 3, 1][..], &[0.1, 1.0][..]));
    }
}
