-- Deletes the rows of ids that are neither dead letters nor entries that are sent again. A part of them at a time, and no locked one.
DELETE FROM target_profile.overtaken v
USING (
    SELECT o.id, o.attr
    FROM target_profile.overtaken o
    WHERE NOT EXISTS (SELECT FROM target_profile.dead_letter d WHERE d.id = o.id AND d.discarded_at IS NULL)
      AND NOT EXISTS (SELECT FROM target_profile.outbox e WHERE e.id = o.id)
    LIMIT $1
    FOR UPDATE OF o SKIP LOCKED
) gone
WHERE v.id = gone.id AND v.attr = gone.attr
