-- The entries that can be settled now: they are not locked, and have the version that was read.
SELECT o.id
FROM unnest($1, $2) AS s (id, version)
JOIN target_profile.outbox o ON o.id = s.id
WHERE s.version IS NULL OR pg_catalog.jsonb_hash_extended(o.attrs,
    pg_catalog.hashtextextended(o.profile_id, pg_catalog.hashtextextended(o.id_kind,
    pg_catalog.hashtextextended(o.client_code, 0)))) = s.version
FOR UPDATE OF o SKIP LOCKED
