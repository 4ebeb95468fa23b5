//! The bearer token (RFC 6750).

use std::fmt;
use std::sync::Arc;

use axum::http::HeaderMap;
use axum::http::header::AUTHORIZATION;
use stepseal_receipts::digest::Digest;

use super::problem::ApiError;
use crate::engine::tenants::Caller;

/// Fewest characters of a token: 256 bits are 43 in base64url, 128 bits are 32 in hexadecimal.
pub const TOKEN_LENGTH_MIN: usize = 32;

/// Most characters of a token.
pub const TOKEN_LENGTH_MAX: usize = 512;

/// The token that clients must show. Only its digest is kept.
#[derive(Clone, PartialEq, Eq)]
pub struct Token(Digest);

/// Why a text cannot be the token.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TokenError {
    /// Too short to be unguessable, or too long.
    #[error("a token has {TOKEN_LENGTH_MIN} to {TOKEN_LENGTH_MAX} characters, this has {0}")]
    Length(usize),
    /// A character that cannot be sent.
    #[error("a token has letters, digits and -._~+/ with = at the end only (RFC 6750 section 2.1)")]
    Character,
}

impl Token {
    /// The token with this text, without line end or space around it.
    pub fn new(secret: &str) -> Result<Self, TokenError> {
        if !(TOKEN_LENGTH_MIN..=TOKEN_LENGTH_MAX).contains(&secret.len()) {
            return Err(TokenError::Length(secret.len()));
        }
        if !is_b64token(secret) {
            return Err(TokenError::Character);
        }
        Ok(Self(Digest::of(secret.as_bytes())))
    }

    /// Whether `shown` is this token.
    ///
    /// Digests are compared, so what the time tells is about the digest of a guess and leads to no better guess.
    pub fn is(&self, shown: &str) -> bool {
        Digest::of(shown.as_bytes()) == self.0
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token(..)")
    }
}

/// RFC 6750 §2.1 `b64token`.
fn is_b64token(text: &str) -> bool {
    let body = text.trim_end_matches('=');
    !body.is_empty()
        && body
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b"-._~+/".contains(&b))
}

/// Who asks: whoever shows the host's token, or that of a tenant.
pub(crate) fn check(
    token: &Token,
    tenant_with: impl FnOnce(&str) -> Option<Arc<str>>,
    headers: &HeaderMap,
) -> Result<Caller, ApiError> {
    let mut fields = headers.get_all(AUTHORIZATION).iter();
    let Some(field) = fields.next() else {
        return Err(ApiError::unauthorized(
            "this needs the host's token: send `Authorization: Bearer <token>`; the token is in the file `token` of the data directory",
            None,
        ));
    };
    if fields.next().is_some() {
        return Err(ApiError::unauthorized(
            "there is more than one Authorization header: send one",
            Some("invalid_request"),
        ));
    }
    let shown = field.to_str().ok().and_then(bearer).ok_or_else(|| {
        ApiError::unauthorized(
            "the Authorization header is not `Bearer <token>`",
            Some("invalid_request"),
        )
    })?;
    if token.is(shown) {
        return Ok(Caller::Operator);
    }
    tenant_with(shown).map(Caller::Tenant).ok_or_else(|| {
        ApiError::unauthorized(
            "this is neither the host's token, which is in the file `token` of its data directory, nor that of a tenant",
            Some("invalid_token"),
        )
    })
}

/// The credentials of `Bearer <token>`; the scheme's name is case-insensitive (RFC 9110 §11.1).
fn bearer(field: &str) -> Option<&str> {
    let (scheme, rest) = field.split_once(' ')?;
    let shown = rest.trim_start_matches(' ');
    (scheme.eq_ignore_ascii_case("bearer") && is_b64token(shown)).then_some(shown)
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::http::{HeaderValue, StatusCode};

    const SECRET: &str = "q0Zr5cYV9b0Yp1m3n5o7r9t1v3x5z7B9D1F3H5J7L9N";

    fn outcome(fields: &[&str]) -> Result<(), StatusCode> {
        let mut headers = HeaderMap::new();
        for field in fields {
            headers.append(AUTHORIZATION, HeaderValue::from_str(field).unwrap());
        }
        let token = Token::new(SECRET).unwrap();
        check(&token, |_| None, &headers)
            .map(|caller| assert_eq!(caller, Caller::Operator))
            .map_err(|error| error.status())
    }

    #[test]
    fn the_token_is_let_through_whatever_the_case_of_the_scheme() {
        assert_eq!(outcome(&[&format!("Bearer {SECRET}")]), Ok(()));
        assert_eq!(outcome(&[&format!("bEARER  {SECRET}")]), Ok(()));
    }

    #[test]
    fn everything_else_is_refused() {
        let unauthorized = Err(StatusCode::UNAUTHORIZED);
        assert_eq!(outcome(&[]), unauthorized);
        assert_eq!(outcome(&[""]), unauthorized);
        assert_eq!(outcome(&["Bearer"]), unauthorized);
        assert_eq!(outcome(&["Bearer "]), unauthorized);
        assert_eq!(outcome(&[SECRET]), unauthorized);
        assert_eq!(outcome(&[&format!("Basic {SECRET}")]), unauthorized);
        assert_eq!(outcome(&[&format!("Bearer {SECRET}x")]), unauthorized);
        assert_eq!(
            outcome(&[&format!("Bearer {}", &SECRET[1..])]),
            unauthorized
        );
        assert_eq!(
            outcome(&[&format!("Bearer {SECRET} {SECRET}")]),
            unauthorized
        );
        let good = format!("Bearer {SECRET}");
        assert_eq!(outcome(&[&good, &good]), unauthorized);
    }

    #[test]
    fn a_token_is_long_and_sendable() {
        assert_eq!(Token::new("short"), Err(TokenError::Length(5)));
        assert_eq!(
            Token::new(&"x".repeat(TOKEN_LENGTH_MAX + 1)),
            Err(TokenError::Length(TOKEN_LENGTH_MAX + 1))
        );
        assert_eq!(
            Token::new(&format!("{SECRET}\n")),
            Err(TokenError::Character)
        );
        assert_eq!(Token::new(&"=".repeat(40)), Err(TokenError::Character));
    }

    #[test]
    fn a_token_does_not_show_itself() {
        assert_eq!(format!("{:?}", Token::new(SECRET).unwrap()), "Token(..)");
    }
}
