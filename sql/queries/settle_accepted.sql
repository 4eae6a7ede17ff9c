DELETE FROM target_profile.outbox o WHERE o.id = ANY ($1)
