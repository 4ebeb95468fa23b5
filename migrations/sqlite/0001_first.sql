-- The first schema. Forward only: never edit a migration that was released, its checksum is in every database.
--
-- Columns are portable: text ids, 64-bit integers (`_ms` = milliseconds since the Unix epoch), blobs; digests are 32 raw
-- bytes; so are the keys that guests choose, which may have a zero character. PostgreSQL has the same tables under the same numbers.
--
-- Every list is read along an index and with a LIMIT, so that its cost is the page, not the table. Ids of tasks and
-- approvals are UUID version 7, which sort by time: "newest first" is the primary key read backwards, and a page goes
-- on at `id < the last one seen`.

-- Which log this database belongs to: one row once the host has claimed it.
CREATE TABLE identity (
  id             INTEGER PRIMARY KEY CHECK (id = 1),
  origin         TEXT NOT NULL
) STRICT;

-- The public keys that signed for the log, with the indexes they count at. The newest of a role is the one in use.
CREATE TABLE log_keys (
  role           TEXT NOT NULL,
  public_key     BLOB NOT NULL CHECK (length(public_key) = 32),
  from_index     INTEGER NOT NULL,
  to_index       INTEGER,
  PRIMARY KEY (role, public_key),
  UNIQUE (role, from_index)
) STRICT;

-- The public keys of people who sign their own decisions. A record may speak of what they signed at these indexes.
CREATE TABLE approver_keys (
  public_key     BLOB NOT NULL PRIMARY KEY CHECK (length(public_key) = 32),
  name           TEXT NOT NULL,
  from_index     INTEGER NOT NULL UNIQUE,
  to_index       INTEGER
) STRICT;

-- A few hundred rows at most: listed whole.
CREATE TABLE components (
  digest         BLOB NOT NULL PRIMARY KEY CHECK (length(digest) = 32),
  kind           TEXT NOT NULL,
  name           TEXT NOT NULL,
  version        TEXT NOT NULL,
  descriptor     TEXT NOT NULL,
  imports        TEXT NOT NULL,
  size           INTEGER NOT NULL,
  added_ms       INTEGER NOT NULL,
  UNIQUE (kind, name, version)
) STRICT;
-- The newest component of a name, and the list by name.
CREATE INDEX components_by_name ON components (name, added_ms, digest);

-- The newest version of a plugin's grant is in force. The others stay: records name them by digest.
CREATE TABLE grants (
  plugin         TEXT NOT NULL,
  document       TEXT NOT NULL,
  digest         BLOB NOT NULL CHECK (length(digest) = 32),
  version        INTEGER NOT NULL,
  changed_ms     INTEGER NOT NULL,
  PRIMARY KEY (plugin, version)
) STRICT;
CREATE INDEX grants_by_digest ON grants (digest);

-- A binding that has ended keeps its row: records name it.
CREATE TABLE policies (
  id             TEXT NOT NULL PRIMARY KEY,
  component      BLOB NOT NULL CHECK (length(component) = 32),
  settings       TEXT NOT NULL,
  scope          TEXT NOT NULL,
  mode           TEXT NOT NULL,
  bound_ms       INTEGER NOT NULL,
  ended_ms       INTEGER
) STRICT;
CREATE INDEX policies_in_force ON policies (bound_ms, id) WHERE ended_ms IS NULL;

-- Hosts that serve the database, each for as long as it is heard of: `beat_ms` by the server's clock, and no later than `lease_ms` after it
-- again. `name` is that of its data directory. One host serves this database, so that the table is empty and nobody is in `tasks.holder`.
CREATE TABLE hosts (
  epoch          INTEGER PRIMARY KEY,
  name           TEXT NOT NULL,
  beat_ms        INTEGER NOT NULL,
  lease_ms       INTEGER NOT NULL
) STRICT;

-- Clients with a token and tasks of their own. One that was removed keeps its row: its tasks may still run.
CREATE TABLE tenants (
  name           TEXT NOT NULL PRIMARY KEY,
  token          BLOB NOT NULL CHECK (length(token) = 32),
  added_ms       INTEGER NOT NULL,
  removed_ms     INTEGER
) STRICT;

