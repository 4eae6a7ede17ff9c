-- Only if it has the version that was read: an entry that was changed since is sent again.
DELETE FROM target_profile.outbox o
USING unnest($1, $2) AS s (id, version)
WHERE o.id = s.id AND pg_catalog.jsonb_hash_extended(o.attrs,
    pg_catalog.hashtextextended(o.profile_id, pg_catalog.hashtextextended(o.id_kind,
    pg_catalog.hashtextextended(o.client_code, 0)))) = s.version
