WITH runs AS (
    DELETE FROM target_profile.backfill_run r
    WHERE NOT EXISTS (SELECT FROM pg_catalog.pg_class c WHERE c.oid = r."table")
)
DELETE FROM target_profile.watched_table w
WHERE NOT EXISTS (SELECT FROM pg_catalog.pg_class c WHERE c.oid = w."table")
