-- What a dead letter that is sent again leaves out: newer updates have set it since.
SELECT o.attr FROM target_profile._overtaken($1, $2, $3, $4) o
