//! Rules, and requests brought into the one form in which both are compared. What is sent is that form too, so that what was allowed
//! is what a server sees.

use std::borrow::Cow;
use std::net::IpAddr;

use http::header::{self, HeaderName};
use percent_encoding::percent_decode;
use url::{Host, Url};

use super::HttpLimits;

/// What steps may ask for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HttpRule {
    /// Whom.
    pub origin: Origin,
    /// Below which path.
    pub path: PathPrefix,
    /// By which methods, as they are sent.
    pub methods: Vec<String>,
    /// Addresses that may be connected to although they are not of the public internet.
    pub addresses: Vec<IpAddr>,
    /// Headers that the host sets.
    pub injected: Vec<InjectedHeader>,
    /// What the requests may use.
    pub limits: HttpLimits,
}

impl HttpRule {
    /// Whether it allows this request.
    pub(crate) fn allows(&self, method: &str, target: &Target) -> bool {
        self.origin == target.origin
            && self.methods.iter().any(|allowed| allowed == method)
            && self.path.covers(&target.path)
    }
}

/// Whether rules may name the method: a token that begins no tunnel and echoes no request.
pub fn check_method(method: &str) -> Result<(), String> {
    if matches!(method, "CONNECT" | "TRACE") {
        return Err(format!("{method} can be granted to nobody"));
    }
    let is_token = !method.is_empty()
        && method.len() <= 32
        && method
            .bytes()
            .all(|b| b.is_ascii_uppercase() || b.is_ascii_digit() || b == b'-');
    if is_token {
        Ok(())
    } else {
        Err(format!(
            "{method:?} is not a method: capital letters, digits and hyphens, at most 32"
        ))
    }
}

/// Scheme, host and port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Origin {
    pub(crate) is_tls: bool,
    /// Names in lower case and in ASCII (IDNA), without a dot at the end.
    pub(crate) host: Host<String>,
    pub(crate) port: u16,
}

impl Origin {
    /// From what an operator writes: `http` or `https`, a name or an address, and a port that is not the scheme's own.
    pub fn new(scheme: &str, host: &str, port: Option<u16>) -> Result<Self, String> {
        let authority = match port {
            Some(port) => format!("{host}:{port}"),
            None => host.to_owned(),
        };
        match Self::parse(scheme, &authority) {
            // A port in the host would be another one than the member says.
            Some(origin) if port.is_none_or(|port| port == origin.port) && !has_port(host) => {
                Ok(origin)
            }
            _ => Err(format!(
                "{scheme}://{authority} is not http or https with a plain host name or address, addresses of IPv6 in brackets"
            )),
        }
    }

    /// From the parts of a request. `None` where there is more in the authority than host and port, or no host in it.
    fn parse(scheme: &str, authority: &str) -> Option<Self> {
        let ends_it = |b: u8| b <= b' ' || b == 0x7f || b"/\\?#@".contains(&b);
        if !matches!(scheme, "http" | "https") || authority.bytes().any(ends_it) {
            return None;
        }
        let url = Url::parse(&format!("{scheme}://{authority}/")).ok()?;
        let host = match url.host()? {
            Host::Domain(name) => {
                let name = name.strip_suffix('.').unwrap_or(name);
                let is_name = !name.is_empty() && !name.split('.').any(str::is_empty);
                Host::Domain(is_name.then(|| name.to_owned())?)
            }
            Host::Ipv4(address) => Host::Ipv4(address),
            Host::Ipv6(address) => Host::Ipv6(address),
        };
        Some(Self {
            is_tls: scheme == "https",
            host,
            port: url.port_or_known_default()?,
        })
    }

    /// As the `Host` header has it (RFC 9110 §7.2).
    pub(crate) fn authority(&self) -> String {
        let is_default = self.port == if self.is_tls { 443 } else { 80 };
        if is_default {
            self.host.to_string()
        } else {
            format!("{}:{}", self.host, self.port)
        }
    }
}

fn has_port(host: &str) -> bool {
    let name = host.rsplit_once(']').map_or(host, |(_, rest)| rest);
    name.contains(':')
}

/// Where the paths of requests begin.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PathPrefix(String);

impl PathPrefix {
    /// `/` covers everything; `/v1` covers `/v1` and what is below it; `/v1/` only what is below it.
    pub fn new(text: &str) -> Result<Self, String> {
        match path_and_query(text) {
            Some((path, None)) if path == text && !is_ambiguous(&path) => Ok(Self(path)),
            _ => Err(format!(
                "{text:?} is not a path in its plain form: it begins with a slash, has no dots to resolve and no query"
            )),
        }
    }

    fn covers(&self, path: &str) -> bool {
        if self.0 == "/" {
            return true;
        }
        let Some(rest) = path.strip_prefix(&self.0) else {
            return false;
        };
        let at_border = self.0.ends_with('/') || rest.is_empty() || rest.starts_with('/');
        at_border && !is_ambiguous(path)
    }
}

