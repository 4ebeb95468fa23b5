//! Secrets that the host injects into requests of steps: by name, in a file of the data directory, outside of database and log. No
//! answer, record, event or log line ever has the value of one.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, RwLock};

use stepseal_sandbox::check_secret;

use super::grants::{Grant, NAME_RULE, is_name};
use super::{Engine, EngineError, Fault};
use crate::data_dir::{read_secret, write_secret};

/// Secrets that a host keeps.
const SECRETS_MAX: usize = 1_000;
/// Bytes of their file: names and values, with room to spare.
pub(crate) const FILE_BYTES_MAX: u64 = 4 << 20;

/// The secrets of a host.
pub(crate) struct SecretStore {
    file: PathBuf,
    values: RwLock<Arc<BTreeMap<String, String>>>,
    /// Held while the file is written.
    writing: tokio::sync::Mutex<()>,
}

impl SecretStore {
    /// Those in this file, which need not be there.
    pub(crate) fn open(file: PathBuf) -> Result<Self, EngineError> {
        let broken = |why: String| EngineError::Internal(format!("{}: {why}", file.display()));
        let read = read_secret(&file, FILE_BYTES_MAX).map_err(|error| broken(error.to_string()))?;
        let values = match read {
            // What it holds is not said, since it may be a secret.
            Some(bytes) => serde_json::from_slice(&bytes)
                .map_err(|_| broken("it does not hold names and values of secrets".to_owned()))?,
            None => BTreeMap::new(),
        };
        Ok(Self {
            file,
            values: RwLock::new(Arc::new(values)),
            writing: tokio::sync::Mutex::new(()),
        })
    }

    fn values(&self) -> Arc<BTreeMap<String, String>> {
        Arc::clone(&self.values.read().expect("no panic while held"))
    }

    pub(crate) fn has(&self, name: &str) -> bool {
        self.values().contains_key(name)
    }

    /// Those that a grant names.
    pub(crate) fn of(&self, grant: &Grant) -> BTreeMap<String, String> {
        let values = self.values();
        let named = grant.secrets().into_iter();
        named
            .filter_map(|name| Some((name.clone(), values.get(&name)?.clone())))
            .collect()
    }

    /// Changes them, in the file first.
    async fn change<T>(
        &self,
        change: impl FnOnce(&mut BTreeMap<String, String>) -> Result<T, EngineError>,
    ) -> Result<T, EngineError> {
        let _writing = self.writing.lock().await;
        let mut values = BTreeMap::clone(&self.values());
        let changed = change(&mut values)?;
        let (file, bytes) = (self.file.clone(), serde_json::to_vec(&values));
        let bytes = bytes.map_err(|error| EngineError::Internal(error.to_string()))?;
        tokio::task::spawn_blocking(move || write_secret(&file, &bytes))
            .await
            .map_err(|error| EngineError::Internal(error.to_string()))?
            .map_err(|error| EngineError::Internal(error.to_string()))?;
        *self.values.write().expect("no panic while held") = Arc::new(values);
        Ok(changed)
    }
}

impl Engine {
    /// Keeps a secret under a name, in the place of the one before.
    pub async fn put_secret(&self, name: &str, value: String) -> Result<(), EngineError> {
        let mut faults = Vec::new();
        if !is_name(name) {
            faults.push(Fault {
                pointer: String::new(),
                message: format!("{name:?} is not the name of a secret: {NAME_RULE}"),
            });
        }
        if let Err(message) = check_secret(&value) {
            faults.push(Fault {
                pointer: "/value".to_owned(),
                message,
            });
        }
        if !faults.is_empty() {
            return Err(EngineError::Invalid(faults));
        }
        let name = name.to_owned();
        let change = |values: &mut BTreeMap<String, String>| {
            if values.len() >= SECRETS_MAX && !values.contains_key(&name) {
                return Err(EngineError::Conflict {
                    code: "too-many-secrets",
                    message: format!("the host keeps {SECRETS_MAX} secrets at most: remove one"),
                });
            }
            values.insert(name, value);
            Ok(())
        };
        self.0.secrets.change(change).await
    }

    /// Forgets a secret. Requests that need it are refused from then on.
    pub async fn remove_secret(&self, name: &str) -> Result<(), EngineError> {
        let change = |values: &mut BTreeMap<String, String>| match values.remove(name) {
            Some(_) => Ok(()),
            None => Err(EngineError::NotFound {
                what: "secret",
                id: name.to_owned(),
            }),
        };
        self.0.secrets.change(change).await
    }

    /// The names of all secrets. The values are given to nobody.
    pub fn secrets(&self) -> Vec<String> {
        self.0.secrets.values().keys().cloned().collect()
    }
}
