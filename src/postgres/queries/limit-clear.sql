-- Forgets a key's counters. $1 text: customer; $2 text: API key. Range of the primary key.
DELETE FROM limit_counter WHERE customer_id = $1 AND api_key_id = $2;
