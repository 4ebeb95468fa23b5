//! A receipt and the components that ran in one file, so that a replay needs nothing else (format §4).
//!
//! It is a tar archive, which any tool opens, and the receipt in it stays byte for byte what it was. Nothing in the archive is
//! believed: the receipt is as good as its signatures, and a component is what the digest of its bytes says it is.

use std::io::Read;

use anyhow::{Context as _, bail};
use stepseal_receipts::digest::Digest;
use tar::{EntryType, Header};

use super::files::{COMPONENT_BYTES_MAX, RECEIPT_BYTES_MAX};

/// Name of the receipt in the archive.
const RECEIPT: &str = "receipt.stepseal.json";
/// Components that are kept with a receipt, or fetched for one.
pub(super) const COMPONENTS_MAX: usize = 64;
/// Bytes of all of them together.
pub(super) const COMPONENTS_BYTES_MAX: u64 = 256 << 20;
/// Where the magic of a header stands (POSIX.1-1988, ustar), and the magic.
const MAGIC: (usize, &[u8]) = (257, b"ustar");
/// How many of the first bytes tell whether a file is an archive.
pub(super) const BEGIN_BYTES: u64 = 512;
/// Bytes that are read of an archive: its files, and 4 KiB for the headers and the padding of each.
const ARCHIVE_BYTES_MAX: u64 =
    RECEIPT_BYTES_MAX + COMPONENTS_BYTES_MAX + (COMPONENTS_MAX as u64 + 2) * (4 << 10);

/// What the file holds.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Archive {
    /// The receipt's bytes.
    pub(super) receipt: Vec<u8>,
    /// The components' bytes.
    pub(super) components: Vec<Vec<u8>>,
}

/// Whether a file that begins so is an archive.
pub(super) fn is_archive(begin: &[u8]) -> bool {
    let (at, magic) = MAGIC;
    begin.get(at..).is_some_and(|rest| rest.starts_with(magic))
}

impl Archive {
    /// Reads an archive that anybody may have made.
    pub(super) fn read(input: impl Read) -> anyhow::Result<Self> {
        let mut archive = tar::Archive::new(input.take(ARCHIVE_BYTES_MAX));
        let mut receipt = None;
        let mut components = Vec::new();
        let mut room = COMPONENTS_BYTES_MAX;
        for entry in archive.entries()? {
            let mut entry = entry.context("its end is missing, or it is no archive")?;
            let name = String::from_utf8_lossy(&entry.path_bytes()).into_owned();
            match entry.header().entry_type() {
                EntryType::Regular => {}
                EntryType::Directory => continue,
                _ => bail!("{name:?} is not a regular file"),
            }
            let name = name.strip_prefix("./").unwrap_or(&name);
            if name == RECEIPT {
                let bytes = content(&mut entry, name, RECEIPT_BYTES_MAX)?;
                if receipt.replace(bytes).is_some() {
                    bail!("{RECEIPT} is in it twice");
                }
            } else if name.starts_with("components/") {
                if components.len() == COMPONENTS_MAX {
                    bail!("it has more than {COMPONENTS_MAX} components");
                }
                let bytes = content(&mut entry, name, COMPONENT_BYTES_MAX.min(room))?;
                room -= bytes.len() as u64;
                components.push(bytes);
            } else {
                bail!("{name:?} is neither {RECEIPT} nor in components/");
            }
        }
        Ok(Self {
            receipt: receipt.with_context(|| format!("there is no {RECEIPT} in it"))?,
            components,
        })
    }

    /// The archive's bytes: the same for the same content.
    pub(super) fn to_bytes(&self) -> anyhow::Result<Vec<u8>> {
        let mut archive = tar::Builder::new(Vec::new());
        let mut add = |name: &str, bytes: &[u8]| {
            let mut header = Header::new_ustar();
            header.set_size(bytes.len() as u64);
            header.set_mode(0o644);
            header.set_mtime(0);
            archive.append_data(&mut header, name, bytes)
        };
        add(RECEIPT, &self.receipt)?;
        for component in &self.components {
            let digest = Digest::of(component).to_string().replace(':', "-");
            add(&format!("components/{digest}.wasm"), component)?;
        }
        Ok(archive.into_inner()?)
    }
}

fn content(
    entry: &mut tar::Entry<'_, impl Read>,
    name: &str,
    bytes_max: u64,
) -> anyhow::Result<Vec<u8>> {
    let size = entry.size();
    if size > bytes_max {
        bail!("{name:?} has {size} bytes; at most {bytes_max} are read");
    }
    let mut bytes = Vec::new();
    entry.take(size).read_to_end(&mut bytes)?;
    if bytes.len() as u64 != size {
        bail!("the end of {name:?} is missing");
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn archive() -> Archive {
        Archive {
            receipt: b"{}".to_vec(),
            components: vec![b"one".to_vec(), vec![7; 2000]],
        }
    }

    fn refused(bytes: &[u8]) -> String {
        format!("{:#}", Archive::read(bytes).expect_err("it was read"))
    }

    /// An archive of one entry with this header, whose size is set, and content.
    fn with(name: &str, kind: EntryType, size: u64, bytes: &[u8]) -> Vec<u8> {
        let mut archive = tar::Builder::new(Vec::new());
        let mut header = Header::new_ustar();
        header.set_path(name).unwrap();
        header.set_entry_type(kind);
        header.set_size(size);
        header.set_cksum();
        archive.append(&header, bytes).unwrap();
        archive.into_inner().unwrap()
    }

    #[test]
    fn what_is_put_in_comes_out_and_is_known_by_its_begin() {
        let bytes = archive().to_bytes().unwrap();
        assert!(is_archive(&bytes) && !is_archive(b"{\"mediaType\"") && !is_archive(b""));
        assert_eq!(Archive::read(&bytes[..]).unwrap(), archive());
        assert_eq!(bytes, archive().to_bytes().unwrap());
    }

    #[test]
    fn an_archive_that_is_cut_anywhere_in_its_content_is_refused() {
        let bytes = archive().to_bytes().unwrap();
        // Header and content of the receipt, of the first component, and of the second.
        let whole = 2 * 512 + 2 * 512 + 512 + 2000;
        for end in 0..whole {
            let read = Archive::read(&bytes[..end]);
            // Between two entries nothing shows that more came; the component is then missing, as in any incomplete archive.
            let between = [1024, 2048].contains(&end);
            assert_eq!(read.is_ok(), between, "cut at {end}");
        }
    }

    #[test]
    fn strange_and_large_entries_are_refused() {
        assert!(refused(&with("passwd", EntryType::Regular, 0, b"")).contains("neither"));
        let link = refused(&with(RECEIPT, EntryType::Symlink, 0, b""));
        assert!(link.contains("regular"), "{link}");
        let large = refused(&with(RECEIPT, EntryType::Regular, u64::MAX >> 8, b"x"));
        assert!(large.contains("at most"), "{large}");
        let twice = [
            &with(RECEIPT, EntryType::Regular, 0, b"")[..512],
            &with(RECEIPT, EntryType::Regular, 0, b""),
        ];
        assert!(refused(&twice.concat()).contains("twice"));
        assert!(refused(&with("components/a", EntryType::Regular, 1, b"a")).contains("no receipt"));
        let many = with("components/a", EntryType::Regular, 0, b"")[..512].repeat(65);
        assert!(refused(&many).contains("more than 64"));
    }
}
