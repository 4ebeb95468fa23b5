//! What one call may use, and what the host spends on a guest at most.

use std::num::NonZeroUsize;
use std::time::Duration;

/// What one call may use. The operator may change each of them; the defaults are the constants here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Units of wasmtime fuel: about one a WebAssembly instruction, plus what host calls cost
    /// ([`HOST_CALL_FUEL`], [`HOST_BYTES_PER_FUEL`]).
    pub fuel: u64,
    /// Bytes of all memories and tables of the instance together.
    pub memory_bytes: u64,
    /// Wall time of the host, from instantiation to the answer. Not the guest's clock, which is virtual.
    pub wall: Duration,
    /// Bytes of the input as canonical JSON.
    pub input_bytes: u64,
    /// Bytes of the output, both as the guest wrote it and as canonical JSON.
    pub output_bytes: u64,
}

impl Limits {
    /// What a step may use unless the operator says otherwise.
    pub const STEP: Self = Self {
        fuel: 500_000_000,
        memory_bytes: 64 << 20,
        wall: Duration::from_secs(10),
        input_bytes: 1 << 20,
        output_bytes: 1 << 20,
    };

    /// What a policy may use unless the operator says otherwise; `describe` runs under it too, with more wall time.
    pub const POLICY: Self = Self {
        fuel: 20_000_000,
        memory_bytes: 16 << 20,
        wall: Duration::from_millis(250),
        input_bytes: 4 << 20,
        output_bytes: 64 << 10,
    };
}

/// Fuel one host call costs, so that a loop of host calls ends like a loop of instructions. Wasmtime charges next to nothing
/// for them; a host call takes the host about as long as this many instructions.
pub(crate) const HOST_CALL_FUEL: u64 = 500;

/// Bytes a host call may handle for one unit of fuel.
pub(crate) const HOST_BYTES_PER_FUEL: u64 = 4;

/// Bytes that may be lifted out of a guest in one host call or one answer (wasmtime's "hostcall fuel"). Bounds what the host
/// allocates before it can look at what it got.
pub(crate) const HOST_CALL_BYTES_MAX: usize = 16 << 20;

/// Resources (streams, pollables, buckets) a guest may hold at a time.
pub(crate) const RESOURCES_MAX: usize = 1_024;

/// Bytes one table entry counts as: a function reference in the pool is a pointer, and a table of pointers is touched
/// with its neighbours.
pub(crate) const TABLE_ENTRY_BYTES: u64 = 16;

/// What every call may have at most, whatever its own limits say: the pools are laid out for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bounds {
    /// Instances of core modules.
    pub core_instances: u32,
    /// Memories, which share the call's limit.
    pub memories: u32,
    /// Tables, which share it too.
    pub tables: u32,
    /// Entries of one table.
    pub table_entries: usize,
    /// Bytes that the host keeps beside memories and tables.
    pub context_bytes: usize,
    /// Bytes of stack.
    pub stack_bytes: usize,
}

impl Bounds {
    /// Those in force.
    pub const IN_FORCE: Self = Self {
        core_instances: CORE_INSTANCES_MAX,
        memories: MEMORIES_MAX,
        tables: TABLES_MAX,
        table_entries: TABLE_ENTRIES_MAX,
        context_bytes: CONTEXT_BYTES_MAX,
        stack_bytes: STACK_BYTES_MAX,
    };
}

/// Instances of core modules in one call. A component from a language toolchain has under twenty.
pub(crate) const CORE_INSTANCES_MAX: u32 = 64;

/// Memories of one call, each with 4 GiB of address space in the pool. Components from language toolchains have one or two.
pub(crate) const MEMORIES_MAX: u32 = 8;

/// Tables of one call; `componentize-py` needs about five.
pub(crate) const TABLES_MAX: u32 = 16;

/// Entries of one table.
pub(crate) const TABLE_ENTRIES_MAX: usize = 100_000;

