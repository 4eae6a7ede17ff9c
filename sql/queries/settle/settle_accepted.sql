-- Only as what it was read: an entry that somebody has changed since is another one, and stays.
DELETE FROM target_profile.outbox o
USING unnest($1, $2) AS s (id, version)
WHERE o.id = s.id AND pg_catalog.jsonb_hash_extended(o.attrs,
    pg_catalog.hashtextextended(o.profile_id, pg_catalog.hashtextextended(o.id_kind,
    pg_catalog.hashtextextended(o.client_code, 0)))) = s.version
