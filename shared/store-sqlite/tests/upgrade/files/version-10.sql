-- Version 10: supply.

INSERT INTO supply (queue, body) VALUES
    ('stock',
     '{"queue":"stock","plan":{"min":2,"target":3,"templates":[{"weight":1,"task":{"project":"film","queue":"stock","task_type":"render","priority":"normal","params":{"n":"{{index}}"},"description":null,"domain":null,"drift_score":null,"assigned_by":null,"schedule":"now","max_attempts":3,"timeout":null,"backoff":null}}],"while_asked":false,"paused":false},"seed":[3,3,3,3,3,3,3,3,3,3,3,3,3,3,3,3],"next_index":7,"refilled_at":"1970-01-01T00:00:01Z","revision":4,"created_at":"1970-01-01T00:00:01Z","changed_at":"1970-01-01T00:00:01Z","changed_by":"ada"}');
-- The last of those that it has created.
INSERT INTO task (n, id, state, priority, queue, task_type, project, run_after, attempt, forgiven, max_attempts, events,
                  created_at, updated_at, params)
VALUES (11, x'0000000003e870008000000000000011', 0, 2, 'stock', 'render', 'film', 1000, 0, 0, 3, 1, 1000, 1000, '{"n":"6"}');
INSERT INTO event (k, at, kind, from_state, to_state, attempt, detail) VALUES
    ((11 << 16) + 1, 1000, 0, NULL, 0, 0, '{"by":"supply stock"}');
INSERT INTO queue (name, paused, changed_by, changed_at, used) VALUES ('stock', 0, NULL, 1000, 1);
INSERT INTO tally (queue, task_type, state, tasks) VALUES ('stock', 'render', 0, 1);
