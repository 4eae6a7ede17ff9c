-- Deletes the rows of profiles that have neither dead letters nor entries that are sent again. A part of them at a time, and no locked one.
DELETE FROM target_profile.superseded v
WHERE v.ctid = ANY (ARRAY(
    SELECT s.ctid
    FROM target_profile.superseded s
    WHERE NOT EXISTS (
            SELECT FROM target_profile.dead_letter d
            WHERE d.client_code = s.client_code AND d.id_kind = s.id_kind AND d.profile_id = s.profile_id
              AND d.discarded_at IS NULL)
      AND NOT EXISTS (
            SELECT FROM target_profile.outbox o
            WHERE o.client_code = s.client_code AND o.id_kind = s.id_kind AND o.profile_id = s.profile_id
              AND o.retried_at IS NOT NULL)
    LIMIT $1
    FOR UPDATE OF s SKIP LOCKED))
