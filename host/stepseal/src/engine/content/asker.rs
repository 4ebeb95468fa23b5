//! Sends the requests of a bucket by the client that the rest of the program uses, so that the host has one TLS and one list of authorities.

use std::error::Error;
use std::fmt;
use std::io::{self, Read as _};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use http_body_util::BodyExt as _;
use object_store::client::{
    HttpClient, HttpConnector, HttpError, HttpErrorKind, HttpRequest, HttpResponse, HttpService,
};
use object_store::{ClientConfigKey, ClientOptions};
use tokio::sync::{Semaphore, oneshot};
use ureq::http::{Request, Response, Uri};

/// Requests under way at a time; each has a thread.
const REQUESTS_MAX: usize = 16;
/// How long a server may take for a connection, and for all of a request with the largest of components.
const CONNECT_WALL_MAX: Duration = Duration::from_secs(3);
const ANSWER_WALL_MAX: Duration = Duration::from_secs(30);

/// Makes clients for a bucket and for what gives it keys.
pub(super) struct Connector {
    agent: ureq::Agent,
    room: Arc<Semaphore>,
    /// Bytes of an answer that are read at most.
    answer_bytes_max: usize,
}

impl Connector {
    pub(super) fn new(answer_bytes_max: usize) -> Self {
        let config = ureq::Agent::config_builder()
            .http_status_as_error(false)
            .max_redirects(0)
            .proxy(None)
            .accept_encoding("identity")
            .timeout_connect(Some(CONNECT_WALL_MAX))
            .timeout_global(Some(ANSWER_WALL_MAX))
            .user_agent(concat!("stepseal/", env!("CARGO_PKG_VERSION")))
            .build();
        Self {
            agent: config.new_agent(),
            room: Arc::new(Semaphore::new(REQUESTS_MAX)),
            answer_bytes_max,
        }
    }
}

// Written by hand since requests carry signatures and answers may carry keys.
impl fmt::Debug for Connector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connector").finish_non_exhaustive()
    }
}

impl HttpConnector for Connector {
    fn connect(&self, options: &ClientOptions) -> object_store::Result<HttpClient> {
        let plain_http = options.get_config_value(&ClientConfigKey::AllowHttp);
        Ok(HttpClient::new(Asker {
            agent: self.agent.clone(),
            room: Arc::clone(&self.room),
            answer_bytes_max: self.answer_bytes_max,
            plain_http: plain_http.as_deref() == Some("true"),
        }))
    }
}

/// Asks one server.
struct Asker {
    agent: ureq::Agent,
    room: Arc<Semaphore>,
    answer_bytes_max: usize,
    /// Whether a server on another machine may be asked over plain HTTP.
    plain_http: bool,
}

impl fmt::Debug for Asker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Asker").finish_non_exhaustive()
    }
}

#[async_trait]
impl HttpService for Asker {
    async fn call(&self, request: HttpRequest) -> Result<HttpResponse, HttpError> {
        if !self.plain_http && is_plain_elsewhere(request.uri()) {
            let why = "plain HTTP to another machine is refused: give an endpoint with https://, or set AWS_ALLOW_HTTP=true if the \
                network between is trusted";
            return Err(HttpError::new(
                HttpErrorKind::Unknown,
                io::Error::other(why),
            ));
        }
        let room = Arc::clone(&self.room).acquire_owned().await;
        let (parts, body) = request.into_parts();
        let request = Request::from_parts(parts, body.collect().await?.to_bytes());
        let (agent, bytes_max) = (self.agent.clone(), self.answer_bytes_max);
        let (tell, told) = oneshot::channel();
        // A thread of its own, so that nobody who stops the host waits for a server.
        std::thread::Builder::new()
            .name("bucket".to_owned())
            .spawn(move || {
                let _room = room;
                // Who asked may be gone.
                let _ = tell.send(ask(&agent, request, bytes_max));
            })
            .map_err(|error| HttpError::new(HttpErrorKind::Unknown, error))?;
        let answer = told
            .await
            .map_err(|error| HttpError::new(HttpErrorKind::Unknown, error))?;
        answer.map(|answer| answer.map(Into::into)).map_err(failure)
    }
}

fn ask(
    agent: &ureq::Agent,
    request: Request<impl AsRef<[u8]>>,
    bytes_max: usize,
) -> Result<Response<Vec<u8>>, ureq::Error> {
    let (parts, body) = request.into_parts();
    let answer = if body.as_ref().is_empty() {
        agent.run(Request::from_parts(parts, ()))?
    } else {
        agent.run(Request::from_parts(parts, body.as_ref()))?
    };
    let (parts, body) = answer.into_parts();
    let mut bytes = Vec::new();
    let more = bytes_max as u64 + 1;
    body.into_reader().take(more).read_to_end(&mut bytes)?;
    if bytes.len() > bytes_max {
        return Err(ureq::Error::BodyExceedsLimit(bytes_max as u64));
    }
    Ok(Response::from_parts(parts, bytes))
}

/// How it failed, which says whether it is tried again.
fn failure(error: ureq::Error) -> HttpError {
    let kind = match &error {
        ureq::Error::Timeout(_) => HttpErrorKind::Timeout,
        ureq::Error::HostNotFound | ureq::Error::ConnectionFailed => HttpErrorKind::Connect,
        ureq::Error::Io(error) if error.kind() == io::ErrorKind::ConnectionRefused => {
            HttpErrorKind::Connect
        }
        ureq::Error::Io(_) | ureq::Error::Protocol(_) => HttpErrorKind::Interrupted,
        _ => HttpErrorKind::Unknown,
    };
    let error: Box<dyn Error + Send + Sync> = error.into();
    HttpError::new_boxed(kind, error)
}

/// Whether a request would go over a network that anybody may read.
fn is_plain_elsewhere(uri: &Uri) -> bool {
    let host = uri.host().unwrap_or_default();
    let ip = host.trim_matches(['[', ']']).parse::<IpAddr>();
    let is_here = host == "localhost" || ip.is_ok_and(|ip| ip.is_loopback());
    uri.scheme_str() != Some("https") && !is_here
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;
    use std::net::TcpListener;

    use super::*;

    #[tokio::test]
    async fn of_an_answer_without_end_no_more_is_read_than_fits() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let sent = std::thread::spawn(move || {
            let (mut client, _) = listener.accept().unwrap();
            client.read_exact(&mut [0; 16]).unwrap();
            client.write_all(b"HTTP/1.1 200 OK\r\n\r\n").unwrap();
            // Until it is cut off.
            while client.write_all(&[0; 1 << 13]).is_ok() {}
        });
        let client = Connector::new(1 << 20)
            .connect(&ClientOptions::new())
            .unwrap();
        let request = Request::get(format!("http://{address}/b/k"));
        let request = request.body(Vec::new().into()).unwrap();
        let refused = client.execute(request).await.unwrap_err();
        assert!(refused.to_string().contains("limit"), "{refused}");
        sent.join().unwrap();
    }

    #[test]
    fn what_others_could_read_goes_by_tls() {
        for (uri, elsewhere) in [
            ("https://s3.eu-west-1.amazonaws.com/b/k", false),
            ("http://127.0.0.1:9000/b/k", false),
            ("http://[::1]:9000/b/k", false),
            ("http://localhost/b/k", false),
            ("http://minio.example/b/k", true),
            ("http://127.0.0.1.example/b/k", true),
            ("http://localhost.example/b/k", true),
            ("http://10.0.0.1/b/k", true),
        ] {
            assert_eq!(
                is_plain_elsewhere(&uri.parse().unwrap()),
                elsewhere,
                "{uri}"
            );
        }
    }
}
