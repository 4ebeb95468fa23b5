//! Offline verification of a receipt (format §5): in order, each check in its own file, each fault with its place.
//!
//! In: a receipt, a trust file, and how strict to be. Out: a [`Report`] with a verdict for each question and a sentence
//! for each fault, never a bare "valid". Nothing is believed but what a signature or a proof gave.
//!
//! Deliberately absent: running the steps again (`replay` is not checked here: it needs the sandbox, and whoever ran it
//! sets the verdict), and whether a witness's time is recent enough, since there is no clock.

mod act;
mod append_only;
mod approvals;
mod attempt;
mod chain;
mod completeness;
mod disclosure;
mod erased;
mod faults;
mod inclusion;
mod log;
mod meaning;
mod pins;
mod signatures;
#[cfg(test)]
mod tests;
mod witnessed;

use std::fmt;

use crate::checkpoint::Checkpoint;
use crate::digest::Digest;
use crate::leaf;
use crate::receipt::{Receipt, ReceiptLimits};
use crate::record::Record;
use crate::trust::TrustFile;
use crate::witness_policy::WitnessPolicy;

pub use act::check_act;
pub use approvals::check_approval;
pub use disclosure::disclosable;
use erased::Restated;
use faults::Faults;
pub use faults::{FAULTS_MAX, MESSAGE_BYTES_MAX};
pub use log::{
    Counts, ERASED_MAX, Keys, LogReport, LogVerifier, OPEN_RECORDS_MAX, Opened, open_line,
};
pub use pins::Pins;

/// How strict to be, and what the verifier saw before.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Options {
    /// Accept the receipt of a task that is not closed, whose tail nothing proves.
    pub allow_open: bool,
    /// Accept a receipt in which records of the task are erased: their places in log and chain are proven, and what they said is
    /// not seen by anyone. A host could erase what it does not want seen.
    pub allow_erased: bool,
    /// The last checkpoint of this log that the verifier saw, as a signed note. Where it is given, the receipt must
    /// prove that its own checkpoint is the same one or continues it. Once it does, the receipt's checkpoint is the one
    /// to keep.
    pub last_seen: Option<String>,
    /// Who must have cosigned the checkpoint.
    pub witnesses: Option<WitnessPolicy>,
    /// What may have run, and what may have judged it.
    pub pins: Pins,
}

/// A question that verification answers, or the form of the receipt itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Check {
    /// It has the form of a receipt.
    Receipt,
    /// The checkpoint, every record and every approver's envelope is signed by a key that is believed there.
    Signatures,
    /// The records are one task's, without gap, and tell a story that the state machines allow.
    Chain,
    /// Every record is in the log at its index.
    Inclusion,
    /// The task is closed and nothing of it is missing.
    Completeness,
    /// The log only grew since the verifier last saw it.
    AppendOnly,
    /// Others saw the same log.
    Witnessed,
    /// Every disclosed blob is one the records speak of.
    Disclosure,
    /// The steps give the same again.
    Replay,
}

impl Check {
    /// The name people and programs read.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Receipt => "receipt",
            Self::Signatures => "signatures",
            Self::Chain => "chain",
            Self::Inclusion => "inclusion",
            Self::Completeness => "completeness",
            Self::AppendOnly => "append-only",
            Self::Witnessed => "witnessed",
            Self::Disclosure => "disclosure",
            Self::Replay => "replay",
        }
    }
}

impl fmt::Display for Check {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The answer to one question.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Outcome3 {
    /// Yes.
    Pass,
    /// No; a fault says why.
    Fail,
    /// Nobody asked, or what it rests on failed already.
    #[default]
    NotChecked,
}

impl Outcome3 {
    /// The name people and programs read.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Pass => "pass",
            Self::Fail => "fail",
            Self::NotChecked => "not-checked",
        }
    }
}

