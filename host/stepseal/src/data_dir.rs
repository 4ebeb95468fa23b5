//! The data directory of a host: its database, components, keys and token, and who holds it.
//!
//! ```text
//! stepseal-data/        0700
//!   stepseal.db         the database, unless it is in PostgreSQL
//!   components/         the uploaded bytes, by digest
//!   cache/              compiled components; may be deleted at any time
//!   keys/record.pem     signs records       0600
//!   keys/log.pem        signs checkpoints   0600
//!   keys/log.before.pem signs them too, from a rotation until the key is revoked   0600
//!   secrets             what the host injects into requests of steps   0600
//!   head                the last checkpoint that was signed; the database must not be behind it   0600
//!   keys/cache.key      authenticates `cache/`; may be deleted together with it   0600
//!   token               what clients show   0600
//!   name                which host this is among those of one database
//!   serve.lock          held by the one host that serves this directory
//!   address             where that host listens
//! ```
//!
//! Only keys that were never used are made here: once the database belongs to a log, a missing key is an error, since a
//! new one would start another log under the same records.

use std::fs::{self, DirBuilder, File, OpenOptions, Permissions, TryLockError};
use std::io::{self, ErrorKind, Read, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use stepseal_receipts::keys::{PublicKey, SigningKey};
use stepseal_receipts::record::KeyRole;

use crate::clock::Clock;
use crate::store::Identity;
use crate::store::postgres::DatabaseUrl;

/// Mode of the directory and the directories in it.
pub(crate) const DIR_MODE: u32 = 0o700;
/// Mode of every file that holds a secret.
pub(crate) const SECRET_MODE: u32 = 0o600;
/// Mode bits that let anybody but the owner at a secret.
const OTHERS_MODE: u32 = 0o077;
/// Bytes of a key, token or address file that are read; each is a few hundred at most.
const SMALL_FILE_BYTES_MAX: u64 = 16 * 1024;
/// Bytes of the key that authenticates compiled components.
const CACHE_KEY_BYTES: usize = 32;

/// A directory of a host, by its paths alone. Nothing is touched until a method says so.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DataDir {
    root: PathBuf,
}

/// A data directory that this process alone serves, until it is dropped.
#[derive(Debug)]
pub struct Held {
    dir: DataDir,
    // The lock lives as long as the file is open.
    _lock: File,
}

/// The keys of a host.
pub struct Keys {
    /// Signs records.
    pub record: SigningKey,
    /// Signs checkpoints.
    pub log: SigningKey,
    /// Signed checkpoints before `log` did, and still signs them for those who do not know that one yet.
    pub log_before: Option<SigningKey>,
    /// Authenticates compiled components.
    pub cache: [u8; CACHE_KEY_BYTES],
}

