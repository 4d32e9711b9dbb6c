-- What was dropped before deployment.raw_kept_from was there, or under a shorter retention than when it was first noted. Rollups are kept for
-- good, so a day that has any had raw records: where none of these is left that was applied within 36 days of the day's start, the day was
-- dropped, and what is there of it, if anything, came later. (No retention ever dropped a day before 37 days from its start, so a record
-- of the first 36 tells that its partition never went; a day to spare, for transactions that were under way.) A day without rollups is whole
-- either way: all that was dropped of it adds up to nothing. So null stays where nothing was dropped. Reads all of rollup_day, once.
UPDATE deployment SET raw_kept_from = greatest(raw_kept_from, (
  SELECT max(counted.day) + 1
  FROM (SELECT DISTINCT (window_start AT TIME ZONE 'UTC')::date AS day FROM rollup_day) AS counted
  WHERE NOT EXISTS (
    SELECT FROM usage_record r
    WHERE r.event_day = counted.day AND r.applied_at < (counted.day + 36)::timestamp AT TIME ZONE 'UTC')
));
