-- Names of the partitions of usage_record, oldest first.
SELECT child.relname AS name
FROM pg_inherits
JOIN pg_class child ON child.oid = pg_inherits.inhrelid
WHERE pg_inherits.inhparent = 'usage_record'::regclass
ORDER BY child.relname;
