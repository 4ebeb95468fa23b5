//! Verification of a whole log from its export (format §7): every entry, every task, every act, and that nothing is left out.
//!
//! The lines come one after the other, and what is kept of them is bounded: the edge of the tree, the records of tasks that are
//! not closed, the keys that the log itself brought in. Opening a line, which costs nearly all of the time, needs only a
//! snapshot of the keys, so a caller with threads opens many at once and then adds them in order.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::sync::Arc;

use super::faults::{Faults, Place};
use super::signatures::{believe, elsewhere, open_note};
use super::{Check, Cosigned, Fault, Options, Outcome3, Signed, Verdicts};
use super::{act, chain, completeness, meaning, witnessed};
use crate::checkpoint::Checkpoint;
use crate::digest::Digest;
use crate::dsse::Envelope;
use crate::leaf;
use crate::log_export::{ExportError, Header, Line, LineEntry};
use crate::note::VerifierKey;
use crate::record::{ErasureScope, KeyChange, KeyRole, Kind, Record, RecordError};
use crate::tree::Frontier;
use crate::trust::{KEYS_MAX, RecordKey, TrustFile};

/// Most records that are held of tasks which are not closed yet. A log with more is not judged to its end.
pub const OPEN_RECORDS_MAX: usize = 100_000;

/// Most entries without an envelope, and most tasks with such entries, that are remembered until their erasure comes.
pub const ERASED_MAX: usize = 100_000;

/// The record keys that the trust file and the log so far name. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Keys(Arc<Vec<RecordKey>>);

/// A line that was read and whose signature was checked under the [`Keys`] of some moment before.
pub struct Opened {
    index: u64,
    found: Found,
}

enum Found {
    /// Signed by a key that counts there: its number, and what it signed.
    Signed {
        key: usize,
        leaf_hash: Digest,
        record: Box<Result<Record, RecordError>>,
    },
    /// Signed by none of the keys. The log may have named it since.
    Unbelieved(Envelope),
    /// The envelope was erased.
    Erased(Digest),
}

/// Reads a line after the first and checks its signature. It may run beside others.
pub fn open_line(line: &[u8], keys: &Keys) -> Result<Opened, ExportError> {
    let Line { index, entry } = Line::parse(line)?;
    let found = match entry {
        LineEntry::Leaf(leaf) => Found::Erased(leaf::leaf_hash(&leaf)),
        LineEntry::Envelope(envelope) => match open_envelope(index, &envelope, keys) {
            Ok(found) => found,
            Err(_) => Found::Unbelieved(envelope),
        },
    };
    Ok(Opened { index, found })
}

fn open_envelope(
    index: u64,
    envelope: &Envelope,
    keys: &Keys,
) -> Result<Found, (&'static str, String)> {
    let (number, signature, pae) = believe(envelope, index, &keys.0)?;
    let leaf = leaf::leaf(&Digest::of(&pae), &signature.sig, &keys.0[number].key);
    Ok(Found::Signed {
        key: number,
        leaf_hash: leaf::leaf_hash(&leaf),
        record: Box::new(Record::parse(&envelope.payload)),
    })
}

/// A key that signs checkpoints, and of which sizes: those whose last leaf it counts at.
struct LogKey {
    key: VerifierKey,
    from_index: u64,
    to_index: Option<u64>,
}

/// Takes the lines of an export in order and judges them.
pub struct LogVerifier {
    trust: TrustFile,
    options: Options,
    note: String,
    keys: Keys,
    log_keys: Vec<LogKey>,
    last_seen: Option<Checkpoint>,
    tree: Frontier,
    /// Whether every leaf was known, so that the tree says something.
    rooted: bool,
    /// Whether every record could be read, so that tasks can be judged.
    whole: bool,
    /// Whether the rest is not looked at.
    ended: bool,
    tasks: HashMap<String, Vec<Signed>>,
    held: usize,
    /// Entries without an envelope that no erasure spoke of yet.
    leaves: BTreeSet<u64>,
    erased_tasks: HashSet<String>,
    /// Faults of tasks that may have erased records.
    doubtful: Vec<(String, Faults)>,
    counts: Counts,
    faults: Faults,
}

