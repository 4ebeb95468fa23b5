//! Servers that do everything to a client but serve it well.

use std::collections::BTreeMap;
use std::time::Duration;

use rustls::pki_types::{CertificateDer, PrivatePkcs8KeyDer};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

use super::*;
use crate::http::roots::tests::pem;

const LOOPBACK: IpAddr = IpAddr::V4(std::net::Ipv4Addr::LOCALHOST);

/// Names with the addresses they have.
struct Names(BTreeMap<&'static str, Vec<IpAddr>>);

impl Resolver for Names {
    fn resolve<'a>(&'a self, name: &'a str) -> BoxFuture<'a, io::Result<Vec<IpAddr>>> {
        let found = self.0.get(name).cloned();
        Box::pin(async move { found.ok_or_else(|| io::ErrorKind::NotFound.into()) })
    }
}

fn client(names: &[(&'static str, &[&str])]) -> HttpClient {
    let names = names.iter().map(|(name, addresses)| {
        let addresses = addresses.iter().map(|address| address.parse().unwrap());
        (*name, addresses.collect())
    });
    HttpClient::new(Arc::new(Names(names.collect())), TlsRoots::default()).unwrap()
}

/// A server on loopback that reads what a client sends until the empty line, then says this, and ends where it is told to.
async fn server(says: &'static [u8], then: Then) -> u16 {
    let listener = TcpListener::bind((LOOPBACK, 0)).await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            tokio::spawn(async move {
                let mut heard = Vec::new();
                while !heard.ends_with(b"\r\n\r\n") {
                    heard.push(stream.read_u8().await.unwrap());
                }
                stream.write_all(says).await.unwrap();
                match then {
                    Then::Close => {}
                    Then::Wait => std::future::pending().await,
                    Then::Forever(bytes) => while stream.write_all(bytes).await.is_ok() {},
                    Then::Echo => stream.write_all(&heard).await.unwrap(),
                }
            });
        }
    });
    port
}

