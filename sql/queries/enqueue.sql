INSERT INTO target_profile.outbox (client_code, id_kind, profile_id, attrs, priority, source)
VALUES ($1, $2, $3, $4::pg_catalog.jsonb, $5, $6)
RETURNING id
