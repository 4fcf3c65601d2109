//! The key by which a request may come again: the header `Idempotency-Key` over HTTP, metadata of the same name in gRPC.

use crate::error::{Error, Result};
use crate::idempotency::Key;

/// The header, and the metadata, in the case in which both are compared.
pub(super) const NAME: &str = "idempotency-key";

/// Reads the key from all values that the request has for it.
pub(super) fn key<'a>(values: impl IntoIterator<Item = &'a [u8]>) -> Result<Option<Key>> {
    let mut values = values.into_iter();
    match (values.next(), values.next()) {
        (None, _) => Ok(None),
        (Some(value), None) => Ok(Some(Key::parse(&String::from_utf8_lossy(value))?)),
        (Some(_), Some(_)) => Err(Error::invalid("Idempotency-Key", "is given more than once")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_given_once_or_not_at_all() {
        assert_eq!(key([]).unwrap(), None);
        assert_eq!(key([&b"order-1"[..]]).unwrap().unwrap().as_str(), "order-1");
        for wrong in [&[&b"order-1"[..], b"order-1"][..], &[b"two words"]] {
            let error = key(wrong.iter().copied()).unwrap_err();
            assert_eq!(error.details()["field"], "Idempotency-Key");
        }
    }
}
