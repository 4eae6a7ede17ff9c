SELECT target_profile._bury_orphans($1)
