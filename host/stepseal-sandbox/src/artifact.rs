//! Machine code of components: compiling it, and keeping it on disk so that nobody else's is ever loaded.

use std::fs;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io::{self, Read, Write};
use std::os::fd::AsRawFd as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::SystemTime;

use rustix::fs::{MemfdFlags, Mode, OFlags, SealFlags, Timespec, Timestamps, UTIME_NOW};
use stepseal_receipts::digest::Digest;
use wasmtime::Engine;
use wasmtime::component::Component;

use crate::config;
use crate::error::{LoadError, SandboxError};
use crate::settings::CacheSettings;
use crate::text::message;

/// First bytes of a cache file.
const MAGIC: &[u8; 16] = b"stepseal-cwasm/3";

/// Bytes of a MAC.
const MAC_BYTES: usize = blake3::OUT_LEN;

/// Bytes that are read at a time: enough for the hash to be fast, and few enough to stay in the processor's cache.
const PIECE_BYTES: usize = 64 << 10;

/// Bytes of machine code that are read back. Machine code is about five times the component, which is bounded already.
pub(crate) const ARTIFACT_BYTES_MAX: u64 = 512 << 20;

/// Machine code that this process compiled, that another process of this very program compiled, or that carries a MAC by this
/// host's key. There is no other way to make one, so loading it is safe.
pub(crate) struct Artifact(Code);

enum Code {
    Bytes(Vec<u8>),
    Sealed(Sealed),
}

/// A file in memory that nobody can change any more, this process neither. What was checked is what is mapped and runs.
struct Sealed {
    file: fs::File,
    bytes: usize,
}

impl Sealed {
    /// Copies what is left of a file, and shows each piece of it to `see`: of what is copied, not of what the file holds later.
    fn copy(from: &fs::File, mut see: impl FnMut(&[u8])) -> io::Result<Self> {
        let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
        let mut file = fs::File::from(rustix::fs::memfd_create("stepseal-code", flags)?);
        let mut from = from.take(ARTIFACT_BYTES_MAX);
        let mut piece = vec![0; PIECE_BYTES];
        let mut bytes = 0;
        loop {
            let read = from.read(&mut piece)?;
            if read == 0 {
                break;
            }
            see(&piece[..read]);
            file.write_all(&piece[..read])?;
            bytes += read;
        }
        let seals = SealFlags::WRITE | SealFlags::GROW | SealFlags::SHRINK | SealFlags::SEAL;
        rustix::fs::fcntl_add_seals(&file, seals)?;
        Ok(Self { file, bytes })
    }

    /// Where it can be opened again by this process, for as long as this one is open.
    fn path(&self) -> PathBuf {
        PathBuf::from(format!("/proc/self/fd/{}", self.file.as_raw_fd()))
    }
}

impl Artifact {
    /// Compiles a component for the first of these engines, or for the other if it is one of WASI 0.3. Takes long, and much memory
    /// for hostile bytes: call it where that is bounded.
    pub(crate) fn compile(
        [plain, concurrent]: [&Engine; 2],
        bytes: &[u8],
    ) -> Result<Self, LoadError> {
        let code = match Component::new(plain, bytes) {
            Ok(component) if !imports_wasi_0_3(&component) => component.serialize(),
            // The plain engine knows nothing of `async`: it refuses what has it before it compiles a function.
            _ => concurrent.precompile_component(bytes),
        };
        code.map(|code| Self(Code::Bytes(code)))
            .map_err(|error| LoadError::Compile(message(format!("{error:#}"))))
    }

    /// What [`compiler`](crate::compiler)'s process wrote: this same program, which is believed as this process is.
    pub(crate) fn of_child(code: Vec<u8>) -> Self {
        Self(Code::Bytes(code))
    }

    /// The machine code, unless it came from the cache.
    pub(crate) fn compiled(&self) -> Option<&[u8]> {
        match &self.0 {
            Code::Bytes(code) => Some(code),
            Code::Sealed(_) => None,
        }
    }

