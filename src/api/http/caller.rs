//! Who sends a request, and by what key it may be sent again: the header `Idempotency-Key`, of any `POST`.

use actix_web::HttpRequest;

use crate::error::{Error, Result};
use crate::idempotency::{Attempt, Key};
use crate::node::Caller;

const HEADER: &str = "idempotency-key";

/// The caller. `parts` are what the request asks for beside its path, such as the body; its query only says how to answer.
pub(crate) fn caller(request: &HttpRequest, parts: &[&[u8]]) -> Result<Caller> {
    let mut headers = request.headers().get_all(HEADER);
    let attempt = match (headers.next(), headers.next()) {
        (None, _) => None,
        (Some(_), Some(_)) => return Err(Error::invalid("Idempotency-Key", "is given more than once")),
        (Some(header), None) => {
            let key = Key::parse(&String::from_utf8_lossy(header.as_bytes()))?;
            let what = format!("{} {}", request.method(), request.path());
            Some(Attempt::new(key, &what, parts))
        }
    };
    Ok(Caller {
        attempt,
        ..Caller::anonymous()
    })
}
