//! What a host and its clients are told from outside: flags and environment variables.

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use stepseal_receipts::keys::PublicKey;
use stepseal_receipts::note::VerifierKey;
use stepseal_receipts::witness_policy::WitnessPolicy;
use stepseal_sandbox::TlsRoots;

use crate::data_dir::{DataDir, DataDirError};
use crate::engine::TaskLimits;
use crate::engine::content::Place;
use crate::store::postgres::{BadUrl, DatabaseUrl, PATIENCE};

/// Where a host listens unless it is told otherwise.
pub const LISTEN_DEFAULT: &str = "127.0.0.1:8787";
/// Where a host keeps its data unless it is told otherwise.
pub const DATA_DEFAULT: &str = "./stepseal-data";
/// Witnesses that a host asks at most. Each has a request of its own under way.
pub const WITNESSES_MAX: usize = 16;

/// Seconds of a host's lease unless it is told otherwise.
pub const LEASE_S_DEFAULT: u64 = 10;
/// The shortest: a busy machine is silent for a moment.
const LEASE_MIN: Duration = Duration::from_secs(2);

/// How a host is started.
#[derive(Clone, Debug)]
pub struct ServeSettings {
    /// Where it listens; port 0 picks a free one.
    pub listen: SocketAddr,
    /// Whether it may listen where other machines reach it.
    pub allow_remote: bool,
    /// Its data directory.
    pub data: DataDir,
    /// Its database, where that is not in the directory.
    pub database: Option<DatabaseUrl>,
    /// Origin of a new log; `None` derives it from the log key. A log that is there keeps its own.
    pub origin: Option<String>,
    /// Where components are that all hosts of a database find, besides its directory.
    pub components: Option<Place>,
    /// How long other hosts wait for one that is silent before they take over what it runs.
    pub lease: Duration,
    /// How many tasks it takes.
    pub tasks: TaskLimits,
    /// How long payloads of finished tasks are kept; for ever where absent.
    pub keep_payloads: Option<Duration>,
    /// Who is to cosign the log's heads.
    pub witnesses: Option<WitnessPolicy>,
    /// Whether witnesses on other machines may be asked over plain HTTP.
    pub witness_plain_http: bool,
    /// Who vouches for the servers that steps reach by TLS.
    pub http_roots: TlsRoots,
}

/// A host as a client reaches it.
#[derive(Clone, PartialEq, Eq)]
pub struct HostAddress {
    /// `http://127.0.0.1:8787`, without a slash at the end.
    pub url: String,
    /// The bearer token, where one is known.
    pub token: Option<String>,
}

// Written by hand so that the token cannot end up in a log.
impl std::fmt::Debug for HostAddress {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("HostAddress")
            .field("url", &self.url)
            .finish_non_exhaustive()
    }
}

/// Why no host is known to talk to, or a host may not be started so.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// Nobody serves the data directory.
    #[error(
        "no host serves {}: start one with `stepseal serve --data {}`, or name one with --url and --token",
        .0.display(), .0.display()
    )]
    NoHost(PathBuf),
    /// A host was named without its token.
    #[error(
        "the host {0} was named without its token: give --token or set STEPSEAL_TOKEN (the file `token` in its data directory)"
    )]
    NoToken(String),
    /// A host's URL is none.
    #[error("{0:?} is not the URL of a host: write it like http://127.0.0.1:8787")]
    BadUrl(String),
    /// A host would be reachable from other machines.
    #[error(
        "{0} can be reached from other machines, and the host speaks plain HTTP: put a TLS proxy in front of a loopback \
         address, or say --allow-remote if the network between is trusted"
    )]
    Remote(SocketAddr),
    /// A policy of witnesses that a host cannot follow.
    #[error("the witness policy: {0}")]
    Witnesses(String),
    /// Where components were to be kept is no directory.
    #[error("--components {}: there is no such directory", .0.display())]
    Components(PathBuf),
    /// A lease that cannot be kept.
    #[error(
        "--lease {0}: a lease has 2 to {max} s, since after {max} s every other host takes a silent one for gone, whatever its lease",
        max = PATIENCE.as_secs()
    )]
    Lease(u64),
    /// The address of a database is none.
    #[error("--database, or STEPSEAL_DATABASE: {0}")]
    Database(BadUrl),
    /// The data directory.
    #[error(transparent)]
    DataDir(#[from] DataDirError),
}

