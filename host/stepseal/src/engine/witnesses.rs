//! Witnesses of the log: who is asked, what they cosigned, and which head is shown with it.
//!
//! Asking itself is [`crate::witnesses`]. Nothing waits for a witness that failed last time it was asked, so one that is down
//! costs nobody anything but its cosignature.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::time::Duration;

use stepseal_receipts::cosignature::WitnessKey;
use stepseal_receipts::note::{Note, NoteSignature};
use stepseal_receipts::time::Timestamp;
use stepseal_receipts::witness::AddCheckpoint;
use stepseal_receipts::witness_policy::WitnessPolicy;
use tokio::sync::watch;
use tokio::time::timeout;

use super::{Engine, EngineError, lock};
use crate::store::{CheckpointRow, CosignatureRow};

/// The longest that an answer waits for cosignatures.
const COSIGNED_WALL_MAX: Duration = Duration::from_secs(2);
/// Heads that are remembered with cosignatures while too few witnesses cosign any.
const HEADS_MAX: usize = 64;
/// Time between two lines in the log about one witness.
const SAID_EVERY: Duration = Duration::from_mins(1);

/// The witnesses of a host.
pub(crate) struct Witnesses {
    policy: WitnessPolicy,
    list: Vec<Watched>,
    heads: Mutex<Heads>,
    /// Told of each cosignature and each failure.
    changed: watch::Sender<()>,
    /// Told of each head that is signed.
    signed: watch::Sender<()>,
}

/// One of them.
struct Watched {
    name: String,
    key: WitnessKey,
    url: String,
    state: Mutex<State>,
}

/// How it goes with a witness.
#[derive(Clone, Debug, Default)]
struct State {
    size: Option<u64>,
    cosigned_at: Option<Timestamp>,
    asked: u64,
    cosigned: u64,
    error: Option<String>,
    said: Option<Timestamp>,
}

/// A witness, for the operator.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WitnessView {
    /// Its name in the policy.
    pub name: String,
    /// Its key.
    pub key: String,
    /// Where it is asked.
    pub url: String,
    /// Size of the last head it cosigned.
    pub size: Option<u64>,
    /// When it says that it cosigned it.
    pub cosigned_at: Option<Timestamp>,
    /// Heads it was asked to cosign since the host started.
    pub asked: u64,
    /// Those it cosigned.
    pub cosigned: u64,
    /// Why it did not cosign the last one it was asked about.
    pub error: Option<String>,
}

/// Heads with the cosignatures that are there, by size: the newest that enough cosigned, and those since.
#[derive(Debug, Default)]
struct Heads(BTreeMap<u64, Cosigned>);

#[derive(Debug)]
struct Cosigned {
    checkpoint: CheckpointRow,
    /// Signature lines, by the witness's place in the list.
    lines: BTreeMap<usize, String>,
}

impl Witnesses {
    /// The witnesses of a policy that can be asked, with what the database remembers of them.
    pub(super) fn new(policy: WitnessPolicy, stored: Vec<(CheckpointRow, CosignatureRow)>) -> Self {
        let list = policy.witnesses().filter_map(|witness| {
            Some(Watched {
                name: witness.name.to_owned(),
                key: witness.key.clone(),
                url: witness.url?.to_owned(),
                state: Mutex::default(),
            })
        });
        let witnesses = Self {
            list: list.collect(),
            policy,
            heads: Mutex::default(),
            changed: watch::Sender::default(),
            signed: watch::Sender::default(),
        };
        for (checkpoint, cosignature) in stored {
            witnesses.remember(checkpoint, &cosignature);
        }
        witnesses
    }

    /// Takes up a stored cosignature, if it is of a witness that still counts.
    fn remember(&self, checkpoint: CheckpointRow, stored: &CosignatureRow) {
        let mut list = self.list.iter().enumerate();
        let found = list.find(|(_, witness)| witness.key.to_string() == stored.witness);
        let line = NoteSignature::parse(&stored.line);
        let (Some((place, witness)), Some(line)) = (found, line) else {
            return;
        };
        let time = Note::parse(&checkpoint.note)
            .ok()
            .and_then(|note| witness.key.verify(&note.text, &line).ok());
        let Some(time) = time else {
            return;
        };
        let mut state = lock(&witness.state);
        if state.size.is_none_or(|size| size <= checkpoint.head.size) {
            state.size = Some(checkpoint.head.size);
            state.cosigned_at = timestamp(time);
        }
        lock(&self.heads).add(checkpoint, place, stored.line.clone());
    }

    /// A head was signed.
    pub(super) fn signed(&self) {
        self.signed.send_replace(());
    }

