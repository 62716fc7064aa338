-- Version 9: bulk commands.

INSERT INTO task (n, id, state, priority, queue, task_type, project, run_after, attempt, forgiven, max_attempts, events,
                  created_at, updated_at, finished_at, params) VALUES
    (11, x'0000000003e870008000000000000011', 4, 2, 'bulk', 'render', 'film', 1000, 0, 0, 3, 2, 1000, 5000, 5000, '{}'),
    (12, x'0000000003e870008000000000000012', 0, 2, 'bulk', 'render', 'film', 1000, 0, 0, 3, 1, 1000, 1000, NULL, '{}'),
    (13, x'0000000003e870008000000000000013', 0, 2, 'bulk', 'render', 'film', 1000, 0, 0, 3, 1, 1000, 1000, NULL, '{}'),
    -- Came later than the command, which leaves it.
    (14, x'0000000003e870008000000000000014', 0, 2, 'bulk', 'render', 'film', 6000, 0, 0, 3, 1, 6000, 6000, NULL, '{}');
INSERT INTO event (k, at, kind, from_state, to_state, attempt, detail) VALUES
    ((11 << 16) + 1, 1000, 0, NULL, 0, 0, NULL),
    ((11 << 16) + 2, 5000, 6, 0, 4, 0, '{"by":"ada","reason":"bulk command 00000000-03e8-7000-8000-0000000000c1: cut"}'),
    ((12 << 16) + 1, 1000, 0, NULL, 0, 0, NULL), ((13 << 16) + 1, 1000, 0, NULL, 0, 0, NULL), ((14 << 16) + 1, 6000, 0, NULL, 0, 0, NULL);
INSERT INTO queue (name, paused, changed_by, changed_at, used) VALUES ('bulk', 0, NULL, 1000, 1);
INSERT INTO tally (queue, task_type, state, tasks) VALUES ('bulk', 'render', 4, 1), ('bulk', 'render', 0, 3);

INSERT INTO bulk (id, version, ended_at, record) VALUES
    -- Its page was begun with: 11 is called off, and nothing of it is counted yet.
    (x'0000000003e8700080000000000000c1', 1, NULL,
     '{"id":"00000000-03e8-7000-8000-0000000000c1","created_at":"1970-01-01T00:00:05Z","action":"cancel","tasks":{"filter":{"queue":"bulk"}},"by":"ada","reason":"cut","state":"running","version":1,"page":1,"pending":["00000000-03e8-7000-8000-000000000011","00000000-03e8-7000-8000-000000000012","00000000-03e8-7000-8000-000000000013"],"busy_until":"1970-01-01T00:00:15Z","is_last":true,"looked_at":0,"changed":0}'),
    (x'0000000003e8700080000000000000c0', 2, 4000,
     '{"id":"00000000-03e8-7000-8000-0000000000c0","created_at":"1970-01-01T00:00:04Z","action":"retry","tasks":{"filter":{"type":"render","queue":"elsewhere"}},"state":"done","version":2,"page":1,"is_last":true,"looked_at":3,"changed":1,"skipped":{"gone":2},"ended_at":"1970-01-01T00:00:04Z"}');
