//! What a witness remembers: its key, and the last head of each log that it cosigned.
//!
//! ```text
//! <state>/                 0700
//!   witness.pem            signs cosignatures   0600
//!   witness.vkey           its public key and name, for others
//!   witness.lock           held by the one witness that uses this directory
//!   heads/<id>.note        the last head of a log, as the log signed it; the id is SHA-256 of the log's origin
//!   evidence/<id>.json     the first proof that a log misbehaved
//! ```
//!
//! A head is on disk before its cosignature leaves. A crash between the two leaves a head that nobody has a cosignature of,
//! and whoever asks again gets one.

use std::collections::HashMap;
use std::fs::{File, OpenOptions};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use anyhow::{Context as _, bail, ensure};
use stepseal_receipts::checkpoint::origin;
use stepseal_receipts::cosignature::{self, WitnessKey};
use stepseal_receipts::digest::Digest;
use stepseal_receipts::keys::SigningKey;
use stepseal_receipts::note::{NOTE_BYTES_MAX, VerifierKey};
use stepseal_receipts::witness::{AddCheckpoint, Head, Refusal, cosigned, judge};

use crate::cli::files;
use crate::clock::Clock;
use crate::data_dir::{
    DIR_MODE, SECRET_MODE, check_mode, make_dir, read_small, signing_key, write_secret,
};

/// A witness's directory, which this process alone uses until it is dropped.
pub(super) struct Book {
    name: String,
    key: SigningKey,
    /// By origin.
    logs: HashMap<String, Log>,
    // The lock lives as long as the file is open.
    _lock: File,
}

struct Log {
    keys: Vec<VerifierKey>,
    /// Held from judging a head until it is stored, so that no two are judged against the same one.
    last: Mutex<Option<Head>>,
    head: PathBuf,
    evidence: PathBuf,
}

/// Why there is no cosignature.
#[derive(Debug)]
pub(super) enum NotCosigned {
    /// The head must not be cosigned.
    Refused(Refusal),
    /// It could not be stored.
    Failed(anyhow::Error),
}

impl Book {
    /// Opens the directory, or makes it. What is remembered of the logs must be signed by the keys given.
    pub(super) fn open(
        dir: &Path,
        name: Option<&str>,
        logs: Vec<VerifierKey>,
        clock: &dyn Clock,
    ) -> anyhow::Result<Self> {
        make_dir(dir)?;
        check_mode(dir, DIR_MODE)?;
        let lock = take_lock(&dir.join("witness.lock"))
            .with_context(|| format!("{} cannot be used", dir.display()))?;
        let (heads, evidence) = (dir.join("heads"), dir.join("evidence"));
        make_dir(&heads)?;
        make_dir(&evidence)?;
        let (name, key) = own_key(dir, name, clock)?;
        let mut known: HashMap<String, Vec<VerifierKey>> = HashMap::new();
        for log in logs {
            origin::check(log.name())
                .with_context(|| format!("the log {:?} cannot be witnessed", log.name()))?;
            ensure!(
                *log.key() != key.public(),
                "the log {} has the key of this witness, and a log that witnesses itself shows nothing",
                log.name()
            );
            known.entry(log.name().to_owned()).or_default().push(log);
        }
        let logs = known.into_iter().map(|(origin, keys)| {
            let id = Digest::of(origin.as_bytes()).to_hex();
            let head = heads.join(format!("{id}.note"));
            let last = read_head(&head, &origin, &keys)
                .with_context(|| format!("what is remembered of {origin} cannot be used"))?;
            let log = Log {
                keys,
                last: Mutex::new(last),
                head,
                evidence: evidence.join(format!("{id}.json")),
            };
            Ok((origin, log))
        });
        Ok(Self {
            name,
            key,
            logs: logs.collect::<anyhow::Result<_>>()?,
            _lock: lock,
        })
    }

    /// The key that others verify cosignatures with.
    pub(super) fn key(&self) -> WitnessKey {
        WitnessKey::new(&self.name, &self.key.public()).expect("the name was checked")
    }

    /// How many logs are known.
    pub(super) fn logs(&self) -> usize {
        self.logs.len()
    }