impl ServeSettings {
    /// Refuses an address that other machines reach, unless that was allowed, and witnesses that cannot be asked.
    pub fn check(&self) -> Result<(), ConfigError> {
        check_listen(self.listen, self.allow_remote)?;
        if let Some(Place::Directory(path)) = &self.components
            && !path.is_dir()
        {
            return Err(ConfigError::Components(path.clone()));
        }
        if !(LEASE_MIN..=PATIENCE).contains(&self.lease) {
            return Err(ConfigError::Lease(self.lease.as_secs()));
        }
        let Some(policy) = &self.witnesses else {
            return Ok(());
        };
        let count = policy.witnesses().count();
        if !(1..=WITNESSES_MAX).contains(&count) {
            return Err(ConfigError::Witnesses(format!(
                "it names {count} witnesses, and a host asks 1 to {WITNESSES_MAX}"
            )));
        }
        for witness in policy.witnesses() {
            check_witness_url(witness.url, self.witness_plain_http).map_err(|why| {
                ConfigError::Witnesses(format!("the witness {:?} {why}", witness.name))
            })?;
        }
        Ok(())
    }

    /// Refuses a policy of other logs, or one in which the host is its own witness.
    pub fn check_keys(&self, origin: &str, own: [&PublicKey; 2]) -> Result<(), ConfigError> {
        let Some(policy) = &self.witnesses else {
            return Ok(());
        };
        let [log_key, _] = own;
        let is_ours = |log: &VerifierKey| log.name() == origin && log.key() == log_key;
        if !policy.logs().is_empty() && !policy.logs().iter().any(is_ours) {
            return Err(ConfigError::Witnesses(format!(
                "none of its logs is this host's, {origin}: add the `log` of `stepseal keys trust`, or leave out all `log` lines"
            )));
        }
        let mut witnesses = policy.witnesses();
        match witnesses.find(|witness| own.contains(&witness.key.key())) {
            Some(witness) => Err(ConfigError::Witnesses(format!(
                "the witness {:?} has a key of this host, and a host that witnesses itself shows nothing",
                witness.name
            ))),
            None => Ok(()),
        }
    }
}

/// Refuses an address that other machines reach, unless that was allowed.
pub fn check_listen(listen: SocketAddr, allow_remote: bool) -> Result<(), ConfigError> {
    if listen.ip().is_loopback() || allow_remote {
        return Ok(());
    }
    Err(ConfigError::Remote(listen))
}

impl HostAddress {
    /// The host at `url`, or the one that serves `data`.
    ///
    /// A token from a data directory goes to that directory's own host only, never to a `url` somebody typed.
    pub fn find(
        url: Option<&str>,
        token: Option<&str>,
        data: &DataDir,
    ) -> Result<Self, ConfigError> {
        if let Some(url) = url {
            let token = token.ok_or_else(|| ConfigError::NoToken(url.to_owned()))?;
            return Ok(Self {
                url: check_url(url)?,
                token: Some(token.to_owned()),
            });
        }
        let served = Self::find_public(None, data)?;
        let token = match token {
            Some(token) => Some(token.to_owned()),
            None => data.read_token()?,
        };
        if token.is_none() {
            return Err(ConfigError::NoHost(data.root().to_owned()));
        }
        Ok(Self { token, ..served })
    }

    /// The same for what needs no token.
    pub fn find_public(url: Option<&str>, data: &DataDir) -> Result<Self, ConfigError> {
        let url = match url {
            Some(url) => url.to_owned(),
            None => data
                .read_address()?
                .ok_or_else(|| ConfigError::NoHost(data.root().to_owned()))?,
        };
        Ok(Self {
            url: check_url(&url)?,
            token: None,
        })
    }
}

