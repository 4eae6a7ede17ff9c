SELECT EXISTS (SELECT FROM target_profile.client c WHERE c.client_code = $1 AND c.paused_at IS NULL)
