//! Who sends a request, and its `Idempotency-Key`, if it has one.

use std::future::{Ready, ready};

use actix_web::dev::Payload;
use actix_web::http::Method;
use actix_web::http::header::HeaderValue;
use actix_web::{FromRequest, HttpRequest};

use super::failure::Failure;
use crate::api::idempotency;
use crate::idempotency::{Attempt, Key};
use crate::principal::Caller;

/// What the headers of a request say about its sender.
#[derive(Debug)]
pub(crate) struct Credentials {
    /// The key of a `POST`. The header means nothing with other methods, whose repetition is harmless, and is not read.
    key: Option<Key>,
    /// Method and path. The query only affects the response, so that it is not part of the operation.
    operation: String,
}

impl Credentials {
    /// The caller. `parts` are the content of the request, such as its body; with the operation they make its fingerprint.
    pub(crate) fn caller(self, parts: &[&[u8]]) -> Caller {
        let attempt = self.key.map(|key| Attempt::new(key, &self.operation, parts));
        Caller::for_request(attempt)
    }
}

impl FromRequest for Credentials {
    type Error = Failure;
    type Future = Ready<Result<Self, Failure>>;

    fn from_request(request: &HttpRequest, _: &mut Payload) -> Self::Future {
        let is_post = request.method() == Method::POST;
        let values = request.headers().get_all(idempotency::NAME).filter(|_| is_post);
        let key = idempotency::key(values.map(HeaderValue::as_bytes));
        ready(key.map_err(Failure::from).map(|key| Self {
            key,
            operation: format!("{} {}", request.method(), request.path()),
        }))
    }
}

#[cfg(test)]
mod tests {
    use actix_web::test::TestRequest;

    use super::*;

    async fn caller(method: Method, key: &str) -> Option<Caller> {
        let request = TestRequest::default()
            .method(method)
            .insert_header((idempotency::NAME, key));
        let credentials = Credentials::extract(&request.to_http_request()).await.ok();
        credentials.map(|credentials| credentials.caller(&[]))
    }

    #[actix_web::test]
    async fn the_key_is_read_of_a_post_and_of_no_other_method() {
        let posted = caller(Method::POST, "order-1").await.unwrap();
        assert_eq!(posted.attempt().unwrap().key.as_str(), "order-1");
        assert!(caller(Method::POST, "two words").await.is_none());
        for method in [Method::GET, Method::HEAD, Method::PUT, Method::DELETE] {
            assert_eq!(caller(method, "two words").await, Some(Caller::anonymous()));
        }
    }
}
