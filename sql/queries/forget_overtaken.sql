-- Of entries that are neither dead letters nor sent again any more.
DELETE FROM target_profile.overtaken v
WHERE NOT EXISTS (SELECT FROM target_profile.dead_letter d WHERE d.id = v.id AND d.discarded_at IS NULL)
  AND NOT EXISTS (SELECT FROM target_profile.outbox o WHERE o.id = v.id)
