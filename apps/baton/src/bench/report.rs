//! What was measured.

use std::time::Duration;

use hdrhistogram::Histogram;
use serde::Serialize;

use crate::bench::client::{Client, Operation};
use crate::context::Context;
use crate::exit::Failure;
use crate::out::Rows;
use crate::process::Memory;
use crate::text;

/// The whole of it.
#[derive(Debug, Serialize)]
pub(crate) struct Report {
    build: &'static str,
    connections: u32,
    phases: Vec<PhaseReport>,
    #[serde(skip_serializing_if = "Option::is_none")]
    summary: Option<Summary>,
    #[serde(skip_serializing_if = "Option::is_none")]
    backlogs: Option<Backlogs>,
    #[serde(skip_serializing_if = "Option::is_none")]
    tokens: Option<Tokens>,
    #[serde(skip_serializing_if = "Option::is_none")]
    batches: Option<Batches>,
}

/// The phases of lifecycles one by one, of such whose completions claim the next, and of such that go by the hundred.
pub(super) const ONE_BY_ONE: &str = "one by one";
pub(super) const WITH_THE_NEXT: &str = "with the next";
pub(super) const BATCHES: &str = "in batches";

/// What batches bring: lifecycles per second in batches, divided by those one by one, and by those whose completions claim the
/// next.
#[derive(Debug, Serialize)]
struct Batches {
    ratio: f64,
    with_the_next_ratio: f64,
}

/// What tokens cost: lifecycles per second with one, divided by those without.
#[derive(Debug, Serialize)]
struct Tokens {
    ratio: f64,
    bound_ratio: f64,
}

#[derive(Debug, Serialize)]
pub(crate) struct PhaseReport {
    name: String,
    seconds: f64,
    requests: u64,
    requests_per_second: f64,
    lifecycles: u64,
    lifecycles_per_second: f64,
    operations: Vec<OperationReport>,
    #[serde(skip_serializing_if = "Option::is_none")]
    server_memory: Option<Memory>,
    /// How much of one processor the server had, in percent, where little is to be done.
    #[serde(skip_serializing_if = "Option::is_none")]
    server_processor_percent: Option<f64>,
    /// What the database file has grown to.
    #[serde(skip_serializing_if = "Option::is_none")]
    file_bytes: Option<u64>,
}

/// One kind of request; times in milliseconds.
#[derive(Debug, Serialize)]
struct OperationReport {
    operation: &'static str,
    count: u64,
    per_second: f64,
    p50_ms: f64,
    p95_ms: f64,
    p99_ms: f64,
    p99_9_ms: f64,
    max_ms: f64,
}

#[derive(Debug, Serialize)]
struct Summary {
    ceiling_requests_per_second: f64,
    lifecycles_per_second: f64,
    /// Lifecycles per second, divided by a third of the ceiling.
    ratio: f64,
    #[serde(skip_serializing_if = "Option::is_none")]
    fused_lifecycles_per_second: Option<f64>,
}

#[derive(Debug, Serialize)]
struct Backlogs {
    smallest: String,
    largest: String,
    /// Claims per second at the largest backlog, divided by those at the smallest.
    ratio: f64,
}

impl PhaseReport {
    pub(crate) fn new(name: &str, elapsed: Duration, clients: &[Client]) -> Self {
        let seconds = elapsed.as_secs_f64();
        let operations: Vec<_> = Operation::ALL
            .into_iter()
            .filter_map(|operation| OperationReport::new(operation, seconds, clients))
            .collect();
        let requests = operations.iter().map(|operation| operation.count).sum();
        let lifecycles = clients.iter().map(|client| client.lifecycles).sum();
        Self {
            name: name.to_owned(),
            seconds,
            requests,
            requests_per_second: requests as f64 / seconds,
            lifecycles,
            lifecycles_per_second: lifecycles as f64 / seconds,
            operations,
            server_memory: None,
            server_processor_percent: None,
            file_bytes: None,
        }
    }

    /// How many lifecycles came to their end.
    pub(super) fn lifecycles(&self) -> u64 {
        self.lifecycles
    }

