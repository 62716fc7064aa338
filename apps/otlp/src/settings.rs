//! What the variables of OpenTelemetry say
//! (<https://opentelemetry.io/docs/specs/otel/configuration/sdk-environment-variables/>).
//!
//! A value that does not fit is passed over with a warning, as the specification has it: these variables are set for a whole machine or
//! cluster, and tasks are not to stand still for one of them.

use std::time::Duration;

use baton_runtime::spans::Sampler;
use baton_runtime::{Ids as _, RandomIds};
use opentelemetry_proto::tonic::common::v1::KeyValue;
use opentelemetry_proto::tonic::resource::v1::Resource;
use percent_encoding::percent_decode_str;
use reqwest::Url;
use reqwest::header::{HeaderMap, HeaderName, HeaderValue};

use crate::encode::{number, text};

/// The most spans that may wait, whatever is asked for: about 40 MB.
const MOST_WAITING: usize = 65_536;

/// What a process has to tell.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tells {
    /// Spans alone.
    Spans,
    /// Spans, and figures.
    SpansAndFigures,
}

/// What is to be exported, and where to.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Where spans go.
    pub traces: Option<Target>,
    /// Where figures go.
    pub metrics: Option<Target>,
    /// Who tells of them.
    pub resource: Resource,
    /// Which traces are recorded.
    pub sampler: Sampler,
    /// How spans are sent.
    pub batches: Batches,
    /// How often figures are told.
    pub metrics_every: Duration,
    /// What does not fit, for the log.
    pub warnings: Vec<String>,
}

/// An address of a collector.
#[derive(Clone)]
pub struct Target {
    /// The address.
    pub url: Url,
    /// What is sent along with each request.
    pub headers: HeaderMap,
    /// How long one request may take.
    pub timeout: Duration,
    /// Whether bodies are compressed.
    pub gzip: bool,
}

impl std::fmt::Debug for Target {
    /// Without its headers, which are secret.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Target").field("url", &crate::shown(&self.url)).finish_non_exhaustive()
    }
}

/// How spans are sent.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Batches {
    /// How many may wait; what comes then is dropped.
    pub queue: usize,
    /// How many go together.
    pub size: usize,
    /// How long the first of them waits for others.
    pub delay: Duration,
    /// How long a batch is tried.
    pub patience: Duration,
}

impl Settings {
    /// What the variables say that `variable` gives. Nothing is exported unless one of them names an address: who runs no collector pays
    /// nothing.
    pub fn read(service: &str, tells: Tells, variable: impl Fn(&str) -> Option<String>) -> Self {
        // An empty value is none (Environment variable specification).
        let variable = |name: &str| {
            variable(name).map(|value| value.trim().to_owned()).filter(|value| !value.is_empty())
        };
        let mut reader = Reader { variable: &variable, warnings: Vec::new() };
        let off = variable("OTEL_SDK_DISABLED").is_some_and(|value| value.eq_ignore_ascii_case("true"));
        let mut target = |signal: &str| if off { None } else { reader.target(signal) };
        let traces = target("TRACES");
        let metrics = if tells == Tells::SpansAndFigures { target("METRICS") } else { None };
        let anything = traces.is_some() || metrics.is_some();
        let queue = reader.number("OTEL_BSP_MAX_QUEUE_SIZE", 2_048, 1).min(MOST_WAITING as u64) as usize;
        let size = reader.number("OTEL_BSP_MAX_EXPORT_BATCH_SIZE", 512, 1).min(queue as u64) as usize;
        let batches = Batches {
            queue,
            size,
            delay: Duration::from_millis(reader.number("OTEL_BSP_SCHEDULE_DELAY", 5_000, 0)),
            patience: Duration::from_millis(reader.number("OTEL_BSP_EXPORT_TIMEOUT", 30_000, 1)),
        };
        let metrics_every = Duration::from_millis(reader.number("OTEL_METRIC_EXPORT_INTERVAL", 60_000, 100));
        let (sampler, resource) = (reader.sampler(), reader.resource(service));
        let warnings = if anything || !off { reader.warnings } else { Vec::new() };
        Self { traces, metrics, resource, sampler, batches, metrics_every, warnings }
    }
}

