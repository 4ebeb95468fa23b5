//! Components by the digest of their bytes, wherever those are.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context as _, bail};
use stepseal_receipts::digest::Digest;
use stepseal_receipts::record::Record;

use super::archive::{COMPONENTS_BYTES_MAX, COMPONENTS_MAX};
use super::client::Client;
use super::files::COMPONENT_BYTES_MAX;
use super::step::Ran;

/// Files of a directory that are looked at.
const FILES_MAX: usize = 10_000;

/// Components by the digest of their bytes. Names of files mean nothing.
#[derive(Default)]
pub(in crate::cli) struct Components(BTreeMap<Digest, Place>);

enum Place {
    File(PathBuf),
    Held(Arc<[u8]>),
}

impl Components {
    /// Hashes the files directly in `dir` that are small enough to be components.
    pub(in crate::cli) fn read(dir: &Path) -> anyhow::Result<Self> {
        let mut components = Self::default();
        components.add_directory(dir)?;
        Ok(components)
    }

    /// The same for one more directory.
    pub(super) fn add_directory(&mut self, dir: &Path) -> anyhow::Result<()> {
        let failed = || {
            format!(
                "the directory of components {} cannot be read",
                dir.display()
            )
        };
        for (count, entry) in fs::read_dir(dir).with_context(failed)?.enumerate() {
            if count == FILES_MAX {
                bail!(
                    "{} has more than {FILES_MAX} files: name a directory with the components alone",
                    dir.display()
                );
            }
            let path = entry.with_context(failed)?.path();
            let is_candidate = fs::metadata(&path)
                .is_ok_and(|file| file.is_file() && file.len() <= COMPONENT_BYTES_MAX);
            if !is_candidate {
                continue;
            }
            if let Ok(bytes) = read_bounded(&path) {
                self.0.insert(Digest::of(&bytes), Place::File(path));
            }
        }
        Ok(())
    }

    /// Adds components by their bytes.
    pub(super) fn extend(&mut self, components: Vec<Vec<u8>>) {
        for bytes in components {
            self.0.insert(Digest::of(&bytes), Place::Held(bytes.into()));
        }
    }

    /// Which of these are not here.
    pub(super) fn missing(&self, mut needed: BTreeSet<Digest>) -> BTreeSet<Digest> {
        needed.retain(|digest| !self.0.contains_key(digest));
        needed
    }

    /// How to read the component with this digest.
    pub(super) fn find(
        &self,
        digest: &Digest,
    ) -> Option<impl FnOnce() -> io::Result<Vec<u8>> + Send + 'static + use<>> {
        let place = match self.0.get(digest)? {
            Place::File(path) => Place::File(path.clone()),
            Place::Held(bytes) => Place::Held(Arc::clone(bytes)),
        };
        Some(move || match place {
            Place::File(path) => read_bounded(&path),
            Place::Held(bytes) => Ok(bytes.to_vec()),
        })
    }
}

/// Digests of the components that a replay of these records runs: of steps and of policies.
pub(in crate::cli) fn needed(records: &[(u64, Record)]) -> BTreeSet<Digest> {
    let mut needed = BTreeSet::new();
    for (index, record) in records {
        needed.extend(Ran::of(*index, record).map(|ran| ran.component()));
        needed.extend(record.verdicts.iter().map(|verdict| verdict.policy));
    }
    needed
}

/// Gets components from a host. What it gives is checked; what it does not have is left out.
pub(in crate::cli) fn fetch(
    client: &Client,
    digests: &BTreeSet<Digest>,
) -> anyhow::Result<Vec<Vec<u8>>> {
    if digests.len() > COMPONENTS_MAX {
        bail!(
            "the receipt names {} components, and at most {COMPONENTS_MAX} are fetched for one",
            digests.len()
        );
    }
    let mut room = COMPONENTS_BYTES_MAX;
    let mut fetched = Vec::new();
    for digest in digests {
        let bytes = match client.bytes(&format!("/v1/components/{digest}/content")) {
            Ok(bytes) => bytes,
            Err(error) if error.code() == Some("not-found") => continue,
            Err(error) => return Err(error.into()),
        };
        let found = Digest::of(&bytes);
        if found != *digest {
            bail!(
                "the host at {} gave other bytes for the component {digest}: theirs have the digest {found}",
                client.url()
            );
        }
        room = room.checked_sub(bytes.len() as u64).with_context(|| {
            format!("the components have more than {COMPONENTS_BYTES_MAX} bytes")
        })?;
        fetched.push(bytes);
    }
    Ok(fetched)
}

fn read_bounded(path: &Path) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    File::open(path)?
        .take(COMPONENT_BYTES_MAX)
        .read_to_end(&mut bytes)?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_component_is_found_by_its_bytes_whatever_its_name() {
        let temp = tempfile::tempdir().unwrap();
        fs::write(temp.path().join("misnamed.txt"), b"bytes").unwrap();
        let mut components = Components::read(temp.path()).unwrap();
        components.extend(vec![b"held".to_vec()]);
        for bytes in [&b"bytes"[..], b"held"] {
            let read = components.find(&Digest::of(bytes)).expect("it is there");
            assert_eq!(read().unwrap(), bytes);
        }
        let others = Digest::of(b"others");
        assert!(components.find(&others).is_none());
        let needed = [others, Digest::of(b"held"), Digest::of(b"bytes")];
        assert_eq!(components.missing(needed.into()), [others].into());
    }

    #[test]
    fn a_directory_that_is_not_there_is_named() {
        let Err(error) = Components::read(Path::new("no/such/place")) else {
            panic!("a directory that is not there was read");
        };
        assert!(error.to_string().contains("no/such/place"));
    }
}
