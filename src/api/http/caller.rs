//! Who sends a request, and by what key it may be sent again: the header `Idempotency-Key`, of any `POST`.

use std::future::{Ready, ready};

use actix_web::dev::Payload;
use actix_web::http::header::HeaderValue;
use actix_web::{FromRequest, HttpRequest};

use super::failure::Failure;
use crate::api::idempotency;
use crate::idempotency::{Attempt, Key};
use crate::node::Caller;

/// What the head of a request says of its sender.
#[derive(Debug)]
pub(crate) struct Credentials {
    key: Option<Key>,
    /// Method and path. The query is no part of it: it only says how to answer.
    operation: String,
}

impl Credentials {
    /// The caller, who asks for `parts` beside the path, such as the body.
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
