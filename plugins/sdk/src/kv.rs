//! Key-value buckets (`wasi:keyvalue`), with JSON values.
//!
//! What a step writes belongs to the step: it sees its own writes at once, and they are kept only if the step
//! succeeds and its record is committed. Steps that touch the same keys are serialised by the host, so read and
//! write as if you were alone. Natively a bucket is memory of the current thread, and every name is granted.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::fmt;

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::bindings::host::wasi::keyvalue::store as host;
use crate::step::{Failure, decode};

thread_local! {
    /// The buckets of native tests: (bucket, key) to value. Each test has its own thread, so its own memory.
    static MEMORY: RefCell<BTreeMap<(String, String), Vec<u8>>> = const { RefCell::new(BTreeMap::new()) };
}

/// Why a bucket did not do what was asked. `?` makes it a [`Failure`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Error {
    /// The operator did not grant this bucket to the plugin, or there is no such bucket.
    NotGranted {
        /// The bucket's name.
        bucket: String,
    },
    /// The value under the key is not what the plugin expected to have written there.
    Unreadable {
        /// The key.
        key: String,
        /// What was found.
        fault: String,
    },
    /// The value cannot be written as JSON.
    Unwritable {
        /// The key.
        key: String,
        /// Why.
        fault: String,
    },
    /// The store did not answer as it should, or a limit of the host was reached.
    Store(String),
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Error::NotGranted { bucket } => {
                write!(
                    f,
                    "the key-value bucket `{bucket}` is not granted to this plugin: the operator can grant it"
                )
            }
            Error::Unreadable { key, fault } => {
                write!(f, "the value stored under `{key}` cannot be read{fault}")
            }
            Error::Unwritable { key, fault } => write!(
                f,
                "the value for `{key}` cannot be written as JSON: {fault}"
            ),
            Error::Store(message) => write!(f, "the key-value store says: {message}"),
        }
    }
}

impl std::error::Error for Error {}

impl From<Error> for Failure {
    fn from(error: Error) -> Failure {
        match error {
            Error::Store(_) => Failure::Unavailable(error.to_string()),
            _ => Failure::Failed(error.to_string()),
        }
    }
}

/// An open bucket.
pub struct Bucket {
    name: String,
    /// Absent natively.
    handle: Option<host::Bucket>,
}

impl Bucket {
    /// Opens a bucket by the name in the operator's grant.
    pub fn open(name: &str) -> Result<Bucket, Error> {
        let handle = if cfg!(target_arch = "wasm32") {
            Some(host::open(name).map_err(|error| told(name, error))?)
        } else {
            None
        };
        Ok(Bucket {
            name: name.into(),
            handle,
        })
    }

    /// The value under a key, or `None`.
    pub fn get<T: DeserializeOwned>(&self, key: &str) -> Result<Option<T>, Error> {
        let Some(bytes) = self.get_bytes(key)? else {
            return Ok(None);
        };
        let unreadable = |fault| Error::Unreadable {
            key: key.into(),
            fault,
        };
        let text = str::from_utf8(&bytes).map_err(|fault| unreadable(format!(": {fault}")))?;
        decode(text).map(Some).map_err(unreadable)
    }

    /// Puts a value under a key.
    pub fn set<T: Serialize>(&self, key: &str, value: &T) -> Result<(), Error> {
        let bytes = serde_json::to_vec(value).map_err(|fault| Error::Unwritable {
            key: key.into(),
            fault: fault.to_string(),
        })?;
        self.set_bytes(key, bytes)
    }

    /// The bytes under a key, or `None`.
    pub fn get_bytes(&self, key: &str) -> Result<Option<Vec<u8>>, Error> {
        match &self.handle {
            Some(handle) => handle.get(key).map_err(|error| told(&self.name, error)),
            None => Ok(MEMORY.with_borrow(|memory| memory.get(&self.place(key)).cloned())),
        }
    }

    /// Puts bytes under a key.
    pub fn set_bytes(&self, key: &str, value: Vec<u8>) -> Result<(), Error> {
        if let Some(handle) = &self.handle {
            return handle
                .set(key, &value)
                .map_err(|error| told(&self.name, error));
        }
        MEMORY.with_borrow_mut(|memory| memory.insert(self.place(key), value));
        Ok(())
    }

    /// Takes a key out. It is no error if it is not there.
    pub fn delete(&self, key: &str) -> Result<(), Error> {
        if let Some(handle) = &self.handle {
            return handle.delete(key).map_err(|error| told(&self.name, error));
        }
        MEMORY.with_borrow_mut(|memory| memory.remove(&self.place(key)));
        Ok(())
    }

    fn place(&self, key: &str) -> (String, String) {
        (self.name.clone(), key.into())
    }
}

fn told(bucket: &str, error: host::Error) -> Error {
    match error {
        host::Error::NoSuchStore | host::Error::AccessDenied => Error::NotGranted {
            bucket: bucket.into(),
        },
        host::Error::Other(message) => Error::Store(message),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_comes_back_as_it_was_put_and_only_from_its_bucket() {
        let bucket = Bucket::open("one").unwrap();
        assert_eq!(bucket.get::<Vec<u8>>("k"), Ok(None));
        bucket.set("k", &vec![1, 2]).unwrap();
        assert_eq!(bucket.get("k"), Ok(Some(vec![1, 2])));
        assert_eq!(Bucket::open("two").unwrap().get::<Vec<u8>>("k"), Ok(None));
        bucket.delete("k").unwrap();
        assert_eq!(bucket.get_bytes("k"), Ok(None));
    }

    #[test]
    fn a_value_of_another_shape_is_an_error_that_names_the_key() {
        let bucket = Bucket::open("one").unwrap();
        bucket.set("k", &vec!["x"]).unwrap();
        let error = bucket.get::<Vec<u8>>("k").unwrap_err();
        assert!(
            error
                .to_string()
                .starts_with("the value stored under `k` cannot be read at [0]: "),
            "{error}"
        );
        bucket.set_bytes("k", vec![0xff]).unwrap();
        assert!(matches!(
            bucket.get::<String>("k"),
            Err(Error::Unreadable { .. })
        ));
    }

    #[test]
    fn only_a_store_in_trouble_is_worth_another_try() {
        let denied = told("b", host::Error::AccessDenied);
        assert!(
            matches!(Failure::from(denied), Failure::Failed(message) if message.contains("`b` is not granted"))
        );
        let busy = told("b", host::Error::Other("busy".into()));
        assert!(
            matches!(Failure::from(busy), Failure::Unavailable(message) if message.ends_with("busy"))
        );
    }
}
