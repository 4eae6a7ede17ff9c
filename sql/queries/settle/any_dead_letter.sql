SELECT EXISTS (SELECT FROM target_profile.dead_letter)
    OR EXISTS (SELECT FROM target_profile.outbox o WHERE o.retried_at IS NOT NULL)
