//! `caxton doctor`.

use std::error::Error;
use std::path::{Path, PathBuf};

use super::output::print;
use super::{Checked, KEY_FILE};
use crate::agent::Document;
use crate::journal::doctor::{Doctor, DoctorError};
use crate::time::Timestamp;

pub(super) fn doctor(data_dir: &Path, rebuild: bool, salvage: bool) -> Result<Checked, Box<dyn Error>> {
    // A long check logs its progress.
    crate::telemetry::log(false)?;
    let mut doctor = Doctor::open(data_dir)?;
    if salvage || rebuild {
        let repaired = if salvage {
            doctor.salvage(Timestamp::now())
        } else {
            doctor.rebuild().map(|rebuilt| rebuilt.to_string())
        };
        match repaired {
            Ok(done) => print(&done)?,
            Err(DoctorError::Refused(why)) => {
                print(&why)?;
                return Ok(Checked::Findings(1));
            }
            Err(error) => return Err(error.into()),
        }
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
        print(note)?;
    }
    for finding in &report.findings {
        print(&finding.to_string())?;
    }
    match report.findings.len() {
        0 => {
            print("sound")?;
            Ok(Checked::Sound)
        }
        count => Ok(Checked::Findings(count)),
    }
}
