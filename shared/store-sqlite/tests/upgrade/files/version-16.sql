-- Version 16: where a task stands in its producer's trace.

INSERT INTO task (n, id, state, priority, queue, task_type, project, run_after, attempt, forgiven, max_attempts, events,
                  created_at, updated_at, params, trace)
VALUES (11, x'0000000003e870008000000000000011', 0, 2, 'traced', 'render', 'film', 5000, 0, 0, 3, 1, 5000, 5000, '{}',
        '00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01 vendor=1');
INSERT INTO event (k, at, kind, from_state, to_state, attempt) VALUES ((11 << 16) + 1, 5000, 0, NULL, 0, 0);
INSERT INTO feed (seq, at, keys) VALUES (12, 5000, x'828058'); -- 11 is created
INSERT INTO queue (name, paused, changed_by, changed_at, used) VALUES ('traced', 0, NULL, 1000, 1);
INSERT INTO tally (queue, task_type, state, tasks) VALUES ('traced', 'render', 0, 1);
