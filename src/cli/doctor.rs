//! `caxton doctor`.

use std::error::Error;
use std::path::{Path, PathBuf};

use super::KEY_FILE;
use crate::agent::Document;
use crate::journal::doctor::Doctor;
use crate::time::Timestamp;

pub(super) fn doctor(data_dir: &Path, rebuild: bool, salvage: bool) -> Result<(), Box<dyn Error>> {
    // A long check logs its progress.
    crate::telemetry::log(false);
    let mut doctor = Doctor::open(data_dir)?;
    if salvage {
        println!("{}", doctor.salvage(Timestamp::now())?);
        doctor = Doctor::open(data_dir)?;
    }
    if rebuild {
        let applied = doctor.rebuild()?;
        println!("The projections were rebuilt, up to record {applied}.");
        doctor = Doctor::open(data_dir)?;
    }
    let mut report = doctor.examine()?;
    let key = std::env::var_os(KEY_FILE).map(PathBuf::from);
    for document in doctor.agents()? {
        let agent: Document = serde_json::from_str(&document)?;
        if let Some((what, id)) = agent.first_sealed() {
            report.findings.extend(doctor.key(key.as_deref(), id, &what));
        }
        report
            .findings
            .extend(doctor.module(agent.digest, &format!("agent '{}'", agent.spec.name)));
    }
    for note in &report.notes {
        println!("{note}");
    }
    for finding in &report.findings {
        println!("{finding}");
    }
    match report.findings.len() {
        0 => {
            println!("sound");
            Ok(())
        }
        1 => Err("1 finding".into()),
        count => Err(format!("{count} findings").into()),
    }
}
