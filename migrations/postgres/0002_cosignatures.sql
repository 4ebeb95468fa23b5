-- What witnesses cosigned: of the newest head that enough of them did, and of those since. Older ones are forgotten.
CREATE TABLE cosignatures (
  size           BIGINT NOT NULL REFERENCES checkpoints (size),
  witness        TEXT COLLATE "C" NOT NULL,
  line           TEXT COLLATE "C" NOT NULL,
  PRIMARY KEY (size, witness)
);