impl fmt::Display for Outcome3 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The answers to all questions.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Verdicts {
    /// See [`Check::Signatures`].
    pub signatures: Outcome3,
    /// See [`Check::Chain`].
    pub chain: Outcome3,
    /// See [`Check::Inclusion`].
    pub inclusion: Outcome3,
    /// See [`Check::Completeness`].
    pub completeness: Outcome3,
    /// See [`Check::AppendOnly`].
    pub append_only: Outcome3,
    /// See [`Check::Witnessed`].
    pub witnessed: Outcome3,
    /// See [`Check::Disclosure`].
    pub disclosure: Outcome3,
    /// See [`Check::Replay`].
    pub replay: Outcome3,
}

impl Verdicts {
    /// Every question with its answer, in the format's order.
    pub fn all(&self) -> [(Check, Outcome3); 8] {
        [
            (Check::Signatures, self.signatures),
            (Check::Chain, self.chain),
            (Check::Inclusion, self.inclusion),
            (Check::Completeness, self.completeness),
            (Check::AppendOnly, self.append_only),
            (Check::Witnessed, self.witnessed),
            (Check::Disclosure, self.disclosure),
            (Check::Replay, self.replay),
        ]
    }
}

/// Something that is wrong, and where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// The question it is a "no" to.
    pub check: Check,
    /// Index in the log of the entry it is in; absent where it is in the receipt as a whole.
    pub index: Option<u64>,
    /// Path of the member it is in, within the entry's record, the entry, or the receipt.
    pub member: String,
    /// A sentence: what was found and what was expected.
    pub message: String,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: ", self.check)?;
        if let Some(index) = self.index {
            write!(f, "entry {index}: ")?;
        }
        if !self.member.is_empty() {
            write!(f, "{}: ", self.member)?;
        }
        f.write_str(&self.message)
    }
}

/// A witness whose cosignature of the checkpoint verifies.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cosigned {
    /// Its name in the witness policy.
    pub witness: String,
    /// The name it signs under.
    pub key_name: String,
    /// When it last cosigned, in seconds since 1970 by its own clock: a claim of the witness, not proof.
    pub unix_seconds: u64,
}

/// A question that was asked and that the receipt does not answer: neither yes nor no.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unanswered {
    /// The question.
    pub check: Check,
    /// A sentence: what is missing and what to do.
    pub message: String,
}

impl fmt::Display for Unanswered {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.check, self.message)
    }
}

/// An erasure of records of the task.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Erasing {
    /// Index in the log of its record.
    pub index: u64,
    /// Why they had to be erased, as the host says.
    pub basis: String,
    /// How many it erased.
    pub entries: usize,
}

/// What verification found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report {
    /// An answer to each question.
    pub verdicts: Verdicts,
    /// Everything that is wrong, in the order of the checks.
    pub faults: Vec<Fault>,
    /// What was asked and could not be answered, with what to do about it.
    pub unanswered: Vec<Unanswered>,
    /// The witnesses of the policy that cosigned the checkpoint, whether or not they are enough.
    pub cosigned: Vec<Cosigned>,
    /// The head of the log, where a believed key signed it.
    pub checkpoint: Option<Checkpoint>,
    /// The records that are signed by a believed key and proven to be in the log, with their indexes.
    pub records: Vec<(u64, Record)>,
    /// Erasures of records of the task, where a believed key signed them.
    pub erased: Vec<Erasing>,
    /// Whether the task is not closed: its tail is unproven. Where the last record is erased, nobody can say, and it is not.
    pub open: bool,
    /// Whether an open task was to be accepted.
    pub allow_open: bool,
    /// Whether erased records were to be accepted.
    pub allow_erased: bool,
    /// Members of the receipt that this version does not know, [`FAULTS_MAX`] at most. Nothing signs them.
    pub unrecognised: Vec<String>,
}

