-- Bytes of the whole database. No parameters. Looks at every file of it: milliseconds for hundreds of partitions, not for every scrape.
SELECT pg_database_size(current_database()) AS bytes;