    /// How large it is.
    pub(crate) fn bytes(&self) -> usize {
        match &self.0 {
            Code::Bytes(code) => code.len(),
            Code::Sealed(sealed) => sealed.bytes,
        }
    }

    /// Makes it ready for instantiation, in whichever of these engines it was compiled for.
    pub(crate) fn load(&self, engines: [&Engine; 2]) -> Result<Component, LoadError> {
        let [plain, concurrent] = engines;
        // The concurrent one allocates on demand and bounds nothing, so where both refuse it, it is the plain one's bound.
        self.load_into(plain)
            .or_else(|error| self.load_into(concurrent).map_err(|_| error))
    }

    fn load_into(&self, engine: &Engine) -> Result<Component, LoadError> {
        #[expect(
            unsafe_code,
            reason = "the bytes are this program's own output: `Artifact` has no other source"
        )]
        // SAFETY: see `Artifact`. The other process is started by this crate alone, from `/proc/self/exe`. What is mapped from a file
        // is sealed: nothing changes it as long as it is mapped.
        let component = unsafe {
            match &self.0 {
                Code::Bytes(code) => Component::deserialize(engine, code),
                Code::Sealed(sealed) => Component::deserialize_file(engine, sealed.path()),
            }
        };
        component.map_err(|error| LoadError::Compile(message(format!("{error:#}"))))
    }
}

/// A file of the cache.
struct Kept {
    path: PathBuf,
    bytes: u64,
    used: SystemTime,
}

/// Whether a file is named like one of the cache: `<digest>-<target>.cwasm`, or `.<process>-<number>.tmp` instead.
fn is_ours(name: &str) -> bool {
    let hex = |text: &str, digits| {
        text.len() == digits && text.bytes().all(|byte| byte.is_ascii_hexdigit())
    };
    let stem = name.split('.').next().unwrap_or_default();
    let extension = Path::new(name).extension();
    stem.split_once('-')
        .is_some_and(|(digest, target)| hex(digest, 64) && hex(target, 16))
        && extension.is_some_and(|extension| extension == "cwasm" || extension == "tmp")
}

/// The time of the system, which is asked for nothing else.
const NOW: Timestamps = Timestamps {
    last_access: Timespec {
        tv_sec: 0,
        tv_nsec: UTIME_NOW,
    },
    last_modification: Timespec {
        tv_sec: 0,
        tv_nsec: UTIME_NOW,
    },
};

/// Whether a component takes anything from WASI 0.3, which the plain engine does not offer, `async` or not.
fn imports_wasi_0_3(component: &Component) -> bool {
    let (engine, ty) = (component.engine(), component.component_type());
    ty.imports(engine)
        .any(|(name, _)| name.starts_with("wasi:") && name.contains("@0.3."))
}

/// Machine code on disk.
pub(crate) struct Cache {
    dir: PathBuf,
    key: [u8; 32],
    bytes_max: u64,
    /// What the code was compiled for: version, settings and processor features. Part of the name, so that after an upgrade old
    /// files are not even read.
    target: u64,
    /// Makes names of temporary files unique in this process.
    written: AtomicU64,
    /// Bytes of its files when they were last looked at, and of what was written since: the files may be fewer, not more. A look at
    /// thousands of them takes longer than to compile a component.
    bytes: Mutex<u64>,
}

impl Cache {
    pub(crate) fn new(settings: CacheSettings, engine: &Engine) -> Result<Self, SandboxError> {
        fs::create_dir_all(&settings.dir).map_err(|error| SandboxError::Cache {
            dir: settings.dir.display().to_string(),
            error,
        })?;
        let mut hasher = DefaultHasher::new();
        engine.precompile_compatibility_hash().hash(&mut hasher);
        config::digest().hash(&mut hasher);
        let cache = Self {
            dir: settings.dir,
            key: settings.key,
            bytes_max: settings.bytes_max,
            target: hasher.finish(),
            written: AtomicU64::new(0),
            bytes: Mutex::new(0),
        };
        cache.make_room(&mut cache.bytes.lock().unwrap_or_else(PoisonError::into_inner));
        Ok(cache)
    }

