DELETE FROM target_profile.backing_off b WHERE b.client_code = $1
