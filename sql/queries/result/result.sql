SELECT f.state, f.response_id, f.http_status, f.message, f.finished_at FROM target_profile._fate($1, $2) f
