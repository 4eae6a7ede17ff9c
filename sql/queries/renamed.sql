-- Tables and sequences of the extension that have another name or schema than they were made with, and the schema itself.
-- pg_extension.extconfig lists them in the order of sql/tables.sql, whatever they are called now.
SELECT pg_catalog.format('target_profile.%s is called %s now', made.name, made.relation::pg_catalog.regclass)
FROM pg_catalog.pg_extension e
CROSS JOIN LATERAL ROWS FROM (
    pg_catalog.unnest(e.extconfig),
    pg_catalog.unnest('{binding,client,outbox,outbox_id_seq,dead_letter,overtaken,activity,response_id_seq,watched_table,backfill_run,backfill_run_id_seq}'::pg_catalog.text[])
) AS made (relation, name)
JOIN pg_catalog.pg_class c ON c.oid = made.relation
JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
WHERE e.extname = 'target_profile' AND made.name IS NOT NULL
  AND (c.relname <> made.name::pg_catalog.name OR n.nspname <> 'target_profile')
LIMIT 1
