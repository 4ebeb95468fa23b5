//! `stepseal log`: the log of a host, watched from outside.

mod export;
mod monitor;
mod shard;
mod witness;

use std::path::{Path, PathBuf};
use std::thread::sleep;
use std::time::Duration;

use anyhow::Context as _;
use clap::{Args, Subcommand};
use serde_json::json;
use stepseal_receipts::checkpoint::Checkpoint;
use stepseal_receipts::evidence::{EVIDENCE_BYTES_MAX, Evidence, Misbehaviour};
use stepseal_receipts::note::NOTE_BYTES_MAX;
use stepseal_receipts::trust::TrustFile;

use super::client::{Client, ClientError};
use super::output::{one_line, thousands};
use super::verify::read_trust;
use super::{Answer, Context, files};
use monitor::{Refused, Seen, proof_between};

/// Bytes of a monitor's state: a checkpoint and one hash for each bit of its size.
const STATE_BYTES_MAX: u64 = 256 << 10;

/// The log of a host. Only `export` needs its token.
#[derive(Debug, Subcommand)]
pub(super) enum Log {
    /// Print the signed head of the log.
    #[command(after_help = "Example:\n  stepseal log checkpoint > last-seen.txt\n\n\
        Keep it: `stepseal verify --last-seen` then notices a log that was rewound or rewritten.")]
    Checkpoint,
    /// Watch the log: check that every new head continues the last one.
    #[command(
        after_help = "Example:\n  stepseal --url http://127.0.0.1:8787 log follow --trust trust.json --state watched.json\n\n\
        Exit code 1 if the log was rewound, rewritten or shows others another tree; what proves it is then in <state>.evidence.json."
    )]
    Follow(Follow),
    /// Open a new log that continues the one of --data, whose newest database is lost. Its host must be stopped.
    #[command(
        after_help = "Example:\n  stepseal log open-shard --data ./restored --into ./stepseal-data-2 --origin example.org/payments-2\n\n\
        Components, grants, policies, key-value buckets and schedules are taken over as they are in the copy. Tasks are not. The new log begins with \
        a record that names the last head of the old one."
    )]
    OpenShard(shard::OpenShard),
    /// Check what a monitor or a witness keeps as proof that a log misbehaved.
    #[command(
        after_help = "Example:\n  stepseal log evidence watched.json.evidence.json --trust trust.json\n\n\
        Exit code 0 if the log's own signatures prove it, whoever shows you the file."
    )]
    Evidence(Proof),
    Witness(witness::Serve),
    /// Write the whole log, with its signed records, to a file that `stepseal verify` reads.
    #[command(
        after_help = "Example:\n  stepseal log export --out log.stepseal.jsonl\n  stepseal verify log.stepseal.jsonl --trust trust.json\n\n\
        This needs the host's token: the records say what ran, and for whom."
    )]
    Export(export::Export),
}

/// What `log follow` is given.
#[derive(Args, Debug)]
pub(super) struct Follow {
    /// The keys that are believed, from a source you trust.
    #[arg(long, value_name = "FILE")]
    trust: PathBuf,
    /// What was seen, kept between runs. It is made at the first run.
    #[arg(long, value_name = "FILE")]
    state: PathBuf,
    /// Look once and end.
    #[arg(long)]
    once: bool,
    /// Seconds between two looks.
    #[arg(long, value_name = "SECONDS", default_value_t = 10, value_parser = clap::value_parser!(u64).range(1..=86_400))]
    every: u64,
}

/// What `log evidence` is given.
#[derive(Args, Debug)]
pub(super) struct Proof {
    /// The evidence.
    file: PathBuf,
    /// The log's keys, from a source you trust.
    #[arg(long, value_name = "FILE")]
    trust: PathBuf,
}

impl Log {
    pub(super) fn run(self, context: &Context) -> anyhow::Result<Answer> {
        match self {
            Self::OpenShard(command) => command.run(context),
            Self::Checkpoint => {
                let note = checkpoint(&context.public_client()?)?;
                context.output.bytes(note.as_bytes())?;
                Ok(Answer::Yes)
            }
            Self::Follow(command) => command.run(context),
            Self::Evidence(command) => command.run(context),
            Self::Witness(command) => command.run(context),
            Self::Export(command) => command.run(context),
        }
    }
}

/// The head as the host gives it, unchecked.
fn checkpoint(client: &Client) -> anyhow::Result<String> {
    let note = client.bytes("/log/checkpoint")?;
    anyhow::ensure!(
        note.len() <= NOTE_BYTES_MAX,
        "the host's checkpoint has {} bytes, no checkpoint has",
        note.len()
    );
    String::from_utf8(note).context("the host's checkpoint is not text")
}

