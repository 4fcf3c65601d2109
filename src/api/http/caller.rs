//! Who sends a request, and its `Idempotency-Key`, if it has one.

use std::future::{Ready, ready};

use actix_web::dev::Payload;
use actix_web::http::header::HeaderValue;
use actix_web::{FromRequest, HttpRequest};

use super::failure::Failure;
use crate::api::idempotency;
use crate::idempotency::{Attempt, Key};
use crate::node::Caller;

/// What the headers of a request say about its sender.
#[derive(Debug)]
pub(crate) struct Credentials {
    key: Option<Key>,
    /// Method and path. The query only affects the response, so that it is not part of the operation.
    operation: String,
}

impl Credentials {
    /// The caller. `parts` are the content of the request, such as its body; with the operation they make its fingerprint.
    pub(crate) fn caller(self, parts: &[&[u8]]) -> Caller {
        let attempt = self.key.map(|key| Attempt::new(key, &self.operation, parts));
        Caller {
            attempt,
            ..Caller::anonymous()
        }
    }
}

impl FromRequest for Credentials {
    type Error = Failure;
    type Future = Ready<Result<Self, Failure>>;

    fn from_request(request: &HttpRequest, _: &mut Payload) -> Self::Future {
        let values = request.headers().get_all(idempotency::NAME);
        let key = idempotency::key(values.map(HeaderValue::as_bytes));
        ready(key.map_err(Failure::from).map(|key| Self {
            key,
            operation: format!("{} {}", request.method(), request.path()),
        }))
    }
}
