//! The part of a grant document that opens the network.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use stepseal_sandbox::{HttpLimits, HttpRule, InjectedHeader, Origin, PathPrefix, check_method};

use super::document::fault;
use super::{NAME_RULE, is_name};
use crate::engine::Fault;
use crate::engine::error::token;

/// Methods, addresses and injected headers that one rule may have, each.
const ITEMS_MAX: usize = 32;
/// Most requests a step may send under one rule.
const CALLS_MAX: u64 = 1_000;
/// Most bytes of a request's body, and of a response's: the transcript keeps them.
const BODY_BYTES_MAX: u64 = 8 << 20;
/// Longest time a request may take, in milliseconds.
const WALL_MS_MAX: u64 = 600_000;

/// What steps may ask the network for: one destination. Whom, by which scheme and port, below which path and by which methods are
/// all compared with the request in its plain form, which is also what is sent.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HttpGrant {
    /// `https` where absent, or `http`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scheme: Option<String>,
    /// Name or address of the host, exactly.
    pub host: String,
    /// The scheme's own where absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub port: Option<u16>,
    /// Where paths begin; `/` where absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub path: Option<String>,
    /// `GET` and `HEAD` where absent.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub methods: Vec<String>,
    /// Addresses that may be reached although they are loopback, private, link-local or otherwise not of the public internet.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub addresses: Vec<IpAddr>,
    /// Headers that the host sets, each a text with the name of one secret in braces: `Bearer {api-key}`. Whatever the guest sets
    /// there is replaced, and the guest never sees the secret.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub secrets: BTreeMap<String, String>,
    /// What the requests may use, where it is not the default.
    #[serde(default, skip_serializing_if = "HttpLimitsDocument::is_empty")]
    pub limits: HttpLimitsDocument,
}

/// Limits of the requests under one rule as an operator writes them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HttpLimitsDocument {
    /// Requests a step may send.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub calls: Option<u64>,
    /// Bytes of a request's body.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub request_bytes: Option<u64>,
    /// Bytes of a response's body.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub response_bytes: Option<u64>,
    /// Milliseconds until the connection stands.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub connect_ms: Option<u64>,
    /// Milliseconds from there to the response's headers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub first_byte_ms: Option<u64>,
    /// Milliseconds in all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub total_ms: Option<u64>,
}

impl HttpLimitsDocument {
    fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// Members with their values and the most they may be.
    fn members(&self) -> [(&'static str, Option<u64>, u64); 6] {
        [
            ("calls", self.calls, CALLS_MAX),
            ("request_bytes", self.request_bytes, BODY_BYTES_MAX),
            ("response_bytes", self.response_bytes, BODY_BYTES_MAX),
            ("connect_ms", self.connect_ms, WALL_MS_MAX),
            ("first_byte_ms", self.first_byte_ms, WALL_MS_MAX),
            ("total_ms", self.total_ms, WALL_MS_MAX),
        ]
    }

    fn limits(&self) -> HttpLimits {
        let default = HttpLimits::default();
        let wall = |ms: Option<u64>, default| ms.map_or(default, Duration::from_millis);
        HttpLimits {
            calls: self.calls.map_or(default.calls, |calls| {
                u32::try_from(calls).unwrap_or(default.calls)
            }),
            request_bytes: self.request_bytes.unwrap_or(default.request_bytes),
            response_bytes: self.response_bytes.unwrap_or(default.response_bytes),
            connect: wall(self.connect_ms, default.connect),
            first_byte: wall(self.first_byte_ms, default.first_byte),
            total: wall(self.total_ms, default.total),
        }
    }
}

impl HttpGrant {
    /// The rule, or everything that is wrong with it, with pointers below `at`.
    pub(super) fn rule(&self, at: &str) -> Result<HttpRule, Vec<Fault>> {
        let mut faults: Vec<Fault> = Vec::new();
        let mut wrong = |member: String, message: String| {
            faults.push(fault(&format!("{at}/{member}"), message));
        };
        let scheme = self.scheme.as_deref().unwrap_or("https");
        let origin = Origin::new(scheme, &self.host, self.port);
        let path = PathPrefix::new(self.path.as_deref().unwrap_or("/"));
        let mut injected = Vec::new();
        for (name, template) in &self.secrets {
            match InjectedHeader::new(name, template) {
                Ok(header) if is_name(header.secret()) => injected.push(header),
                Ok(header) => {
                    let message = format!(
                        "{:?} is not the name of a secret: {NAME_RULE}",
                        header.secret()
                    );
                    wrong(format!("secrets/{}", token(name)), message);
                }
                Err(message) => wrong(format!("secrets/{}", token(name)), message),
            }
        }
        for (i, method) in self.methods.iter().enumerate() {
            if let Err(message) = check_method(method) {
                wrong(format!("methods/{i}"), message);
            }
        }
        for (member, count) in [
            ("methods", self.methods.len()),
            ("addresses", self.addresses.len()),
            ("secrets", self.secrets.len()),
        ] {
            if count > ITEMS_MAX {
                wrong(member.to_owned(), format!("more than {ITEMS_MAX}"));
            }
        }
        for (name, value, max) in self.limits.members() {
            if let Some(value) = value.filter(|value| *value == 0 || *value > max) {
                let message = format!("{value} is out of range: 1 to {max}");
                wrong(format!("limits/{name}"), message);
            }
        }
        if let Err(message) = &origin {
            wrong("host".to_owned(), message.clone());
        }
        if let Err(message) = &path {
            wrong("path".to_owned(), message.clone());
        }
        match (origin, path) {
            (Ok(origin), Ok(path)) if faults.is_empty() => Ok(HttpRule {
                origin,
                path,
                methods: self.methods_granted(),
                addresses: self.addresses.iter().map(IpAddr::to_canonical).collect(),
                injected,
                limits: self.limits.limits(),
            }),
            _ => Err(faults),
        }
    }

    fn methods_granted(&self) -> Vec<String> {
        if self.methods.is_empty() {
            vec!["GET".to_owned(), "HEAD".to_owned()]
        } else {
            self.methods.clone()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn pointers(grant: serde_json::Value) -> Vec<String> {
        let grant: HttpGrant = serde_json::from_value(grant).unwrap();
        let faults = grant.rule("/http/0").unwrap_err();
        faults.into_iter().map(|fault| fault.pointer).collect()
    }

    #[test]
    fn everything_that_is_wrong_with_a_rule_is_named() {
        let grant = json!({"scheme": "ftp", "host": "h.example", "path": "v1", "methods": ["GET", "CONNECT"],
            "secrets": {"host": "{a}", "authorization": "{A b}"}, "limits": {"calls": 0, "total_ms": 9_999_999}});
        assert_eq!(
            pointers(grant),
            [
                "/http/0/secrets/authorization",
                "/http/0/secrets/host",
                "/http/0/methods/1",
                "/http/0/limits/calls",
                "/http/0/limits/total_ms",
                "/http/0/host",
                "/http/0/path"
            ]
        );
    }

    #[test]
    fn what_is_absent_is_narrow() {
        let grant: HttpGrant = serde_json::from_value(json!({"host": "h.example"})).unwrap();
        let rule = grant.rule("").unwrap();
        assert_eq!(
            rule.origin,
            Origin::new("https", "h.example", Some(443)).unwrap()
        );
        assert_eq!(rule.methods, ["GET", "HEAD"]);
        assert!(rule.addresses.is_empty() && rule.injected.is_empty());
        assert_eq!(rule.limits, HttpLimits::default());
    }
}