/// Why a data directory cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum DataDirError {
    /// Another host serves it.
    #[error(
        "another host serves {} already{}: stop it, or choose another directory with --data",
        dir.display(), address.as_ref().map(|address| format!(" on {address}")).unwrap_or_default()
    )]
    Held {
        /// The directory.
        dir: PathBuf,
        /// Where that host listens, if it said so.
        address: Option<String>,
    },
    /// The disk cannot be written to.
    #[error("{} is on a read-only disk, and a host must write: remount it, or choose another directory with --data", .0.display())]
    ReadOnly(PathBuf),
    /// Others can read a secret.
    #[error("{} can be read or changed by others (mode {mode:04o}): if nobody else can have used it, run: chmod {wanted:o} {}", path.display(), path.display())]
    Exposed {
        /// The file or directory.
        path: PathBuf,
        /// Its mode.
        mode: u32,
        /// The mode it should have.
        wanted: u32,
    },
    /// A key is gone that the database was written with.
    #[error("the key {} is missing, and the database was written with it: put it back from the backup; a new key would start another log", .0.display())]
    KeyMissing(PathBuf),
    /// The keys are there, the database they signed for is not.
    #[error("the database {} is missing, but the keys of its log are there: put it back from the backup, or, if it is in PostgreSQL, name that with --database; a new database would start a second log under the same keys. For a new log choose another directory with --data", .0.display())]
    DatabaseMissing(PathBuf),
    /// The directory has a database, and another one is named.
    #[error("{} is the database of this directory's log, and a log stays in its database: leave out --database ({server}), or choose another directory with --data", file.display())]
    DatabaseElsewhere {
        /// The directory's own.
        file: PathBuf,
        /// The one that was named.
        server: String,
    },
    /// A head of the log was signed, and the database knows of no log.
    #[error("the database is empty, but this directory's log has signed heads, of which {} is the last: name the database that it is in, or put that back from the \
        backup; to begin again would start a second log under the same keys. For a new log choose another directory with --data", .0.display())]
    LogMissing(PathBuf),
    /// A key is not the one the database was written with.
    #[error("the key {} is not the one this database was written with (that one has the id {wanted}): put the right key back, or choose another directory with --data, or another database with --database", path.display())]
    KeyForeign {
        /// The key's file.
        path: PathBuf,
        /// Id of the key the database names.
        wanted: String,
    },
    /// A file does not hold what it should.
    #[error("{} cannot be used: {why}", path.display())]
    Bad {
        /// The file.
        path: PathBuf,
        /// What is wrong with it and what to do.
        why: String,
    },
    /// The operating system said no.
    #[error("{doing} {}: {error}", path.display())]
    Io {
        /// What was being done.
        doing: &'static str,
        /// To what.
        path: PathBuf,
        /// What the operating system said.
        error: io::Error,
    },
}

impl DataDir {
    /// The directory at `root`.
    pub fn new(root: impl Into<PathBuf>) -> Self {
        Self { root: root.into() }
    }

    /// The directory itself.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// The database (`SQLite`).
    pub fn database(&self) -> PathBuf {
        self.root.join("stepseal.db")
    }

    /// The uploaded components.
    pub fn components(&self) -> PathBuf {
        self.root.join("components")
    }

    /// The compiled components.
    pub fn cache(&self) -> PathBuf {
        self.root.join("cache")
    }

    /// The key that signs records.
    pub fn record_key(&self) -> PathBuf {
        self.key(KeyRole::Record)
    }

    /// The key that signs checkpoints.
    pub fn log_key(&self) -> PathBuf {
        self.key(KeyRole::Log)
    }

    /// The key that signed checkpoints before the last rotation, until it is revoked.
    pub fn log_key_before(&self) -> PathBuf {
        self.keys().join("log.before.pem")
    }

    /// Secrets that requests of steps need.
    pub fn injected(&self) -> PathBuf {
        self.root.join("secrets")
    }

    /// The last checkpoint that was signed.
    pub fn head(&self) -> PathBuf {
        self.root.join("head")
    }

    fn key(&self, role: KeyRole) -> PathBuf {
        self.keys().join(format!("{role}.pem"))
    }

    /// A key that is being rotated to.
    fn next_key(&self, role: KeyRole) -> PathBuf {
        self.keys().join(format!("{role}.next.pem"))
    }

    /// The key that authenticates compiled components.
    pub fn cache_key(&self) -> PathBuf {
        self.keys().join("cache.key")
    }

    /// The token of clients.
    pub fn token(&self) -> PathBuf {
        self.root.join("token")
    }

    /// Where the host that serves this directory listens.
    pub fn address(&self) -> PathBuf {
        self.root.join("address")
    }

    /// Locked while a host serves this directory.
    pub fn lock(&self) -> PathBuf {
        self.root.join("serve.lock")
    }

    /// Every file that only its owner may read, where it is there.
    pub fn secrets(&self) -> [PathBuf; 8] {
        [
            self.injected(),
            self.record_key(),
            self.log_key(),
            self.log_key_before(),
            self.next_key(KeyRole::Record),
            self.next_key(KeyRole::Log),
            self.cache_key(),
            self.token(),
        ]
    }

    fn keys(&self) -> PathBuf {
        self.root.join("keys")
    }

