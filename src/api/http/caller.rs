//! Who sends a request, and by what key it may be sent again: the header `Idempotency-Key`, of any `POST`.

use actix_web::HttpRequest;
use actix_web::http::header::HeaderValue;

use crate::api::idempotency;
use crate::error::Result;
use crate::idempotency::Attempt;
use crate::node::Caller;

/// The caller. `parts` are what the request asks for beside its path, such as the body; its query only says how to answer.
pub(crate) fn caller(request: &HttpRequest, parts: &[&[u8]]) -> Result<Caller> {
    let key = idempotency::key(request.headers().get_all(idempotency::NAME).map(HeaderValue::as_bytes))?;
    let what = format!("{} {}", request.method(), request.path());
    Ok(Caller {
        attempt: key.map(|key| Attempt::new(key, &what, parts)),
        ..Caller::anonymous()
    })
}
