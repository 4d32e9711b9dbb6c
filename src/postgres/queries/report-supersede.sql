-- Takes reports out of the way of their retries; the transaction has locked them. $1 text[]: identifiers. Primary key of report.
UPDATE report SET state = 'superseded', settled_at = now() WHERE identifier = ANY ($1::text[]);
