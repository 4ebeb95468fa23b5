//! Values between Rust and columns. What comes out of the file is checked: a value this program never writes is
//! [`StoreError::Corrupt`], not a panic and not a guess.

use std::time::Duration;

use stepseal_receipts::digest::Digest;
use stepseal_receipts::keys::PublicKey;
use stepseal_receipts::time::Timestamp;

use crate::store::StoreError;

/// Sorts after every id. Text compares by its bytes, and no character encodes to larger ones; so "from the newest on"
/// and "older than this one" are the same statement.
pub(in crate::store) const AFTER_EVERY_ID: &str = "\u{10FFFF}";

/// A digest column.
pub(in crate::store) fn digest(what: &'static str, bytes: &[u8]) -> Result<Digest, StoreError> {
    let bytes: [u8; 32] = bytes.try_into().map_err(|_| StoreError::Corrupt {
        what,
        why: format!("a digest of {} bytes", bytes.len()),
    })?;
    Ok(Digest::from_bytes(bytes))
}

/// A digest that may be absent.
pub(in crate::store) fn digest_option(
    what: &'static str,
    bytes: Option<&[u8]>,
) -> Result<Option<Digest>, StoreError> {
    bytes.map(|bytes| digest(what, bytes)).transpose()
}

/// What a digest is in a column.
pub(in crate::store) fn bytes(digest: &Digest) -> Vec<u8> {
    digest.as_bytes().to_vec()
}

/// A span of time as a column has it.
pub(in crate::store) fn duration_ms(time: Duration) -> i64 {
    i64::try_from(time.as_millis()).unwrap_or(i64::MAX)
}

/// A count, size or index column.
pub(in crate::store) fn unsigned(what: &'static str, value: i64) -> Result<u64, StoreError> {
    u64::try_from(value).map_err(|_| StoreError::Corrupt {
        what,
        why: format!("{value} where no negative number can be"),
    })
}

/// A count, size or index on its way into a column. Columns are signed.
pub(in crate::store) fn signed(what: &'static str, value: u64) -> Result<i64, StoreError> {
    i64::try_from(value).map_err(|_| StoreError::Refused {
        what,
        why: format!("{value} is more than a column holds"),
    })
}

/// A `_ms` column.
pub(in crate::store) fn time(what: &'static str, ms: i64) -> Result<Timestamp, StoreError> {
    Timestamp::from_unix_ms(unsigned(what, ms)?).map_err(|error| StoreError::Corrupt {
        what,
        why: error.to_string(),
    })
}

/// What a time is in a column.
pub(in crate::store) fn ms(time: Timestamp) -> i64 {
    // A timestamp ends with the year 9999, far below the limit.
    i64::try_from(time.unix_ms()).unwrap_or(i64::MAX)
}

/// A column that holds one of a few names.
pub(in crate::store) fn name<T: Copy>(
    what: &'static str,
    text: &str,
    all: &[T],
    as_str: fn(T) -> &'static str,
) -> Result<T, StoreError> {
    all.iter()
        .copied()
        .find(|value| as_str(*value) == text)
        .ok_or_else(|| StoreError::Corrupt {
            what,
            why: format!("{text:?} is not a name it can have"),
        })
}

/// A column of a public key.
pub(in crate::store) fn key(what: &'static str, bytes: Vec<u8>) -> Result<PublicKey, StoreError> {
    let bytes: [u8; 32] = bytes.try_into().map_err(|_| StoreError::Corrupt {
        what,
        why: "it has another length".to_owned(),
    })?;
    PublicKey::from_bytes(&bytes).map_err(|error| StoreError::Corrupt {
        what,
        why: error.to_string(),
    })
}
