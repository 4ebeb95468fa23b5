//! What can go wrong before a guest runs. How a guest's run ends is an [`Outcome`](crate::Outcome), never an error.

/// A sandbox could not be set up.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SandboxError {
    /// Wasmtime refused the settings.
    #[error("wasmtime could not be set up: {0}")]
    Engine(String),
    /// The directory for compiled components cannot be used.
    #[error(
        "the directory for compiled components, {dir}, cannot be used: {error}; make it writable or unset it"
    )]
    Cache {
        /// The directory.
        dir: String,
        /// What the operating system said.
        error: std::io::Error,
    },
    /// The thread that drives the epoch clock could not be started.
    #[error("the thread that stops overlong calls could not be started: {0}")]
    Ticker(std::io::Error),
}

/// A component was refused.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LoadError {
    /// More bytes than the host compiles.
    #[error(
        "the component has {bytes} bytes; this host accepts at most {bytes_max}. Build it in release mode and strip it"
    )]
    TooLarge {
        /// Its size.
        bytes: usize,
        /// The limit, [`Settings::compile_bytes_max`](crate::Settings).
        bytes_max: usize,
    },
    /// It does not begin like WebAssembly.
    #[error(
        "this is not WebAssembly: the first bytes are not `\\0asm`. Upload the .wasm file of a component"
    )]
    NotWasm,
    /// It is a core module.
    #[error(
        "this is a WebAssembly core module, not a component. Build for wasm32-wasip2, or wrap it with \
         `wasm-tools component new`"
    )]
    CoreModule,
    /// It is WebAssembly, but neither a module nor a component of this version, or invalid.
    #[error("this is not a valid WebAssembly component: {0}")]
    NotComponent(String),
    /// It exports neither a step handler nor a policy.
    #[error(
        "the component exports neither stepseal:plugin/step@0.1.0 nor stepseal:plugin/policy@0.1.0, but {}. Build it for \
         the world plugin-step or plugin-policy of package stepseal:plugin",
        list(found)
    )]
    NoKnownExport {
        /// What it exports, at most a dozen names.
        found: Vec<String>,
    },
    /// It exports both a step handler and a policy.
    #[error(
        "the component exports both stepseal:plugin/step and stepseal:plugin/policy; a component is one or the other. Build two components"
    )]
    Ambiguous,
    /// It is a plugin where a policy is wanted, or the other way round.
    #[error("the component is a {found}, but a {wanted} is wanted here")]
    WrongKind {
        /// `plugin` or `policy`.
        found: &'static str,
        /// `plugin` or `policy`.
        wanted: &'static str,
    },
    /// It imports what the host never offers.
    #[error(
        "the component imports {name}, which this host never offers to a {kind}. Remove what needs it from the component"
    )]
    ForeignImport {
        /// The import.
        name: String,
        /// `plugin` or `policy`.
        kind: &'static str,
    },
    /// It imports a known interface, but with other types.
    #[error(
        "an import does not have the type this host offers: {0}. Build against the published version of that interface"
    )]
    ImportMismatch(String),
    /// An export has the wrong type.
    #[error(
        "the export {export} has the wrong type: {detail}. Build against the published package stepseal:plugin@0.1.0"
    )]
    WrongType {
        /// The export.
        export: String,
        /// Expected and found.
        detail: String,
    },
    /// Others are compiled, and its turn did not come in time.
    #[error("the host compiles other components; try again")]
    Busy,
    /// The host could not compile it now, whatever it is.
    #[error(
        "the component could not be compiled now: {0}. That is the host's trouble, not the component's"
    )]
    Unavailable(String),
    /// The compiler refused it.
    #[error("the component could not be compiled: {0}")]
    Compile(String),
    /// Its `describe` did not answer.
    #[error(
        "the component's `describe` did not answer: {0}. It must return within the limits of a policy, without capabilities"
    )]
    Describe(String),
    /// Its `describe` answered something that is not a descriptor.
    #[error("the component's descriptor is not acceptable: {0}")]
    BadDescriptor(String),
    /// The bytes given do not have the digest given.
    #[error(
        "the stored bytes have another digest than the component that was asked for; the component store is damaged"
    )]
    WrongDigest,
    /// The bytes could not be read.
    #[error("the component's bytes could not be read: {0}")]
    Io(#[from] std::io::Error),
}

/// Names for a sentence.
fn list(names: &[String]) -> String {
    if names.is_empty() {
        "nothing".to_owned()
    } else {
        names.join(", ")
    }
}
