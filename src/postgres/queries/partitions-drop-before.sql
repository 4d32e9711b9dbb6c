-- Notes that raw records of earlier event days are dropped, for good: a longer retention does not bring them back. $1 date. One row.
UPDATE deployment SET raw_kept_from = $1::date WHERE coalesce(raw_kept_from, '-infinity') < $1::date;
