INSERT INTO target_profile.dead_letter
    (id, client_code, id_kind, profile_id, attrs, priority, source, enqueued_at, attempts, reason, raw)
VALUES (pg_catalog.nextval('target_profile.outbox_id_seq'), $1, $2, $3, $4::pg_catalog.jsonb, $5, $6,
        pg_catalog.clock_timestamp(), 0, $7, true)
