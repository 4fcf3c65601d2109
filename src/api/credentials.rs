//! What a request shows to prove who sends it: headers in HTTP, and metadata of the same names in gRPC.

use crate::error::{Error, Result};

/// A token by itself, in lower case.
pub(super) const CAXTON_TOKEN: &str = "x-caxton-token";
/// A token as `Bearer <token>`, in lower case.
pub(super) const AUTHORIZATION: &str = "authorization";

/// Refuses two different tokens, in one header that is given twice or in both. To choose one of them would be to guess.
pub(super) fn agree<'a>(
    tokens: impl IntoIterator<Item = &'a [u8]>,
    authorizations: impl IntoIterator<Item = &'a [u8]>,
) -> Result<()> {
    let mut tokens = tokens
        .into_iter()
        .map(<[u8]>::trim_ascii)
        .chain(authorizations.into_iter().map(without_scheme));
    let first = tokens.next();
    if tokens.all(|other| Some(other) == first) {
        return Ok(());
    }
    let problem = "has another token than the same header or X-Caxton-Token of this request; send one of them";
    Err(Error::invalid("Authorization", problem))
}

fn without_scheme(authorization: &[u8]) -> &[u8] {
    match authorization.split_at_checked("Bearer ".len()) {
        Some((scheme, token)) if scheme.eq_ignore_ascii_case(b"Bearer ") => token.trim_ascii(),
        _ => authorization,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_tokens_of_a_request_must_be_the_same() {
        let agree = |tokens: &[&'static str], authorizations: &[&'static str]| {
            let bytes = |texts: &[&'static str]| texts.iter().map(|text| text.as_bytes()).collect::<Vec<_>>();
            agree(bytes(tokens), bytes(authorizations)).is_ok()
        };
        for (tokens, authorizations) in [
            (&[][..], &[][..]),
            (&["a"], &[]),
            (&["a", "a"], &["bearer a", "Bearer  a"]),
        ] {
            assert!(agree(tokens, authorizations), "{tokens:?} {authorizations:?}");
        }
        for (tokens, authorizations) in [
            (&["a", "b"][..], &[][..]),
            (&[], &["Bearer a", "Bearer b"]),
            (&["a"], &["Bearer b"]),
            (&["a"], &["Basic a"]),
            (&["a"], &["a", "Bearer b"]),
        ] {
            assert!(!agree(tokens, authorizations), "{tokens:?} {authorizations:?}");
        }
    }
}