-- Submissions that the host makes by itself: `document` says when and what, `next_ms` is the next time, `last` what came of the one before.
-- `id` is another one whenever a schedule is put in the place of one with its name. A hundred rows at most.
CREATE TABLE schedules (
  name           TEXT NOT NULL PRIMARY KEY,
  id             TEXT NOT NULL UNIQUE,
  document       TEXT NOT NULL,
  changed_ms     INTEGER NOT NULL,
  next_ms        INTEGER,
  last           TEXT
) STRICT;

-- `tenant` is the one whose token it came with, or `operator`.
-- `events`, `records` and `head` repeat what the tables below hold, so that a commit reads one row of the task.
-- After `erased_ms` the row is all that is left of the task beside its records.
-- `pokes` counts what others than the task's runner changed of it. `due_ms` says when to look at it: 0 where there are
-- pokes that no commit has seen, else `wake_at_ms`, and nothing once it is finished. `holder` is the host that runs it now.
CREATE TABLE tasks (
  id             TEXT NOT NULL PRIMARY KEY,
  tenant         TEXT NOT NULL,
  agent          TEXT,
  labels         TEXT NOT NULL,
  idempotency_key    TEXT UNIQUE,
  idempotency_digest BLOB CHECK (length(idempotency_digest) = 32),
  plan           BLOB NOT NULL CHECK (length(plan) = 32),
  input          BLOB NOT NULL CHECK (length(input) = 32),
  created_ms     INTEGER NOT NULL,
  state          TEXT NOT NULL,
  updated_ms     INTEGER NOT NULL,
  wake_at_ms     INTEGER,
  due_ms         INTEGER,
  cancel         INTEGER NOT NULL DEFAULT 0 CHECK (cancel IN (0, 1)),
  pokes          INTEGER NOT NULL DEFAULT 0,
  events         INTEGER NOT NULL,
  records        INTEGER NOT NULL,
  head           BLOB CHECK (length(head) = 32),
  erased_ms      INTEGER,
  holder         INTEGER,
  CHECK ((idempotency_key IS NULL) = (idempotency_digest IS NULL))
) STRICT, WITHOUT ROWID;
-- One index for each mixture of filters: a rare state of a busy agent must not read all of the agent's tasks.
CREATE INDEX tasks_by_state ON tasks (state, id);
CREATE INDEX tasks_by_agent ON tasks (agent, id) WHERE agent IS NOT NULL;
CREATE INDEX tasks_by_agent_and_state ON tasks (agent, state, id) WHERE agent IS NOT NULL;
-- The operator's own lists have all tasks. These are for those of a tenant, which most hosts have none of.
CREATE INDEX tasks_of_tenant ON tasks (tenant, id) WHERE tenant <> 'operator';
CREATE INDEX tasks_of_tenant_by_state ON tasks (tenant, state, id) WHERE tenant <> 'operator';
CREATE INDEX tasks_of_tenant_by_agent ON tasks (tenant, agent, id) WHERE tenant <> 'operator' AND agent IS NOT NULL;
CREATE INDEX tasks_of_tenant_by_agent_and_state ON tasks (tenant, agent, state, id) WHERE tenant <> 'operator' AND agent IS NOT NULL;
-- What is due, of each tenant by itself, so that nobody's is looked for among everybody's. Finished tasks are not in it, so it stays
-- as small as the work that waits. A condition on `state` would do the same, but lets the planner take an index above and sort.
CREATE INDEX tasks_due ON tasks (tenant, due_ms, id) WHERE due_ms IS NOT NULL AND holder IS NULL;
-- What a host holds: whoever finds it gone lets go of it.
CREATE INDEX tasks_held ON tasks (holder) WHERE holder IS NOT NULL;

-- What happened in one commit of a task beside its records: everything that can be erased of it, in one row. `n` is the number of its last
-- event, `events` are lines, `blobs` stand one after the other, and `digests` says of what, 32 bytes each. The task is no foreign key, here and in
-- `records`: it would be looked up for every row, and a batch writes rows of no task but those it has read or adds.
CREATE TABLE transitions (
  task           TEXT NOT NULL,
  n              INTEGER NOT NULL,
  digests        BLOB NOT NULL,
  events         TEXT NOT NULL,
  blobs          BLOB NOT NULL,
  UNIQUE (task, n)
) STRICT;

