//! HTTP requests of steps, from the operator's side: what may be asked, of whom, and how it is sent. The guest's side of it is
//! `capability/http.rs`.

mod address;
mod client;
mod fault;
mod roots;
mod rule;

use std::sync::Arc;
use std::time::Duration;

pub(crate) use client::{Answered, Outgoing};
pub use client::{HttpClient, Resolver, SystemResolver};
pub(crate) use fault::Fault;
pub use roots::{TlsRoots, TlsRootsError};
pub use rule::{HttpRule, InjectedHeader, Origin, PathPrefix, check_method};
pub(crate) use rule::{Target, is_forbidden};

use crate::secrets::Secrets;

/// What a step may ask the network for.
#[derive(Clone)]
pub struct HttpAccess {
    /// A request must fit one of these; the first that it fits counts.
    pub rules: Arc<[HttpRule]>,
    /// What the rules inject.
    pub secrets: Arc<Secrets>,
    /// Sends what may be sent.
    pub client: Arc<HttpClient>,
}

/// What the requests under one rule may use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HttpLimits {
    /// Requests a step may send.
    pub calls: u32,
    /// Bytes of a request's body.
    pub request_bytes: u64,
    /// Bytes of a response's body.
    pub response_bytes: u64,
    /// From the look-up of the name to the end of the handshakes.
    pub connect: Duration,
    /// From there to the end of the response's headers.
    pub first_byte: Duration,
    /// All of it.
    pub total: Duration,
}

impl Default for HttpLimits {
    fn default() -> Self {
        Self {
            calls: 32,
            request_bytes: 1 << 20,
            response_bytes: 1 << 20,
            connect: Duration::from_secs(5),
            first_byte: Duration::from_secs(10),
            total: Duration::from_secs(20),
        }
    }
}

/// How often a step asked, and what came of it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct HttpUse {
    /// The host began to send; whatever came of it, something may have left.
    pub sent: u32,
    /// A response came.
    pub answered: u32,
    /// There was no response, or none that fits the limits.
    pub failed: u32,
    /// Nothing was sent: no rule allows it, or it is over a limit.
    pub refused: u32,
}

impl HttpUse {
    /// Whether something may have left the host.
    pub fn has_left(&self) -> bool {
        self.sent > 0
    }

    /// Whether the guest was stopped before it was told what came of all that may have left: nobody knows.
    pub fn is_open(&self) -> bool {
        self.sent > self.answered.saturating_add(self.failed)
    }
}
