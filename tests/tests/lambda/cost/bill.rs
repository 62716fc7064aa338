//! What is billed for something, and at which prices.

use crate::calls::Spent;

/// Public prices of us-east-1 in dollars, without free tiers and discounts.
pub(super) mod price {
    /// A request to an HTTP API: <https://aws.amazon.com/api-gateway/pricing/>.
    pub(crate) const API: f64 = 1.00e-6;
    /// An invocation, and a second of a gigabyte on ARM: <https://aws.amazon.com/lambda/pricing/>.
    pub(crate) const INVOCATION: f64 = 0.20e-6;
    pub(crate) const GIGABYTE_SECOND: f64 = 0.000_013_333_4;
    /// Units on demand, a gigabyte stored for a month, and one in continuous backups:
    /// <https://aws.amazon.com/dynamodb/pricing/on-demand/>. Removals by time to live and reads of the stream by Lambda are free.
    pub(crate) const WRITE: f64 = 0.625e-6;
    pub(crate) const READ: f64 = 0.125e-6;
    pub(crate) const STORED: f64 = 0.25e-9;
    pub(crate) const BACKED_UP: f64 = 0.20e-9;
    /// A request to a standard queue: <https://aws.amazon.com/sqs/pricing/>.
    pub(crate) const MESSAGE: f64 = 0.40e-6;
    /// A gigabyte of logs, taken in and kept for a month; a custom metric and an alarm, a month:
    /// <https://aws.amazon.com/cloudwatch/pricing/>.
    pub(crate) const LOGGED: f64 = 0.50e-9;
    pub(crate) const LOGS_KEPT: f64 = 0.03e-9;
    pub(crate) const METRIC: f64 = 0.30;
    pub(crate) const ALARM: f64 = 0.10;
    /// A transition of a standard workflow: <https://aws.amazon.com/step-functions/pricing/>.
    pub(crate) const TRANSITION: f64 = 25.0e-6;
    /// A write to S3 and a read from it: <https://aws.amazon.com/s3/pricing/>.
    pub(crate) const OBJECT_PUT: f64 = 5.0e-6;
    pub(crate) const OBJECT_GET: f64 = 0.40e-6;
}

/// What cannot be measured here, and is assumed.
pub(super) mod assumed {
    /// How long a function waits for one request to the table or a queue.
    pub(crate) const MILLIS_A_REQUEST: f64 = 5.0;
    /// How long it runs besides.
    pub(crate) const MILLIS_A_RUN: f64 = 1.0;
    /// Memory of a function, as `infra/template.yaml` sets it.
    pub(crate) const GIGABYTES: f64 = 0.25;
    /// How many records of the stream one invocation gets when there is much to do.
    pub(crate) const RECORDS: usize = 100;
    /// How many long polls of 20 s Lambda has open at each queue that feeds a function.
    pub(crate) const POLLERS: f64 = 5.0;
    /// How many shards the stream of a table has that was made with on-demand throughput.
    pub(crate) const STREAM_SHARDS: f64 = 4.0;
    /// What DynamoDB adds to each item that it stores.
    pub(crate) const STORED_AN_ITEM: f64 = 100.0;
    /// How long finished tasks and logs are kept, in months: the template's 30 days.
    pub(crate) const MONTHS: f64 = 1.0;
}

/// What is billed for something, on average of several.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Bill {
    pub(super) api: f64,
    pub(super) runs: f64,
    /// Seconds that functions run.
    pub(super) seconds: f64,
    pub(super) reads: f64,
    pub(super) writes: f64,
    pub(super) messages: f64,
    /// Bytes of log lines, metrics among them, and of the API's access log.
    pub(super) logged: f64,
    pub(super) accesses: f64,
    /// Bytes in the table for a month.
    pub(super) stored: f64,
    /// Custom metrics and alarms, for a month.
    pub(super) metrics: f64,
    pub(super) alarms: f64,
}

impl Bill {
    /// `accesses`: bytes of the access log.
    pub(super) fn of(api: usize, accesses: usize, spent: &Spent, several: usize) -> Self {
        let by = 1.0 / several as f64;
        let runs = spent.invocations as f64;
        let waits = (spent.requests + spent.messages) as f64;
        Self {
            api: api as f64 * by,
            runs: runs * by,
            seconds: (runs * assumed::MILLIS_A_RUN + waits * assumed::MILLIS_A_REQUEST) / 1e3 * by,
            reads: spent.reads * by,
            writes: spent.writes * by,
            messages: spent.messages as f64 * by,
            logged: spent.logged as f64 * by,
            accesses: accesses as f64 * by,
            ..Self::default()
        }
    }

    fn each(self, other: Self, by: impl Fn(f64, f64) -> f64) -> Self {
        Self {
            api: by(self.api, other.api),
            runs: by(self.runs, other.runs),
            seconds: by(self.seconds, other.seconds),
            reads: by(self.reads, other.reads),
            writes: by(self.writes, other.writes),
            messages: by(self.messages, other.messages),
            logged: by(self.logged, other.logged),
            accesses: by(self.accesses, other.accesses),
            stored: by(self.stored, other.stored),
            metrics: by(self.metrics, other.metrics),
            alarms: by(self.alarms, other.alarms),
        }
    }

    pub(super) fn times(self, by: f64) -> Self {
        self.each(self, |one, _| one * by)
    }

    pub(super) fn and(self, other: Self) -> Self {
        self.each(other, |one, other| one + other)
    }

    /// Dollars, by who gets them.
    pub(super) fn dollars(&self) -> [(&'static str, f64); 7] {
        let lambda =
            self.runs * price::INVOCATION + self.seconds * assumed::GIGABYTES * price::GIGABYTE_SECOND;
        let logs = (self.logged + self.accesses) * (price::LOGGED + price::LOGS_KEPT * assumed::MONTHS);
        [
            ("API Gateway", self.api * price::API),
            ("Lambda", lambda),
            ("DynamoDB, units", self.writes * price::WRITE + self.reads * price::READ),
            ("DynamoDB, stored and backed up", self.stored * (price::STORED + price::BACKED_UP)),
            ("SQS", self.messages * price::MESSAGE),
            ("logs", logs),
            ("metrics and alarms", self.metrics * price::METRIC + self.alarms * price::ALARM),
        ]
    }

    pub(super) fn whole(&self) -> f64 {
        self.dollars().iter().map(|(_, dollars)| dollars).sum()
    }
}
