-- Locked before any row of the table is: whoever asks a run to stop, and does not commit, must hold up nobody else.
SELECT r."table"::pg_catalog.oid, r.client_code, r.id_kind, r.ordered_by, r."where", r.condition, r.sorts, r.last_id, r.at_end,
    r.locked_ids, r.stop_requested, r.finished_at IS NOT NULL, r.rows_done, r.entries, r.invalid, r.started_by
FROM target_profile.backfill_run r
WHERE r.id = $1
FOR NO KEY UPDATE