/// Whether a witness can be asked at this address; else why not.
fn check_witness_url(url: Option<&str>, plain_http: bool) -> Result<(), String> {
    let url = url.ok_or("has no address: write its URL at the end of its line")?;
    check_url(url).map_err(|_| {
        format!("has the address {url:?}, which is not one like https://witness.example/w1")
    })?;
    let Some(rest) = url.strip_prefix("http://") else {
        return Ok(());
    };
    let authority = rest.split('/').next().unwrap_or_default();
    let is_loopback = if let Ok(address) = authority.parse::<SocketAddr>() {
        address.ip().is_loopback()
    } else {
        let host = authority.split(':').next();
        let ip = authority.trim_matches(['[', ']']).parse::<IpAddr>();
        host == Some("localhost") || ip.is_ok_and(|ip| ip.is_loopback())
    };
    if is_loopback || plain_http {
        return Ok(());
    }
    Err(format!(
        "would be asked over plain HTTP at {url}: write https://, or say --witness-plain-http if the network between is trusted"
    ))
}

fn check_url(url: &str) -> Result<String, ConfigError> {
    let bad = || ConfigError::BadUrl(url.to_owned());
    let rest = url
        .strip_prefix("http://")
        .or_else(|| url.strip_prefix("https://"))
        .ok_or_else(bad)?;
    let host = rest.trim_end_matches('/');
    let harmless = |c: char| c.is_ascii_alphanumeric() || "-._:[]/~".contains(c);
    if host.is_empty() || !host.chars().all(harmless) {
        return Err(bad());
    }
    Ok(url.trim_end_matches('/').to_owned())
}

#[cfg(test)]
mod tests {
    use stepseal_receipts::cosignature::WitnessKey;
    use stepseal_receipts::keys::SigningKey;

    use super::*;
    use crate::clock::SystemClock;

    #[test]
    fn a_host_is_found_through_its_data_directory() {
        let temp = tempfile::tempdir().unwrap();
        let data = DataDir::new(temp.path().join("data"));
        assert!(matches!(
            HostAddress::find(None, None, &data),
            Err(ConfigError::NoHost(_))
        ));
        let held = data.hold().unwrap();
        let token = held.token(&SystemClock).unwrap();
        held.announce("http://127.0.0.1:4711").unwrap();
        let found = HostAddress::find(None, None, &data).unwrap();
        assert_eq!(found.url, "http://127.0.0.1:4711");
        assert_eq!(found.token.as_ref(), Some(&token));
        assert!(!format!("{found:?}").contains(&token));
        let public = HostAddress::find_public(None, &data).unwrap();
        assert_eq!((public.url, public.token), (found.url, None));
    }

    #[test]
    fn the_token_of_a_directory_is_not_sent_to_a_url_somebody_typed() {
        let temp = tempfile::tempdir().unwrap();
        let data = DataDir::new(temp.path().join("data"));
        data.hold().unwrap().token(&SystemClock).unwrap();
        let found = HostAddress::find(Some("http://elsewhere.example"), None, &data);
        assert!(matches!(found, Err(ConfigError::NoToken(_))));
    }

    #[test]
    fn a_url_that_is_none_is_refused() {
        let data = DataDir::new("nowhere");
        for url in [
            "",
            "127.0.0.1:8787",
            "ftp://host",
            "http://",
            "http://user@host",
            "http://ho st",
        ] {
            let found = HostAddress::find(Some(url), Some("t"), &data);
            assert!(matches!(found, Err(ConfigError::BadUrl(_))), "{url}");
        }
        let found = HostAddress::find(Some("http://[::1]:8787/"), Some("t"), &data).unwrap();
        assert_eq!(found.url, "http://[::1]:8787");
    }

    #[test]
    fn only_loopback_is_served_without_being_asked_for() {
        let settings = |listen: &str, allow_remote| ServeSettings {
            listen: listen.parse().unwrap(),
            allow_remote,
            data: DataDir::new("nowhere"),
            database: None,
            origin: None,
            components: None,
            lease: Duration::from_secs(LEASE_S_DEFAULT),
            tasks: TaskLimits::default(),
            keep_payloads: None,
            witnesses: None,
            witness_plain_http: false,
            http_roots: TlsRoots::default(),
        };
        assert!(settings("127.0.0.1:0", false).check().is_ok());
        assert!(settings("[::1]:0", false).check().is_ok());
        assert!(settings("0.0.0.0:0", false).check().is_err());
        assert!(settings("0.0.0.0:0", true).check().is_ok());
    }