/// How much of what there was.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Entries.
    pub entries: u64,
    /// Tasks that are closed, and whole.
    pub closed_tasks: u64,
    /// Tasks that go on.
    pub open_tasks: u64,
    /// Tasks that were not judged, because records of them were erased.
    pub erased_tasks: u64,
    /// Entries whose envelope was erased.
    pub erased_entries: u64,
    /// Acts of the host.
    pub acts: u64,
}

/// What verification of a whole log found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogReport {
    /// An answer to each question. Nothing is disclosed or run again.
    pub verdicts: Verdicts,
    /// Everything that is wrong.
    pub faults: Vec<Fault>,
    /// The witnesses of the policy that cosigned the checkpoint.
    pub cosigned: Vec<Cosigned>,
    /// The head of the log, where a believed key signed it.
    pub checkpoint: Option<Checkpoint>,
    /// What was there.
    pub counts: Counts,
}

impl LogReport {
    /// Whether the log may be believed: all of it is there, and nothing in it is wrong.
    pub fn passed(&self) -> bool {
        let verdicts = &self.verdicts;
        let failed = verdicts.all().iter().any(|(_, o)| *o == Outcome3::Fail);
        let proven = [
            verdicts.signatures,
            verdicts.chain,
            verdicts.inclusion,
            verdicts.completeness,
        ];
        self.faults.is_empty() && !failed && proven.iter().all(|o| *o == Outcome3::Pass)
    }
}

impl LogVerifier {
    /// Begins with the first line of an export.
    pub fn new(header: &[u8], trust: &TrustFile, options: &Options) -> Result<Self, ExportError> {
        let Header { checkpoint: note } = Header::parse(header)?;
        let mut faults = Faults::default();
        let last_seen = options.last_seen.as_ref().and_then(|note| {
            let seen = open_note(note, &trust.log, &trust.origin);
            seen.map_err(|reason| {
                let message = format!("the last-seen checkpoint cannot be used: {reason}");
                faults.add(Check::AppendOnly, None, "last-seen", &message);
            })
            .ok()
        });
        let log_keys = trust.log.iter().map(|key| LogKey {
            key: key.clone(),
            from_index: 0,
            to_index: None,
        });
        let mut verifier = Self {
            trust: trust.clone(),
            options: options.clone(),
            note,
            keys: Keys(Arc::new(trust.records.clone())),
            log_keys: log_keys.collect(),
            last_seen,
            tree: Frontier::new(),
            rooted: true,
            whole: true,
            ended: false,
            tasks: HashMap::new(),
            held: 0,
            leaves: BTreeSet::new(),
            erased_tasks: HashSet::new(),
            doubtful: Vec::new(),
            counts: Counts::default(),
            faults,
        };
        verifier.compare_last_seen();
        Ok(verifier)
    }

    /// The keys as far as the lines that were added say, for [`open_line`].
    pub fn keys(&self) -> Keys {
        self.keys.clone()
    }

