//! The messages, as `externalscaler.proto` has them.

use std::collections::HashMap;

/// Which ScaledObject asks, with what its trigger says.
#[derive(Clone, PartialEq, prost::Message)]
pub struct ScaledObjectRef {
    /// Its name.
    #[prost(string, tag = "1")]
    pub name: String,
    /// Its namespace.
    #[prost(string, tag = "2")]
    pub namespace: String,
    /// The `metadata` of its trigger.
    #[prost(map = "string, string", tag = "3")]
    pub scaler_metadata: HashMap<String, String>,
}

/// Whether there should be a pod at all.
#[derive(Clone, Copy, PartialEq, prost::Message)]
pub struct IsActiveResponse {
    /// Whether there should.
    #[prost(bool, tag = "1")]
    pub result: bool,
}

/// The metrics that there are, with their targets.
#[derive(Clone, PartialEq, prost::Message)]
pub struct GetMetricSpecResponse {
    /// Each of them.
    #[prost(message, repeated, tag = "1")]
    pub metric_specs: Vec<MetricSpec>,
}

/// A metric and how much of it a pod is for.
#[derive(Clone, PartialEq, prost::Message)]
pub struct MetricSpec {
    /// Its name.
    #[prost(string, tag = "1")]
    pub metric_name: String,
    /// The target for KEDA of before 2.9.
    #[prost(int64, tag = "2")]
    pub target_size: i64,
    /// The target.
    #[prost(double, tag = "3")]
    pub target_size_float: f64,
}

/// Asks for a metric.
#[derive(Clone, PartialEq, prost::Message)]
pub struct GetMetricsRequest {
    /// Whose.
    #[prost(message, optional, tag = "1")]
    pub scaled_object_ref: Option<ScaledObjectRef>,
    /// Its name.
    #[prost(string, tag = "2")]
    pub metric_name: String,
}

/// The metrics that were asked for.
#[derive(Clone, PartialEq, prost::Message)]
pub struct GetMetricsResponse {
    /// Each of them.
    #[prost(message, repeated, tag = "1")]
    pub metric_values: Vec<MetricValue>,
}

/// A metric's value.
#[derive(Clone, PartialEq, prost::Message)]
pub struct MetricValue {
    /// Its name.
    #[prost(string, tag = "1")]
    pub metric_name: String,
    /// The value for KEDA of before 2.9.
    #[prost(int64, tag = "2")]
    pub metric_value: i64,
    /// The value.
    #[prost(double, tag = "3")]
    pub metric_value_float: f64,
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use prost::Message;

    use super::*;

    /// A field as the file has it: its message, its number, and how it goes over the wire.
    type Field = (String, u64, u64);

    /// The fields of the file's messages.
    fn told() -> BTreeSet<Field> {
        let (mut message, mut fields) = (String::new(), BTreeSet::new());
        for line in include_str!("../externalscaler.proto").lines().map(str::trim) {
            if let Some(name) = line.strip_prefix("message ") {
                message = name.trim_end_matches(" {").to_owned();
            } else if let Some((left, number)) =
                line.strip_suffix(';').and_then(|line| line.split_once(" = "))
                && let Ok(number) = number.parse()
            {
                let wire = match left.split(' ').next().unwrap() {
                    "int64" | "bool" => 0,
                    "double" => 1,
                    _ => 2,
                };
                fields.insert((message.clone(), number, wire));
            }
        }
        fields
    }

    /// The fields of a message with all of them set, as they go over the wire.
    fn kept(name: &str, message: &impl Message) -> Vec<Field> {
        let bytes = message.encode_to_vec();
        let (mut at, mut fields) = (0, Vec::new());
        while at < bytes.len() {
            let (number, wire) = (u64::from(bytes[at]) >> 3, u64::from(bytes[at]) & 7);
            fields.push((name.to_owned(), number, wire));
            at += match wire {
                0 => 2,
                1 => 9,
                _ => 2 + usize::from(bytes[at + 1]),
            };
        }
        fields
    }

    #[test]
    fn they_are_as_the_file_has_them() {
        let name = || "a".to_owned();
        let object =
            ScaledObjectRef { name: name(), namespace: name(), scaler_metadata: [(name(), name())].into() };
        let spec = MetricSpec { metric_name: name(), target_size: 1, target_size_float: 1.0 };
        let value = MetricValue { metric_name: name(), metric_value: 1, metric_value_float: 1.0 };
        let asks = GetMetricsRequest { scaled_object_ref: Some(object.clone()), metric_name: name() };
        let kept: BTreeSet<Field> = [
            kept("ScaledObjectRef", &object),
            kept("IsActiveResponse", &IsActiveResponse { result: true }),
            kept("GetMetricSpecResponse", &GetMetricSpecResponse { metric_specs: vec![spec.clone()] }),
            kept("MetricSpec", &spec),
            kept("GetMetricsRequest", &asks),
            kept("GetMetricsResponse", &GetMetricsResponse { metric_values: vec![value.clone()] }),
            kept("MetricValue", &value),
        ]
        .concat()
        .into_iter()
        .collect();
        assert_eq!(kept, told());
        assert_eq!(kept.len(), 14);
    }
}
