SELECT EXISTS (SELECT FROM target_profile._response_partitions_before($1))