    /// Adds the next line. Returns whether another one is wanted: after a fault in the order of the lines nothing that
    /// follows could be judged.
    pub fn add(&mut self, opened: Opened) -> bool {
        let index = opened.index;
        let expected = self.tree.size();
        if self.ended {
            return false;
        }
        if index != expected {
            return self.end(
                Check::Inclusion,
                Some(index),
                "index",
                &format!("the entry is at index {index}, and {expected} is expected: entries are missing, doubled or out of order"),
            );
        }
        self.counts.entries += 1;
        let found = match opened.found {
            Found::Unbelieved(envelope) => match open_envelope(index, &envelope, &self.keys) {
                Ok(found) => found,
                Err((member, reason)) => return self.disbelieve(index, member, &reason),
            },
            found => found,
        };
        match found {
            Found::Signed {
                key,
                leaf_hash,
                record,
            } => {
                // The log itself may have revoked it since the line was opened.
                if !self.keys.0[key].covers(index) {
                    let reason = elsewhere(&self.keys.0[key], index);
                    return self.disbelieve(index, "envelope.signatures", &reason);
                }
                self.grow(leaf_hash);
                match *record {
                    Ok(record) => self.take(Signed {
                        index,
                        leaf_hash,
                        record,
                    }),
                    Err(error) => {
                        self.faults
                            .add(Check::Chain, Some(index), error.member(), &error);
                        self.whole = false;
                        true
                    }
                }
            }
            Found::Erased(leaf_hash) => {
                self.grow(leaf_hash);
                self.counts.erased_entries += 1;
                self.leaves.insert(index);
                let many = self.leaves.len() > ERASED_MAX;
                !many || self.end(
                    Check::Chain,
                    Some(index),
                    "leaf",
                    &format!("more than {ERASED_MAX} entries have no envelope and no erasure that speaks of them"),
                )
            }
            Found::Unbelieved(_) => true,
        }
    }

    /// Says that a line could not be read; nothing that follows is judged.
    pub fn refuse(&mut self, error: &ExportError) {
        let index = self.tree.size();
        self.end(Check::Receipt, Some(index), "", error);
    }

    fn end(
        &mut self,
        check: Check,
        index: Option<u64>,
        member: &str,
        message: &impl ToString,
    ) -> bool {
        if !self.ended {
            self.faults.add(check, index, member, message);
        }
        self.ended = true;
        false
    }

    /// Goes on after an entry that no key signed which counts there: its leaf is not known, its place in the order is.
    fn disbelieve(&mut self, index: u64, member: &str, reason: &String) -> bool {
        self.faults
            .add(Check::Signatures, Some(index), member, reason);
        (self.rooted, self.whole) = (false, false);
        self.tree.append(Digest::from_bytes([0; 32]));
        true
    }

    fn grow(&mut self, leaf_hash: Digest) {
        self.tree.append(leaf_hash);
        self.compare_last_seen();
    }

    fn compare_last_seen(&mut self) {
        if let Some(seen) = &self.last_seen
            && seen.size == self.tree.size()
            && seen.root != self.tree.root()
            && self.rooted
        {
            let message = format!(
                "at the size {} the log had another root when it was last seen: it was rewritten, or shows others another tree",
                seen.size
            );
            self.faults
                .add(Check::AppendOnly, None, "checkpoint", &message);
        }
    }

    /// Takes a record whose signature is believed.
    fn take(&mut self, signed: Signed) -> bool {
        let record = &signed.record;
        if record.kind.is_act() {
            self.counts.acts += 1;
            let mut faults = Faults::default();
            let mut place = Place::new(signed.index, &mut faults);
            chain::check_log(record, &self.trust, &mut place);
            act::check(record, &mut place);
            if !faults.any(Check::Chain) {
                self.act(signed.index, record);
            }
            self.faults.append(faults);
            return true;
        }
        let Some(task) = &record.task else {
            let message = format!("a {} record must say which task it is of", record.kind);
            self.faults
                .add(Check::Chain, Some(signed.index), "task", &message);
            return true;
        };
        let (id, closes) = (task.id.clone(), completeness::closes(&signed));
        self.held += 1;
        if self.held > OPEN_RECORDS_MAX {
            return self.end(
                Check::Chain,
                Some(signed.index),
                "task",
                &format!("more than {OPEN_RECORDS_MAX} records are of tasks that are not closed, and no more are held: the log is not judged from here on"),
            );
        }
        let records = self.tasks.entry(id.clone()).or_default();
        records.push(signed);
        if closes {
            let records = self.tasks.remove(&id).unwrap_or_default();
            self.held -= records.len();
            self.judge(id, &records);
        }
        true
    }

