//! Machine code of components: compiling it, and keeping it on disk so that nobody else's is ever loaded.

use std::fs;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io::{self, Read as _, Write as _};
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};

use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::Sha256;
use stepseal_receipts::digest::Digest;
use wasmtime::Engine;
use wasmtime::component::Component;

use crate::config;
use crate::error::{LoadError, SandboxError};
use crate::settings::CacheSettings;
use crate::text::message;

/// First bytes of a cache file.
const MAGIC: &[u8; 16] = b"stepseal-cwasm/1";

/// Bytes of a MAC.
const MAC_BYTES: usize = 32;

/// Bytes of machine code that are read back. Machine code is about five times the component, which is bounded already.
pub(crate) const ARTIFACT_BYTES_MAX: u64 = 512 << 20;

/// Machine code that this process compiled, that another process of this very program compiled, or that carries a MAC by this
/// host's key. There is no other way to make one, so loading it is safe.
pub(crate) struct Artifact(Vec<u8>);

impl Artifact {
    /// Compiles a component. Takes long, and much memory for hostile bytes: call it where that is bounded.
    pub(crate) fn compile(engine: &Engine, bytes: &[u8]) -> Result<Self, LoadError> {
        engine
            .precompile_component(bytes)
            .map(Self)
            .map_err(|error| LoadError::Compile(message(format!("{error:#}"))))
    }

    /// What [`compiler`](crate::compiler)'s process wrote: this same program, which is believed as this process is.
    pub(crate) fn of_child(code: Vec<u8>) -> Self {
        Self(code)
    }

    /// The machine code.
    pub(crate) fn code(&self) -> &[u8] {
        &self.0
    }

    /// How large it is.
    pub(crate) fn bytes(&self) -> usize {
        self.0.len()
    }

    /// Makes it ready for instantiation.
    pub(crate) fn load(&self, engine: &Engine) -> Result<Component, LoadError> {
        #[expect(
            unsafe_code,
            reason = "the bytes are this program's own output: `Artifact` has no other source"
        )]
        // SAFETY: see `Artifact`. The other process is started by this crate alone, from `/proc/self/exe`.
        let component = unsafe { Component::deserialize(engine, &self.0) };
        component.map_err(|error| LoadError::Compile(message(format!("{error:#}"))))
    }
}

/// Machine code on disk.
pub(crate) struct Cache {
    dir: PathBuf,
    key: [u8; 32],
    /// What the code was compiled for: version, settings and processor features. Part of the name, so that after an upgrade old
    /// files are not even read.
    target: u64,
    /// Makes names of temporary files unique in this process.
    written: AtomicU64,
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
        Ok(Self {
            dir: settings.dir,
            key: settings.key,
            target: hasher.finish(),
            written: AtomicU64::new(0),
        })
    }

    fn path(&self, digest: &Digest) -> PathBuf {
        self.dir
            .join(format!("{}-{:016x}.cwasm", digest.to_hex(), self.target))
    }

    /// The MAC covers what the code is for, not only the code: a file under another component's name is not that component.
    fn mac(&self, digest: &Digest, code: &[u8]) -> Hmac<Sha256> {
        let mut mac =
            Hmac::<Sha256>::new_from_slice(&self.key).expect("HMAC takes keys of any length");
        mac.update(MAGIC);
        mac.update(digest.as_bytes());
        mac.update(&self.target.to_be_bytes());
        mac.update(code);
        mac
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
        let mut bytes = Vec::new();
        fs::File::open(path)?
            .take(ARTIFACT_BYTES_MAX + 1)
            .read_to_end(&mut bytes)?;
        if bytes.len() as u64 > ARTIFACT_BYTES_MAX {
            return Err(invalid("it is larger than any compiled component"));
        }
        let header = MAGIC.len() + MAC_BYTES;
        if bytes.len() < header || !bytes.starts_with(MAGIC) {
            return Err(invalid("it does not begin like one"));
        }
        let code = bytes.split_off(header);
        self.mac(digest, &code)
            .verify_slice(&bytes[MAGIC.len()..])
            .map_err(|_| invalid("it was not written by this host, or was changed since"))?;
        Ok(Artifact(code))
    }

    /// Keeps machine code. A full or read-only disk costs time at the next start and nothing else.
    pub(crate) fn put(&self, digest: &Digest, artifact: &Artifact) {
        let path = self.path(digest);
        if let Err(error) = self.write(digest, artifact, &path) {
            tracing::warn!(path = %path.display(), %error, "a compiled component could not be kept on disk");
        }
    }

    fn write(&self, digest: &Digest, artifact: &Artifact, path: &PathBuf) -> io::Result<()> {
        let mac = self.mac(digest, &artifact.0).finalize().into_bytes();
        let number = self.written.fetch_add(1, Ordering::Relaxed);
        let temporary = path.with_extension(format!("{}-{number}.tmp", std::process::id()));
        // A new file or none: never through a link that somebody put there.
        let written = fs::File::create_new(&temporary).and_then(|mut file| {
            file.write_all(MAGIC)?;
            file.write_all(&mac)?;
            file.write_all(&artifact.0)
        });
        // Renamed when it is whole, so that a reader sees all of it or nothing. Not synced: the MAC finds a torn file.
        let kept = written.and_then(|()| fs::rename(&temporary, path));
        if kept.is_err() {
            // Also one that a process of the same number left behind. The first error is the one to tell.
            let _ = fs::remove_file(&temporary);
        }
        kept
    }
}
