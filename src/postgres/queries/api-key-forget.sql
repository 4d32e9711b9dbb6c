-- Forgets keys that were deleted long ago. $1 timestamptz: before this. Few rows; a scan.
DELETE FROM api_key WHERE deleted_at < $1;
