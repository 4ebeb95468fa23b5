//! How much of everything one host takes. Clients control every one of these values.

use std::time::Duration;

/// Bytes of an uploaded component.
pub const COMPONENT_BYTES_MAX: usize = 32 * 1024 * 1024;

/// Bytes of a submission: plan, input and labels together.
pub const SUBMISSION_BYTES_MAX: usize = 8 * 1024 * 1024;

/// Bytes of a grant document, or of a policy binding with its settings.
pub const DOCUMENT_BYTES_MAX: usize = 1024 * 1024;

/// Bytes of a decision on an approval.
pub const DECISION_BYTES_MAX: usize = 64 * 1024;

/// Bytes of request bodies in memory at one time, over all requests. What would go beyond is refused with 503.
pub const BODIES_BYTES_MAX: usize = 96 * 1024 * 1024;

/// How long a client may take to send a body.
pub const BODY_WALL_MAX: Duration = Duration::from_mins(1);

/// Bytes of a body that is too large which are read and thrown away, so that the client comes to read the refusal.
pub const DISCARD_BYTES_MAX: usize = 64 * 1024 * 1024;

/// How long a body that is too large is read and thrown away.
pub const DISCARD_WALL_MAX: Duration = Duration::from_secs(5);

/// Bytes of JSON above which it is parsed beside the threads that serve connections.
pub const PARSE_INLINE_BYTES_MAX: usize = 256 * 1024;

/// Requests that are handled at one time, `/healthz` aside. One more is refused with 503.
pub const REQUESTS_MAX: usize = 256;

/// How long a request may take until its response begins. Above [`WAIT_SECONDS_MAX`], and above compiling a component with
/// the wait for its turn.
pub const REQUEST_WALL_MAX: Duration = Duration::from_mins(2);

/// Seconds that `Prefer: wait` may ask for; more is taken as this.
pub const WAIT_SECONDS_MAX: u64 = 60;

/// Requests that wait for their task at one time. One more does not wait: a preference may be ignored (RFC 7240 §2), and
/// whoever approves must still get through.
pub const WAITS_MAX: usize = 128;

/// Streams of events at one time. One more is refused with 503.
pub const EVENT_STREAMS_MAX: usize = 256;

/// How long the engine is asked to wait for an event before it is asked again.
pub const EVENT_PATIENCE: Duration = Duration::from_secs(30);

/// Time between comments on a stream of events where nothing happens.
pub const EVENT_KEEP_ALIVE: Duration = Duration::from_secs(15);

/// Events in one JSON list.
pub const EVENT_PAGE_MAX: usize = 1000;

/// Entries of the log in one answer, each of at most 64 KiB.
pub const LOG_PAGE_MAX: u32 = 256;

/// Entries of a page where the client does not say how many.
pub const PAGE_DEFAULT: u32 = 50;

/// Most entries of a page.
pub const PAGE_MAX: u32 = 200;

/// Most entries of a page of approvals: each is put together with its input.
pub const APPROVAL_PAGE_MAX: u32 = 50;

/// Characters of an `Idempotency-Key` and of a `Stepseal-Actor`.
pub const FIELD_LENGTH_MAX: usize = 255;

/// Connections that may ask anything, idle ones and streams included.
pub const CONNECTIONS_MAX: usize = 512;

/// Connections beyond [`CONNECTIONS_MAX`] that get an answer from `/healthz` and 503 from everything else.
pub const SPARE_CONNECTIONS_MAX: usize = 32;

/// How long a spare connection lives.
pub const SPARE_WALL_MAX: Duration = Duration::from_secs(5);

/// How long a client may take to send a request's header, the idle time before it included.
pub const HEADER_WALL_MAX: Duration = Duration::from_secs(30);

/// Bytes of a request's header, the request line included. It may have 100 fields, which is hyper's own limit. One with
/// more of either gets 431 without a body, from below this interface.
pub const HEADER_BYTES_MAX: usize = 32 * 1024;

/// How long requests may go on after the host was told to stop.
pub const DRAIN_WALL_MAX: Duration = Duration::from_secs(10);

#[cfg(test)]
mod tests {
    use super::*;
    use stepseal_sandbox::CompileLimits;

    #[test]
    fn an_upload_is_answered_however_long_its_compiling_takes() {
        let compile = CompileLimits::default();
        assert!(compile.turn + compile.wall < REQUEST_WALL_MAX);
        assert!(Duration::from_secs(WAIT_SECONDS_MAX) < REQUEST_WALL_MAX);
    }
}
