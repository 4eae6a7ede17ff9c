-- The attributes that a dead letter leaves out when it is sent again: newer updates have set them since.
SELECT o.attr FROM target_profile._overtaken($1, $2, $3, $4) o
