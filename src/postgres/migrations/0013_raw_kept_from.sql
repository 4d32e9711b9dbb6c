-- Raw records of event days before this were dropped, or are about to be: what is there again of such a day came later, and is not all of it.
ALTER TABLE deployment ADD COLUMN raw_kept_from date;
