SELECT EXISTS (SELECT FROM target_profile.activity a WHERE a.minute < $1)
