//! Sends one request: the name is resolved, each address checked, and the connection made to the very address that was checked. One
//! connection for one request; a redirect is a response like any other.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use http::header::{HOST, HeaderValue};
use http::{HeaderMap, Method, Request, Response, StatusCode};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::client::conn::http1;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use url::Host;
use wasmtime_wasi_http::io::TokioIo;
use wasmtime_wasi_io::bytes::Bytes;

use super::address::is_public;
use super::{Fault, HttpLimits, Origin, TlsRoots};
use crate::keyvalue::BoxFuture;
use crate::limits::{HTTP_ADDRESSES_TRIED_MAX, HTTP_HEADERS_MAX, HTTP_RESPONSE_HEAD_BYTES_MAX};

/// Finds the addresses of a name. What it answers is checked before anything is sent there.
pub trait Resolver: Send + Sync {
    /// The addresses of a name, in the order in which they are to be tried.
    fn resolve<'a>(&'a self, name: &'a str) -> BoxFuture<'a, io::Result<Vec<IpAddr>>>;
}

/// Asks the operating system.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemResolver;

impl Resolver for SystemResolver {
    fn resolve<'a>(&'a self, name: &'a str) -> BoxFuture<'a, io::Result<Vec<IpAddr>>> {
        Box::pin(async move {
            let found = tokio::net::lookup_host((name, 0)).await?;
            Ok(found.map(|address| address.ip()).collect())
        })
    }
}

/// Sends requests that were allowed.
pub struct HttpClient {
    resolver: Arc<dyn Resolver>,
    tls: TlsConnector,
}

impl std::fmt::Debug for HttpClient {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("HttpClient").finish_non_exhaustive()
    }
}

impl HttpClient {
    /// Believes the servers that `roots` vouch for.
    pub fn new(resolver: Arc<dyn Resolver>, roots: TlsRoots) -> Result<Self, rustls::Error> {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = rustls::ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()?
            .with_root_certificates(roots.into_store())
            .with_no_client_auth();
        Ok(Self {
            resolver,
            tls: Arc::new(config).into(),
        })
    }

    /// Sends a request and takes the whole response.
    pub(crate) async fn send(&self, request: Outgoing) -> Result<Answered, Fault> {
        let total = request.limits.total;
        match timeout(total, self.exchange(request)).await {
            Ok(answered) => answered,
            Err(_) => Err(Fault::ResponseTimeout),
        }
    }

    async fn exchange(&self, request: Outgoing) -> Result<Answered, Fault> {
        let (origin, limits) = (request.origin.clone(), request.limits);
        let connect = self.connect(&origin, &request.addresses);
        let stream = match timeout(limits.connect, connect).await {
            Ok(stream) => stream?,
            Err(_) => return Err(Fault::ConnectTimeout),
        };
        let (mut sender, connection) = http1::Builder::new()
            .max_headers(HTTP_HEADERS_MAX)
            .max_buf_size(HTTP_RESPONSE_HEAD_BYTES_MAX)
            .handshake(TokioIo::new(stream))
            .await
            .map_err(|error| fault_of(&error))?;
        // Ends with this function, however that ends.
        let _driven = wasmtime_wasi::runtime::spawn(async move {
            let _ = connection.await;
        });
        let sent = sender.send_request(request.into_request()?);
        let response = match timeout(limits.first_byte, sent).await {
            Ok(response) => response.map_err(|error| fault_of(&error))?,
            Err(_) => return Err(Fault::ResponseTimeout),
        };
        take(response, limits.response_bytes).await
    }

