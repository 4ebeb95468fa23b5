-- The first schema. Forward only: never edit a migration that was released, its checksum is in every database.
--
-- The same tables as SQLite has, under the same numbers (a test compares them): text ids, 64-bit integers (`_ms` = milliseconds since the Unix
-- epoch), bytes; digests are 32 of them. Texts compare by their bytes, as SQLite's do, whatever language the server speaks. What may have
-- a zero character, the keys that guests choose, is bytes.
--
-- Every list is read along an index and with a LIMIT, so that its cost is the page, not the table. Ids of tasks and
-- approvals are UUID version 7, which sort by time: "newest first" is the primary key read backwards, and a page goes
-- on at `id < the last one seen`.

-- Which log this database belongs to: one row once the host has claimed it.
CREATE TABLE identity (
  id             BIGINT PRIMARY KEY CHECK (id = 1),
  origin         TEXT COLLATE "C" NOT NULL
);

-- The public keys that signed for the log, with the indexes they count at. The newest of a role is the one in use.
CREATE TABLE log_keys (
  role           TEXT COLLATE "C" NOT NULL,
  public_key     BYTEA NOT NULL CHECK (length(public_key) = 32),
  from_index     BIGINT NOT NULL,
  to_index       BIGINT,
  PRIMARY KEY (role, public_key),
  UNIQUE (role, from_index)
);

-- The public keys of people who sign their own decisions. A record may speak of what they signed at these indexes.
CREATE TABLE approver_keys (
  public_key     BYTEA NOT NULL PRIMARY KEY CHECK (length(public_key) = 32),
  name           TEXT COLLATE "C" NOT NULL,
  from_index     BIGINT NOT NULL UNIQUE,
  to_index       BIGINT
);

-- A few hundred rows at most: listed whole.
CREATE TABLE components (
  digest         BYTEA NOT NULL PRIMARY KEY CHECK (length(digest) = 32),
  kind           TEXT COLLATE "C" NOT NULL,
  name           TEXT COLLATE "C" NOT NULL,
  version        TEXT COLLATE "C" NOT NULL,
  descriptor     TEXT COLLATE "C" NOT NULL,
  imports        TEXT COLLATE "C" NOT NULL,
  size           BIGINT NOT NULL,
  added_ms       BIGINT NOT NULL,
  UNIQUE (kind, name, version)
);
-- The newest component of a name, and the list by name.
CREATE INDEX components_by_name ON components (name, added_ms, digest);

-- The newest version of a plugin's grant is in force. The others stay: records name them by digest.
CREATE TABLE grants (
  plugin         TEXT COLLATE "C" NOT NULL,
  document       TEXT COLLATE "C" NOT NULL,
  digest         BYTEA NOT NULL CHECK (length(digest) = 32),
  version        BIGINT NOT NULL,
  changed_ms     BIGINT NOT NULL,
  PRIMARY KEY (plugin, version)
);
CREATE INDEX grants_by_digest ON grants (digest);

-- A binding that has ended keeps its row: records name it.
CREATE TABLE policies (
  id             TEXT COLLATE "C" NOT NULL PRIMARY KEY,
  component      BYTEA NOT NULL CHECK (length(component) = 32),
  settings       TEXT COLLATE "C" NOT NULL,
  scope          TEXT COLLATE "C" NOT NULL,
  mode           TEXT COLLATE "C" NOT NULL,
  bound_ms       BIGINT NOT NULL,
  ended_ms       BIGINT
);
CREATE INDEX policies_in_force ON policies (bound_ms, id) WHERE ended_ms IS NULL;

-- Hosts that serve the database, each for as long as it is heard of: `beat_ms` by the server's clock, and no later than `lease_ms` after it
-- again. `name` is that of its data directory.
CREATE TABLE hosts (
  epoch          BIGINT PRIMARY KEY,
  name           TEXT COLLATE "C" NOT NULL,
  beat_ms        BIGINT NOT NULL,
  lease_ms       BIGINT NOT NULL
);

-- Clients with a token and tasks of their own. One that was removed keeps its row: its tasks may still run.
CREATE TABLE tenants (
  name           TEXT COLLATE "C" NOT NULL PRIMARY KEY,
  token          BYTEA NOT NULL CHECK (length(token) = 32),
  added_ms       BIGINT NOT NULL,
  removed_ms     BIGINT
);

-- Submissions that the host makes by itself: `document` says when and what, `next_ms` is the next time, `last` what came of the one before.
-- `id` is another one whenever a schedule is put in the place of one with its name. A hundred rows at most.
CREATE TABLE schedules (
  name           TEXT COLLATE "C" NOT NULL PRIMARY KEY,
  id             TEXT COLLATE "C" NOT NULL UNIQUE,
  document       TEXT COLLATE "C" NOT NULL,
  changed_ms     BIGINT NOT NULL,
  next_ms        BIGINT,
  last           TEXT COLLATE "C"
);

