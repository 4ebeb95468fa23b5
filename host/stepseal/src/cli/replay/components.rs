//! Components in a directory, by the digest of their bytes.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};
use stepseal_receipts::digest::Digest;

use super::files::COMPONENT_BYTES_MAX;

/// Files of a directory that are looked at.
const FILES_MAX: usize = 10_000;

/// Components in a directory, by the digest of their bytes. Names of files mean nothing.
pub(in crate::cli) struct Components(BTreeMap<Digest, PathBuf>);

impl Components {
    /// Hashes the files directly in `dir` that are small enough to be components.
    pub(in crate::cli) fn read(dir: &Path) -> anyhow::Result<Self> {
        let failed = || {
            format!(
                "the directory of components {} cannot be read",
                dir.display()
            )
        };
        let mut found = BTreeMap::new();
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
                found.insert(Digest::of(&bytes), path);
            }
        }
        Ok(Self(found))
    }

    /// How to read the component with this digest.
    pub(super) fn find(
        &self,
        digest: &Digest,
    ) -> Option<impl FnOnce() -> io::Result<Vec<u8>> + Send + 'static + use<>> {
        let path = self.0.get(digest)?.clone();
        Some(move || read_bounded(&path))
    }
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
        let components = Components::read(temp.path()).unwrap();
        let read = components.find(&Digest::of(b"bytes")).expect("it is there");
        assert_eq!(read().unwrap(), b"bytes");
        assert!(components.find(&Digest::of(b"others")).is_none());
    }

    #[test]
    fn a_directory_that_is_not_there_is_named() {
        let Err(error) = Components::read(Path::new("no/such/place")) else {
            panic!("a directory that is not there was read");
        };
        assert!(error.to_string().contains("no/such/place"));
    }
}