    /// Makes the directory where it is not there, and takes it for this process.
    pub fn hold(&self) -> Result<Held, DataDirError> {
        make_dir(&self.root)?;
        check_mode(&self.root, DIR_MODE)?;
        let lock = self.take_lock()?;
        for dir in [self.keys(), self.components(), self.cache()] {
            make_dir(&dir)?;
        }
        check_mode(&self.keys(), DIR_MODE)?;
        Ok(Held {
            dir: self.clone(),
            _lock: lock,
        })
    }

    /// Whether a host serves the directory now. The lock is the witness: an `address` left behind by a crash is not.
    pub fn is_held(&self) -> bool {
        File::open(self.lock())
            .is_ok_and(|lock| matches!(lock.try_lock(), Err(TryLockError::WouldBlock)))
    }

    /// Where the host that serves this directory listens; `None` where none does.
    pub fn read_address(&self) -> Result<Option<String>, DataDirError> {
        Ok(read_small(&self.address())?.map(|text| text.trim().to_owned()))
    }

    /// The token that clients show; `None` where no host was ever started here.
    pub fn read_token(&self) -> Result<Option<String>, DataDirError> {
        let path = self.token();
        let Some(text) = read_small(&path)? else {
            return Ok(None);
        };
        check_mode(&path, SECRET_MODE)?;
        let token = text.trim();
        if token.len() < 32 || !token.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err(DataDirError::Bad {
                path,
                why: "it holds no token; delete it, and the host makes a new one when it starts"
                    .to_owned(),
            });
        }
        Ok(Some(token.to_owned()))
    }

    fn take_lock(&self) -> Result<File, DataDirError> {
        let path = self.lock();
        let lock = OpenOptions::new()
            .create(true)
            .truncate(false)
            .write(true)
            .mode(SECRET_MODE)
            .open(&path)
            .map_err(|error| io_error("opening", &path, error))?;
        match lock.try_lock() {
            Ok(()) => Ok(lock),
            Err(TryLockError::WouldBlock) => Err(DataDirError::Held {
                dir: self.root.clone(),
                address: self.read_address().ok().flatten(),
            }),
            Err(TryLockError::Error(error)) => Err(io_error("locking", &path, error)),
        }
    }
}

impl Held {
    /// The directory.
    pub fn dir(&self) -> &DataDir {
        &self.dir
    }

    /// The host's keys. They are made where the database belongs to no log yet; where it does, they must be the ones it
    /// was written with.
    pub fn keys(
        &self,
        identity: Option<&Identity>,
        clock: &dyn Clock,
    ) -> Result<Keys, DataDirError> {
        let key = |role, wanted: Option<&PublicKey>| {
            let path = self.dir.key(role);
            if let Some(wanted) = wanted {
                self.finish_rotation(role, wanted)?;
            }
            let key = signing_key(&path, wanted.is_none(), clock)?;
            match wanted {
                Some(wanted) if key.public() != *wanted => Err(DataDirError::KeyForeign {
                    path,
                    wanted: wanted.id().to_string(),
                }),
                _ => Ok(key),
            }
        };
        Ok(Keys {
            record: key(
                KeyRole::Record,
                identity.map(|identity| &identity.record_key),
            )?,
            log: key(KeyRole::Log, identity.map(|identity| &identity.log_key))?,
            log_before: stored_key(&self.dir.log_key_before())?,
            cache: cache_key(&self.dir.cache_key(), clock)?,
        })
    }

    /// The name of this directory among those of hosts on one database, made where there is none. Whoever holds the directory has outlived whoever
    /// had it before.
    pub fn name(&self, clock: &dyn Clock) -> Result<String, DataDirError> {
        let path = self.dir.root.join("name");
        if let Some(name) = read_small(&path)? {
            return Ok(name.trim().to_owned());
        }
        let name = clock.id();
        write_secret(&path, format!("{name}\n").as_bytes())?;
        Ok(name)
    }

