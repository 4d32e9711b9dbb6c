-- Takes a worker off the list. $1 text: worker.
DELETE FROM worker WHERE worker_id = $1;
