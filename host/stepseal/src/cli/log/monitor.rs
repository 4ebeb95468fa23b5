//! What a monitor remembers of a log, and how it takes up a newer head.
//!
//! It keeps the right edge of the tree it has seen and adds every new leaf hash to it. Only a log that continues that very
//! tree leads to the root that is signed, so nothing the host says about its own consistency is believed.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};
use stepseal_receipts::checkpoint::{Checkpoint, CheckpointError};
use stepseal_receipts::note::VerifierKey;
use stepseal_receipts::tile::Tile;
use stepseal_receipts::tree::{FRONTIER_BYTES_MAX, Frontier};

/// What is remembered between two looks.
#[derive(Clone, Debug)]
pub(super) struct Seen {
    /// The newest head that was checked, as it was signed.
    pub(super) note: String,
    /// What it says.
    pub(super) checkpoint: Checkpoint,
    edge: Frontier,
}

/// The same in a file.
#[derive(Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
struct Stored {
    checkpoint: String,
    /// [`Frontier::to_bytes`] in base64.
    edge: String,
}

/// Why a file is not what a monitor of this log remembers.
#[derive(Debug, thiserror::Error)]
pub(super) enum StateError {
    #[error("it is not the state of a monitor: {0}")]
    Format(String),
    #[error("its checkpoint is not of this log: {0}")]
    Checkpoint(#[from] CheckpointError),
    #[error("its tree is not that of its checkpoint")]
    Edge,
}

/// What a log did that no honest log does.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Misbehaviour {
    #[error("the log was rewound: it signed {before} entries before, and {now} now")]
    Rewound { before: u64, now: u64 },
    #[error(
        "the log shows different people different trees: it signed two heads of {size} entries with different roots"
    )]
    Split { size: u64 },
    #[error(
        "the log was rewritten: its {now} entries do not continue the {before} that it signed before"
    )]
    Rewritten { before: u64, now: u64 },
}

/// Why a newer head was not taken up.
#[derive(Debug)]
pub(super) enum Refused {
    /// The log is caught.
    Caught(Misbehaviour),
    /// Nothing can be said: a tile could not be had or is none.
    Failed(anyhow::Error),
}

impl Seen {
    /// Nothing yet.
    pub(super) fn nothing(origin: &str) -> Self {
        let edge = Frontier::new();
        let checkpoint = Checkpoint {
            origin: origin.to_owned(),
            size: 0,
            root: edge.root(),
        };
        Self {
            note: String::new(),
            checkpoint,
            edge,
        }
    }

    pub(super) fn read(bytes: &[u8], known: &[VerifierKey]) -> Result<Self, StateError> {
        let format = |error: &dyn std::fmt::Display| StateError::Format(error.to_string());
        let stored: Stored = serde_json::from_slice(bytes).map_err(|error| format(&error))?;
        if stored.edge.len() > FRONTIER_BYTES_MAX.div_ceil(3) * 4 {
            return Err(StateError::Edge);
        }
        let edge = STANDARD
            .decode(&stored.edge)
            .map_err(|error| format(&error))?;
        let edge = Frontier::from_bytes(&edge).map_err(|error| format(&error))?;
        let checkpoint = Checkpoint::open(&stored.checkpoint, known)?;
        if (checkpoint.size, checkpoint.root) != (edge.size(), edge.root()) {
            return Err(StateError::Edge);
        }
        Ok(Self {
            note: stored.checkpoint,
            checkpoint,
            edge,
        })
    }

    pub(super) fn to_json(&self) -> Vec<u8> {
        let stored = Stored {
            checkpoint: self.note.clone(),
            edge: STANDARD.encode(self.edge.to_bytes()),
        };
        serde_json::to_vec_pretty(&stored).expect("strings are JSON")
    }

    /// Takes up a head whose signature was checked; `fetch` gives tiles.
    pub(super) fn advance(
        &self,
        note: &str,
        checkpoint: Checkpoint,
        mut fetch: impl FnMut(&Tile) -> anyhow::Result<Vec<u8>>,
    ) -> Result<Self, Refused> {
        let (before, now) = (self.checkpoint.size, checkpoint.size);
        let caught = |misbehaviour| Err(Refused::Caught(misbehaviour));
        if now < before {
            return caught(Misbehaviour::Rewound { before, now });
        }
        if now == before && checkpoint.root != self.checkpoint.root {
            return caught(Misbehaviour::Split { size: now });
        }
        let mut edge = self.edge.clone();
        for tile in Tile::of_leaves(before, now) {
            let bytes = fetch(&tile).map_err(Refused::Failed)?;
            let hashes = tile.hashes(&bytes).ok_or_else(|| {
                Refused::Failed(anyhow::anyhow!(
                    "the tile {} has {} bytes instead of {}",
                    tile.path(),
                    bytes.len(),
                    usize::from(tile.width) * 32
                ))
            })?;
            let first = tile.index * u64::from(stepseal_receipts::tile::WIDTH_MAX);
            let new = hashes.into_iter().zip(first..);
            for (hash, _) in new.filter(|(_, index)| *index >= before) {
                edge.append(hash);
            }
        }
        if edge.root() != checkpoint.root {
            return caught(Misbehaviour::Rewritten { before, now });
        }
        Ok(Self {
            note: note.to_owned(),
            checkpoint,
            edge,
        })
    }
}