    /// Takes over what hosts of one log share: keys, token, secrets and the last head.
    pub fn copy_keys(&self, from: &DataDir) -> Result<(), DataDirError> {
        if from.root == self.dir.root {
            return Err(DataDirError::Bad {
                path: from.root.clone(),
                why: "it cannot be copied into itself".to_owned(),
            });
        }
        if self.dir.database().exists() {
            return Err(DataDirError::Bad {
                path: self.dir.database(),
                why: "this directory has a database of its own, and its log another key".to_owned(),
            });
        }
        let files = |dir: &DataDir| {
            let [record, log, token] = [dir.record_key(), dir.log_key(), dir.token()];
            [
                record,
                log,
                token,
                dir.log_key_before(),
                dir.injected(),
                dir.head(),
            ]
        };
        let needed = 3;
        for (at, (file, copy)) in files(from).iter().zip(files(&self.dir)).enumerate() {
            match fs::read(file) {
                Ok(bytes) => {
                    check_mode(file, SECRET_MODE)?;
                    write_secret(&copy, &bytes)?;
                }
                Err(error) if error.kind() == ErrorKind::NotFound && at >= needed => {}
                Err(error) => return Err(io_error("reading", file, error)),
            }
        }
        Ok(())
    }

    /// A key to rotate to. It is kept beside the one in use, and takes its place once the database says that it counts.
    pub fn next_key(&self, role: KeyRole, clock: &dyn Clock) -> Result<SigningKey, DataDirError> {
        signing_key(&self.dir.next_key(role), true, clock)
    }

    /// Puts the next key in the place of the one in use, where it is the one that counts. Does nothing otherwise, so that it
    /// can be done again after a crash.
    fn finish_rotation(&self, role: KeyRole, wanted: &PublicKey) -> Result<(), DataDirError> {
        let (next, current) = (self.dir.next_key(role), self.dir.key(role));
        match stored_key(&next)? {
            Some(key) if key.public() == *wanted => {}
            _ => return Ok(()),
        }
        let replace = |from: &Path, to: &Path| {
            fs::rename(from, to).map_err(|error| io_error("renaming", from, error))
        };
        if role == KeyRole::Log && current.exists() {
            replace(&current, &self.dir.log_key_before())?;
        }
        replace(&next, &current)?;
        let keys = self.dir.keys();
        sync_dir(&keys).map_err(|error| io_error("writing", &keys, error))
    }

    /// Deletes the key that signed checkpoints before: it is revoked.
    pub fn forget_log_key_before(&self) -> Result<(), DataDirError> {
        remove(&self.dir.log_key_before())
    }

    /// Refuses keys without their database: a log that begins again under the same keys would contradict itself. Ask before
    /// the database is opened, which makes it. `server` is where it is, if not in the directory.
    pub fn check_database(&self, server: Option<&DatabaseUrl>) -> Result<(), DataDirError> {
        let file = self.dir.database();
        match server {
            Some(server) if file.exists() => Err(DataDirError::DatabaseElsewhere {
                file,
                server: server.to_string(),
            }),
            None if read_small(&self.dir.log_key())?.is_some() && !file.exists() => {
                Err(DataDirError::DatabaseMissing(file))
            }
            _ => Ok(()),
        }
    }

    /// Refuses a database of no log where the directory's log has shown a head: the database is the wrong one, or lost what it had. Ask before it
    /// is claimed. Keys alone say nothing: they are made before a log begins, and what they signed without a head proves nothing.
    pub fn check_log(&self, identity: Option<&Identity>) -> Result<(), DataDirError> {
        let head = self.dir.head();
        if identity.is_none() && read_small(&head)?.is_some() {
            return Err(DataDirError::LogMissing(head));
        }
        Ok(())
    }

    /// The token that clients must show, made where there is none.
    pub fn token(&self, clock: &dyn Clock) -> Result<String, DataDirError> {
        if let Some(token) = self.dir.read_token()? {
            return Ok(token);
        }
        let token = clock.token();
        write_secret(&self.dir.token(), format!("{token}\n").as_bytes())?;
        Ok(token)
    }

    /// Tells clients on this machine where the host listens.
    pub fn announce(&self, url: &str) -> Result<(), DataDirError> {
        write_secret(&self.dir.address(), format!("{url}\n").as_bytes())
    }

    /// Takes the announcement back.
    pub fn withdraw(&self) -> Result<(), DataDirError> {
        remove(&self.dir.address())
    }
}