    /// What an act changes for the lines after it.
    fn act(&mut self, index: u64, record: &Record) {
        match (record.kind, &record.key, &record.erasure) {
            (Kind::KeyRotate, Some(change), _) => self.rotate(index, change),
            (Kind::KeyRevoke, Some(change), _) => self.revoke(change),
            (Kind::Erasure, _, Some(erasure)) if erasure.scope == ErasureScope::Records => {
                let mut erased = false;
                for entry in &erasure.entries {
                    erased |= self.leaves.remove(&entry.index);
                }
                if let Some(task) = erasure.task.as_ref().filter(|_| erased)
                    && self.erased_tasks.len() < ERASED_MAX
                {
                    self.erased_tasks.insert(task.clone());
                }
            }
            _ => {}
        }
    }

    /// A key that the trust file names counts as the trust file says; another one from where the log says.
    fn rotate(&mut self, index: u64, change: &KeyChange) {
        let role = match change.role {
            KeyRole::Record => "records",
            KeyRole::Log => "log",
            KeyRole::Approver => "approvers",
        };
        if let Some(place) = self.trust.role_of(&change.key) {
            if !place.starts_with(role) {
                let message = format!(
                    "the key is in the trust file as {place}, and cannot be one of {role} too"
                );
                Place::new(index, &mut self.faults).fault("key.spki", message);
            }
            return;
        }
        let from_index = change.from_index.unwrap_or(u64::MAX);
        let count = match change.role {
            KeyRole::Record => self.keys.0.len(),
            KeyRole::Log => self.log_keys.len(),
            // An export holds nothing that an approver signed.
            KeyRole::Approver => return,
        };
        if count >= 2 * KEYS_MAX {
            let message =
                format!("the log brought in more than {KEYS_MAX} keys, and no more count");
            Place::new(index, &mut self.faults).fault("key", message);
            return;
        }
        match change.role {
            KeyRole::Record => Arc::make_mut(&mut self.keys.0).push(RecordKey {
                key: change.key.clone(),
                from_index,
                to_index: None,
            }),
            KeyRole::Log => {
                if let Ok(key) = VerifierKey::new(&self.trust.origin, &change.key) {
                    self.log_keys.push(LogKey {
                        key,
                        from_index,
                        to_index: None,
                    });
                }
            }
            KeyRole::Approver => {}
        }
    }

    fn revoke(&mut self, change: &KeyChange) {
        let Some(to) = change.to_index else { return };
        let shorten = |end: &mut Option<u64>| *end = Some(end.map_or(to, |end| end.min(to)));
        match change.role {
            KeyRole::Record => {
                let keys = Arc::make_mut(&mut self.keys.0).iter_mut();
                keys.filter(|key| key.key == change.key)
                    .for_each(|key| shorten(&mut key.to_index));
            }
            KeyRole::Log => {
                let keys = self.log_keys.iter_mut();
                keys.filter(|key| *key.key.key() == change.key)
                    .for_each(|key| shorten(&mut key.to_index));
            }
            KeyRole::Approver => {}
        }
    }

    /// Judges the records of a task that is closed, or at the end of the log.
    fn judge(&mut self, id: String, records: &[Signed]) {
        // With a record missing, every task may be the one it is missing from.
        if !self.whole {
            return;
        }
        let mut faults = Faults::default();
        let records: Vec<&Signed> = records.iter().collect();
        chain::check(&records, &[], &self.trust, &mut faults);
        if !faults.any(Check::Chain) {
            let story = meaning::check(&records, &self.options.pins, &mut faults);
            if !faults.any(Check::Chain) {
                // All of the log is here, so a task without its end is one that goes on.
                completeness::check(&[], &records, &story, true, &mut faults);
            }
        }
        let closed = records
            .last()
            .is_some_and(|last| completeness::closes(last));
        if faults.is_empty() {
            self.counts.closed_tasks += u64::from(closed);
            self.counts.open_tasks += u64::from(!closed);
        } else if self.counts.erased_entries > 0 && self.doubtful.len() < ERASED_MAX {
            self.doubtful.push((id, faults));
        } else {
            self.faults.append(faults);
        }
    }