impl Report {
    /// Whether the receipt may be believed: nothing failed, nothing that was asked is unanswered, every record is signed,
    /// linked and in the log, and the task is closed or may be open. Of erased records nothing more is known than their places,
    /// and that is enough only where [`Options::allow_erased`] says so.
    pub fn passed(&self) -> bool {
        let verdicts = &self.verdicts;
        let failed = verdicts.all().iter().any(|(_, o)| *o == Outcome3::Fail);
        let proven = [verdicts.signatures, verdicts.inclusion];
        let excused = self.allow_erased && !self.erased.is_empty();
        let told = |o: Outcome3| o == Outcome3::Pass || (excused && o == Outcome3::NotChecked);
        let complete = if self.open {
            self.allow_open
        } else {
            told(verdicts.completeness)
        };
        let answered = self.faults.is_empty() && self.unanswered.is_empty();
        let proven = proven.iter().all(|o| *o == Outcome3::Pass) && told(verdicts.chain);
        answered && !failed && complete && proven
    }

    fn new(options: &Options) -> Self {
        Self {
            verdicts: Verdicts::default(),
            faults: Vec::new(),
            unanswered: Vec::new(),
            cosigned: Vec::new(),
            checkpoint: None,
            records: Vec::new(),
            erased: Vec::new(),
            open: true,
            allow_open: options.allow_open,
            allow_erased: options.allow_erased,
            unrecognised: Vec::new(),
        }
    }
}

/// An entry whose signature is believed, so that its bytes may be read.
struct Signed {
    index: u64,
    leaf_hash: Digest,
    record: Record,
}

/// Reads and verifies a receipt, taking no more than [`ReceiptLimits::default`] allows.
pub fn verify_bytes(bytes: &[u8], trust: &TrustFile, options: &Options) -> Report {
    match Receipt::parse(bytes, &ReceiptLimits::default()) {
        Ok(receipt) => verify(&receipt, trust, options),
        Err(error) => {
            let mut faults = Faults::default();
            faults.add(Check::Receipt, None, error.member(), &error);
            let mut report = Report::new(options);
            report.faults = faults.into_list();
            report
        }
    }
}

/// Verifies a receipt against the keys of a trust file.
pub fn verify(receipt: &Receipt, trust: &TrustFile, options: &Options) -> Report {
    let mut faults = Faults::default();
    let mut report = Report::new(options);
    let unrecognised = receipt.unrecognised.keys().take(FAULTS_MAX);
    report.unrecognised = unrecognised.map(|name| faults::cut(name)).collect();
    report.checkpoint = signatures::open_checkpoint(&receipt.checkpoint, trust, &mut faults);

    check_witnessed(receipt, trust, options, &mut report, &mut faults);

    let entries: Vec<Option<Signed>> = receipt
        .entries
        .iter()
        .map(|entry| signatures::open_entry(entry, trust, &mut faults))
        .collect();
    let records: Vec<&Signed> = entries.iter().flatten().collect();
    // Around an entry that cannot be believed the others make no chain, and every fault after the first would be noise.
    let whole = records.len() == receipt.entries.len();
    let (records, erasures) = erased::split(receipt, records);
    report.erased = erased::shown(&erasures);
    report.open = is_open(receipt, &records);
    approvals::check_envelopes(&receipt.approvals, &records, trust, &mut faults);
    report.verdicts.signatures = faults.outcome(Check::Signatures, true);

    let included: Vec<bool> = receipt
        .entries
        .iter()
        .zip(&entries)
        .filter_map(|(entry, signed)| Some((entry, signed.as_ref()?)))
        .map(|(entry, signed)| {
            let head = report.checkpoint.as_ref();
            let (index, leaf_hash) = (signed.index, &signed.leaf_hash);
            inclusion::check(index, leaf_hash, &entry.proof, head, &mut faults)
        })
        .collect();
    for erased in &receipt.erased {
        let head = report.checkpoint.as_ref();
        let leaf_hash = leaf::leaf_hash(&erased.leaf);
        inclusion::check(erased.index, &leaf_hash, &erased.proof, head, &mut faults);
    }
    let provable = whole && report.checkpoint.is_some() && !receipt.entries.is_empty();
    report.verdicts.inclusion = faults.outcome(Check::Inclusion, provable);

    if whole {
        let restated = erased::check(receipt, &erasures, trust, &mut faults);
        // Around an entry of which nothing is restated the others make no chain either.
        if restated.len() == receipt.erased.len() {
            chain::check(&records, &restated, trust, &mut faults);
        }
        if receipt.erased.is_empty() {
            check_task(receipt, options, &records, &mut report, &mut faults);
        } else {
            check_erased(options, &records, &restated, &mut report, &mut faults);
        }
        disclosure::check(receipt, &records, &mut faults);
        let disclosed = !receipt.disclosures.is_empty();
        report.verdicts.disclosure = faults.outcome(Check::Disclosure, disclosed);
    } else {
        report.verdicts.chain = faults.outcome(Check::Chain, false);
    }

    let answered = append_only::check(
        receipt,
        trust,
        options,
        report.checkpoint.as_ref(),
        &mut faults,
        &mut report.unanswered,
    );
    report.verdicts.append_only = faults.outcome(Check::AppendOnly, answered);

    report.records = entries
        .into_iter()
        .flatten()
        .zip(included)
        .filter(|(signed, included)| *included && signed.record.log == trust.origin)
        .map(|(signed, _)| (signed.index, signed.record))
        .collect();
    report.faults = faults.into_list();
    report
}