fn remove(path: &Path) -> Result<(), DataDirError> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != ErrorKind::NotFound => Err(io_error("removing", path, error)),
        _ => Ok(()),
    }
}

/// Reads a signing key, or makes one where `make` allows it and there is none.
pub(crate) fn signing_key(
    path: &Path,
    make: bool,
    clock: &dyn Clock,
) -> Result<SigningKey, DataDirError> {
    if let Some(key) = stored_key(path)? {
        return Ok(key);
    }
    if !make {
        return Err(DataDirError::KeyMissing(path.to_owned()));
    }
    let key = SigningKey::from_seed(clock.random());
    write_secret(path, key.to_pkcs8_pem().as_bytes())?;
    Ok(key)
}

/// Reads a signing key; `None` where there is none.
fn stored_key(path: &Path) -> Result<Option<SigningKey>, DataDirError> {
    let Some(pem) = read_small(path)? else {
        return Ok(None);
    };
    check_mode(path, SECRET_MODE)?;
    let key = SigningKey::from_pkcs8_pem(&pem).map_err(|error| DataDirError::Bad {
        path: path.to_owned(),
        why: format!("{error}; put the key back from the backup"),
    })?;
    Ok(Some(key))
}

fn cache_key(path: &Path, clock: &dyn Clock) -> Result<[u8; CACHE_KEY_BYTES], DataDirError> {
    let Some(text) = read_small(path)? else {
        let key = clock.random();
        let text = format!("{}\n", URL_SAFE_NO_PAD.encode(key));
        write_secret(path, text.as_bytes())?;
        return Ok(key);
    };
    check_mode(path, SECRET_MODE)?;
    let key = URL_SAFE_NO_PAD.decode(text.trim()).ok();
    key.and_then(|key| key.try_into().ok())
        .ok_or_else(|| DataDirError::Bad {
            path: path.to_owned(),
            why:
                "it is not a cache key; delete it, and the host makes a new one and compiles again"
                    .to_owned(),
        })
}

/// Makes a directory for its owner alone, where there is none.
pub(crate) fn make_dir(path: &Path) -> Result<(), DataDirError> {
    DirBuilder::new()
        .recursive(true)
        .mode(DIR_MODE)
        .create(path)
        .map_err(|error| io_error("making the directory", path, error))
}

/// The text of a small file; `None` where there is none.
pub(crate) fn read_small(path: &Path) -> Result<Option<String>, DataDirError> {
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(io_error("reading", path, error)),
    };
    let mut text = String::new();
    file.take(SMALL_FILE_BYTES_MAX)
        .read_to_string(&mut text)
        .map_err(|error| io_error("reading", path, error))?;
    Ok(Some(text))
}

/// The bytes of a file that only its owner may read; `None` where there is none.
pub(crate) fn read_secret(path: &Path, bytes_max: u64) -> Result<Option<Vec<u8>>, DataDirError> {
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(io_error("reading", path, error)),
    };
    check_mode(path, SECRET_MODE)?;
    let mut bytes = Vec::new();
    file.take(bytes_max)
        .read_to_end(&mut bytes)
        .map_err(|error| io_error("reading", path, error))?;
    Ok(Some(bytes))
}

/// Writes a file that is there in whole or not at all, for its owner's eyes only.
pub(crate) fn write_secret(path: &Path, bytes: &[u8]) -> Result<(), DataDirError> {
    let fail = |error| io_error("writing", path, error);
    let unfinished = path.with_extension("new");
    // Left behind by a crash in the lines below; the lock says that no other host is at work here.
    let _ = fs::remove_file(&unfinished);
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(SECRET_MODE)
        .open(&unfinished)
        .map_err(fail)?;
    // The mode above is narrowed by the umask but never widened; this makes it exact.
    file.set_permissions(Permissions::from_mode(SECRET_MODE))
        .and_then(|()| file.write_all(bytes))
        .and_then(|()| file.sync_all())
        .and_then(|()| fs::rename(&unfinished, path))
        .map_err(fail)?;
    sync_dir(path.parent().unwrap_or(Path::new("."))).map_err(fail)
}

