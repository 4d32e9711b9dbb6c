-- The event day from which on raw records are all kept; null before any were dropped. One row.
SELECT raw_kept_from::text AS "from" FROM deployment;
