//! The node's key for secrets: it is read, or created for a folder that has none, and checked before anything starts.

use std::path::Path;

use super::StartError;
use crate::agent::{Document, Unreadable};
use crate::config::Config;
use crate::error::Error;
use crate::journal::local;
use crate::journal::projections::Projections;
use crate::message::Durability;
use crate::secret::{Sealer, Unopened};

/// Returns the key of the data folder `dir`, after opening every sealed value of the catalog with it. A wrong key thus
/// stops the start of the node, and not an agent later. This function blocks.
pub(super) fn sealer(config: &Config, dir: &Path, projections: &Projections) -> Result<Sealer, StartError> {
    if config.durability == Durability::Memory {
        return Ok(Sealer::ephemeral());
    }
    let file = config.key_file.clone().unwrap_or_else(|| local::key_file(dir));
    let documents = projections.agents()?;
    let sealer = if let Some(sealer) = local::read_key(&file)? {
        sealer
    } else {
        refuse_sealed(&documents, &file)?;
        if config.key_file.is_some() {
            return Err(StartError::KeyFile(file));
        }
        local::make_key(dir)?
    };
    for document in &documents {
        Document::open(document, &sealer).map_err(refusal)?;
    }
    Ok(sealer)
}

/// Refuses to create a new key for a folder that holds sealed values, because the lost key is the only one that opens
/// them.
fn refuse_sealed(documents: &[String], file: &Path) -> Result<(), StartError> {
    for document in documents {
        let document: Document = serde_json::from_str(document).map_err(Error::internal)?;
        if let Some((what, needed)) = document.first_sealed() {
            let file = file.to_owned();
            return Err(Unopened::NoKey { what, needed, file }.into());
        }
    }
    Ok(())
}

fn refusal(unreadable: Unreadable) -> StartError {
    match unreadable {
        Unreadable::Secret(unopened) => unopened.into(),
        json @ Unreadable::Json(_) => Error::internal(json).into(),
    }
}
