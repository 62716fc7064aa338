//! Which settings may change while a server runs.

/// Each setting that may change while a server runs, with its unit: those that are looked at anew for each request, round or line of
/// the log. All others are read at the start only.
pub const RUNNING: &[(&str, &str)] = &[
    ("server.request_timeout_seconds", "seconds"),
    ("server.max_listeners", "listeners"),
    ("tokens.requests_per_second", "requests"),
    ("limits.params_bytes", "bytes"),
    ("limits.result_bytes", "bytes"),
    ("limits.batch_bytes", "bytes"),
    ("limits.log_beat_bytes", "bytes"),
    ("limits.log_worker_bytes_per_minute", "bytes"),
    ("limits.log_project_bytes_per_minute", "bytes"),
    ("leases.worker_cap", "tasks"),
    ("reaper.interval_seconds", "seconds"),
    ("retention.finished_days", "days"),
    ("retention.log_hours", "hours"),
    ("retention.worker_days", "days"),
    ("files.file_mebibytes", "MiB"),
    ("files.project_mebibytes", "MiB"),
    ("log.level", ""),
];
