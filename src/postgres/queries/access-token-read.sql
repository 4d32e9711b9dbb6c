-- One access token. $1 text: id. Primary key.
SELECT * FROM access_token WHERE token_id = $1;
