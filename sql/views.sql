-- What a DBA looks at first.

CREATE VIEW target_profile.worker AS
SELECT database, pid, state, since, last_error, last_error_at FROM target_profile._workers();

CREATE VIEW target_profile.status AS
WITH waiting AS (
    SELECT o.client_code, count(*) AS backlog, min(o.enqueued_at) AS oldest
    FROM target_profile.outbox o
    GROUP BY o.client_code
)
SELECT
    c.client_code,
    CASE
        WHEN NOT target_profile._is_adopted() THEN 'not adopted'
        WHEN pg_catalog.current_setting('target_profile.enabled', true) IS DISTINCT FROM 'on' THEN 'disabled'
        WHEN c.paused_at IS NOT NULL THEN 'paused'
        WHEN b.client_code IS NOT NULL THEN 'backing off'
        WHEN w.backlog > 0 THEN 'active'
        ELSE 'idle'
    END AS state,
    CASE
        WHEN NOT target_profile._is_adopted()
            THEN 'this database is a copy, or was moved: call target_profile.adopt() if it is the one that shall send'
        WHEN pg_catalog.current_setting('target_profile.enabled', true) IS NULL
            THEN 'target_profile is not in shared_preload_libraries'
        WHEN pg_catalog.current_setting('target_profile.enabled', true) <> 'on' THEN 'target_profile.enabled is off'
        WHEN c.paused_by = 'unauthorized' THEN 'Target does not let the client in; set another auth_token: ' || c.pause_reason
        WHEN c.paused_at IS NOT NULL THEN c.pause_reason
        WHEN b.client_code IS NOT NULL THEN b.reason
    END AS reason,
    coalesce(c.paused_at, b.since) AS since,
    CASE WHEN c.paused_at IS NULL THEN b.next_try_at END AS next_try_at,
    coalesce(w.backlog, 0) AS backlog,
    pg_catalog.clock_timestamp() - w.oldest AS oldest_age
FROM target_profile.client c
LEFT JOIN target_profile.backing_off b USING (client_code)
LEFT JOIN waiting w USING (client_code)
ORDER BY c.client_code;
