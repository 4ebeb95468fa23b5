//! What a host and its clients are told from outside: flags and environment variables.

use std::net::SocketAddr;
use std::path::PathBuf;

use crate::data_dir::{DataDir, DataDirError};

/// Where a host listens unless it is told otherwise.
pub const LISTEN_DEFAULT: &str = "127.0.0.1:8787";
/// Where a host keeps its data unless it is told otherwise.
pub const DATA_DEFAULT: &str = "./stepseal-data";

/// How a host is started.
#[derive(Clone, Debug)]
pub struct ServeSettings {
    /// Where it listens; port 0 picks a free one.
    pub listen: SocketAddr,
    /// Whether it may listen where other machines reach it.
    pub allow_remote: bool,
    /// Its data directory.
    pub data: DataDir,
    /// Origin of a new log; `None` derives it from the log key. A log that is there keeps its own.
    pub origin: Option<String>,
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
    /// The data directory.
    #[error(transparent)]
    DataDir(#[from] DataDirError),
}

impl ServeSettings {
    /// Refuses an address that other machines reach, unless that was allowed.
    pub fn check(&self) -> Result<(), ConfigError> {
        if self.listen.ip().is_loopback() || self.allow_remote {
            return Ok(());
        }
        Err(ConfigError::Remote(self.listen))
    }
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
            origin: None,
        };
        assert!(settings("127.0.0.1:0", false).check().is_ok());
        assert!(settings("[::1]:0", false).check().is_ok());
        assert!(settings("0.0.0.0:0", false).check().is_err());
        assert!(settings("0.0.0.0:0", true).check().is_ok());
    }
}