#[cfg(test)]
mod tests {
    use stepseal_receipts::digest::Digest;
    use stepseal_receipts::keys::SigningKey;

    use super::*;

    const ORIGIN: &str = "log.example/monitored";

    /// A log whose leaf hashes are the digests of their names.
    struct Log(Vec<Digest>);

    impl Log {
        fn of(names: impl IntoIterator<Item = String>) -> Self {
            Self(
                names
                    .into_iter()
                    .map(|name| Digest::of(name.as_bytes()))
                    .collect(),
            )
        }

        fn honest(size: usize) -> Self {
            Self::of((0..size).map(|leaf| leaf.to_string()))
        }

        fn key() -> SigningKey {
            SigningKey::from_seed([9; 32])
        }

        fn known() -> [VerifierKey; 1] {
            [VerifierKey::new(ORIGIN, &Self::key().public()).unwrap()]
        }

        fn head(&self) -> (String, Checkpoint) {
            let mut tree = Frontier::new();
            for leaf in &self.0 {
                tree.append(*leaf);
            }
            let checkpoint = Checkpoint {
                origin: ORIGIN.to_owned(),
                size: tree.size(),
                root: tree.root(),
            };
            (checkpoint.sign(&Self::key()).unwrap(), checkpoint)
        }

        fn tile(&self, tile: &Tile) -> Vec<u8> {
            let first = usize::try_from(tile.index).unwrap() * 256;
            let hashes = &self.0[first..first + usize::from(tile.width)];
            hashes.iter().flat_map(|hash| *hash.as_bytes()).collect()
        }

        fn shown_to(&self, seen: &Seen) -> Result<Seen, Refused> {
            let (note, checkpoint) = self.head();
            seen.advance(&note, checkpoint, |tile| Ok(self.tile(tile)))
        }
    }

    fn caught(refused: Result<Seen, Refused>) -> Misbehaviour {
        match refused {
            Err(Refused::Caught(misbehaviour)) => misbehaviour,
            other => panic!("it was not caught: {other:?}"),
        }
    }

    #[test]
    fn a_log_that_only_grows_is_followed_across_restarts() {
        let mut seen = Seen::nothing(ORIGIN);
        for size in [0, 1, 1, 255, 256, 257, 700] {
            seen = Log::honest(size).shown_to(&seen).unwrap();
            assert_eq!(seen.checkpoint.size, size as u64);
            if size > 0 {
                seen = Seen::read(&seen.to_json(), &Log::known()).unwrap();
            }
        }
    }

    #[test]
    fn a_log_that_does_anything_else_is_caught() {
        let seen = Log::honest(300).shown_to(&Seen::nothing(ORIGIN)).unwrap();
        assert_eq!(
            caught(Log::honest(299).shown_to(&seen)),
            Misbehaviour::Rewound {
                before: 300,
                now: 299
            }
        );
        let other = |size: usize, at: usize| {
            Log::of((0..size).map(|leaf| {
                if leaf == at {
                    "other".to_owned()
                } else {
                    leaf.to_string()
                }
            }))
        };
        assert_eq!(
            caught(other(300, 7).shown_to(&seen)),
            Misbehaviour::Split { size: 300 }
        );
        // An entry that was seen, and in another tile than the new ones, so that it is never fetched again.
        for at in [7, 299] {
            assert_eq!(
                caught(other(400, at).shown_to(&seen)),
                Misbehaviour::Rewritten {
                    before: 300,
                    now: 400
                }
            );
        }
    }

    #[test]
    fn tiles_that_are_not_there_or_of_another_size_catch_nobody() {
        let log = Log::honest(300);
        let (note, checkpoint) = log.head();
        let seen = Seen::nothing(ORIGIN);
        let missing = seen.advance(&note, checkpoint.clone(), |_| anyhow::bail!("not there"));
        assert!(matches!(missing, Err(Refused::Failed(_))));
        let short = seen.advance(&note, checkpoint, |_| Ok(vec![0; 31]));
        assert!(matches!(short, Err(Refused::Failed(_))));
    }

    #[test]
    fn a_state_that_was_changed_or_is_of_another_log_is_refused() {
        let seen = Log::honest(3).shown_to(&Seen::nothing(ORIGIN)).unwrap();
        let state: serde_json::Value = serde_json::from_slice(&seen.to_json()).unwrap();
        let edge = |edge: Vec<u8>| {
            let mut state = state.clone();
            state["edge"] = STANDARD.encode(edge).into();
            Seen::read(state.to_string().as_bytes(), &Log::known())
        };
        assert!(matches!(
            edge(Frontier::new().to_bytes()),
            Err(StateError::Edge)
        ));
        assert!(matches!(edge(vec![0; 9]), Err(StateError::Format(_))));
        assert!(matches!(edge(vec![0; 4000]), Err(StateError::Edge)));
        assert!(matches!(
            Seen::read(b"{}", &Log::known()),
            Err(StateError::Format(_))
        ));
        let others = [VerifierKey::new(ORIGIN, &SigningKey::from_seed([1; 32]).public()).unwrap()];
        assert!(matches!(
            Seen::read(&seen.to_json(), &others),
            Err(StateError::Checkpoint(_))
        ));
    }
}