    /// Judges what only the end of the log shows.
    pub fn finish(mut self) -> LogReport {
        let open = std::mem::take(&mut self.tasks);
        if !self.ended {
            for (id, records) in open {
                self.judge(id, &records);
            }
        }
        for (id, faults) in std::mem::take(&mut self.doubtful) {
            if self.erased_tasks.contains(&id) {
                self.counts.erased_tasks += 1;
            } else {
                self.faults.append(faults);
            }
        }
        for index in &self.leaves {
            self.faults.add(
                Check::Chain,
                Some(*index),
                "leaf",
                &"the entry has no envelope, and no erasure in the log speaks of it",
            );
        }
        let checkpoint = self.open_checkpoint();
        let mut verdicts = Verdicts::default();
        let mut cosigned = Vec::new();
        if let (Some(policy), Some(checkpoint)) = (&self.options.witnesses, &checkpoint) {
            let faults = &mut self.faults;
            cosigned = witnessed::check(&self.note, checkpoint, policy, &self.trust, faults);
            verdicts.witnessed = faults.outcome(Check::Witnessed, !policy.is_none());
        }
        let there = self.rooted && !self.ended;
        if let Some(checkpoint) = &checkpoint {
            self.compare_head(checkpoint);
        }
        let headed = checkpoint.is_some();
        verdicts.signatures = self.faults.outcome(Check::Signatures, !self.ended);
        verdicts.chain = self.faults.outcome(Check::Chain, self.whole && !self.ended);
        verdicts.inclusion = self.faults.outcome(Check::Inclusion, there && headed);
        let complete = there && headed && self.whole && !self.faults.any(Check::Inclusion);
        verdicts.completeness = self.faults.outcome(Check::Completeness, complete);
        let compared = self.last_seen.is_some() && there && headed;
        verdicts.append_only = self.faults.outcome(Check::AppendOnly, compared);
        LogReport {
            verdicts,
            faults: self.faults.into_list(),
            cosigned,
            checkpoint,
            counts: self.counts,
        }
    }

    /// The head, signed by a log key that counts at the last leaf.
    fn open_checkpoint(&mut self) -> Option<Checkpoint> {
        let last = self.tree.size().saturating_sub(1);
        let keys: Vec<VerifierKey> = self
            .log_keys
            .iter()
            .filter(|key| key.from_index <= last && key.to_index.is_none_or(|to| last <= to))
            .map(|key| key.key.clone())
            .collect();
        match open_note(&self.note, &keys, &self.trust.origin) {
            Ok(checkpoint) => Some(checkpoint),
            Err(reason) => {
                self.faults
                    .add(Check::Signatures, None, "checkpoint", &reason);
                None
            }
        }
    }

    /// The tree over all leaves is the one that was signed: nothing is left out, and nothing is at another place.
    fn compare_head(&mut self, checkpoint: &Checkpoint) {
        let size = self.tree.size();
        if let Some(seen) = &self.last_seen
            && seen.size > checkpoint.size
        {
            let message = format!(
                "the log had {} entries when it was last seen, and has only {} here: it was rewound, or the export is older",
                seen.size, checkpoint.size
            );
            self.faults
                .add(Check::AppendOnly, None, "checkpoint", &message);
        }
        if self.ended {
            return;
        }
        if size != checkpoint.size {
            let message = format!(
                "there are {size} entries, and {} are expected, as the checkpoint says",
                checkpoint.size
            );
            self.faults
                .add(Check::Completeness, None, "checkpoint", &message);
        } else if self.rooted && self.tree.root() != checkpoint.root {
            let message = "the entries make another root than the one that the log signed";
            self.faults
                .add(Check::Inclusion, None, "checkpoint", &message);
        }
    }
}