/// The path with its dots resolved, and the query.
fn path_and_query(text: &str) -> Option<(String, Option<String>)> {
    let begins = text.is_empty() || text.starts_with('/') || text.starts_with('?');
    if !begins || text.bytes().any(|b| b <= b' ' || b == 0x7f || b == b'#') {
        return None;
    }
    let url = Url::parse(&format!("http://host{text}")).ok()?;
    Some((url.path().to_owned(), url.query().map(str::to_owned)))
}

/// Times that servers are known to decode a path.
const DECODED_TIMES: usize = 3;

/// Whether a server might see another path in it: dots behind an encoding, a parameter or a backslash.
fn is_ambiguous(path: &str) -> bool {
    let mut bytes = Cow::Borrowed(path.as_bytes());
    for _ in 0..=DECODED_TIMES {
        let climbs = bytes.split(|b| b"/\\".contains(b)).any(|segment| {
            let name = segment.split(|b| *b == b';').next().unwrap_or_default();
            matches!(name, b"." | b"..")
        });
        if climbs || bytes.contains(&0) || bytes.contains(&b'\\') {
            return true;
        }
        bytes = Cow::Owned(percent_decode(&bytes).collect());
    }
    // Nothing that is still encoded has a name to itself.
    bytes
        .windows(3)
        .any(|b| b[0] == b'%' && b[1..].iter().all(u8::is_ascii_hexdigit))
}

/// Where a request goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Target {
    pub(crate) origin: Origin,
    path: String,
    query: Option<String>,
}

impl Target {
    /// From the parts that a guest gave. `None` where they cannot be read, or name a user.
    pub(crate) fn parse(scheme: &str, authority: &str, path_with_query: &str) -> Option<Self> {
        let origin = Origin::parse(scheme, authority)?;
        let (path, query) = path_and_query(path_with_query)?;
        Some(Self {
            origin,
            path,
            query,
        })
    }

    /// What stands in the request line.
    pub(crate) fn path_and_query(&self) -> String {
        match &self.query {
            Some(query) => format!("{}?{query}", self.path),
            None => self.path.clone(),
        }
    }
}

/// A header that the host sets, with a secret in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InjectedHeader {
    pub(crate) name: HeaderName,
    before: String,
    secret: String,
    after: String,
}

/// Whether guests and rules may not set a header: what says how the message is to be read, where it goes, or belongs to the
/// connection (RFC 9110 §7.6.1).
pub(crate) fn is_forbidden(name: &HeaderName) -> bool {
    wasmtime_wasi_http::DEFAULT_FORBIDDEN_HEADERS.contains(name)
        || matches!(name.as_str(), "te" | "trailer" | "expect")
}

impl InjectedHeader {
    /// `template` has the name of one secret in braces: `Bearer {api-key}`.
    pub fn new(name: &str, template: &str) -> Result<Self, String> {
        let name = HeaderName::try_from(name)
            .map_err(|_| format!("{name:?} is not the name of a header"))?;
        if is_forbidden(&name) || name == header::CONTENT_LENGTH {
            return Err(format!("the header {name} is set by the host alone"));
        }
        let parts = template
            .split_once('{')
            .and_then(|(before, rest)| Some((before, rest.split_once('}')?)));
        let Some((before, (secret, after))) = parts else {
            return Err(format!(
                "{template:?} has no secret's name in braces, as in \"Bearer {{api-key}}\""
            ));
        };
        let is_plain = |text: &str| {
            text.bytes()
                .all(|b| (b' '..=b'~').contains(&b) && !b"{}".contains(&b))
        };
        if template.len() > 256 || !is_plain(before) || !is_plain(after) || !is_plain(secret) {
            return Err(format!(
                "{template:?} is not a template: at most 256 characters of ASCII, and one pair of braces"
            ));
        }
        Ok(Self {
            name,
            before: before.to_owned(),
            secret: secret.to_owned(),
            after: after.to_owned(),
        })
    }

    /// The name of the secret.
    pub fn secret(&self) -> &str {
        &self.secret
    }

