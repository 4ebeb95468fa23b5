//! Why a request was not answered, as the guest is told and the transcript keeps it.

use wasmtime_wasi_http::Error;

/// Why a request was not answered. Nothing a server says is in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    /// No rule allows it.
    Denied,
    /// Its address cannot be read, or can be read in more than one way.
    UriInvalid,
    /// More requests than the step may send.
    TooMany,
    /// More or larger headers than may be sent.
    RequestHeaders,
    /// A larger body than may be sent.
    RequestBody,
    /// The guest did not write the body to its end.
    RequestUnfinished,
    /// A secret that the rule names is not there.
    SecretMissing,
    /// The name could not be resolved.
    Dns,
    /// It resolves to no address that may be reached.
    AddressProhibited,
    /// Nobody listens, or nobody can be reached.
    Refused,
    /// No connection in time.
    ConnectTimeout,
    /// TLS failed.
    Tls,
    /// The certificate is not one to be trusted for that name.
    Certificate,
    /// No response in time, or not all of it.
    ResponseTimeout,
    /// More or larger headers than are taken.
    ResponseHeaders,
    /// A larger body than is taken.
    ResponseBody,
    /// The connection ended too early.
    Terminated,
    /// What came is not HTTP/1.1.
    Protocol,
}

/// Each with its name in a transcript: that of the case of `wasi:http/types.error-code` where it has one to itself.
const NAMES: [(Fault, &str); 18] = [
    (Fault::Denied, "HTTP-request-denied"),
    (Fault::UriInvalid, "HTTP-request-URI-invalid"),
    (Fault::TooMany, "connection-limit-reached"),
    (Fault::RequestHeaders, "HTTP-request-header-section-size"),
    (Fault::RequestBody, "HTTP-request-body-size"),
    (Fault::RequestUnfinished, "request-unfinished"),
    (Fault::SecretMissing, "configuration-error"),
    (Fault::Dns, "DNS-error"),
    (Fault::AddressProhibited, "destination-IP-prohibited"),
    (Fault::Refused, "connection-refused"),
    (Fault::ConnectTimeout, "connection-timeout"),
    (Fault::Tls, "TLS-protocol-error"),
    (Fault::Certificate, "TLS-certificate-error"),
    (Fault::ResponseTimeout, "HTTP-response-timeout"),
    (Fault::ResponseHeaders, "HTTP-response-header-section-size"),
    (Fault::ResponseBody, "HTTP-response-body-size"),
    (Fault::Terminated, "connection-terminated"),
    (Fault::Protocol, "HTTP-protocol-error"),
];

impl Fault {
    pub(crate) fn as_str(self) -> &'static str {
        let found = NAMES.iter().find(|(fault, _)| *fault == self);
        found.map_or("HTTP-protocol-error", |(_, name)| name)
    }

    pub(crate) fn from_name(name: &str) -> Option<Self> {
        let found = NAMES.iter().find(|(_, it)| *it == name);
        found.map(|(fault, _)| *fault)
    }

    /// Whether it was found out before anything was sent.
    pub(crate) fn is_refusal(self) -> bool {
        matches!(
            self,
            Self::Denied
                | Self::UriInvalid
                | Self::TooMany
                | Self::RequestHeaders
                | Self::RequestBody
                | Self::RequestUnfinished
                | Self::SecretMissing
        )
    }

    /// As the guest is told.
    pub(crate) fn to_guest(self) -> Error {
        match self {
            Self::Denied => Error::HttpRequestDenied,
            Self::UriInvalid => Error::HttpRequestUriInvalid,
            Self::TooMany => Error::ConnectionLimitReached,
            Self::RequestHeaders => Error::HttpRequestHeaderSectionSize(None),
            Self::RequestBody => Error::HttpRequestBodySize(None),
            Self::SecretMissing => Error::ConfigurationError,
            Self::Dns => Error::DnsError {
                rcode: None,
                info_code: None,
            },
            Self::AddressProhibited => Error::DestinationIpProhibited,
            Self::Refused => Error::ConnectionRefused,
            Self::ConnectTimeout => Error::ConnectionTimeout,
            Self::Tls => Error::TlsProtocolError,
            Self::Certificate => Error::TlsCertificateError,
            Self::ResponseTimeout => Error::HttpResponseTimeout,
            Self::ResponseHeaders => Error::HttpResponseHeaderSectionSize(None),
            Self::ResponseBody => Error::HttpResponseBodySize(None),
            Self::Terminated => Error::ConnectionTerminated,
            Self::RequestUnfinished | Self::Protocol => Error::HttpProtocolError,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_fault_has_a_name_of_its_own() {
        for (fault, name) in NAMES {
            assert_eq!(fault.as_str(), name);
            assert_eq!(Fault::from_name(name), Some(fault));
        }
    }
}
