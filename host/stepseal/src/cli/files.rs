//! Files that are named on the command line. Their content may be anybody's, so each is read up to a limit.

use std::fs::{self, File, OpenOptions};
use std::io::{self, ErrorKind, Read, Write};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use serde_json::Value;
use stepseal_receipts::json;
use stepseal_receipts::keys::{PEM_BYTES_MAX, SigningKey};

use super::Usage;
use crate::clock::{Clock as _, SystemClock};
use crate::data_dir::{SECRET_MODE, check_mode};

/// Bytes of a receipt file.
pub(super) const RECEIPT_BYTES_MAX: u64 = 64 << 20;
/// Bytes of a trust file.
pub(super) const TRUST_BYTES_MAX: u64 = 1 << 20;
/// Bytes of a component.
pub(super) const COMPONENT_BYTES_MAX: u64 = 32 << 20;
/// Bytes of a JSON document for the host: the host's own limit of a submission.
pub(super) const DOCUMENT_BYTES_MAX: u64 = 8 << 20;

/// The content of a file; `-` is stdin.
pub(super) fn read(path: &Path, what: &str, bytes_max: u64) -> anyhow::Result<Vec<u8>> {
    read_from(open(path, what)?, path, what, bytes_max)
}

/// Opens a file to read; `-` is stdin.
pub(super) fn open(path: &Path, what: &str) -> anyhow::Result<Box<dyn Read>> {
    if path == Path::new("-") {
        return Ok(Box::new(io::stdin().lock()));
    }
    let file =
        File::open(path).with_context(|| format!("{what} {} cannot be read", path.display()))?;
    Ok(Box::new(file))
}

/// The rest of a file that was opened already.
pub(super) fn read_from(
    input: impl Read,
    path: &Path,
    what: &str,
    bytes_max: u64,
) -> anyhow::Result<Vec<u8>> {
    let failed = || format!("{what} {} cannot be read", path.display());
    let mut bytes = Vec::new();
    input
        .take(bytes_max + 1)
        .read_to_end(&mut bytes)
        .with_context(failed)?;
    if bytes.len() as u64 > bytes_max {
        bail!(
            "{what} {} is larger than {bytes_max} bytes, and no more are read",
            path.display()
        );
    }
    Ok(bytes)
}

/// A JSON document of a file, read as strictly as the host reads it, so that its faults have a line and a column.
pub(super) fn read_json(path: &Path, what: &str) -> anyhow::Result<Value> {
    let bytes = read(path, what, DOCUMENT_BYTES_MAX)?;
    parse_json(&bytes)
        .with_context(|| format!("{what} {} is not JSON that a host accepts", path.display()))
}

/// A JSON text given on the command line, or `@FILE`.
pub(super) fn json_argument(text: &str, what: &str) -> anyhow::Result<Value> {
    if let Some(path) = text.strip_prefix('@') {
        return read_json(Path::new(path), what);
    }
    parse_json(text.as_bytes()).map_err(|error| {
        Usage(format!(
            "{what} is not JSON: {error}; write a JSON text, or @FILE"
        ))
        .into()
    })
}

fn parse_json(bytes: &[u8]) -> Result<Value, json::JsonError> {
    let limits = json::Limits {
        bytes_max: usize::try_from(DOCUMENT_BYTES_MAX).unwrap_or(usize::MAX),
        depth_max: json::PAYLOAD_DEPTH_MAX,
    };
    json::parse(bytes, &limits)
}

/// Writes a file in whole or not at all. A file that is there is replaced only where `replace` says so.
pub(super) fn write(path: &Path, bytes: &[u8], replace: bool) -> anyhow::Result<()> {
    let failed = || format!("{} cannot be written", path.display());
    if !replace {
        let mut file = match OpenOptions::new().write(true).create_new(true).open(path) {
            Err(error) if error.kind() == ErrorKind::AlreadyExists => {
                bail!(
                    "{} is there already: name another file with --out, or replace it with --force",
                    path.display()
                );
            }
            opened => opened.with_context(failed)?,
        };
        return file.write_all(bytes).with_context(failed);
    }
    let mut unfinished = path.as_os_str().to_owned();
    unfinished.push(".new");
    let unfinished = PathBuf::from(unfinished);
    fs::write(&unfinished, bytes)
        .and_then(|()| fs::rename(&unfinished, path))
        .with_context(failed)
}

/// Makes a private key in a file that is not there yet, for its owner's eyes only.
pub(super) fn make_key(path: &Path) -> anyhow::Result<SigningKey> {
    let failed = || format!("{} cannot be written", path.display());
    let key = SigningKey::from_seed(SystemClock.random());
    let mut file = match OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(SECRET_MODE)
        .open(path)
    {
        Err(error) if error.kind() == ErrorKind::AlreadyExists => {
            bail!(
                "{} is there already, and a key is never replaced: name another file with --out",
                path.display()
            );
        }
        opened => opened.with_context(failed)?,
    };
    file.write_all(key.to_pkcs8_pem().as_bytes())
        .and_then(|()| file.sync_all())
        .with_context(failed)?;
    Ok(key)
}

/// A private key that only its owner can read.
pub(super) fn read_key(path: &Path) -> anyhow::Result<SigningKey> {
    check_mode(path, SECRET_MODE)?;
    let bytes = read(path, "the key", PEM_BYTES_MAX as u64)?;
    let pem = String::from_utf8(bytes).with_context(|| format!("{} is no key", path.display()))?;
    SigningKey::from_pkcs8_pem(&pem).with_context(|| format!("{} is no key", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_over_the_limit_is_refused_and_one_at_it_is_read() {
        let temp = tempfile::tempdir().unwrap();
        let path = temp.path().join("file");
        fs::write(&path, b"12345").unwrap();
        assert_eq!(read(&path, "the file", 5).unwrap(), b"12345");
        assert!(
            read(&path, "the file", 4)
                .unwrap_err()
                .to_string()
                .contains("larger than 4")
        );
    }

    #[test]
    fn a_file_is_not_replaced_by_accident() {
        let temp = tempfile::tempdir().unwrap();
        let path = temp.path().join("file");
        write(&path, b"one", false).unwrap();
        assert!(
            write(&path, b"two", false)
                .unwrap_err()
                .to_string()
                .contains("--force")
        );
        assert_eq!(fs::read(&path).unwrap(), b"one");
        write(&path, b"two", true).unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"two");
    }

    #[test]
    fn json_on_the_command_line_is_read_strictly() {
        assert!(json_argument(r#"{"a":1}"#, "settings").is_ok());
        assert!(json_argument(r#"{"a":1,"a":2}"#, "settings").is_err());
        assert!(json_argument("{", "settings").unwrap_err().is::<Usage>());
    }
}