    fn is_met(&self, cosigned: &Cosigned) -> bool {
        !cosigned.lines.is_empty()
            && self.policy.is_met(|key| {
                let mut cosigners = cosigned.lines.keys();
                cosigners.any(|&place| self.list[place].key == *key)
            })
    }

    /// The newest head of at least so many entries that enough cosigned.
    fn met(&self, covers: u64) -> Option<CheckpointRow> {
        let heads = lock(&self.heads);
        let mut newest_first = heads.0.range(covers..).rev();
        newest_first
            .find(|(_, cosigned)| self.is_met(cosigned))
            .map(|(_, cosigned)| cosigned.row())
    }

    /// The best head of at least so many entries that anybody cosigned: by enough, else by the most, else the newest.
    fn best(&self, covers: u64) -> Option<CheckpointRow> {
        let heads = lock(&self.heads);
        let covering = heads.0.range(covers..);
        covering
            .max_by_key(|(size, cosigned)| (self.is_met(cosigned), cosigned.lines.len(), **size))
            .map(|(_, cosigned)| cosigned.row())
    }

    /// Waits for a moment until enough have cosigned a head of at least so many entries, or all of those that can be reached.
    async fn settle(&self, covers: u64) {
        let mut changed = self.changed.subscribe();
        let settled =
            async { while !self.is_settled(covers) && changed.changed().await.is_ok() {} };
        // Whoever asks gets an answer either way.
        let _ = timeout(COSIGNED_WALL_MAX, settled).await;
    }

    fn is_settled(&self, covers: u64) -> bool {
        let reached = |witness: &Watched| {
            let state = lock(&witness.state);
            state.error.is_some() || state.size.is_some_and(|size| size >= covers)
        };
        self.met(covers).is_some() || self.list.iter().all(reached)
    }

    fn view(&self) -> Vec<WitnessView> {
        let views = self.list.iter().map(|witness| {
            let state = lock(&witness.state).clone();
            WitnessView {
                name: witness.name.clone(),
                key: witness.key.to_string(),
                url: witness.url.clone(),
                size: state.size,
                cosigned_at: state.cosigned_at,
                asked: state.asked,
                cosigned: state.cosigned,
                error: state.error,
            }
        });
        views.collect()
    }
}

impl Heads {
    fn add(&mut self, checkpoint: CheckpointRow, place: usize, line: String) {
        let head = self.0.entry(checkpoint.head.size);
        let cosigned = head.or_insert_with(|| Cosigned {
            checkpoint,
            lines: BTreeMap::new(),
        });
        cosigned.lines.insert(place, line);
    }

    /// Forgets heads that no answer will carry: older than one that enough cosigned, which covers whatever they do. Returns
    /// their sizes.
    fn prune(&mut self, is_met: impl Fn(&Cosigned) -> bool) -> Vec<u64> {
        let mut newest_first = self.0.iter().rev();
        let met = newest_first.find(|(_, cosigned)| is_met(cosigned));
        let met = met.map(|(size, _)| *size);
        let older = self.0.range(..met.unwrap_or(0)).map(|(size, _)| *size);
        let mut forget: Vec<u64> = older.collect();
        let others = self.0.keys().copied().filter(|size| Some(*size) > met);
        let too_many = others.clone().count().saturating_sub(HEADS_MAX);
        forget.extend(others.take(too_many));
        for size in &forget {
            self.0.remove(size);
        }
        forget
    }
}

impl Cosigned {
    /// The checkpoint with its cosignatures.
    fn row(&self) -> CheckpointRow {
        let mut row = self.checkpoint.clone();
        for line in self.lines.values() {
            row.note.push_str(line);
            row.note.push('\n');
        }
        row
    }
}

impl Engine {
    /// The newest head of at least so many entries that enough witnesses cosigned; where there is none, the log is signed as
    /// it is, and has the cosignatures that come within a moment.
    pub(super) async fn witnessed_checkpoint(
        &self,
        covers: u64,
    ) -> Result<CheckpointRow, EngineError> {
        if let Some(row) = self.0.witnesses.as_ref().and_then(|all| all.met(covers)) {
            return Ok(row);
        }
        let newest = self.signed_checkpoint().await?;
        Ok(self.cosigned_since(newest, covers).await)
    }

    /// This head or a newer one with the cosignatures that come within a moment.
    pub(super) async fn with_cosignatures(&self, row: CheckpointRow) -> CheckpointRow {
        let covers = row.head.size;
        self.cosigned_since(row, covers).await
    }

    async fn cosigned_since(&self, row: CheckpointRow, covers: u64) -> CheckpointRow {
        let Some(witnesses) = &self.0.witnesses else {
            return row;
        };
        witnesses.settle(covers).await;
        witnesses.best(covers).unwrap_or(row)
    }

