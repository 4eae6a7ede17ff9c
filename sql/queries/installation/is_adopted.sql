SELECT target_profile._is_adopted()
