//! Who vouches for the servers that steps reach by TLS.

use rustls::RootCertStore;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::{self, PemObject as _};

/// Authorities whose certificates are believed: those of Mozilla's list unless it is said otherwise.
#[derive(Clone, Debug)]
pub struct TlsRoots(RootCertStore);

/// Why a file names no authorities.
#[derive(Debug, thiserror::Error)]
pub enum TlsRootsError {
    /// It is not PEM (RFC 7468).
    #[error("it cannot be read as PEM: {0}")]
    Pem(String),
    /// There is nobody in it.
    #[error("there is no `BEGIN CERTIFICATE` in it")]
    Empty,
    /// Something in it is nobody's certificate.
    #[error("its certificate number {number} cannot be used: {why}")]
    Certificate {
        /// From 1.
        number: usize,
        /// What is wrong with it.
        why: String,
    },
}

impl Default for TlsRoots {
    fn default() -> Self {
        Self(RootCertStore {
            roots: webpki_roots::TLS_SERVER_ROOTS.into(),
        })
    }
}

impl TlsRoots {
    /// The authorities of a PEM file besides those of Mozilla's list, or they `alone`. Everything else in the file is passed over.
    pub fn from_pem(pem: &[u8], alone: bool) -> Result<Self, TlsRootsError> {
        let certificates = CertificateDer::pem_slice_iter(pem).collect::<Result<Vec<_>, _>>();
        let certificates =
            certificates.map_err(|error: pem::Error| TlsRootsError::Pem(error.to_string()))?;
        if certificates.is_empty() {
            return Err(TlsRootsError::Empty);
        }
        let mut roots = if alone {
            Self(RootCertStore::empty())
        } else {
            Self::default()
        };
        for (certificate, number) in certificates.into_iter().zip(1..) {
            let added = roots.0.add(certificate);
            added.map_err(|error| TlsRootsError::Certificate {
                number,
                why: error.to_string(),
            })?;
        }
        Ok(roots)
    }

    pub(super) fn into_store(self) -> RootCertStore {
        self.0
    }
}

#[cfg(test)]
pub(super) mod tests {
    use base64::Engine as _;
    use base64::engine::general_purpose::STANDARD;

    use super::*;

    /// A section of a PEM file.
    pub(in crate::http) fn pem(label: &str, bytes: &[u8]) -> String {
        let text = STANDARD.encode(bytes);
        let lines: Vec<&str> = text
            .as_bytes()
            .chunks(64)
            .map(|line| std::str::from_utf8(line).unwrap())
            .collect();
        format!(
            "-----BEGIN {label}-----\n{}\n-----END {label}-----\n",
            lines.join("\n")
        )
    }

    #[test]
    fn authorities_come_besides_the_public_ones_or_alone() {
        let made = rcgen::generate_simple_self_signed(["a.example".to_owned()]).unwrap();
        let certificate = pem("CERTIFICATE", made.cert.der());
        let key = pem("PRIVATE KEY", &made.signing_key.serialize_der());
        let public = webpki_roots::TLS_SERVER_ROOTS.len();
        let found = |file: &str, alone| {
            TlsRoots::from_pem(file.as_bytes(), alone).map(|roots| roots.0.len())
        };
        let commented = format!("an authority\n{key}{certificate}");
        assert_eq!(found(&commented, true).unwrap(), 1);
        assert_eq!(found(&commented, false).unwrap(), public + 1);
        for file in ["", "not PEM", &key] {
            assert!(
                matches!(found(file, true), Err(TlsRootsError::Empty)),
                "{file}"
            );
        }
        let broken = certificate.replace("-----END CERTIFICATE-----", "");
        assert!(matches!(found(&broken, true), Err(TlsRootsError::Pem(_))));
        let foreign = format!("{certificate}{}", pem("CERTIFICATE", b"nobody's"));
        let error = found(&foreign, true).unwrap_err();
        assert!(
            matches!(error, TlsRootsError::Certificate { number: 2, .. }),
            "{error}"
        );
    }
}
