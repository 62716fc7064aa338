-- Version 18. Requests of operators by their path, which names the task that they are about: the time line of a task tells them, too.
CREATE INDEX IF NOT EXISTS audit_by_target ON audit (target);
