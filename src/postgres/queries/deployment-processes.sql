-- Processes of the service that are connected to this database now, by the name that each gives its connections (src/process/foundation.ts).
-- No parameters.
SELECT DISTINCT application_name AS name FROM pg_stat_activity
WHERE datname = current_database() AND application_name ~ '^metering [0-9]+-[0-9a-f]{8}$'
ORDER BY name;
