-- Old reports are deleted: whoever refers to one is found without reading all drifts for each.
CREATE INDEX drift_booking ON drift (booking) WHERE booking IS NOT NULL;
CREATE INDEX drift_repair ON drift (repair) WHERE repair IS NOT NULL;