struct Reader<'a> {
    variable: &'a dyn Fn(&str) -> Option<String>,
    warnings: Vec<String>,
}

impl Reader<'_> {
    fn warn(&mut self, name: &str, expected: &str, got: &str, instead: &str) {
        let got: String = got.chars().take(80).flat_map(char::escape_debug).collect();
        let warning = format!("{name}: expected {expected}, got \"{got}\"; {instead}");
        // What is said for all is read for each kind of what is told.
        if !self.warnings.contains(&warning) {
            self.warnings.push(warning);
        }
    }

    /// What is said for one kind of what is told, or for all.
    fn of_signal(&self, signal: &str, what: &str) -> Option<(String, String)> {
        let own = format!("OTEL_EXPORTER_OTLP_{signal}_{what}");
        let all = format!("OTEL_EXPORTER_OTLP_{what}");
        [own, all].into_iter().find_map(|name| (self.variable)(&name).map(|value| (name, value)))
    }

    fn number(&mut self, name: &str, usual: u64, least: u64) -> u64 {
        let Some(said) = (self.variable)(name) else { return usual };
        match said.parse::<u64>() {
            Ok(number) if number >= least => number,
            _ => {
                self.warn(
                    name,
                    &format!("a whole number of {least} or more"),
                    &said,
                    &format!("it is {usual}"),
                );
                usual
            }
        }
    }

    fn target(&mut self, signal: &str) -> Option<Target> {
        let exporter = format!("OTEL_{signal}_EXPORTER");
        if let Some(said) = (self.variable)(&exporter) {
            let all: Vec<&str> = said.split(',').map(str::trim).collect();
            if all == ["none"] {
                return None;
            }
            if !all.contains(&"otlp") {
                self.warn(&exporter, "otlp or none", &said, "nothing is exported");
                return None;
            }
        }
        let (name, said) = self.of_signal(signal, "ENDPOINT")?;
        let whole = name.contains(signal);
        let url = match Url::parse(&said) {
            Ok(url) if matches!(url.scheme(), "http" | "https") && url.has_host() => url,
            _ => {
                // It may hold what is secret.
                self.warn(
                    &name,
                    "an address with http:// or https://",
                    "another text",
                    "nothing is exported",
                );
                return None;
            }
        };
        let url = if whole { url } else { below(url, &signal.to_lowercase()) };
        if let Some((name, said)) = self.of_signal(signal, "PROTOCOL")
            && said != "http/protobuf"
        {
            self.warn(&name, "http/protobuf, which is what is spoken", &said, "nothing is exported");
            return None;
        }
        let gzip = match self.of_signal(signal, "COMPRESSION") {
            None => false,
            Some((_, said)) if said == "gzip" => true,
            Some((_, said)) if said == "none" => false,
            Some((name, said)) => {
                self.warn(&name, "gzip or none", &said, "bodies are not compressed");
                false
            }
        };
        let timeout = match self.of_signal(signal, "TIMEOUT") {
            Some((name, _)) => self.number(&name, 10_000, 1),
            None => 10_000,
        };
        let headers = self.of_signal(signal, "HEADERS").map(|(name, said)| self.headers(&name, &said));
        Some(Target {
            url,
            headers: headers.unwrap_or_default(),
            timeout: Duration::from_millis(timeout),
            gzip,
        })
    }

    /// Pairs as of W3C baggage.
    fn pairs(&mut self, name: &str, said: &str) -> Vec<(String, String)> {
        let mut pairs = Vec::new();
        for pair in said.split(',').map(str::trim).filter(|pair| !pair.is_empty()) {
            let value = pair.split_once('=').and_then(|(key, value)| {
                let value = percent_decode_str(value.trim()).decode_utf8().ok()?;
                Some((key.trim().to_owned(), value.into_owned())).filter(|(key, _)| !key.is_empty())
            });
            match value {
                Some(pair) => pairs.push(pair),
                // Its value may be secret.
                None => self.warn(
                    name,
                    "pairs such as key=value with commas",
                    "another text",
                    "that pair is passed over",
                ),
            }
        }
        pairs
    }

    fn headers(&mut self, name: &str, said: &str) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (key, value) in self.pairs(name, said) {
            match (HeaderName::try_from(&*key), HeaderValue::try_from(value)) {
                (Ok(key), Ok(mut value)) => {
                    value.set_sensitive(true);
                    headers.insert(key, value);
                }
                _ => self.warn(
                    name,
                    "names and values that headers may have",
                    &key,
                    "that header is passed over",
                ),
            }
        }
        headers
    }

    fn sampler(&mut self) -> Sampler {
        const NAME: &str = "OTEL_TRACES_SAMPLER";
        const ARG: &str = "OTEL_TRACES_SAMPLER_ARG";
        let Some(said) = (self.variable)(NAME) else { return Sampler::default() };
        let mut ratio = || match (self.variable)(ARG) {
            None => 1.0,
            Some(said) => match said.parse::<f64>() {
                Ok(ratio) if (0.0..=1.0).contains(&ratio) => ratio,
                _ => {
                    self.warn(ARG, "a number from 0 to 1", &said, "it is 1");
                    1.0
                }
            },
        };
        let (by_parent, ratio) = match said.as_str() {
            "always_on" => (false, 1.0),
            "always_off" => (false, 0.0),
            "traceidratio" => (false, ratio()),
            "parentbased_always_on" => (true, 1.0),
            "parentbased_always_off" => (true, 0.0),
            "parentbased_traceidratio" => (true, ratio()),
            _ => {
                let expected =
                    "always_on, always_off, traceidratio or one of these with parentbased_ before it";
                self.warn(NAME, expected, &said, "it is parentbased_always_on");
                return Sampler::default();
            }
        };
        Sampler { by_parent, ratio }
    }

    fn resource(&mut self, service: &str) -> Resource {
        let mut all = vec![
            text("service.name", service),
            text("service.version", env!("CARGO_PKG_VERSION")),
            // Without it, the figures of two processes of one name are taken for those of one.
            text("service.instance.id", RandomIds.uuid().to_string()),
            text("telemetry.sdk.name", "baton"),
            text("telemetry.sdk.language", "rust"),
            text("telemetry.sdk.version", env!("CARGO_PKG_VERSION")),
            number("process.pid", std::process::id().into()),
        ];
        all.extend(baton_runtime::host_name().map(|host| text("host.name", host)));
        if let Some(said) = (self.variable)("OTEL_RESOURCE_ATTRIBUTES") {
            let pairs = self.pairs("OTEL_RESOURCE_ATTRIBUTES", &said);
            all.extend(pairs.into_iter().map(|(key, value)| text(&key, value)));
        }
        all.extend((self.variable)("OTEL_SERVICE_NAME").map(|name| text("service.name", name)));
        let mut attributes: Vec<KeyValue> = Vec::new();
        for one in all {
            attributes.retain(|before| before.key != one.key);
            attributes.push(one);
        }
        Resource { attributes, ..Resource::default() }
    }
}

