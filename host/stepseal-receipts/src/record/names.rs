//! The names a record chooses from.

use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// A text that is none of the names of its kind.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("it must be {expected}")]
pub struct UnknownName {
    expected: &'static str,
}

macro_rules! names {
    (
        $(#[$meta:meta])*
        $name:ident, $expected:literal {
            $( $(#[$variant_meta:meta])* $variant:ident = $text:literal, )+
        }
    ) => {
        $(#[$meta])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum $name {
            $( $(#[$variant_meta])* $variant, )+
        }

        impl $name {
            /// Every name, in the order of the format.
            pub const ALL: &'static [Self] = &[$(Self::$variant),+];
            /// What a text must be to be one of these names.
            pub const EXPECTED: &'static str = $expected;

            /// The name as it is written in a record.
            pub fn as_str(self) -> &'static str {
                match self {
                    $( Self::$variant => $text, )+
                }
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(self.as_str())
            }
        }

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_str(self.as_str())
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let text = <Cow<'de, str>>::deserialize(deserializer)?;
                text.parse().map_err(serde::de::Error::custom)
            }
        }

        impl FromStr for $name {
            type Err = UnknownName;

            fn from_str(text: &str) -> Result<Self, UnknownName> {
                match text {
                    $( $text => Ok(Self::$variant), )+
                    _ => Err(UnknownName { expected: Self::EXPECTED }),
                }
            }
        }
    };
}

names! {
    /// What a record is about.
    Kind, "task.open, step.authorized, step.completed, step.failed, step.denied, task.close, component.added, grant.changed, \
           policy.changed, key.rotate, key.revoke, erasure or shard.open" {
        /// The task was accepted and its plan pinned.
        TaskOpen = "task.open",
        /// An effectful attempt may run; durable before any effect is enabled.
        StepAuthorized = "step.authorized",
        /// The attempt gave an output.
        StepCompleted = "step.completed",
        /// The attempt failed.
        StepFailed = "step.failed",
        /// A policy or a person said no.
        StepDenied = "step.denied",
        /// Nothing more happens in the task.
        TaskClose = "task.close",
        /// The host took a component in.
        ComponentAdded = "component.added",
        /// What a plugin may use was changed.
        GrantChanged = "grant.changed",
        /// A policy was bound, or is not any more.
        PolicyChanged = "policy.changed",
        /// A new key of the host counts from an index on.
        KeyRotate = "key.rotate",
        /// A key of the host counts up to an index only.
        KeyRevoke = "key.revoke",
        /// Something was deleted for good.
        Erasure = "erasure",
        /// The log begins.
        ShardOpen = "shard.open",
    }
}

impl Kind {
    /// Whether it is an act of the host itself, which belongs to no task.
    pub fn is_act(self) -> bool {
        match self {
            Self::TaskOpen
            | Self::StepAuthorized
            | Self::StepCompleted
            | Self::StepFailed
            | Self::StepDenied
            | Self::TaskClose => false,
            Self::ComponentAdded
            | Self::GrantChanged
            | Self::PolicyChanged
            | Self::KeyRotate
            | Self::KeyRevoke
            | Self::Erasure
            | Self::ShardOpen => true,
        }
    }
}

names! {
    /// How an attempt or a task ended.
    Status, "ok, failed, invalid-input, unavailable, trap, out-of-fuel, out-of-memory, timeout, denied or cancelled" {
        /// It succeeded.
        Ok = "ok",
        /// The step is at fault.
        Failed = "failed",
        /// The input is at fault.
        InvalidInput = "invalid-input",
        /// Something the step needs is not there now.
        Unavailable = "unavailable",
        /// The guest stopped where it must not.
        Trap = "trap",
        /// The fuel was used up.
        OutOfFuel = "out-of-fuel",
        /// The memory limit was reached.
        OutOfMemory = "out-of-memory",
        /// The wall time was used up.
        Timeout = "timeout",
        /// A policy or a person said no.
        Denied = "denied",
        /// The client took it back.
        Cancelled = "cancelled",
    }
}

names! {
    /// When a policy is asked.
    Stage, "plan, before-step or after-step" {
        /// Once, when the task is submitted.
        Plan = "plan",
        /// Before each attempt.
        BeforeStep = "before-step",
        /// With the attempt's output.
        AfterStep = "after-step",
    }
}

names! {
    /// What a policy says.
    VerdictKind, "not-applicable, allow, needs-approval or deny" {
        /// Nothing.
        NotApplicable = "not-applicable",
        /// Yes.
        Allow = "allow",
        /// Yes, if people say yes.
        NeedsApproval = "needs-approval",
        /// No.
        Deny = "deny",
    }
}

names! {
    /// Whether a policy's word counts.
    Mode, "enforce or monitor" {
        /// It counts.
        Enforce = "enforce",
        /// It is written down only.
        Monitor = "monitor",
    }
}

names! {
    /// What a person says.
    Decision, "approve or reject" {
        /// Yes.
        Approve = "approve",
        /// No.
        Reject = "reject",
    }
}

names! {
    /// What happened to the binding of a policy.
    BindingChange, "bound or ended" {
        /// It is asked from now on.
        Bound = "bound",
        /// It is asked no more.
        Ended = "ended",
    }
}

names! {
    /// What a key of the host signs.
    KeyRole, "record, log or approver" {
        /// Records.
        Record = "record",
        /// Checkpoints.
        Log = "log",
        /// A person's own approvals. The host has no private key of this role.
        Approver = "approver",
    }
}

names! {
    /// How much an erasure took.
    ErasureScope, "payloads or records" {
        /// Blobs: salts and payloads.
        Payloads = "payloads",
        /// The envelopes of entries, and the blobs they spoke of.
        Records = "records",
    }
}
