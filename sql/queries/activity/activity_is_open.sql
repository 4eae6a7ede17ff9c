-- Whether an earlier worker has left reservations that are neither sent nor returned.
SELECT EXISTS (
        SELECT FROM target_profile.activity a WHERE a.sent < a.reserved OR a.sent_backfill < a.reserved_backfill)
    OR EXISTS (SELECT FROM target_profile._uncounted_responses())