    fn path(&self, digest: &Digest) -> PathBuf {
        self.dir
            .join(format!("{}-{:016x}.cwasm", digest.to_hex(), self.target))
    }

    fn mac(&self) -> blake3::Hasher {
        blake3::Hasher::new_keyed(&self.key)
    }

    /// The MAC of the code that was hashed covers what it is for too: a file under another component's name is not that component. All
    /// this has one length and stands last, so that the code is hashed from its first byte in whole blocks.
    fn finish(&self, mut mac: blake3::Hasher, digest: &Digest) -> blake3::Hash {
        mac.update(digest.as_bytes());
        mac.update(&self.target.to_be_bytes());
        mac.update(MAGIC);
        mac.finalize()
    }

    /// The machine code of a component, if it is there and this host's own. Whatever is wrong with a file, the answer is to
    /// compile again.
    pub(crate) fn get(&self, digest: &Digest) -> Option<Artifact> {
        let path = self.path(digest);
        match self.read(digest, &path) {
            Ok(artifact) => Some(artifact),
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            Err(error) => {
                tracing::warn!(path = %path.display(), %error, "a compiled component cannot be used and is compiled again");
                None
            }
        }
    }

    fn read(&self, digest: &Digest, path: &PathBuf) -> io::Result<Artifact> {
        let invalid = |text: &'static str| io::Error::new(io::ErrorKind::InvalidData, text);
        // Whoever may write here puts what they like at this path: never through a link, nor waiting for the writer of a pipe.
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let file = fs::File::from(rustix::fs::open(path, flags, Mode::empty())?);
        let found = file.metadata()?;
        if !found.is_file() {
            return Err(invalid("it is not a file"));
        }
        if found.len() > ARTIFACT_BYTES_MAX {
            return Err(invalid("it is larger than any compiled component"));
        }
        let mut header = [0; MAGIC.len() + MAC_BYTES];
        let cut = |_| invalid("it does not begin like one");
        (&file).read_exact(&mut header).map_err(cut)?;
        let (magic, mac) = header.split_at(MAGIC.len());
        if magic != MAGIC {
            return Err(invalid("it does not begin like one"));
        }
        // The file itself may change while it is read, or later while its code runs.
        let mut hasher = self.mac();
        let sealed = Sealed::copy(&file, |piece| {
            hasher.update(piece);
        })?;
        // Compared in constant time.
        if self.finish(hasher, digest) != blake3::Hash::from_slice(mac).map_err(io::Error::other)? {
            return Err(invalid(
                "it was not written by this host, or was changed since",
            ));
        }
        // When it was used last decides what makes room. Not worth failing for.
        let _ = rustix::fs::futimens(&file, &NOW);
        Ok(Artifact(Code::Sealed(sealed)))
    }

    /// Keeps machine code. A full or read-only disk costs time at the next start and nothing else.
    pub(crate) fn put(&self, digest: &Digest, artifact: &Artifact) {
        let path = self.path(digest);
        let mut bytes = self.bytes.lock().unwrap_or_else(PoisonError::into_inner);
        match self.write(digest, artifact, &path) {
            Ok(written) => *bytes += written,
            Err(error) => {
                tracing::warn!(path = %path.display(), %error, "a compiled component could not be kept on disk");
            }
        }
        if *bytes > self.bytes_max {
            self.make_room(&mut bytes);
        }
    }

