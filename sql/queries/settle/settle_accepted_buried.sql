-- Deletes the dead letters of accepted entries: remove_client has buried them while their request was in flight. A retry would send them
-- again, after newer updates.
DELETE FROM target_profile.dead_letter d
USING unnest($1, $2) AS s (id, version)
WHERE d.id = s.id AND d.discarded_at IS NULL
  AND pg_catalog.jsonb_hash_extended(d.attrs,
    pg_catalog.hashtextextended(d.profile_id, pg_catalog.hashtextextended(d.id_kind,
    pg_catalog.hashtextextended(d.client_code, 0)))) = s.version