    /// The same, with what others asked meanwhile, who are counted apart.
    pub(super) fn beside(mut self, others: &[Client]) -> Self {
        let more = Operation::ALL.into_iter().filter_map(|of| OperationReport::new(of, self.seconds, others));
        self.operations.extend(more);
        self
    }

    pub(super) fn with_file(mut self, bytes: Option<u64>) -> Self {
        self.file_bytes = bytes;
        self
    }

    pub(super) fn with_processor(mut self, used: Option<Duration>) -> Self {
        self.server_processor_percent = used.map(|used| 100.0 * used.as_secs_f64() / self.seconds);
        self
    }

    pub(crate) fn with(mut self, memory: Option<Memory>) -> Self {
        self.server_memory = memory;
        self
    }

    fn per_second(&self, operation: Operation) -> Option<f64> {
        self.operations.iter().find(|of| of.operation == operation.as_str()).map(|of| of.per_second)
    }
}

impl OperationReport {
    fn new(operation: Operation, seconds: f64, clients: &[Client]) -> Option<Self> {
        // Microseconds up to an hour, three digits; a value beyond counts as an hour.
        let mut histogram = Histogram::<u64>::new_with_max(3_600_000_000, 3).ok()?;
        let times = clients.iter().flat_map(|client| &client.times).filter(|(of, _)| *of == operation);
        times.for_each(|(_, micros)| histogram.saturating_record(u64::from(*micros)));
        if histogram.is_empty() {
            return None;
        }
        let at = |quantile| histogram.value_at_quantile(quantile) as f64 / 1_000.0;
        Some(Self {
            operation: operation.as_str(),
            count: histogram.len(),
            per_second: histogram.len() as f64 / seconds,
            p50_ms: at(0.5),
            p95_ms: at(0.95),
            p99_ms: at(0.99),
            p99_9_ms: at(0.999),
            max_ms: histogram.max() as f64 / 1_000.0,
        })
    }
}

impl Report {
    pub(crate) fn new(connections: u32) -> Self {
        let build = if cfg!(debug_assertions) { "debug" } else { "release" };
        Self {
            build,
            connections,
            phases: Vec::new(),
            summary: None,
            backlogs: None,
            tokens: None,
            batches: None,
        }
    }

    pub(crate) fn add(&mut self, phase: PhaseReport) {
        self.phases.push(phase);
    }

