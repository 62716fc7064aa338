-- Version 1: what it had besides what every version has.

-- One that has failed once and waits for its second attempt, from second 20 on.
INSERT INTO task (n, id, state, priority, queue, task_type, project, run_after, attempt, forgiven, max_attempts, events,
                  worker, claimed_at, ended, created_at, updated_at, params)
VALUES (11, x'0000000003e870008000000000000011', 0, 2, 'again', 'render', 'film', 20000, 1, 0, 3, 3, 'w1', 2000, 2, 1000, 5000, '{}');
INSERT INTO task_error (n, error) VALUES (11, '{"message":"out of memory"}');
-- One that its worker has given back: its attempt does not count.
INSERT INTO task (n, id, state, priority, queue, task_type, project, run_after, attempt, forgiven, max_attempts, events,
                  worker, claimed_at, ended, created_at, updated_at, params)
VALUES (12, x'0000000003e870008000000000000012', 0, 2, 'again', 'render', 'film', 20000, 1, 1, 1, 3, 'w1', 2000, 3, 1000, 5000, '{}');
INSERT INTO event (k, at, kind, from_state, to_state, attempt, worker, session, detail) VALUES
    ((11 << 16) + 1, 1000, 0, NULL, 0, 0, NULL, NULL, NULL),
    ((11 << 16) + 2, 2000, 1, 0, 1, 1, 'w1', NULL, NULL),
    ((11 << 16) + 3, 5000, 3, 1, 0, 1, 'w1', NULL, '{"error":{"message":"out of memory"},"run_after":"1970-01-01T00:00:20Z"}'),
    ((12 << 16) + 1, 1000, 0, NULL, 0, 0, NULL, NULL, NULL),
    ((12 << 16) + 2, 2000, 1, 0, 1, 1, 'w1', NULL, NULL),
    ((12 << 16) + 3, 5000, 4, 1, 0, 1, 'w1', NULL, '{"reason":"goes home","run_after":"1970-01-01T00:00:20Z"}');
INSERT INTO queue (name, paused, changed_by, changed_at) VALUES ('again', 0, NULL, 1000);
INSERT INTO tally (queue, task_type, state, tasks) VALUES ('again', 'render', 0, 2);

-- Lines are numbered by the time that they bear: one bears a time of 2099.
INSERT INTO log (k, at, taken_at, worker, task, level, source, message, metadata) VALUES
    (4070908800000 << 15, 4070908800000, 2600, 'w1', NULL, 2, 'stderr', 'of 2099', NULL),
    (2700 << 15, 2700, 2700, 'w1', NULL, 1, 'stderr', 'last', NULL);