    /// Answers a request: with a cosignature only after the head is on disk.
    pub(super) fn add_checkpoint(
        &self,
        body: &[u8],
        clock: &dyn Clock,
    ) -> Result<String, NotCosigned> {
        let request = AddCheckpoint::parse(body).map_err(NotCosigned::Refused)?;
        let unknown = || NotCosigned::Refused(Refusal::UnknownLog(request.origin().to_owned()));
        let log = self.logs.get(request.origin()).ok_or_else(unknown)?;
        // What a panicking holder left is whole: it is set once, after the head is on disk.
        let mut last = log.last.lock().unwrap_or_else(PoisonError::into_inner);
        let head = judge(&request, &log.keys, last.as_ref()).map_err(|refusal| {
            log.keep_evidence(&refusal);
            NotCosigned::Refused(refusal)
        })?;
        let unix_seconds = clock.now().unix_ms() / 1000;
        let line = cosignature::sign(&head.note.text, unix_seconds, &self.name, &self.key)
            .map_err(|error| NotCosigned::Failed(error.into()))?;
        if last.as_ref() != Some(&head) {
            write_secret(&log.head, head.note.to_string().as_bytes())
                .map_err(|error| NotCosigned::Failed(error.into()))?;
            *last = Some(head);
        }
        Ok(cosigned(&[line]))
    }
}

impl Log {
    /// Keeps what a refused request proves. The first proof is enough, and a log cannot fill the disk with more.
    fn keep_evidence(&self, refusal: &Refusal) {
        let Some((misbehaviour, evidence)) = refusal.evidence() else {
            return;
        };
        let kept = self.evidence.display();
        if self.evidence.exists() {
            tracing::warn!(%misbehaviour, %kept, "a log misbehaved again");
            return;
        }
        match write_secret(&self.evidence, &evidence.to_json(misbehaviour)) {
            Ok(()) => {
                tracing::error!(%misbehaviour, %kept, "a log misbehaved, and here is the proof");
            }
            Err(error) => {
                tracing::error!(%misbehaviour, %error, "a log misbehaved, and the proof was not kept");
            }
        }
    }
}

/// Name and key of the witness: those that are there, or new ones.
fn own_key(
    dir: &Path,
    wanted: Option<&str>,
    clock: &dyn Clock,
) -> anyhow::Result<(String, SigningKey)> {
    let (pem, vkey) = (dir.join("witness.pem"), dir.join("witness.vkey"));
    let known = read_small(&vkey)?;
    ensure!(
        known.is_none() || pem.exists(),
        "the key {} is missing: put it back from the backup; for a new witness choose another directory with --state",
        pem.display()
    );
    let key = signing_key(&pem, known.is_none(), clock)?;
    let Some(known) = known else {
        let default = || {
            format!(
                "stepseal.local/witness-{}",
                &key.public().id().to_hex()[..8]
            )
        };
        let name = wanted.map_or_else(default, str::to_owned);
        let public = WitnessKey::new(&name, &key.public()).context("--name")?;
        write_secret(&vkey, format!("{public}\n").as_bytes())?;
        return Ok((name, key));
    };
    let known = WitnessKey::parse(known.trim())
        .with_context(|| format!("{} is not the key of a witness", vkey.display()))?;
    ensure!(
        *known.key() == key.public(),
        "{} is not the key that {} names: put the right one back",
        pem.display(),
        vkey.display()
    );
    ensure!(
        wanted.is_none_or(|wanted| wanted == known.name()),
        "the witness of {} is called {}: leave --name out, or choose another directory with --state",
        dir.display(),
        known.name()
    );
    Ok((known.name().to_owned(), key))
}

fn read_head(path: &Path, origin: &str, keys: &[VerifierKey]) -> anyhow::Result<Option<Head>> {
    if !path.exists() {
        return Ok(None);
    }
    let note = files::read(path, "the head", NOTE_BYTES_MAX as u64)?;
    let said = || path.display().to_string();
    let note = String::from_utf8(note).with_context(said)?;
    let head = Head::open(&note, keys).with_context(said)?;
    ensure!(
        head.checkpoint.origin == origin,
        "{} is a head of the log {}",
        path.display(),
        head.checkpoint.origin
    );
    Ok(Some(head))
}

fn take_lock(path: &Path) -> anyhow::Result<File> {
    let lock = OpenOptions::new()
        .create(true)
        .truncate(false)
        .write(true)
        .mode(SECRET_MODE)
        .open(path)?;
    match lock.try_lock() {
        Ok(()) => Ok(lock),
        Err(std::fs::TryLockError::WouldBlock) => bail!("another witness uses it already"),
        Err(std::fs::TryLockError::Error(error)) => Err(error.into()),
    }
}
