//! What Baton is about, as plain data: tasks, attempts, leases, workers, generations, events, and the transitions
//! between states as pure functions of (state, command, now).
//!
//! This crate does no I/O, reads no clock, draws no random number and knows no store: every other crate may use it.
//! The rules of the state machine live in [`transition`], those of leases in [`lease`].

pub mod affinity;
pub mod alone;
pub mod backoff;
pub mod batch;
pub mod bulk;
mod canonical;
pub mod causes;
pub mod change;
pub mod config;
pub mod defaults;
pub mod dependency;
pub mod digest;
pub mod event;
pub mod expected;
pub mod expiry;
pub mod generation;
pub mod host;
pub mod id;
pub mod lease;
pub mod life;
pub mod limits;
pub mod log;
pub mod money;
pub mod order;
pub mod owner;
pub mod payload;
pub mod place;
pub mod queue;
pub mod rate;
pub mod reading;
mod refusal;
pub mod rhythm;
pub mod round;
pub mod schedule;
pub mod session;
pub mod share;
pub mod supply;
pub mod takes;
pub mod task;
pub mod template;
pub mod time;
pub mod timeline;
pub mod token;
pub mod trace;
pub mod transition;
pub mod unique;
pub mod watch;
pub mod why;
pub mod worker;

pub use affinity::{Wants, Warm};
pub use alone::Alone;
pub use backoff::Backoff;
pub use batch::{Batch, BatchCounts, BatchState, Made, NewBatch, Then, ThenOn};
pub use bulk::{Bulk, BulkAction, BulkFilter, BulkOutcome, BulkState, BulkTasks};
pub use causes::with_causes;
pub use change::{Changes, FromTo, TaskChange, Timeout};
pub use config::{PastSetting, StoredSetting, StoredSettings};
pub use defaults::{DefaultsChange, QueueDefaults, Unsaid};
pub use dependency::{Dependency, FirstFailure, Outlook};
pub use digest::{Digest, Fingerprint};
pub use event::{Event, EventDetail, EventKind};
pub use expected::Expected;
pub use expiry::Expiry;
pub use generation::{Generation, Output, OutputFile};
pub use host::is_this_machine;
pub use id::{
    AuditId, BatchId, BulkId, GenerationId, GroupName, Label, ProjectId, QueueName, RequestKey, ScheduleName,
    SessionId, TaskId, TaskType, TokenId, WorkerId,
};
pub use lease::{Fence, Lease, LeasePolicy, LeaseTerms, Loss, LossReason};
pub use life::{Life, Living};
pub use limits::Limits;
pub use log::{Level, LogLine};
pub use money::Money;
pub use order::{FairBy, QueueOrder, Tenant};
pub use owner::{Bounds, Owner};
pub use payload::Payload;
pub use place::Place;
pub use rate::{Arrival, Rate};
pub use reading::{ReadingRule, ReadingWatch, Reads};
pub use rhythm::{Cron, Rhythm, Zone};
pub use round::{RoundDone, RoundNote};
pub use schedule::{IfMissed, IfRunning, Occurrence, Plan, Schedule, ScheduleChange, ScheduleKey};
pub use session::{Late, Superseded, Takeover};
pub use share::{Limit, LimitBook, LimitOn, LimitRules, Shared, Standing, Stop, Which, holds_place};
pub use supply::{Supply, SupplyChange, SupplyPlan, Template};
pub use takes::{Taker, Takers, Takes};
pub use task::{
    AttemptEnd, Ended, Failure, Head, IfDependencyFails, Priority, RunAfter, State, Status, Task, TaskSpec,
    TaskState,
};
pub use template::Filling;
pub use time::Timestamp;
pub use timeline::{
    Asked, Happened, OfTask, Particulars, Source, TimelineCursor, TimelineEntry, TimelineFilter,
};
pub use token::{Grant, Scope, SecretDigest, Token, TokenSecret, TokenStatus};
pub use trace::{Trace, TraceParent, TraceState};
pub use unique::{Unique, UniqueWhile};
pub use watch::{Step, Watch};
pub use why::{Reason, Why};
pub use worker::{Directed, Directive, Running, Stands, Worker, WorkerStatus};
