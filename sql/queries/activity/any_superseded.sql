SELECT EXISTS (SELECT FROM target_profile.superseded)
