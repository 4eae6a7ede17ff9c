SELECT o.xmin FROM target_profile.outbox o WHERE o.id = $1
