SELECT target_profile._close_activity()