    /// Deletes what was not used for longest, until the rest is within the limit: machine code for an older version of this
    /// program and what a crash left unfinished too. Counts the bytes that are left.
    fn make_room(&self, bytes: &mut u64) {
        match self.files() {
            Ok(mut files) => {
                *bytes = files.iter().map(|file| file.bytes).sum();
                files.sort_unstable_by_key(|file| file.used);
                for file in files {
                    if *bytes <= self.bytes_max {
                        return;
                    }
                    match fs::remove_file(&file.path) {
                        Ok(()) => *bytes -= file.bytes,
                        Err(error) => {
                            tracing::warn!(path = %file.path.display(), %error, "a compiled component cannot be deleted");
                        }
                    }
                }
            }
            Err(error) => {
                tracing::warn!(dir = %self.dir.display(), %error, "the compiled components cannot be listed");
            }
        }
    }

    /// What this or another version of this program wrote. Anything else in the directory is not ours to delete.
    fn files(&self) -> io::Result<Vec<Kept>> {
        let mut files = Vec::new();
        for entry in fs::read_dir(&self.dir)? {
            let entry = entry?;
            let name = entry.file_name();
            if !name.to_str().is_some_and(is_ours) {
                continue;
            }
            // Gone since, or not to be looked at: not one that makes room.
            let Ok(found) = entry.metadata() else {
                continue;
            };
            if found.is_file()
                && let Ok(used) = found.modified()
            {
                files.push(Kept {
                    path: entry.path(),
                    bytes: found.len(),
                    used,
                });
            }
        }
        Ok(files)
    }

    /// Writes a file, and says how large it is.
    fn write(&self, digest: &Digest, artifact: &Artifact, path: &PathBuf) -> io::Result<u64> {
        let Some(code) = artifact.compiled() else {
            return Ok(0);
        };
        let mut mac = self.mac();
        mac.update(code);
        let mac = self.finish(mac, digest);
        let number = self.written.fetch_add(1, Ordering::Relaxed);
        let temporary = path.with_extension(format!("{}-{number}.tmp", std::process::id()));
        // A new file or none: never through a link that somebody put there.
        let written = fs::File::create_new(&temporary).and_then(|mut file| {
            file.write_all(MAGIC)?;
            file.write_all(mac.as_bytes())?;
            file.write_all(code)
        });
        // Renamed when it is whole, so that a reader sees all of it or nothing. Not synced: the MAC finds a torn file.
        let kept = written.and_then(|()| fs::rename(&temporary, path));
        if kept.is_err() {
            // Also one that a process of the same number left behind. The first error is the one to tell.
            let _ = fs::remove_file(&temporary);
        }
        kept.map(|()| (MAGIC.len() + MAC_BYTES + code.len()) as u64)
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{FileExt as _, symlink};
    use std::time::Duration;

    use rustix::fs::{CWD, FileType};

    use super::*;

    fn cache(dir: &Path, target: u64, bytes_max: u64) -> Cache {
        Cache {
            dir: dir.to_owned(),
            key: [1; 32],
            bytes_max,
            target,
            written: AtomicU64::new(0),
            bytes: Mutex::new(0),
        }
    }

    fn digest(number: u8) -> Digest {
        Digest::of(&[number])
    }

    fn code() -> Artifact {
        Artifact(Code::Bytes(vec![7; 1_000]))
    }

    #[test]
    fn code_of_another_version_is_never_used_under_any_name() {
        let dir = tempfile::tempdir().unwrap();
        let (old, new) = (
            cache(dir.path(), 1, u64::MAX),
            cache(dir.path(), 2, u64::MAX),
        );
        old.put(&digest(0), &code());
        assert!(old.get(&digest(0)).is_some() && new.get(&digest(0)).is_none());
        fs::copy(old.path(&digest(0)), new.path(&digest(0))).unwrap();
        assert!(new.get(&digest(0)).is_none());
    }

    #[test]
    fn what_was_checked_is_what_is_loaded_whatever_becomes_of_the_file() {
        let dir = tempfile::tempdir().unwrap();
        let cache = cache(dir.path(), 1, u64::MAX);
        let large = Artifact(Code::Bytes(vec![7; 2 * PIECE_BYTES + 9]));
        cache.put(&digest(0), &large);
        let found = cache.get(&digest(0)).unwrap();
        let Code::Sealed(sealed) = &found.0 else {
            panic!("what was read is not sealed")
        };
        // Whoever can write to the cache writes into the very file.
        let kept = fs::OpenOptions::new()
            .write(true)
            .open(cache.path(&digest(0)));
        kept.unwrap().write_all_at(&[8; 500], 100).unwrap();
        // And whoever comes by what was made of it, as this process or as another of its user.
        let again = fs::OpenOptions::new().write(true).open(sealed.path());
        let again = again.unwrap();
        for refused in [
            again.write_all_at(&[8], 0),
            again.set_len(0),
            again.set_len(1 << 20),
        ] {
            let error = refused.unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::PermissionDenied, "{error}");
        }
        let code = fs::read(sealed.path()).unwrap();
        assert_eq!(code, vec![7; 2 * PIECE_BYTES + 9]);
        assert!(
            cache.get(&digest(0)).is_none(),
            "the file itself is changed"
        );
    }

