-- What witnesses cosigned: of the newest head that enough of them did, and of those since. Older ones are forgotten.
CREATE TABLE cosignatures (
  size           INTEGER NOT NULL REFERENCES checkpoints (size),
  witness        TEXT NOT NULL,
  line           TEXT NOT NULL,
  PRIMARY KEY (size, witness)
) STRICT, WITHOUT ROWID;
