-- Locked before the rows of the table: a session that stops the run and does not commit must not block writers.
SELECT r."table"::pg_catalog.oid, r.client_code, r.id_kind, r.ordered_by, r."where", r.condition, r.sorts, r.last_id, r.at_end,
    r.locked_ids, r.stop_requested, r.finished_at IS NOT NULL, r.rows_done, r.entries, r.invalid, r.started_by
FROM target_profile.backfill_run r
WHERE r.id = $1
FOR NO KEY UPDATE
