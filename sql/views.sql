-- What a DBA looks at first.

CREATE VIEW target_profile.worker AS
SELECT database, pid, state, since, last_error, last_error_at FROM target_profile._workers();

-- What counts of the quota is the minutes whose end is not 24 hours old. How a client stands is decided in the library.
CREATE VIEW target_profile.status AS
WITH waiting AS (
    SELECT o.client_code, count(*) AS backlog, count(*) FILTER (WHERE o.priority >= 0) AS fresh,
        min(o.enqueued_at) FILTER (WHERE pg_catalog.isfinite(o.enqueued_at)) AS oldest
    FROM target_profile.outbox o
    GROUP BY o.client_code
), used AS (
    SELECT a.client_code, array_agg(a.minute) AS minutes, array_agg(a.sent) AS sent, array_agg(a.sent_backfill) AS backfill
    FROM target_profile.activity a
    WHERE a.minute > pg_catalog.clock_timestamp() - interval '24 hours 1 minute'
    GROUP BY a.client_code
)
SELECT c.client_code, s.state, s.reason, s.since, s.next_try_at, coalesce(w.backlog, 0) AS backlog,
    pg_catalog.clock_timestamp() - w.oldest AS oldest_age, s.quota_used, s.quota_left, s.quota_resumes_at, s.forecast
FROM target_profile.client c
LEFT JOIN target_profile.backing_off b USING (client_code)
LEFT JOIN waiting w USING (client_code)
LEFT JOIN used u USING (client_code)
CROSS JOIN LATERAL target_profile._standing(
    adopted => target_profile._is_adopted(),
    paused_at => c.paused_at, paused_by => c.paused_by, pause_reason => c.pause_reason,
    failing_since => b.since, next_probe_at => b.next_try_at, failure => b.reason,
    waiting => coalesce(w.backlog, 0), waiting_fresh => coalesce(w.fresh, 0),
    daily_quota => c.daily_quota, backfill_share => c.backfill_share,
    minutes => u.minutes, sent => u.sent, sent_backfill => u.backfill) s
ORDER BY c.client_code;