-- `tenant` is the one whose token it came with, or `operator`.
-- `events`, `records` and `head` repeat what the tables below hold, so that a commit reads one row of the task.
-- After `erased_ms` the row is all that is left of the task beside its records.
-- `pokes` counts what others than the task's runner changed of it. `due_ms` says when to look at it: 0 where there are
-- pokes that no commit has seen, else `wake_at_ms`, and nothing once it is finished. `holder` is the host that runs it now.
CREATE TABLE tasks (
  id             TEXT COLLATE "C" NOT NULL PRIMARY KEY,
  tenant         TEXT COLLATE "C" NOT NULL,
  agent          TEXT COLLATE "C",
  labels         TEXT COLLATE "C" NOT NULL,
  idempotency_key    TEXT COLLATE "C" UNIQUE,
  idempotency_digest BYTEA CHECK (length(idempotency_digest) = 32),
  plan           BYTEA NOT NULL CHECK (length(plan) = 32),
  input          BYTEA NOT NULL CHECK (length(input) = 32),
  created_ms     BIGINT NOT NULL,
  state          TEXT COLLATE "C" NOT NULL,
  updated_ms     BIGINT NOT NULL,
  wake_at_ms     BIGINT,
  due_ms         BIGINT,
  cancel         BOOLEAN NOT NULL DEFAULT FALSE,
  pokes          BIGINT NOT NULL DEFAULT 0,
  events         BIGINT NOT NULL,
  records        BIGINT NOT NULL,
  head           BYTEA CHECK (length(head) = 32),
  erased_ms      BIGINT,
  holder         BIGINT,
  CHECK ((idempotency_key IS NULL) = (idempotency_digest IS NULL))
);
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
  task           TEXT COLLATE "C" NOT NULL,
  n              BIGINT NOT NULL,
  digests        BYTEA NOT NULL,
  events         TEXT COLLATE "C" NOT NULL,
  blobs          BYTEA NOT NULL,
  UNIQUE (task, n)
);

-- The log. `leaf_index` counts from 0 without gap, in the order of the commits. Acts of the host are of no task. Where an envelope
-- was erased, its leaf is in its place, and the record at the index `erasure` says so.
CREATE TABLE records (
  leaf_index     BIGINT PRIMARY KEY,
  task           TEXT COLLATE "C",
  seq            BIGINT,
  envelope       TEXT COLLATE "C",
  leaf           BYTEA,
  erasure        BIGINT,
  leaf_hash      BYTEA NOT NULL CHECK (length(leaf_hash) = 32),
  UNIQUE (task, seq),
  CHECK ((envelope IS NULL) = (leaf IS NOT NULL)),
  CHECK ((envelope IS NULL) = (erasure IS NOT NULL)),
  CHECK ((task IS NULL) = (seq IS NULL))
);

-- Hashes of complete subtrees, level 1 and up; level 0 is `records.leaf_hash`. Written once, never changed.
CREATE TABLE log_nodes (
  level          BIGINT NOT NULL,
  node_index     BIGINT NOT NULL,
  hash           BYTEA NOT NULL CHECK (length(hash) = 32),
  PRIMARY KEY (level, node_index)
);

-- One row, locked by whoever writes: the right edge of the tree, so that an append needs nothing else, and the last version given to a
-- key-value write. An empty frontier is that of the empty tree. `rules` counts the changes to what every host goes by (components, grants, policies, people's
-- keys, tenants); `epoch` counts hosts that came and went, and the next one's number is taken from it.
CREATE TABLE log_head (
  id             BIGINT PRIMARY KEY CHECK (id = 1),
  size           BIGINT NOT NULL,
  frontier       BYTEA NOT NULL,
  write_version  BIGINT NOT NULL,
  rules          BIGINT NOT NULL,
  epoch          BIGINT NOT NULL
);
INSERT INTO log_head (id, size, frontier, write_version, rules, epoch) VALUES (1, 0, '', 0, 0, 0);

-- Every head that was ever signed, by size: a second root for a size is refused by the key.
CREATE TABLE checkpoints (
  size           BIGINT PRIMARY KEY,
  root           BYTEA NOT NULL CHECK (length(root) = 32),
  note           TEXT COLLATE "C" NOT NULL,
  signed_ms      BIGINT NOT NULL
);

CREATE TABLE approvals (
  id             TEXT COLLATE "C" NOT NULL PRIMARY KEY,
  task           TEXT COLLATE "C" NOT NULL REFERENCES tasks (id),
  step           TEXT COLLATE "C" NOT NULL,
  attempt        BIGINT NOT NULL,
  subject        BYTEA NOT NULL CHECK (length(subject) = 32),
  body           TEXT COLLATE "C" NOT NULL,
  likeness       TEXT COLLATE "C" NOT NULL,
  state          TEXT COLLATE "C" NOT NULL,
  decisions      TEXT COLLATE "C" NOT NULL,
  opened_ms      BIGINT NOT NULL,
  expires_ms     BIGINT NOT NULL
);
CREATE INDEX approvals_by_state ON approvals (state, id);
CREATE INDEX approvals_by_task ON approvals (task, id);
CREATE INDEX approvals_by_task_and_state ON approvals (task, state, id);
-- The last approved one like it.
CREATE INDEX approvals_alike ON approvals (likeness, id) WHERE state = 'approved';

-- What people signed about the approvals of a task. It stays when payloads are erased: records speak of it by digest, and a
-- receipt without it proves nothing of them.
CREATE TABLE signed_approvals (
  task           TEXT COLLATE "C" NOT NULL REFERENCES tasks (id),
  digest         BYTEA NOT NULL CHECK (length(digest) = 32),
  envelope       TEXT COLLATE "C" NOT NULL,
  PRIMARY KEY (task, digest)
);

-- Key-value buckets of plugins. A version is `log_head.write_version` after the transition that wrote; a bucket's
-- version is that of the last write to any of its keys, deletions included, so that a list that was read can be checked.
CREATE TABLE buckets (
  name           TEXT COLLATE "C" NOT NULL PRIMARY KEY,
  version        BIGINT NOT NULL
);
CREATE TABLE bucket_entries (
  bucket         TEXT COLLATE "C" NOT NULL,
  entry_key      BYTEA NOT NULL,
  value          BYTEA NOT NULL,
  version        BIGINT NOT NULL,
  PRIMARY KEY (bucket, entry_key)
);