/// Bytes of what wasmtime keeps beside memories and tables for all instances of a call (`VMContext`: globals, functions that
/// have an address). The limit of a call's memory does not count them, so a component that needs more is refused when it is
/// loaded. Python's interpreter needs under half of it.
pub(crate) const CONTEXT_BYTES_MAX: usize = 1 << 20;

/// Bytes of stack a guest may use: deep recursion traps, at a depth that does not depend on the host's threads.
pub(crate) const STACK_BYTES_MAX: usize = 512 << 10;

/// Functions that a trap's message names, the innermost first.
pub(crate) const BACKTRACE_FRAMES_MAX: NonZeroUsize = NonZeroUsize::new(12).expect("not zero");

/// Bytes of a function's name in it.
pub(crate) const FUNCTION_NAME_BYTES_MAX: usize = 96;

/// Lines a call may log; further lines are counted and dropped.
pub(crate) const LOG_LINES_MAX: usize = 1_000;

/// Bytes of all log lines of a call, contexts included; what does not fit is counted and dropped.
pub(crate) const LOG_BYTES_MAX: usize = 256 << 10;

/// Bytes of one log line's context.
pub(crate) const LOG_CONTEXT_BYTES_MAX: usize = 256;

/// Bytes of one log line's message; the rest of a longer one is cut off.
pub(crate) const LOG_MESSAGE_BYTES_MAX: usize = 16 << 10;

/// Bytes of randomness one call of `get-random-bytes` may ask for.
pub(crate) const RANDOM_BYTES_MAX: u64 = 64 << 10;

/// Bytes of a text a guest gives for people (failure, reason, trap): it goes into a signed record.
pub(crate) const MESSAGE_BYTES_MAX: usize = 1_024;

/// Bytes of a key in a bucket.
pub(crate) const KEY_BYTES_MAX: usize = 1_024;

/// Bytes of a value in a bucket.
pub(crate) const VALUE_BYTES_MAX: usize = 1 << 20;

/// Bytes of all keys and values a step wrote and of all it was answered by the world, as its transcript holds them (values and
/// bodies in base64), until its record is committed.
pub(crate) const WORLD_BYTES_MAX: usize = 16 << 20;

/// Calls to the world a step may make.
pub(crate) const WORLD_CALLS_MAX: usize = 10_000;

/// Requests a guest may have handed over without waiting for an answer.
pub(crate) const HTTP_WAITING_MAX: usize = 16;

/// Bytes of the bodies of all these requests.
pub(crate) const HTTP_BODY_BYTES_MAX: usize = 8 << 20;

/// Bytes of a body that a guest writes at once, and how many such chunks wait until the host takes them. A body written before its
/// request is handed over must fit them, as elsewhere.
pub(crate) const HTTP_BODY_CHUNK_BYTES: usize = 16 << 10;

/// See [`HTTP_BODY_CHUNK_BYTES`].
pub(crate) const HTTP_BODY_CHUNKS_MAX: usize = 4;

/// Headers of a request or a response.
pub(crate) const HTTP_HEADERS_MAX: usize = 100;

/// Bytes of a request's headers, some more for each of them.
pub(crate) const HTTP_REQUEST_HEADER_BYTES_MAX: usize = 32 << 10;

/// Bytes of a response before its body.
pub(crate) const HTTP_RESPONSE_HEAD_BYTES_MAX: usize = 64 << 10;

/// Addresses of a name that are tried.
pub(crate) const HTTP_ADDRESSES_TRIED_MAX: usize = 4;

/// Bytes of the values that one call of `get-many` gives.
pub(crate) const BATCH_BYTES_MAX: usize = 8 << 20;

/// Values of `wasi:config/store` a step may be granted.
pub const CONFIG_VALUES_MAX: usize = 256;

/// Bytes of one such value, and of its key.
pub const CONFIG_VALUE_BYTES_MAX: usize = 16 << 10;

/// Keys in one page of `list-keys`.
pub(crate) const KEY_PAGE_MAX: u32 = 1_000;

/// Buckets a step may be granted, and the bytes of a bucket's name.
pub(crate) const BUCKET_NAME_BYTES_MAX: usize = 256;
