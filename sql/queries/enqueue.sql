-- The ids were drawn when the rows were collected, in their order.
INSERT INTO target_profile.outbox (id, client_code, id_kind, profile_id, attrs, priority, source, enqueued_by)
SELECT e.id, e.client_code, e.id_kind, e.profile_id, e.attrs::pg_catalog.jsonb, e.priority, e.source, e.enqueued_by
FROM ROWS FROM (pg_catalog.unnest($1), pg_catalog.unnest($2), pg_catalog.unnest($3), pg_catalog.unnest($4),
    pg_catalog.unnest($5), pg_catalog.unnest($6), pg_catalog.unnest($7), pg_catalog.unnest($8))
    AS e (id, client_code, id_kind, profile_id, attrs, priority, source, enqueued_by)