    pub(crate) fn tell(mut self, context: &Context) -> Result<(), Failure> {
        self.summary = self.summarise();
        self.backlogs = self.compare_backlogs();
        self.tokens = self.compare_tokens();
        self.batches = self.compare_batches();
        if context.out.is_json() {
            return context.out.json(&self);
        }
        let mut rows = Rows::new(&[
            "PHASE", "REQUEST", "COUNT", "PER S", "P50 MS", "P95 MS", "P99 MS", "P99.9 MS", "MAX MS",
        ]);
        for phase in &self.phases {
            for operation in &phase.operations {
                rows.add(vec![
                    phase.name.clone(),
                    operation.operation.to_owned(),
                    operation.count.to_string(),
                    format!("{:.0}", operation.per_second),
                    format!("{:.2}", operation.p50_ms),
                    format!("{:.2}", operation.p95_ms),
                    format!("{:.2}", operation.p99_ms),
                    format!("{:.2}", operation.p99_9_ms),
                    format!("{:.1}", operation.max_ms),
                ]);
            }
        }
        context.out.table(rows, "nothing was measured")?;
        context.out.line("")?;
        for phase in self.phases.iter().filter(|phase| phase.lifecycles > 0) {
            context.out.line(&format!(
                "{:<18} {:.0} tasks completed a second",
                phase.name, phase.lifecycles_per_second
            ))?;
        }
        if let Some(summary) = &self.summary {
            context.out.line(&format!(
                "{:<18} {:.2} (lifecycles/s divided by a third of the ceiling, {:.0}/s)",
                "ratio", summary.ratio, summary.ceiling_requests_per_second
            ))?;
        }
        if let Some(backlogs) = &self.backlogs {
            let Backlogs { smallest, largest, ratio } = backlogs;
            context.out.line(&format!(
                "{:<18} {ratio:.2} (claims/s at {largest}, divided by those at {smallest})",
                "backlog ratio"
            ))?;
        }
        if let Some(Tokens { ratio, bound_ratio }) = &self.tokens {
            context.out.line(&format!(
                "{:<18} {ratio:.2} (lifecycles/s with a token, divided by those without), {bound_ratio:.2} bound",
                "token ratio"
            ))?;
        }
        if let Some(Batches { ratio, with_the_next_ratio }) = &self.batches {
            context.out.line(&format!(
                "{:<18} {ratio:.2} (lifecycles/s in batches, divided by those one by one), {with_the_next_ratio:.2} by those \
                 whose completions claim the next",
                "batch ratio"
            ))?;
        }
        let memory = self.phases.iter().filter_map(|phase| Some((&phase.name, phase.server_memory?)));
        for (name, memory) in memory {
            let (now, peak) = (text::mebibytes(memory.resident_bytes), text::mebibytes(memory.peak_bytes));
            context.out.line(&format!("server's memory    {now} after {name}, {peak} at most so far"))?;
        }
        let processor =
            self.phases.iter().filter_map(|phase| Some((&phase.name, phase.server_processor_percent?)));
        for (name, percent) in processor {
            context.out.line(&format!("server's processor {percent:.1} % of one in {name}"))?;
        }
        for (name, bytes) in self.phases.iter().filter_map(|phase| Some((&phase.name, phase.file_bytes?))) {
            context.out.line(&format!("database file      {} after {name}", text::mebibytes(bytes)))?;
        }
        context.out.note(&format!("{} build, {} connections", self.build, self.connections));
        Ok(())
    }

    fn phase(&self, name: &str) -> Option<&PhaseReport> {
        self.phases.iter().find(|phase| phase.name == name)
    }

    fn summarise(&self) -> Option<Summary> {
        let ceiling = self.phase("ceiling")?.requests_per_second;
        let lifecycles = self.phase("lifecycle")?.lifecycles_per_second;
        Some(Summary {
            ceiling_requests_per_second: ceiling,
            lifecycles_per_second: lifecycles,
            ratio: lifecycles / (ceiling / 3.0),
            fused_lifecycles_per_second: self.phase("fused").map(|fused| fused.lifecycles_per_second),
        })
    }

    /// The lifecycles per second of the rounds of a phase, together.
    fn sum(&self, name: &str) -> Option<f64> {
        let phases = self.phases.iter().filter(|phase| {
            phase.name.strip_prefix(name).is_some_and(|round| round.trim().parse::<u32>().is_ok())
        });
        phases.map(|phase| phase.lifecycles_per_second).reduce(|a, b| a + b)
    }

    fn compare_tokens(&self) -> Option<Tokens> {
        let without = self.sum("no token ")?;
        Some(Tokens {
            ratio: self.sum("token ")? / without,
            bound_ratio: self.sum("bound token ")? / without,
        })
    }

    fn compare_batches(&self) -> Option<Batches> {
        let batches = self.sum(BATCHES)?;
        let by = |name| self.sum(name).map(|others| batches / others);
        Some(Batches { ratio: by(ONE_BY_ONE)?, with_the_next_ratio: by(WITH_THE_NEXT)? })
    }

    fn compare_backlogs(&self) -> Option<Backlogs> {
        let mut backlogs: Vec<(u64, f64)> = Vec::new();
        for phase in &self.phases {
            if let Some(size) = phase.name.strip_prefix("backlog ").and_then(|size| size.parse().ok()) {
                backlogs.push((size, phase.per_second(Operation::Claim)?));
            }
        }
        backlogs.sort_by_key(|(size, _)| *size);
        let [(smallest, few), .., (largest, many)] = backlogs.as_slice() else { return None };
        Some(Backlogs { smallest: smallest.to_string(), largest: largest.to_string(), ratio: many / few })
    }
}
