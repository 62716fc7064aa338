-- Version 8: schedules.

INSERT INTO schedule (project, name, body, due_at) VALUES
    -- It has created one task, which has ended, and skipped one.
    ('film', 'minutely',
     '{"key":{"project":"film","name":"minutely"},"plan":{"rhythm":{"every":60.0},"if_missed":"once","late_after":300.0,"if_running":"skip","paused":false,"task":{"project":"film","queue":"clock","task_type":"render","priority":"high","params":{"at":"{{time}}"},"description":null,"domain":null,"drift_score":null,"assigned_by":null,"schedule":"now","max_attempts":2,"timeout":{"secs":90,"nanos":0},"backoff":null}},"seed":[1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16],"anchor":"1970-01-01T00:00:01Z","next_at":"1970-01-01T00:02:01Z","last":{"at":"1970-01-01T00:01:01Z","task":"00000000-03e8-7000-8000-000000000005"},"created":1,"skipped":1,"revision":3,"created_at":"1970-01-01T00:00:01Z","changed_at":"1970-01-01T00:00:01Z","changed_by":"ada","reason":"dailies"}',
     121000),
    -- Paused: it is not due.
    ('film', 'nightly',
     '{"key":{"project":"film","name":"nightly"},"plan":{"rhythm":{"cron":{"cron":"0 3 * * *","zone":"Europe/Berlin"}},"if_missed":{"all":5},"late_after":300.0,"if_running":"allow","paused":true,"task":{"project":"film","queue":"clock","task_type":"render","priority":"normal","params":{},"description":null,"domain":null,"drift_score":null,"assigned_by":null,"schedule":"now","max_attempts":3,"timeout":null,"backoff":null}},"seed":[2,2,2,2,2,2,2,2,2,2,2,2,2,2,2,2],"anchor":"1970-01-01T00:00:01Z","next_at":"1970-01-01T02:00:00Z","created":0,"skipped":0,"revision":2,"created_at":"1970-01-01T00:00:01Z","changed_at":"1970-01-01T00:00:02Z"}',
     NULL);
