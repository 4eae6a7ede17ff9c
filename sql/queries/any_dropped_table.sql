-- Whether a watch or a run of a backfill is left of a table that was dropped.
SELECT EXISTS (
    SELECT FROM target_profile.watched_table w
    WHERE NOT EXISTS (SELECT FROM pg_catalog.pg_class c WHERE c.oid = w."table")
) OR EXISTS (
    SELECT FROM target_profile.backfill_run r
    WHERE NOT EXISTS (SELECT FROM pg_catalog.pg_class c WHERE c.oid = r."table")
)