/// Who else saw the log. Nobody is asked where there is no policy, or one whose quorum is nobody.
fn check_witnessed(
    receipt: &Receipt,
    trust: &TrustFile,
    options: &Options,
    report: &mut Report,
    faults: &mut Faults,
) {
    if let (Some(policy), Some(checkpoint)) = (&options.witnesses, &report.checkpoint) {
        report.cosigned = witnessed::check(&receipt.checkpoint, checkpoint, policy, trust, faults);
        report.verdicts.witnessed = faults.outcome(Check::Witnessed, !policy.is_none());
    }
}

/// Whether the end of the task is not there. An erased one is, but nobody can say what it was.
fn is_open(receipt: &Receipt, records: &[&Signed]) -> bool {
    let erased = receipt.erased.last().map(|erased| erased.index);
    let kept = records.last().map(|signed| signed.index);
    let closed = records.iter().any(|signed| completeness::closes(signed));
    !closed && erased <= kept
}

/// What the records say together, of which the chain was followed: meaning and completeness.
fn check_task(
    receipt: &Receipt,
    options: &Options,
    records: &[&Signed],
    report: &mut Report,
    faults: &mut Faults,
) {
    let linked = !faults.any(Check::Chain);
    let story = linked.then(|| meaning::check(records, &options.pins, faults));
    report.verdicts.chain = faults.outcome(Check::Chain, true);

    if let Some(story) = story.filter(|_| report.verdicts.chain == Outcome3::Pass) {
        let allow_open = options.allow_open;
        completeness::check(&receipt.disclosures, records, &story, allow_open, faults);
        report.verdicts.completeness = faults.outcome(Check::Completeness, !report.open);
    }
}

/// What can be said of a task without all that its records said: that they were there, each at its place. Whether their story
/// is one that the rules allow is not, and so what is asked of the story has no answer.
fn check_erased(
    options: &Options,
    records: &[&Signed],
    restated: &[Restated],
    report: &mut Report,
    faults: &mut Faults,
) {
    if !faults.any(Check::Chain) {
        let ended = completeness::check_erased(records, restated, options.allow_open, faults);
        report.verdicts.completeness = faults.outcome(Check::Completeness, ended);
        let (count, all) = (restated.len(), restated.len() + records.len());
        let unjudged = if !options.allow_erased {
            Some("what they said cannot be judged. --allow-erased accepts that")
        } else if !options.pins.is_empty() {
            Some(
                "what ran and what judged it cannot be compared with the pins. Verify without them",
            )
        } else {
            None
        };
        report.unanswered.extend(unjudged.map(|why| Unanswered {
            check: Check::Chain,
            message: format!("{count} of the task's {all} records were erased, and {why}"),
        }));
    }
    report.verdicts.chain = faults.outcome(Check::Chain, false);
}
