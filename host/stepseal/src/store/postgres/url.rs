//! The address of a database, whose password is for the server alone.

use std::fmt;
use std::str::FromStr;

use sqlx::postgres::{PgConnectOptions, PgSslMode};

/// Where a database is and how to get into it: `postgres://user@host:port/name`, with what libpq calls connection parameters behind a `?`.
///
/// What it does not say is taken from the environment (`PGHOST`, `PGUSER`, `PGPASSWORD`, ...) and from `~/.pgpass`, as every client of
/// PostgreSQL does. A server on another machine is talked to over TLS unless `sslmode` says otherwise.
#[derive(Clone)]
pub struct DatabaseUrl {
    options: PgConnectOptions,
    shown: String,
}

/// It is not the address of a database. The text is not repeated: there may be a password in it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "this is not the address of a database ({0}): write it like postgres://user@host:5432/name"
)]
pub struct BadUrl(String);

impl FromStr for DatabaseUrl {
    type Err = BadUrl;

    fn from_str(url: &str) -> Result<Self, BadUrl> {
        let rest = url
            .strip_prefix("postgres://")
            .or_else(|| url.strip_prefix("postgresql://"))
            .ok_or_else(|| BadUrl("it does not begin with postgres://".to_owned()))?;
        let mut options =
            PgConnectOptions::from_str(url).map_err(|error| BadUrl(why(&error).to_owned()))?;
        let has_said = rest.contains("sslmode=") || rest.contains("ssl-mode=");
        if !has_said && std::env::var_os("PGSSLMODE").is_none() && !is_local(&options) {
            options = options.ssl_mode(PgSslMode::Require);
        }
        let shown = shown(&options);
        Ok(Self { options, shown })
    }
}

impl DatabaseUrl {
    pub(super) fn options(&self) -> PgConnectOptions {
        self.options.clone()
    }
}

/// Without the password.
impl fmt::Display for DatabaseUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.shown)
    }
}

impl fmt::Debug for DatabaseUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

fn shown(options: &PgConnectOptions) -> String {
    let user = options.get_username();
    let name = options.get_database().unwrap_or(user);
    match options.get_socket() {
        Some(socket) => format!("postgres:///{name}?host={}&user={user}", socket.display()),
        None => format!(
            "postgres://{user}@{}:{}/{name}",
            options.get_host(),
            options.get_port()
        ),
    }
}

/// Whether nobody is between.
fn is_local(options: &PgConnectOptions) -> bool {
    let host = options.get_host();
    let ip = host.trim_matches(['[', ']']).parse::<std::net::IpAddr>();
    options.get_socket().is_some()
        || host.starts_with('/')
        || host == "localhost"
        || ip.is_ok_and(|ip| ip.is_loopback())
}

/// What is wrong with it, without the value that is wrong.
fn why(error: &sqlx::Error) -> &'static str {
    match error {
        sqlx::Error::Configuration(error) if error.is::<std::num::ParseIntError>() => {
            "a number in it is none"
        }
        _ => "it cannot be read",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_password_is_never_shown() {
        let url = "postgres://mia:s3cret@db.example:6432/steps?application_name=x";
        let url: DatabaseUrl = url.parse().unwrap();
        assert_eq!(url.to_string(), "postgres://mia@db.example:6432/steps");
        assert!(!format!("{url:?}").contains("s3cret"));
        for bad in [
            "s3cret",
            "mysql://mia:s3cret@db.example/steps",
            "postgres://mia:s3cret@db.example:port/steps",
            "postgres://mia@db.example/steps?port=s3cret",
            "postgres://mia@db.example/steps?sslmode=s3cret",
        ] {
            let error = bad.parse::<DatabaseUrl>().unwrap_err();
            assert!(!format!("{error} {error:?}").contains("s3cret"), "{error}");
        }
    }

    #[test]
    fn a_server_on_another_machine_is_talked_to_over_tls_unless_the_operator_says_otherwise() {
        let mode = |url: &str| {
            let url: DatabaseUrl = url.parse().unwrap();
            format!("{:?}", url.options.get_ssl_mode())
        };
        assert_eq!(mode("postgres://db.example/steps"), "Require");
        assert_eq!(mode("postgres://10.0.0.1/steps"), "Require");
        for local in [
            "postgres://localhost/steps",
            "postgres://127.0.0.1/steps",
            "postgres://[::1]/steps",
            "postgres:///steps?host=/run/postgresql",
        ] {
            assert_eq!(mode(local), "Prefer", "{local}");
        }
        assert_eq!(
            mode("postgres://db.example/steps?sslmode=disable"),
            "Disable"
        );
    }
}
