//! Servers that a private authority vouches for: the operator names it when the host is started.

use std::io::{Read as _, Write as _};
use std::net::TcpListener;
use std::path::Path;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use rustls::pki_types::PrivatePkcs8KeyDer;
use rustls::{ServerConfig, ServerConnection, StreamOwned};
use serde_json::{Value, json};

use crate::host::tasks::one_step;
use crate::host::{DataDir, Host, allow_everything};
use crate::support::stepseal;

/// An authority, as the file that an operator has.
fn authority() -> (CertifiedIssuer<'static, KeyPair>, String) {
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let issuer = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
    let text = STANDARD.encode(issuer.der());
    let lines: Vec<&str> = text
        .as_bytes()
        .chunks(64)
        .map(|line| std::str::from_utf8(line).unwrap())
        .collect();
    let lines = lines.join("\n");
    let pem = format!("-----BEGIN CERTIFICATE-----\n{lines}\n-----END CERTIFICATE-----\n");
    (issuer, pem)
}

/// A server on loopback that this authority vouches for; gives its port.
fn server(issuer: &CertifiedIssuer<'static, KeyPair>) -> u16 {
    let key = KeyPair::generate().unwrap();
    let params = CertificateParams::new(vec!["127.0.0.1".to_owned()]).unwrap();
    let certificate = params.signed_by(&key, issuer).unwrap();
    let key = PrivatePkcs8KeyDer::from(key.serialize_der());
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![certificate.der().clone()], key.into())
        .unwrap();
    let config = Arc::new(config);
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let connection = ServerConnection::new(Arc::clone(&config)).unwrap();
            let mut stream = StreamOwned::new(connection, stream.unwrap());
            let mut heard = [0; 1_024];
            // A client that does not believe it goes away.
            if stream.read(&mut heard).is_ok_and(|bytes| bytes > 0) {
                let said = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nhi";
                let _ = stream.write_all(said);
            }
        }
    });
    port
}

/// What a step is told by a server, on a host that was started like this.
fn told(arguments: &[&str], port: u16) -> Value {
    let host = Host::with(DataDir::fresh(), arguments);
    host.upload("outbound");
    allow_everything(&host, &json!({}));
    let rule = json!({"host": "127.0.0.1", "port": port, "addresses": ["127.0.0.1"]});
    host.grant("outbound", &json!({ "http": [rule] }));
    let request = json!({"scheme": "https", "authority": format!("127.0.0.1:{port}"), "path": "/"});
    let task = host.submit_and_wait(&one_step(
        "outbound/send",
        &json!({ "requests": [request] }),
    ));
    assert_eq!(task["state"], "succeeded", "{task:#}");
    task["steps"][0]["output"]["responses"][0].clone()
}

#[test]
fn a_private_authority_is_believed_where_the_operator_names_it() {
    let temp = tempfile::tempdir().unwrap();
    let (issuer, pem) = authority();
    let (_, other) = authority();
    let file = |name: &str, text: &str| {
        let path = temp.path().join(name);
        std::fs::write(&path, text).unwrap();
        path.to_str().unwrap().to_owned()
    };
    let (ours, theirs) = (file("ours.pem", &pem), file("theirs.pem", &other));
    let port = server(&issuer);
    assert_eq!(told(&["--http-ca", &ours], port)["body"], "hi");
    assert_eq!(
        told(&["--http-ca", &ours, "--http-ca-only"], port)["body"],
        "hi"
    );
    let doubted = "ErrorCode::TlsCertificateError";
    assert_eq!(told(&[], port)["error"], doubted);
    assert_eq!(told(&["--http-ca", &theirs], port)["error"], doubted);
}

#[test]
fn a_file_that_names_no_authority_is_refused_at_the_start() {
    let temp = tempfile::tempdir().unwrap();
    let data = temp.path().join("data");
    let data = data.to_str().unwrap();
    let serve = |file: &Path| {
        let file = file.to_str().unwrap();
        let serve = [
            "--data",
            data,
            "serve",
            "--listen",
            "127.0.0.1:0",
            "--http-ca",
            file,
        ];
        stepseal(&serve).expect(1)
    };
    let file = temp.path().join("ca.pem");
    serve(&file).says(&["ca.pem", "cannot be read"]);
    for (text, why) in [
        ("no certificate", "BEGIN CERTIFICATE"),
        (
            "-----BEGIN CERTIFICATE-----\nAAAA\n",
            "cannot be read as PEM",
        ),
        (
            "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n",
            "certificate number 1 cannot be used",
        ),
    ] {
        std::fs::write(&file, text).unwrap();
        serve(&file).says(&["ca.pem", why]);
    }
    let alone = ["--data", data, "serve", "--http-ca-only"];
    stepseal(&alone).expect(2).says(&["--http-ca <FILE>"]);
    assert!(!Path::new(data).exists());
}
