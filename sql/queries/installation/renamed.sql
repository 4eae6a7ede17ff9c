-- Tables and sequences of the extension that were renamed or moved, and the schema.
-- pg_extension.extconfig lists them in the order in which they were registered. ALTER EXTENSION … DROP TABLE shifts those that follow, so a
-- relation that has any of the names counts as not renamed.
WITH names (list) AS (
    VALUES ('{binding,client,outbox,outbox_id_seq,dead_letter,overtaken,activity,response_id_seq,watched_table,backfill_run,backfill_run_id_seq,superseded}'::pg_catalog.text[])
)
SELECT pg_catalog.format('target_profile.%s is called %s now', made.name, made.relation::pg_catalog.regclass)
FROM names
CROSS JOIN pg_catalog.pg_extension e
CROSS JOIN LATERAL ROWS FROM (pg_catalog.unnest(e.extconfig), pg_catalog.unnest(names.list)) AS made (relation, name)
JOIN pg_catalog.pg_class c ON c.oid = made.relation
JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
WHERE e.extname = 'target_profile' AND made.name IS NOT NULL
  AND NOT (n.nspname = 'target_profile' AND c.relname::pg_catalog.text = ANY (names.list))
LIMIT 1