impl Proof {
    fn run(self, context: &Context) -> anyhow::Result<Answer> {
        let trust = read_trust(&self.trust)?;
        let bytes = files::read(&self.file, "the evidence", EVIDENCE_BYTES_MAX as u64)?;
        let proved = Evidence::parse(&bytes).and_then(|evidence| evidence.proves(&trust.log));
        let (ok, said) = match proved {
            Ok(misbehaviour) => (true, misbehaviour.to_string()),
            Err(error) => (false, error.to_string()),
        };
        let member = if ok { "misbehaviour" } else { "why" };
        let value = json!({"ok": ok, "origin": trust.origin, (member): said});
        let verdict = if ok { "proved" } else { "not proved" };
        context
            .output
            .result(&value, || format!("{verdict}: {}", one_line(&said)))?;
        Ok(Answer::of(ok))
    }
}

impl Follow {
    fn run(self, context: &Context) -> anyhow::Result<Answer> {
        let trust = read_trust(&self.trust)?;
        let client = context.public_client()?;
        let mut seen = self.seen(&trust)?;
        loop {
            match self.look(context, &client, &trust, &seen) {
                Ok(Ok(newer)) => seen = newer,
                Ok(Err(misbehaviour)) => {
                    let evidence = self.evidence();
                    context.output.result(
                        &json!({"ok": false, "misbehaviour": misbehaviour.to_string(), "evidence": evidence}),
                        || format!("{misbehaviour}\n  both heads are in {}", evidence.display()),
                    )?;
                    return Ok(Answer::No);
                }
                // A host that restarts is not a reason to stop watching it.
                Err(error) if !self.once && error.is::<ClientError>() => {
                    context.output.note(&format!("{error:#}; looking again"));
                }
                Err(error) => return Err(error),
            }
            if self.once {
                return Ok(Answer::Yes);
            }
            sleep(Duration::from_secs(self.every));
        }
    }

    fn seen(&self, trust: &TrustFile) -> anyhow::Result<Seen> {
        if !self.state.exists() {
            return Ok(Seen::nothing(&trust.origin));
        }
        let bytes = files::read(&self.state, "the state", STATE_BYTES_MAX)?;
        Seen::read(&bytes, &trust.log).with_context(|| {
            format!(
                "{} cannot be used; to begin anew, and trust the log's head as it is now, name another file",
                self.state.display()
            )
        })
    }

    /// One look. What was seen is on disk before it is told.
    fn look(
        &self,
        context: &Context,
        client: &Client,
        trust: &TrustFile,
        seen: &Seen,
    ) -> anyhow::Result<Result<Seen, Misbehaviour>> {
        let note = checkpoint(client)?;
        let head = Checkpoint::open(&note, &trust.log)
            .context("the host's checkpoint is not signed by a key of the trust file")?;
        let fetch = |tile: &stepseal_receipts::tile::Tile| {
            Ok(client.bytes(&format!("/log/tile/{}", tile.path()))?)
        };
        let newer = match seen.advance(&note, head, fetch) {
            Ok(newer) => newer,
            Err(Refused::Failed(error)) => return Err(error),
            Err(Refused::Caught(misbehaviour)) => {
                let proof = match misbehaviour {
                    // Without it the heads are kept all the same.
                    Misbehaviour::Rewritten { before, now } => {
                        proof_between(before, now, fetch).unwrap_or_default()
                    }
                    Misbehaviour::Rewound { .. } | Misbehaviour::Split { .. } => Vec::new(),
                };
                let evidence = Evidence {
                    before: seen.note.clone(),
                    now: note,
                    proof,
                };
                files::write(&self.evidence(), &evidence.to_json(&misbehaviour), true)?;
                return Ok(Err(misbehaviour));
            }
        };
        files::write(&self.state, &newer.to_json(), true)?;
        let (before, now) = (seen.checkpoint.size, newer.checkpoint.size);
        if now != before || self.once {
            let report = json!({"ok": true, "origin": newer.checkpoint.origin, "size": now, "new": now - before, "root": newer.checkpoint.root});
            if context.output.is_json() {
                context.output.json_line(&report)?;
            } else {
                context.output.text(&format!(
                    "{}: {} entries, {} new; they continue what was seen before",
                    newer.checkpoint.origin,
                    thousands(now),
                    thousands(now - before)
                ))?;
            }
        }
        Ok(Ok(newer))
    }

    fn evidence(&self) -> PathBuf {
        let mut name = self.state.as_os_str().to_owned();
        name.push(".evidence.json");
        Path::new(&name).to_owned()
    }
}
