-- Version 11: what queues give to tasks that do not say, tasks that are kept for a time of their own, and batches.

INSERT INTO queue (name, paused, changed_by, changed_at, used, defaults) VALUES
    ('given', 0, NULL, 1000, 0,
     '{"max_attempts":7,"timeout_seconds":90.0,"backoff":{"base_seconds":1.0,"factor":3.0,"max_seconds":60.0,"jitter":0.0},"priority":"low","retention_seconds":3600.0}'),
    ('batch', 0, NULL, 1000, 1, NULL);

-- Sealed: one of its tasks has failed, one runs, one waits. When all have ended, however, `then` follows.
INSERT INTO batch (id, project, tasks, blocked, running, completed, failed, cancelled, ended_at, record)
VALUES (x'0000000003e8700080000000000000d1', 'film', 3, 0, 1, 0, 1, 0, NULL,
        '{"id":"00000000-03e8-7000-8000-0000000000d1","project":"film","name":"reel","then":{"on":"ended","task":{"project":"film","queue":"batch","task_type":"join","priority":"normal","params":{},"description":null,"domain":null,"drift_score":null,"assigned_by":null,"schedule":"now","max_attempts":3,"timeout":null,"backoff":null}},"created_at":"1970-01-01T00:00:01Z","created_by":"ada","sealed_at":"1970-01-01T00:00:02Z","failures":["00000000-03e8-7000-8000-000000000011"],"counts":{"tasks":0,"completed":0,"failed":0,"cancelled":0}}');
INSERT INTO task (n, id, state, priority, queue, task_type, project, run_after, attempt, forgiven, max_attempts, events,
                  worker, claimed_at, beats, ended, created_at, updated_at, finished_at, params, retention, batch) VALUES
    (11, x'0000000003e870008000000000000011', 3, 2, 'batch', 'render', 'film', 1000, 1, 0, 1, 3, 'w1', 2000, 1, 2, 1000, 3500, 3500, '{}',
     NULL, x'0000000003e8700080000000000000d1'),
    (12, x'0000000003e870008000000000000012', 1, 2, 'batch', 'render', 'film', 1000, 1, 0, 3, 2, 'w1', 2000, 1, NULL, 1000, 2000, NULL, '{}',
     NULL, x'0000000003e8700080000000000000d1'),
    (13, x'0000000003e870008000000000000013', 0, 2, 'batch', 'render', 'film', 1000, 0, 0, 3, 1, NULL, NULL, NULL, NULL, 1000, 1000, NULL, '{}',
     NULL, x'0000000003e8700080000000000000d1'),
    -- Was called off in second 4, and is kept for an hour.
    (14, x'0000000003e870008000000000000014', 4, 2, 'batch', 'render', 'film', 1000, 0, 0, 3, 2, NULL, NULL, NULL, NULL, 1000, 4000, NULL, '{}',
     3600000, NULL);
INSERT INTO task_error (n, error) VALUES (11, '{"message":"no such scene"}');
INSERT INTO going (n, at) VALUES (14, 3604000);
INSERT INTO event (k, at, kind, from_state, to_state, attempt, worker, detail) VALUES
    ((11 << 16) + 1, 1000, 0, NULL, 0, 0, NULL, NULL), ((11 << 16) + 2, 2000, 1, 0, 1, 1, 'w1', NULL),
    ((11 << 16) + 3, 3500, 3, 1, 3, 1, 'w1', '{"error":{"message":"no such scene"}}'),
    ((12 << 16) + 1, 1000, 0, NULL, 0, 0, NULL, NULL), ((12 << 16) + 2, 2000, 1, 0, 1, 1, 'w1', NULL),
    ((13 << 16) + 1, 1000, 0, NULL, 0, 0, NULL, NULL),
    ((14 << 16) + 1, 1000, 0, NULL, 0, 0, NULL, NULL), ((14 << 16) + 2, 4000, 6, 0, 4, 0, NULL, NULL);
INSERT INTO tally (queue, task_type, state, tasks) VALUES
    ('batch', 'render', 3, 1), ('batch', 'render', 1, 1), ('batch', 'render', 0, 1), ('batch', 'render', 4, 1);