    /// Connects to the first address that may be reached and answers.
    async fn connect(&self, origin: &Origin, granted: &[IpAddr]) -> Result<Box<dyn Stream>, Fault> {
        let found = match &origin.host {
            Host::Ipv4(address) => vec![IpAddr::V4(*address)],
            Host::Ipv6(address) => vec![IpAddr::V6(*address)],
            Host::Domain(name) => {
                let found = self.resolver.resolve(name).await;
                found.map_err(|_| Fault::Dns)?
            }
        };
        if found.is_empty() {
            return Err(Fault::Dns);
        }
        let may_be_reached = |address: &IpAddr| {
            // An address of IPv4 in the clothes of IPv6 is what it is.
            let plain = address.to_canonical();
            granted.contains(&plain) || is_public(*address)
        };
        let reachable: Vec<_> = found.into_iter().filter(may_be_reached).collect();
        if reachable.is_empty() {
            return Err(Fault::AddressProhibited);
        }
        for address in reachable.into_iter().take(HTTP_ADDRESSES_TRIED_MAX) {
            if let Ok(stream) = TcpStream::connect(SocketAddr::new(address, origin.port)).await {
                return self.handshake(origin, stream).await;
            }
        }
        Err(Fault::Refused)
    }

    async fn handshake(
        &self,
        origin: &Origin,
        stream: TcpStream,
    ) -> Result<Box<dyn Stream>, Fault> {
        if !origin.is_tls {
            return Ok(Box::new(stream));
        }
        let name = match &origin.host {
            Host::Domain(name) => {
                ServerName::try_from(name.clone()).map_err(|_| Fault::UriInvalid)?
            }
            Host::Ipv4(address) => ServerName::from(IpAddr::V4(*address)),
            Host::Ipv6(address) => ServerName::from(IpAddr::V6(*address)),
        };
        match self.tls.connect(name, stream).await {
            Ok(stream) => Ok(Box::new(stream)),
            Err(error) => Err(tls_fault(&error)),
        }
    }
}

trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Stream for T {}

fn tls_fault(error: &io::Error) -> Fault {
    let inner = error.get_ref().and_then(|inner| inner.downcast_ref());
    match inner {
        Some(rustls::Error::InvalidCertificate(_)) => Fault::Certificate,
        Some(_) => Fault::Tls,
        None => Fault::Terminated,
    }
}

fn fault_of(error: &hyper::Error) -> Fault {
    if error.is_parse_too_large() {
        Fault::ResponseHeaders
    } else if error.is_parse() {
        Fault::Protocol
    } else {
        Fault::Terminated
    }
}

/// A request that was allowed.
#[derive(Debug)]
pub(crate) struct Outgoing {
    pub(crate) method: String,
    pub(crate) origin: Origin,
    pub(crate) path_and_query: String,
    /// The guest's, and those that are injected.
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
    /// Addresses that may be connected to besides the public ones.
    pub(crate) addresses: Vec<IpAddr>,
    pub(crate) limits: HttpLimits,
}

impl Outgoing {
    fn into_request(self) -> Result<Request<Full<Bytes>>, Fault> {
        let host = HeaderValue::try_from(self.origin.authority()).map_err(|_| Fault::UriInvalid)?;
        let mut request = Request::new(Full::new(self.body));
        *request.method_mut() =
            Method::from_bytes(self.method.as_bytes()).map_err(|_| Fault::Denied)?;
        *request.uri_mut() = self.path_and_query.parse().map_err(|_| Fault::UriInvalid)?;
        *request.headers_mut() = self.headers;
        request.headers_mut().insert(HOST, host);
        Ok(request)
    }
}

/// A whole response.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Answered {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
}

/// Takes the body, up to what it may have.
async fn take(response: Response<Incoming>, bytes_max: u64) -> Result<Answered, Fault> {
    let (head, mut body) = response.into_parts();
    let mut taken = Vec::new();
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|error| fault_of(&error))?;
        // Trailers are dropped: hardly anybody sends any, and nobody need keep them.
        if let Ok(data) = frame.into_data() {
            if (taken.len() + data.len()) as u64 > bytes_max {
                return Err(Fault::ResponseBody);
            }
            taken.extend_from_slice(&data);
        }
    }
    Ok(Answered {
        status: head.status,
        headers: head.headers,
        body: taken.into(),
    })
}

#[cfg(test)]
mod tests;
