-- Version 6: tasks that expire, tasks of which there is one at a time, and what workers take.

INSERT INTO task (n, id, state, priority, queue, task_type, project, run_after, attempt, forgiven, max_attempts, events,
                  created_at, updated_at, params, start_by, only_one) VALUES
    -- Is to be started by second 50.
    (11, x'0000000003e870008000000000000011', 0, 2, 'soon', 'render', 'film', 1000, 0, 0, 3, 1, 1000, 1000, '{}', 50000, NULL),
    -- Holds its key until it has ended.
    (12, x'0000000003e870008000000000000012', 0, 2, 'one', 'render', 'film', 1000, 0, 0, 3, 1, 1000, 1000, '{}', NULL,
     '{"key":"nightly","while":"unfinished"}'),
    -- Holds its key for an hour, whatever becomes of it: it was called off.
    (13, x'0000000003e870008000000000000013', 4, 2, 'one', 'render', 'film', 1000, 0, 0, 3, 2, 1000, 4000, '{}', NULL,
     '{"key":"hourly","while":{"for":3600.0}}');
UPDATE task SET finished_at = 4000 WHERE n = 13;
INSERT INTO unique_key (project, queue, key, task, free_at) VALUES
    ('film', 'one', 'nightly', x'0000000003e870008000000000000012', NULL),
    ('film', 'one', 'hourly', x'0000000003e870008000000000000013', 3601000);
INSERT INTO event (k, at, kind, from_state, to_state, attempt) VALUES
    ((11 << 16) + 1, 1000, 0, NULL, 0, 0), ((12 << 16) + 1, 1000, 0, NULL, 0, 0),
    ((13 << 16) + 1, 1000, 0, NULL, 0, 0), ((13 << 16) + 2, 4000, 6, 0, 4, 0);
INSERT INTO queue (name, paused, changed_by, changed_at, used) VALUES ('soon', 0, NULL, 1000, 1), ('one', 0, NULL, 1000, 1);
INSERT INTO tally (queue, task_type, state, tasks) VALUES ('soon', 'render', 0, 1), ('one', 'render', 0, 1), ('one', 'render', 4, 1);

-- What it takes was told without what it has warm.
UPDATE worker SET takes = '[{"queues":["default"],"types":["render"],"at":"1970-01-01T00:00:02Z"}]' WHERE id = 'w1';
