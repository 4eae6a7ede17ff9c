-- For SQL objects of version 0.1.0.
-- The attributes that a dead letter leaves out when it is sent again: newer updates have set them since.
SELECT v.attr FROM target_profile.overtaken v WHERE v.id = $1