    /// How it goes with the witnesses, in the order of the policy.
    pub fn witnesses(&self) -> Vec<WitnessView> {
        let witnesses = self.0.witnesses.as_ref();
        witnesses.map(Witnesses::view).unwrap_or_default()
    }

    /// The newest head, once it is one that the witness at this place did not cosign yet; `None` where there is no such
    /// witness, or the engine stops.
    pub(crate) async fn head_to_cosign(
        &self,
        place: usize,
    ) -> Result<Option<CheckpointRow>, EngineError> {
        let Some(witnesses) = &self.0.witnesses else {
            return Ok(None);
        };
        let Some(witness) = witnesses.list.get(place) else {
            return Ok(None);
        };
        let (mut signed, mut stopping) =
            (witnesses.signed.subscribe(), self.0.stopping.subscribe());
        while !*stopping.borrow() {
            let newest = self.0.store.checkpoint().await?;
            let size = lock(&witness.state).size;
            let newer = newest.filter(|newest| size.is_none_or(|size| size < newest.head.size));
            if let Some(newer) = newer {
                return Ok(Some(newer));
            }
            tokio::select! {
                _ = signed.changed() => {}
                _ = stopping.changed() => {}
            }
        }
        Ok(None)
    }

    /// What a witness is asked to cosign, if it cosigned the head of `old` entries last.
    pub(crate) async fn cosign_request(
        &self,
        head: &CheckpointRow,
        old: u64,
    ) -> Result<AddCheckpoint, EngineError> {
        Ok(AddCheckpoint {
            old,
            proof: self.consistency(old, head.head.size).await?,
            checkpoint: head.note.clone(),
        })
    }

    /// A witness cosigned a head.
    pub(crate) async fn cosigned(
        &self,
        place: usize,
        head: CheckpointRow,
        line: &NoteSignature,
        unix_seconds: u64,
    ) -> Result<(), EngineError> {
        let Some((witnesses, witness)) = self.watched(place) else {
            return Ok(());
        };
        let row = CosignatureRow {
            size: head.head.size,
            witness: witness.key.to_string(),
            line: line.to_string(),
        };
        let forget = {
            let mut heads = lock(&witnesses.heads);
            heads.add(head, place, row.line.clone());
            heads.prune(|cosigned| witnesses.is_met(cosigned))
        };
        let was_down = {
            let mut state = lock(&witness.state);
            state.size = Some(row.size);
            state.cosigned_at = timestamp(unix_seconds);
            state.asked += 1;
            state.cosigned += 1;
            state.error.take().is_some()
        };
        witnesses.changed.send_replace(());
        if was_down {
            tracing::info!(
                witness = witness.name,
                size = row.size,
                "a witness cosigns again"
            );
        }
        Ok(self.0.store.put_cosignature(&row, &forget).await?)
    }

    /// A witness did not cosign a head.
    pub(crate) fn not_cosigned(&self, place: usize, error: String) {
        let Some((witnesses, witness)) = self.watched(place) else {
            return;
        };
        let now = self.0.clock.now();
        let mut state = lock(&witness.state);
        let quiet = state.said.is_some_and(|said| {
            Duration::from_millis(now.unix_ms().abs_diff(said.unix_ms())) < SAID_EVERY
        });
        if !quiet {
            tracing::warn!(witness = witness.name, %error, "a witness did not cosign; the host goes on without it");
            state.said = Some(now);
        }
        state.asked += 1;
        state.error = Some(error);
        drop(state);
        witnesses.changed.send_replace(());
    }

    fn watched(&self, place: usize) -> Option<(&Witnesses, &Watched)> {
        let witnesses = self.0.witnesses.as_ref()?;
        Some((witnesses, witnesses.list.get(place)?))
    }

    /// Key and address of the witness at this place, and the size of the last head it cosigned.
    pub(crate) fn witness_at(&self, place: usize) -> Option<(WitnessKey, String, u64)> {
        let (_, witness) = self.watched(place)?;
        let size = lock(&witness.state).size.unwrap_or(0);
        Some((witness.key.clone(), witness.url.clone(), size))
    }
}

fn timestamp(unix_seconds: u64) -> Option<Timestamp> {
    Timestamp::from_unix_ms(unix_seconds.checked_mul(1000)?).ok()
}

#[cfg(test)]
mod tests {
    use stepseal_receipts::checkpoint::Checkpoint;
    use stepseal_receipts::cosignature;
    use stepseal_receipts::digest::Digest;
    use stepseal_receipts::keys::SigningKey;

    use super::*;
    use crate::store::LogHead;

    const NAMES: [&str; 3] = ["a", "b", "c"];

    fn key(place: usize) -> SigningKey {
        SigningKey::from_seed([u8::try_from(place).unwrap() + 1; 32])
    }