    #[test]
    fn what_is_not_a_file_of_its_own_is_not_read_and_not_waited_for() {
        let dir = tempfile::tempdir().unwrap();
        let cache = cache(dir.path(), 1, u64::MAX);
        let path = cache.path(&digest(0));
        cache.put(&digest(0), &code());
        let elsewhere = dir.path().join("elsewhere");
        fs::rename(&path, &elsewhere).unwrap();
        symlink(&elsewhere, &path).unwrap();
        assert!(
            cache.get(&digest(0)).is_none(),
            "a link, though to good code"
        );
        fs::remove_file(&path).unwrap();
        rustix::fs::mknodat(CWD, &path, FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).unwrap();
        assert!(cache.get(&digest(0)).is_none(), "a pipe without a writer");
        fs::remove_file(&path).unwrap();
        fs::create_dir(&path).unwrap();
        assert!(cache.get(&digest(0)).is_none(), "a directory");
        fs::remove_dir(&path).unwrap();
        fs::File::create_new(&path)
            .and_then(|file| file.set_len(ARTIFACT_BYTES_MAX + 1))
            .unwrap();
        assert!(cache.get(&digest(0)).is_none(), "larger than any");
        cache.put(&digest(0), &code());
        assert!(cache.get(&digest(0)).is_some(), "written again");
    }

    #[test]
    fn what_was_not_used_for_longest_makes_room() {
        let dir = tempfile::tempdir().unwrap();
        let file_bytes = (MAGIC.len() + MAC_BYTES + code().bytes()) as u64;
        let cache = cache(dir.path(), 1, 3 * file_bytes);
        let age = |path: &Path, seconds| {
            let used = SystemTime::UNIX_EPOCH + Duration::from_secs(seconds);
            fs::File::open(path)
                .and_then(|file| file.set_modified(used))
                .unwrap();
        };
        // Not ours, and neither counted nor deleted.
        fs::write(dir.path().join("notes.cwasm"), [0; 9_000]).unwrap();
        for number in 0..3 {
            cache.put(&digest(number), &code());
            age(&cache.path(&digest(number)), u64::from(number));
        }
        assert!(cache.get(&digest(0)).is_some(), "used now");
        cache.put(&digest(3), &code());
        let there = |number| cache.path(&digest(number)).exists();
        assert_eq!([0, 1, 2, 3].map(there), [true, false, true, true]);

        // A crash left this, under the name of an older version.
        let left = dir
            .path()
            .join(format!("{}-{:016x}.77-0.tmp", digest(9).to_hex(), 5));
        fs::write(&left, [0; 100]).unwrap();
        age(&left, 0);
        cache.put(&digest(3), &code());
        assert!(!left.exists() && there(2));
        assert!(dir.path().join("notes.cwasm").exists());

        // A limit that was lowered since is in force from the start on.
        let lower = Cache {
            bytes_max: file_bytes,
            ..cache
        };
        lower.make_room(&mut 0);
        let left = lower.files().unwrap();
        assert_eq!(left.len(), 1);
    }
}