-- The log. `leaf_index` counts from 0 without gap, in the order of the commits. Acts of the host are of no task. Where an envelope
-- was erased, its leaf is in its place, and the record at the index `erasure` says so.
CREATE TABLE records (
  leaf_index     INTEGER PRIMARY KEY,
  task           TEXT,
  seq            INTEGER,
  envelope       TEXT,
  leaf           BLOB,
  erasure        INTEGER,
  leaf_hash      BLOB NOT NULL CHECK (length(leaf_hash) = 32),
  UNIQUE (task, seq),
  CHECK ((envelope IS NULL) = (leaf IS NOT NULL)),
  CHECK ((envelope IS NULL) = (erasure IS NOT NULL)),
  CHECK ((task IS NULL) = (seq IS NULL))
) STRICT;

-- Hashes of complete subtrees, level 1 and up; level 0 is `records.leaf_hash`. Written once, never changed.
CREATE TABLE log_nodes (
  level          INTEGER NOT NULL,
  node_index     INTEGER NOT NULL,
  hash           BLOB NOT NULL CHECK (length(hash) = 32),
  PRIMARY KEY (level, node_index)
) STRICT, WITHOUT ROWID;

-- One row: the right edge of the tree, so that an append needs nothing else, and the last version given to a
-- key-value write. An empty frontier is that of the empty tree. `rules` counts the changes to what every host goes by (components, grants, policies, people's
-- keys, tenants); `epoch` counts hosts that came and went, and the next one's number is taken from it.
CREATE TABLE log_head (
  id             INTEGER PRIMARY KEY CHECK (id = 1),
  size           INTEGER NOT NULL,
  frontier       BLOB NOT NULL,
  write_version  INTEGER NOT NULL,
  rules          INTEGER NOT NULL,
  epoch          INTEGER NOT NULL
) STRICT;
INSERT INTO log_head (id, size, frontier, write_version, rules, epoch) VALUES (1, 0, x'', 0, 0, 0);

-- Every head that was ever signed, by size: a second root for a size is refused by the key.
CREATE TABLE checkpoints (
  size           INTEGER PRIMARY KEY,
  root           BLOB NOT NULL CHECK (length(root) = 32),
  note           TEXT NOT NULL,
  signed_ms      INTEGER NOT NULL
) STRICT;

CREATE TABLE approvals (
  id             TEXT NOT NULL PRIMARY KEY,
  task           TEXT NOT NULL REFERENCES tasks (id),
  step           TEXT NOT NULL,
  attempt        INTEGER NOT NULL,
  subject        BLOB NOT NULL CHECK (length(subject) = 32),
  body           TEXT NOT NULL,
  likeness       TEXT NOT NULL,
  state          TEXT NOT NULL,
  decisions      TEXT NOT NULL,
  opened_ms      INTEGER NOT NULL,
  expires_ms     INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX approvals_by_state ON approvals (state, id);
CREATE INDEX approvals_by_task ON approvals (task, id);
CREATE INDEX approvals_by_task_and_state ON approvals (task, state, id);
-- The last approved one like it.
CREATE INDEX approvals_alike ON approvals (likeness, id) WHERE state = 'approved';

-- What people signed about the approvals of a task. It stays when payloads are erased: records speak of it by digest, and a
-- receipt without it proves nothing of them.
CREATE TABLE signed_approvals (
  task           TEXT NOT NULL REFERENCES tasks (id),
  digest         BLOB NOT NULL CHECK (length(digest) = 32),
  envelope       TEXT NOT NULL,
  PRIMARY KEY (task, digest)
) STRICT, WITHOUT ROWID;

-- Key-value buckets of plugins. A version is `log_head.write_version` after the transition that wrote; a bucket's
-- version is that of the last write to any of its keys, deletions included, so that a list that was read can be checked.
CREATE TABLE buckets (
  name           TEXT NOT NULL PRIMARY KEY,
  version        INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE TABLE bucket_entries (
  bucket         TEXT NOT NULL,
  entry_key      BLOB NOT NULL,
  value          BLOB NOT NULL,
  version        INTEGER NOT NULL,
  PRIMARY KEY (bucket, entry_key)
) STRICT, WITHOUT ROWID;