/// The address of one kind of what is told, below that of all.
fn below(mut url: Url, signal: &str) -> Url {
    let path = format!("{}/v1/{signal}", url.path().trim_end_matches('/'));
    url.set_path(&path);
    url
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    fn read(variables: &[(&str, &str)]) -> Settings {
        read_as(Tells::SpansAndFigures, variables)
    }

    fn read_as(tells: Tells, variables: &[(&str, &str)]) -> Settings {
        let variables: BTreeMap<&str, &str> = variables.iter().copied().collect();
        Settings::read("baton", tells, |name| variables.get(name).map(|value| (*value).to_owned()))
    }

    fn urls(settings: &Settings) -> [Option<&str>; 2] {
        [&settings.traces, &settings.metrics].map(|target| target.as_ref().map(|target| target.url.as_str()))
    }

    #[test]
    fn nothing_is_exported_unless_an_address_is_named() {
        for variables in [
            &[][..],
            &[("OTEL_TRACES_EXPORTER", "otlp"), ("OTEL_SERVICE_NAME", "x")],
            &[("OTEL_EXPORTER_OTLP_ENDPOINT", " ")],
            &[("OTEL_EXPORTER_OTLP_ENDPOINT", "http://c:4318"), ("OTEL_SDK_DISABLED", "True")],
        ] {
            let settings = read(variables);
            assert_eq!(urls(&settings), [None, None], "{variables:?}");
            assert_eq!(settings.warnings, Vec::<String>::new());
        }
    }

    #[test]
    fn one_address_is_for_both_unless_one_has_its_own() {
        let all = ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://c:4318/base/");
        let [traces, metrics] = ["http://c:4318/base/v1/traces", "http://c:4318/base/v1/metrics"].map(Some);
        assert_eq!(urls(&read(&[all])), [traces, metrics]);
        assert_eq!(urls(&read(&[all, ("OTEL_METRICS_EXPORTER", "none")])), [traces, None]);
        let own = read(&[all, ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "https://t/x")]);
        assert_eq!(urls(&own), [Some("https://t/x"), metrics]);
        assert_eq!(
            urls(&read(&[("OTEL_EXPORTER_OTLP_METRICS_ENDPOINT", "http://m/y")])),
            [None, Some("http://m/y")]
        );
    }

    #[test]
    fn who_has_no_figures_to_tell_tells_none_and_is_not_warned_of_them() {
        let variables = [
            ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://c"),
            ("OTEL_EXPORTER_OTLP_METRICS_PROTOCOL", "grpc"),
            ("OTEL_EXPORTER_OTLP_METRICS_COMPRESSION", "zstd"),
        ];
        let settings = read_as(Tells::Spans, &variables);
        assert_eq!(urls(&settings), [Some("http://c/v1/traces"), None]);
        assert_eq!(settings.warnings, Vec::<String>::new());
    }

    #[test]
    fn who_tells_is_known_by_its_process_and_a_variable_may_name_it() {
        let of = |settings: &Settings, name: &str| {
            let all = &settings.resource.attributes;
            all.iter().filter(|one| one.key == name).cloned().collect::<Vec<_>>()
        };
        let [first, second] = [(); 2].map(|()| of(&read(&[]), "service.instance.id"));
        assert!(first.len() == 1 && first != second, "{first:?}");
        let named = read(&[("OTEL_RESOURCE_ATTRIBUTES", "service.instance.id=a")]);
        assert_eq!(of(&named, "service.instance.id"), [text("service.instance.id", "a")]);
        assert_eq!(of(&named, "process.pid"), [number("process.pid", std::process::id().into())]);
    }

    #[test]
    fn what_does_not_fit_for_all_is_said_once() {
        let settings = read(&[
            ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://c"),
            ("OTEL_EXPORTER_OTLP_HEADERS", "secret"),
            ("OTEL_EXPORTER_OTLP_COMPRESSION", "zstd"),
            ("OTEL_EXPORTER_OTLP_TIMEOUT", "soon"),
        ]);
        assert!(settings.traces.is_some() && settings.metrics.is_some());
        assert_eq!(settings.warnings.len(), 3, "{:#?}", settings.warnings);
    }

    #[test]
    fn what_is_said_of_one_goes_before_what_is_said_of_all() {
        let settings = read(&[
            ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://c"),
            ("OTEL_EXPORTER_OTLP_HEADERS", "api-key=a%20b, x = y"),
            ("OTEL_EXPORTER_OTLP_METRICS_HEADERS", "z=1"),
            ("OTEL_EXPORTER_OTLP_TIMEOUT", "250"),
            ("OTEL_EXPORTER_OTLP_TRACES_COMPRESSION", "gzip"),
            ("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc"),
            ("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "http/protobuf"),
            ("OTEL_RESOURCE_ATTRIBUTES", "service.name=a,team=ä%2C b"),
            ("OTEL_SERVICE_NAME", "b"),
        ]);
        let traces = settings.traces.unwrap();
        assert_eq!(
            (&traces.headers["api-key"], &traces.headers["x"]),
            (&"a b".parse().unwrap(), &"y".parse().unwrap())
        );
        assert!(traces.headers["x"].is_sensitive() && traces.headers.get("z").is_none());
        assert_eq!((traces.timeout, traces.gzip), (Duration::from_millis(250), true));
        assert!(!format!("{traces:?}").contains("a b"), "{traces:?}");
        assert!(settings.metrics.is_none(), "it is to be told by gRPC");
        let expected = "OTEL_EXPORTER_OTLP_PROTOCOL: expected http/protobuf, which is what is spoken, got \"grpc\"; nothing is exported";
        assert_eq!(settings.warnings, [expected]);
        let of = |name: &str| {
            settings.resource.attributes.iter().filter(|one| one.key == name).collect::<Vec<_>>()
        };
        assert_eq!(of("service.name"), [&text("service.name", "b")]);
        assert_eq!(of("team"), [&text("team", "ä, b")]);
    }

    #[test]
    fn what_does_not_fit_is_passed_over_and_said() {
        let settings = read(&[
            ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://user:secret@c?key=secret"),
            ("OTEL_EXPORTER_OTLP_METRICS_ENDPOINT", "secret://c"),
            ("OTEL_EXPORTER_OTLP_HEADERS", "secret,ok=1,b\u{fc}=2"),
            ("OTEL_EXPORTER_OTLP_COMPRESSION", "zstd"),
            ("OTEL_BSP_MAX_QUEUE_SIZE", "99999999999"),
            ("OTEL_BSP_MAX_EXPORT_BATCH_SIZE", "0"),
            ("OTEL_BSP_SCHEDULE_DELAY", "soon\n"),
            ("OTEL_METRIC_EXPORT_INTERVAL", "1"),
            ("OTEL_TRACES_SAMPLER", "jaeger_remote"),
        ]);
        assert_eq!(settings.batches.queue, MOST_WAITING);
        assert_eq!((settings.batches.size, settings.batches.delay), (512, Duration::from_secs(5)));
        assert_eq!((settings.metrics_every, settings.sampler), (Duration::from_secs(60), Sampler::default()));
        assert_eq!(settings.traces.as_ref().unwrap().headers.len(), 1);
        assert_eq!(settings.warnings.len(), 8, "{:#?}", settings.warnings);
        let told = format!("{:?} {:?}", settings.warnings, settings.traces);
        assert!(!told.contains("secret"), "{told}");
    }

    #[test]
    fn samplers_are_known_by_their_names() {
        let sampler = |name, arg| {
            let settings = read(&[("OTEL_TRACES_SAMPLER", name), ("OTEL_TRACES_SAMPLER_ARG", arg)]);
            (settings.sampler.by_parent, settings.sampler.ratio, settings.warnings.len())
        };
        assert_eq!(sampler("always_off", "7"), (false, 0.0, 0));
        assert_eq!(sampler("traceidratio", "0.25"), (false, 0.25, 0));
        assert_eq!(sampler("parentbased_traceidratio", "NaN"), (true, 1.0, 1));
        assert_eq!(sampler("parentbased_always_off", ""), (true, 0.0, 0));
    }
}