fn sync_dir(path: &Path) -> io::Result<()> {
    File::open(path)?.sync_all()
}

/// The permission bits of a file.
pub fn mode_of(path: &Path) -> io::Result<u32> {
    Ok(fs::metadata(path)?.permissions().mode() & 0o7777)
}

/// Refuses a file or directory that others may use.
pub(crate) fn check_mode(path: &Path, wanted: u32) -> Result<(), DataDirError> {
    let mode = mode_of(path).map_err(|error| io_error("looking at", path, error))?;
    if mode & OTHERS_MODE == 0 {
        return Ok(());
    }
    Err(DataDirError::Exposed {
        path: path.to_owned(),
        mode,
        wanted,
    })
}

fn io_error(doing: &'static str, path: &Path, error: io::Error) -> DataDirError {
    if error.kind() == ErrorKind::ReadOnlyFilesystem {
        return DataDirError::ReadOnly(path.to_owned());
    }
    DataDirError::Io {
        doing,
        path: path.to_owned(),
        error,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::SystemClock;

    fn fresh() -> (tempfile::TempDir, DataDir) {
        let temp = tempfile::tempdir().unwrap();
        let dir = DataDir::new(temp.path().join("data"));
        (temp, dir)
    }

    fn identity_of(keys: &Keys) -> Identity {
        Identity {
            origin: "example.org/log".to_owned(),
            log_key: keys.log.public(),
            record_key: keys.record.public(),
        }
    }

    #[test]
    fn a_fresh_directory_and_its_secrets_are_for_the_owner_alone() {
        let (_temp, dir) = fresh();
        let held = dir.hold().unwrap();
        held.keys(None, &SystemClock).unwrap();
        held.token(&SystemClock).unwrap();
        assert_eq!(mode_of(dir.root()).unwrap(), DIR_MODE);
        let secrets = dir.secrets().into_iter().filter(|secret| secret.exists());
        let modes: Vec<u32> = secrets.map(|secret| mode_of(&secret).unwrap()).collect();
        assert_eq!(modes, [SECRET_MODE; 4]);
    }

    #[test]
    fn a_second_start_finds_the_same_keys_and_token() {
        let (_temp, dir) = fresh();
        let first = dir.hold().unwrap();
        let keys = first.keys(None, &SystemClock).unwrap();
        let token = first.token(&SystemClock).unwrap();
        drop(first);
        let second = dir.hold().unwrap();
        let again = second
            .keys(Some(&identity_of(&keys)), &SystemClock)
            .unwrap();
        assert_eq!(again.record.public(), keys.record.public());
        assert_eq!(again.cache, keys.cache);
        assert_eq!(second.token(&SystemClock).unwrap(), token);
    }

    #[test]
    fn a_second_host_is_told_who_holds_the_directory() {
        let (_temp, dir) = fresh();
        assert!(!dir.is_held());
        let first = dir.hold().unwrap();
        first.announce("http://127.0.0.1:8787").unwrap();
        assert!(dir.is_held());
        let refusal = dir.hold().unwrap_err().to_string();
        assert!(refusal.contains("http://127.0.0.1:8787"), "{refusal}");
        drop(first);
        assert!(dir.hold().is_ok());
    }

    #[test]
    fn keys_without_their_database_are_refused() {
        let (_temp, dir) = fresh();
        let held = dir.hold().unwrap();
        let server: DatabaseUrl = "postgres://mia:s3cret@db.example/steps".parse().unwrap();
        held.check_database(None).unwrap();
        held.keys(None, &SystemClock).unwrap();
        assert!(matches!(
            held.check_database(None),
            Err(DataDirError::DatabaseMissing(_))
        ));
        held.check_database(Some(&server)).unwrap();
        std::fs::write(dir.database(), b"").unwrap();
        held.check_database(None).unwrap();
        let elsewhere = held.check_database(Some(&server)).unwrap_err();
        assert!(matches!(elsewhere, DataDirError::DatabaseElsewhere { .. }));
        assert!(!elsewhere.to_string().contains("s3cret"), "{elsewhere}");
    }

    #[test]
    fn an_empty_database_is_refused_once_a_head_was_signed() {
        let (_temp, dir) = fresh();
        let held = dir.hold().unwrap();
        let keys = held.keys(None, &SystemClock).unwrap();
        held.check_log(None).unwrap();
        write_secret(&dir.head(), b"a head").unwrap();
        let refused = held.check_log(None);
        assert!(
            matches!(refused, Err(DataDirError::LogMissing(_))),
            "{refused:?}"
        );
        held.check_log(Some(&identity_of(&keys))).unwrap();
    }

    #[test]
    fn a_missing_key_is_never_replaced_once_the_database_has_a_log() {
        let (_temp, dir) = fresh();
        let held = dir.hold().unwrap();
        let keys = held.keys(None, &SystemClock).unwrap();
        fs::remove_file(dir.record_key()).unwrap();
        let refused = held.keys(Some(&identity_of(&keys)), &SystemClock);
        assert!(matches!(refused, Err(DataDirError::KeyMissing(path)) if path == dir.record_key()));
        assert!(!dir.record_key().exists());
    }

    #[test]
    fn a_key_of_another_log_is_refused() {
        let (_temp, dir) = fresh();
        let held = dir.hold().unwrap();
        let keys = held.keys(None, &SystemClock).unwrap();
        let mut identity = identity_of(&keys);
        identity.log_key = SigningKey::from_seed([9; 32]).public();
        let refused = held.keys(Some(&identity), &SystemClock);
        assert!(
            matches!(refused, Err(DataDirError::KeyForeign { path, .. }) if path == dir.log_key())
        );
    }

    #[test]
    fn a_rotation_is_finished_once_the_database_says_so_wherever_it_was_interrupted() {
        for interrupted in [false, true] {
            let (_temp, dir) = fresh();
            let held = dir.hold().unwrap();
            let mut identity = identity_of(&held.keys(None, &SystemClock).unwrap());
            let old = identity.clone();
            let record = held.next_key(KeyRole::Record, &SystemClock).unwrap();
            let log = held.next_key(KeyRole::Log, &SystemClock).unwrap();

            // Nothing counts yet.
            let keys = held.keys(Some(&identity), &SystemClock).unwrap();
            assert_eq!(identity_of(&keys), old);
            let again = held.next_key(KeyRole::Log, &SystemClock).unwrap();
            assert_eq!(again.public(), log.public());

            identity.record_key = record.public();
            identity.log_key = log.public();
            if interrupted {
                fs::rename(dir.log_key(), dir.log_key_before()).unwrap();
            }
            for _ in 0..2 {
                let keys = held.keys(Some(&identity), &SystemClock).unwrap();
                assert_eq!(identity_of(&keys), identity);
                assert_eq!(keys.log_before.unwrap().public(), old.log_key);
            }
            held.forget_log_key_before().unwrap();
            let keys = held.keys(Some(&identity), &SystemClock).unwrap();
            assert!(keys.log_before.is_none());
        }
    }

    #[test]
    fn a_key_that_others_can_read_is_refused_with_the_command_that_helps() {
        let (_temp, dir) = fresh();
        let held = dir.hold().unwrap();
        held.keys(None, &SystemClock).unwrap();
        fs::set_permissions(dir.log_key(), Permissions::from_mode(0o644)).unwrap();
        let Err(refusal) = held.keys(None, &SystemClock) else {
            panic!("a key of mode 0644 was used");
        };
        let refusal = refusal.to_string();
        assert!(
            refusal.contains("chmod 600") && refusal.contains("0644"),
            "{refusal}"
        );
    }

    #[test]
    fn a_damaged_key_is_named() {
        let (_temp, dir) = fresh();
        let held = dir.hold().unwrap();
        held.keys(None, &SystemClock).unwrap();
        fs::write(dir.record_key(), "not a key").unwrap();
        let Err(refusal) = held.keys(None, &SystemClock) else {
            panic!("a damaged key was used");
        };
        assert!(refusal.to_string().contains("record.pem"), "{refusal}");
    }
}
