-- For SQL objects of version 0.1.0.
-- What a dead letter that is sent again leaves out: newer updates have set it since.
SELECT v.attr FROM target_profile.overtaken v WHERE v.id = $1