    /// Witnesses `a`, `b` and `c`, of which two are enough.
    fn policy() -> WitnessPolicy {
        let lines = NAMES.iter().enumerate().map(|(place, name)| {
            let key = WitnessKey::new(name, &key(place).public()).unwrap();
            format!("witness {name} {key} https://{name}.example\n")
        });
        let text = format!(
            "{}group two 2 a b c\nquorum two\n",
            lines.collect::<String>()
        );
        WitnessPolicy::parse(text.as_bytes()).unwrap()
    }

    fn head(size: u64) -> CheckpointRow {
        let checkpoint = Checkpoint {
            origin: "log.example/one".to_owned(),
            size,
            root: Digest::of(&size.to_be_bytes()),
        };
        CheckpointRow {
            head: LogHead {
                size,
                root: checkpoint.root,
            },
            note: checkpoint.sign(&SigningKey::from_seed([99; 32])).unwrap(),
            signed: Timestamp::from_unix_ms(size).unwrap(),
        }
    }

    fn stored(size: u64, place: usize) -> (CheckpointRow, CosignatureRow) {
        let head = head(size);
        let text = Note::parse(&head.note).unwrap().text;
        let line = cosignature::sign(&text, 1_000 + size, NAMES[place], &key(place)).unwrap();
        let witness = WitnessKey::new(NAMES[place], &key(place).public()).unwrap();
        let row = CosignatureRow {
            size,
            witness: witness.to_string(),
            line: line.to_string(),
        };
        (head, row)
    }

    fn with(cosigned: &[(u64, usize)]) -> Witnesses {
        let stored = cosigned.iter().map(|&(size, place)| stored(size, place));
        Witnesses::new(policy(), stored.collect())
    }

    fn size(row: Option<CheckpointRow>) -> Option<u64> {
        row.map(|row| row.head.size)
    }

    #[test]
    fn the_newest_head_that_enough_cosigned_goes_before_newer_ones() {
        let all = with(&[(5, 0), (5, 1), (7, 0), (7, 2), (8, 1), (9, 1)]);
        assert_eq!(size(all.met(0)), Some(7));
        assert_eq!(size(all.best(7)), Some(7));
        let row = all.met(6).unwrap();
        let note = Note::parse(&row.note).unwrap();
        assert_eq!(note.signatures.len(), 3);
        // Where none covers what is asked for: by the most, then the newest, then nobody.
        assert_eq!((size(all.met(8)), size(all.best(8))), (None, Some(9)));
        assert_eq!(size(all.best(10)), None);
    }

    #[test]
    fn an_answer_waits_for_nobody_who_failed() {
        let all = with(&[(5, 0)]);
        assert!(!all.is_settled(5), "b and c may still cosign");
        for place in [1, 2] {
            lock(&all.list[place].state).error = Some("down".to_owned());
        }
        assert!(all.is_settled(5));
        assert!(!all.is_settled(6), "a may still cosign a newer one");
        assert!(with(&[(5, 0), (6, 1), (6, 2)]).is_settled(6));
    }

    #[test]
    fn what_is_stored_counts_only_where_it_verifies_under_the_policy_of_today() {
        let (head, mut forged) = stored(5, 0);
        forged.line = stored(6, 0).1.line;
        let (_, mut stranger) = stored(5, 1);
        let key = SigningKey::from_seed([50; 32]).public();
        stranger.witness = WitnessKey::new("b", &key).unwrap().to_string();
        let all = Witnesses::new(policy(), vec![(head.clone(), forged), (head, stranger)]);
        assert_eq!(size(all.best(0)), None);
        assert!(all.view().iter().all(|view| view.size.is_none()));
        let good = with(&[(5, 0), (7, 0)]).view();
        assert_eq!(good[0].size, Some(7));
        let at = Timestamp::from_unix_ms(1_007_000).unwrap();
        assert_eq!(good[0].cosigned_at, Some(at));
    }

    #[test]
    fn heads_that_no_answer_will_carry_are_forgotten() {
        let all = with(&[(3, 0), (5, 0), (5, 1), (6, 2), (7, 0), (7, 1), (9, 0)]);
        let prune = || lock(&all.heads).prune(|cosigned| all.is_met(cosigned));
        assert_eq!(prune(), [3, 5, 6]);
        assert_eq!(prune(), [0; 0]);
        let most = u64::try_from(HEADS_MAX).unwrap();
        for size in 10..10 + most {
            let (head, row) = stored(size, 0);
            lock(&all.heads).add(head, 0, row.line);
        }
        // The one that enough cosigned stays, and the newest of the others.
        assert_eq!(prune(), [9]);
        let kept: Vec<u64> = lock(&all.heads).0.keys().copied().collect();
        assert_eq!(kept.len(), HEADS_MAX + 1);
        assert_eq!(kept[..2], [7, 10]);
    }
}