#[derive(Clone, Copy)]
enum Then {
    Close,
    Wait,
    Forever(&'static [u8]),
    Echo,
}

fn request(scheme: &str, host: &str, port: u16) -> Outgoing {
    Outgoing {
        method: "GET".to_owned(),
        origin: Origin::new(scheme, host, Some(port)).unwrap(),
        path_and_query: "/a?b".to_owned(),
        headers: HeaderMap::new(),
        body: Bytes::new(),
        addresses: vec![LOOPBACK],
        limits: HttpLimits {
            response_bytes: 1_000,
            ..HttpLimits::default()
        },
    }
}

async fn asked(says: &'static [u8], then: Then, limits: HttpLimits) -> Result<Answered, Fault> {
    let port = server(says, then).await;
    let request = Outgoing {
        limits,
        ..request("http", "127.0.0.1", port)
    };
    client(&[]).send(request).await
}

fn hurried() -> HttpLimits {
    HttpLimits {
        response_bytes: 1_000,
        first_byte: Duration::from_millis(100),
        total: Duration::from_millis(200),
        ..HttpLimits::default()
    }
}

#[tokio::test]
async fn what_is_sent_is_what_was_judged_and_what_comes_is_whole() {
    let port = server(b"HTTP/1.1 200 OK\r\nx-y: z\r\n\r\n", Then::Echo).await;
    let mut request = request("http", "named.example", port);
    request.headers.insert("x-a", HeaderValue::from_static("1"));
    let client = client(&[("named.example", &["127.0.0.1"])]);
    let answered = client.send(request).await.unwrap();
    assert_eq!(answered.status, 200);
    assert_eq!(answered.headers["x-y"], "z");
    let heard = String::from_utf8(answered.body.to_vec()).unwrap();
    let lines: Vec<&str> = heard.lines().collect();
    assert_eq!(lines[0], "GET /a?b HTTP/1.1");
    assert!(lines.contains(&"x-a: 1"), "{heard}");
    assert!(
        lines.contains(&format!("host: named.example:{port}").as_str()),
        "{heard}"
    );
}

#[tokio::test]
async fn nobody_reaches_what_is_not_public_unless_it_was_granted() {
    let port = server(b"HTTP/1.1 200 OK\r\n\r\n", Then::Close).await;
    let client = client(&[
        ("inside.example", &["10.0.0.1", "fd00::1"]),
        ("rebound.example", &["127.0.0.1"]),
        ("mapped.example", &["::ffff:127.0.0.1"]),
        ("metadata.example", &["169.254.169.254"]),
        ("nowhere.example", &[]),
    ]);
    for host in [
        "inside.example",
        "rebound.example",
        "mapped.example",
        "metadata.example",
        "127.0.0.1",
        "0.0.0.0",
        "[::1]",
        "[::ffff:127.0.0.1]",
        "2130706433",
    ] {
        let request = Outgoing {
            addresses: Vec::new(),
            ..request("http", host, port)
        };
        assert_eq!(
            client.send(request).await,
            Err(Fault::AddressProhibited),
            "{host}"
        );
    }
    for host in [
        "rebound.example",
        "mapped.example",
        "127.0.0.1",
        "2130706433",
    ] {
        let answered = client.send(request("http", host, port)).await;
        assert!(answered.is_ok(), "{host}: {answered:?}");
    }
    for host in ["nowhere.example", "unknown.example"] {
        let request = request("http", host, port);
        assert_eq!(client.send(request).await, Err(Fault::Dns), "{host}");
    }
}

#[tokio::test]
async fn a_redirect_is_a_response_like_any_other() {
    let elsewhere =
        b"HTTP/1.1 302 Found\r\nlocation: http://169.254.169.254/\r\ncontent-length: 0\r\n\r\n";
    let answered = asked(elsewhere, Then::Wait, HttpLimits::default())
        .await
        .unwrap();
    assert_eq!(answered.status, 302);
    assert_eq!(answered.headers["location"], "http://169.254.169.254/");
}

#[tokio::test]
async fn what_has_no_end_is_given_up() {
    let slow_body = b"HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\n123";
    assert_eq!(
        asked(slow_body, Then::Wait, hurried()).await,
        Err(Fault::ResponseTimeout)
    );
    assert_eq!(
        asked(b"HTTP/1.1 200", Then::Wait, hurried()).await,
        Err(Fault::ResponseTimeout)
    );
    assert_eq!(
        asked(b"", Then::Wait, hurried()).await,
        Err(Fault::ResponseTimeout)
    );

    let patient = HttpLimits {
        response_bytes: 1_000,
        ..HttpLimits::default()
    };
    let begun = b"HTTP/1.1 200 OK\r\n";
    let headers = asked(begun, Then::Forever(b"x-a: b\r\n"), patient).await;
    assert_eq!(headers, Err(Fault::ResponseHeaders));
    let header = asked(begun, Then::Forever(b"xxxxxxxxxxxxxxxx"), patient).await;
    assert_eq!(header, Err(Fault::ResponseHeaders));
    let body = asked(
        b"HTTP/1.1 200 OK\r\n\r\n",
        Then::Forever(&[b'x'; 64]),
        patient,
    )
    .await;
    assert_eq!(body, Err(Fault::ResponseBody));
    let chunked = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n";
    let chunks = asked(chunked, Then::Forever(b"5\r\nxxxxx\r\n"), patient).await;
    assert_eq!(chunks, Err(Fault::ResponseBody));
}

#[tokio::test]
async fn what_breaks_off_or_is_not_http_is_no_response() {
    let default = HttpLimits::default;
    let short = b"HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\n123";
    assert_eq!(
        asked(short, Then::Close, default()).await,
        Err(Fault::Terminated)
    );
    assert_eq!(
        asked(b"", Then::Close, default()).await,
        Err(Fault::Terminated)
    );
    assert_eq!(
        asked(b"SSH-2.0-x\r\n\r\n", Then::Close, default()).await,
        Err(Fault::Protocol)
    );
    let closed = {
        let listener = TcpListener::bind((LOOPBACK, 0)).await.unwrap();
        listener.local_addr().unwrap().port()
    };
    let refused = client(&[]).send(request("http", "127.0.0.1", closed)).await;
    assert_eq!(refused, Err(Fault::Refused));
}

/// A server with a certificate for `names`; its port, and the certificate.
async fn tls_server(names: &[&str]) -> (u16, CertificateDer<'static>) {
    let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
    let made = rcgen::generate_simple_self_signed(names).unwrap();
    let certificate = made.cert.der().clone();
    let key = PrivatePkcs8KeyDer::from(made.signing_key.serialize_der());
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![certificate.clone()], key.into())
        .unwrap();
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let listener = TcpListener::bind((LOOPBACK, 0)).await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let acceptor = acceptor.clone();
            tokio::spawn(async move {
                let Ok(mut stream) = acceptor.accept(stream).await else {
                    return;
                };
                let mut heard = [0; 1_024];
                let _ = stream.read(&mut heard).await;
                let said = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nhi";
                let _ = stream.write_all(said).await;
                let _ = stream.shutdown().await;
            });
        }
    });
    (port, certificate)
}

#[tokio::test]
async fn a_certificate_is_believed_for_its_names_where_a_root_vouches_for_it() {
    let (port, certificate) = tls_server(&["right.example"]).await;
    let names = || {
        let names = ["right.example", "wrong.example"].map(|name| (name, vec![LOOPBACK]));
        Arc::new(Names(names.into()))
    };
    let file = pem("CERTIFICATE", &certificate);
    let roots = |alone| TlsRoots::from_pem(file.as_bytes(), alone).unwrap();
    for alone in [false, true] {
        let believing = HttpClient::new(names(), roots(alone)).unwrap();
        let answered = believing.send(request("https", "right.example", port));
        assert_eq!(answered.await.unwrap().body, "hi");
    }
    let believing = HttpClient::new(names(), roots(false)).unwrap();
    let wrong = believing
        .send(request("https", "wrong.example", port))
        .await;
    assert_eq!(wrong, Err(Fault::Certificate));
    let doubting = HttpClient::new(names(), TlsRoots::default()).unwrap();
    let unknown = doubting.send(request("https", "right.example", port)).await;
    assert_eq!(unknown, Err(Fault::Certificate));

    let plain = server(b"HTTP/1.1 200 OK\r\n\r\n", Then::Close).await;
    let no_tls = believing.send(request("https", "127.0.0.1", plain)).await;
    assert!(
        matches!(
            no_tls,
            Err(Fault::Tls | Fault::Terminated | Fault::ConnectTimeout)
        ),
        "{no_tls:?}"
    );
}