    #[test]
    fn a_lease_that_the_others_would_not_wait_for_is_refused() {
        let settings = |lease| ServeSettings {
            listen: LISTEN_DEFAULT.parse().unwrap(),
            allow_remote: false,
            data: DataDir::new("nowhere"),
            database: None,
            origin: None,
            components: None,
            lease: Duration::from_secs(lease),
            tasks: TaskLimits::default(),
            keep_payloads: None,
            witnesses: None,
            witness_plain_http: false,
            http_roots: TlsRoots::default(),
        };
        for fits in [2, LEASE_S_DEFAULT, 60] {
            assert!(settings(fits).check().is_ok(), "{fits}");
        }
        for refused in [0, 1, 61, 5000] {
            let said = settings(refused).check().unwrap_err().to_string();
            assert!(said.contains("2 to 60 s"), "{said}");
        }
    }

    fn asked(policy: &str, plain_http: bool) -> Result<(), ConfigError> {
        let settings = ServeSettings {
            listen: LISTEN_DEFAULT.parse().unwrap(),
            allow_remote: false,
            data: DataDir::new("nowhere"),
            database: None,
            origin: None,
            components: None,
            lease: Duration::from_secs(LEASE_S_DEFAULT),
            tasks: TaskLimits::default(),
            keep_payloads: None,
            witnesses: Some(WitnessPolicy::parse(policy.as_bytes()).unwrap()),
            witness_plain_http: plain_http,
            http_roots: TlsRoots::default(),
        };
        settings.check()?;
        let [log, record] = [1, 2].map(|seed| SigningKey::from_seed([seed; 32]).public());
        settings.check_keys("log.example/one", [&log, &record])
    }

    fn witness(seed: u8) -> String {
        let key = SigningKey::from_seed([seed; 32]).public();
        WitnessKey::new("w.example", &key).unwrap().to_string()
    }

    #[test]
    fn a_witness_is_asked_over_tls_or_on_this_machine() {
        for (url, allowed) in [
            ("https://w.example/w1", true),
            ("http://127.0.0.1:8788", true),
            ("http://127.0.0.1/", true),
            ("http://[::1]:8788/w", true),
            ("http://[::1]/w", true),
            ("http://localhost:8788", true),
            ("http://w.example", false),
            ("http://10.0.0.1:80", false),
            ("http://localhost.example", false),
            ("http://127.0.0.1.example", false),
        ] {
            let policy = format!("witness w {} {url}\nquorum w\n", witness(7));
            assert_eq!(asked(&policy, false).is_ok(), allowed, "{url}");
            assert!(asked(&policy, true).is_ok(), "{url}");
        }
        for url in [
            "",
            "ftp://w.example",
            "https://",
            "https://me@w.example",
            "https://w.example?q",
        ] {
            let policy = format!("witness w {} {url}\nquorum w\n", witness(7));
            assert!(
                matches!(asked(&policy, true), Err(ConfigError::Witnesses(_))),
                "{url}"
            );
        }
    }

    #[test]
    fn a_policy_that_a_host_cannot_follow_is_refused() {
        let log = |name: &str, seed| {
            let key = SigningKey::from_seed([seed; 32]).public();
            VerifierKey::new(name, &key).unwrap().to_string()
        };
        let line = |seed| {
            format!(
                "witness w{seed} {} https://w.example/{seed}\n",
                witness(seed)
            )
        };
        let many: String = (3..=19).map(line).collect();
        for (policy, allowed) in [
            (format!("{}quorum w3\n", line(3)), true),
            (
                format!("log {}\n{}quorum w3\n", log("log.example/one", 1), line(3)),
                true,
            ),
            (
                format!("log {}\n{}quorum w3\n", log("log.example/two", 1), line(3)),
                false,
            ),
            (
                format!("log {}\n{}quorum w3\n", log("log.example/one", 9), line(3)),
                false,
            ),
            (format!("{}quorum w1\n", line(1)), false),
            (format!("{}{}quorum w3\n", line(3), line(2)), false),
            ("quorum none\n".to_owned(), false),
            (format!("{many}quorum none\n"), false),
        ] {
            assert_eq!(asked(&policy, false).is_ok(), allowed, "{policy}");
        }
    }
}