    /// The header's value.
    pub(crate) fn value(&self, secret: &str) -> String {
        format!("{}{secret}{}", self.before, self.after)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rule(host: &str, path: &str) -> HttpRule {
        HttpRule {
            origin: Origin::new("https", host, None).unwrap(),
            path: PathPrefix::new(path).unwrap(),
            methods: vec!["GET".to_owned()],
            addresses: Vec::new(),
            injected: Vec::new(),
            limits: HttpLimits::default(),
        }
    }

    fn asks(rule: &HttpRule, scheme: &str, authority: &str, path: &str) -> bool {
        Target::parse(scheme, authority, path).is_some_and(|target| rule.allows("GET", &target))
    }

    #[test]
    fn spellings_of_one_origin_are_one_origin() {
        let rule = rule("bücher.example", "/");
        for authority in [
            "xn--bcher-kva.example",
            "XN--BCHER-KVA.EXAMPLE",
            "xn--bcher-kva.example.",
            "xn--bcher-kva.example:443",
            "b%C3%BCcher.example",
        ] {
            assert!(asks(&rule, "https", authority, "/"), "{authority}");
        }
        for (scheme, authority) in [
            ("http", "xn--bcher-kva.example:443"),
            ("https", "xn--bcher-kva.example:444"),
            ("https", "user@xn--bcher-kva.example"),
            ("https", "@xn--bcher-kva.example"),
            ("https", "xn--bcher-kva.example@evil.example"),
            ("https", "xn--bcher-kva.example#@evil.example"),
            ("https", "evil.example\\xn--bcher-kva.example"),
            ("https", "xn--bcher-kva.example.evil.example"),
            ("https", "evil.xn--bcher-kva.example"),
            ("https", "xn--bcher-kva.example.."),
            ("https", ""),
            ("ftp", "xn--bcher-kva.example"),
        ] {
            assert!(!asks(&rule, scheme, authority, "/"), "{scheme} {authority}");
        }
    }

    #[test]
    fn numbers_that_are_addresses_are_addresses() {
        let rule = rule("127.0.0.1", "/");
        for authority in ["127.1", "0x7f.1", "2130706433", "0177.0.0.1", "127.0.0.1."] {
            assert!(asks(&rule, "https", authority, "/"), "{authority}");
        }
        assert!(!asks(&rule, "https", "[::ffff:127.0.0.1]", "/"));
    }

    #[test]
    fn a_path_is_covered_at_its_border_and_not_left_by_dots() {
        let under = rule("h.example", "/v1");
        for path in [
            "/v1",
            "/v1/",
            "/v1/a?b=/../..",
            "/v2/../v1/a",
            "/v1/a%2Fb",
            "/v1//x",
        ] {
            assert!(asks(&under, "https", "h.example", path), "{path}");
        }
        for path in [
            "/v1beta",
            "/",
            "",
            "?v1",
            "/v1/../admin",
            "/v1/%2e%2e/admin",
            "/v1/..%2fadmin",
            "/v1/%252e%252e%252fadmin",
            "/v1/..;/admin",
            "/v1/..;x=1/admin",
            "/v1/%2e%2e%5cadmin",
            "/v1/..\\admin",
            "/v1/a%00b",
            "/v1/%25252e%25252e/admin",
            "//v1/a",
            "/%76%31/a",
            "v1/a",
            "http://h.example/v1/",
            "/v1 HTTP/1.1",
            "/v1#x",
        ] {
            assert!(!asks(&under, "https", "h.example", path), "{path}");
        }
        assert!(asks(
            &rule("h.example", "/"),
            "https",
            "h.example",
            "/x/..%2fy"
        ));
        assert!(!asks(
            &rule("h.example", "/v1/"),
            "https",
            "h.example",
            "/v1"
        ));
    }

    #[test]
    fn what_is_sent_is_what_was_compared() {
        let target = Target::parse("https", "H.example:443", "/v2/./../v1/a b").is_none();
        assert!(target, "a space is no part of a path");
        let target = Target::parse("https", "H.example:443", "/v2/./../v1/ü?q=%2e").unwrap();
        assert_eq!(target.path_and_query(), "/v1/%C3%BC?q=%2e");
        assert_eq!(target.origin.authority(), "h.example");
        let other = Target::parse("http", "[2606:4700::1]:8080", "").unwrap();
        assert_eq!(other.origin.authority(), "[2606:4700::1]:8080");
        assert_eq!(other.path_and_query(), "/");
    }

    #[test]
    fn rules_are_written_plainly() {
        for (scheme, host, port) in [
            ("https", "h.example:80", None),
            ("https", "h.example:80", Some(80)),
            ("https", "u@h.example", None),
            ("https", "h.example/x", None),
            ("gopher", "h.example", None),
            ("https", "", None),
        ] {
            assert!(Origin::new(scheme, host, port).is_err(), "{scheme} {host}");
        }
        assert!(Origin::new("http", "[::1]", Some(8080)).is_ok());
        for path in ["v1", "", "/a/../b", "/a?b", "/a b", "/%2e%2e", "/ü"] {
            assert!(PathPrefix::new(path).is_err(), "{path}");
        }
        for method in ["", "get", "CONNECT", "TRACE", "GE T"] {
            assert!(check_method(method).is_err(), "{method}");
        }
        assert!(check_method("VERSION-CONTROL").is_ok());
    }

    #[test]
    fn a_template_holds_one_secret() {
        let header = InjectedHeader::new("Authorization", "Bearer {api-key}").unwrap();
        assert_eq!(header.secret(), "api-key");
        assert_eq!(header.value("s3cret"), "Bearer s3cret");
        for (name, template) in [
            ("authorization", "Bearer"),
            ("authorization", "{a}{b}"),
            ("authorization", "{a"),
            ("authorization", "\r\n{a}"),
            ("host", "{a}"),
            ("content-length", "{a}"),
            ("connection", "{a}"),
            ("a b", "{a}"),
        ] {
            assert!(
                InjectedHeader::new(name, template).is_err(),
                "{name}: {template}"
            );
        }
    }
}
