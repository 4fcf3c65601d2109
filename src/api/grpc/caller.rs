//! Who makes a call, and by what key it may be made again: the metadata `idempotency-key`.

use tonic::Request;
use tonic::metadata::MetadataValue;

use crate::api::{credentials, idempotency};
use crate::error::Result;
use crate::idempotency::Attempt;
use crate::principal::Caller;

/// The caller, as the metadata of the request says.
pub(super) fn caller<Q: prost::Message>(request: &Request<Q>) -> Result<Caller> {
    let values = |name: &'static str| request.metadata().get_all(name).iter().map(MetadataValue::as_bytes);
    credentials::agree(values(credentials::CAXTON_TOKEN), values(credentials::AUTHORIZATION))?;
    let key = idempotency::key(values(idempotency::NAME))?;
    // The name of the message in the `.proto` is that of the type, without its modules.
    let kind = std::any::type_name::<Q>().rsplit("::").next().unwrap_or_default();
    let attempt = key.map(|key| Attempt::new(key, kind, &[&request.get_ref().encode_to_vec()]));
    Ok(Caller::for_request(attempt))
}
