SELECT EXISTS (SELECT FROM target_profile.backing_off)
