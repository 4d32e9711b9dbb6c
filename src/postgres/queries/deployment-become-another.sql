-- Another deployment from now on. No parameters; one row.
UPDATE deployment SET deployment_id = gen_random_uuid();
