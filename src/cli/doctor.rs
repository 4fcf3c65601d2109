//! `caxton doctor`.

use std::error::Error;
use std::path::Path;

use crate::journal::doctor::Doctor;
use crate::time::Timestamp;

pub(super) fn doctor(data_dir: &Path, rebuild: bool, salvage: bool) -> Result<(), Box<dyn Error>> {
    // What takes long says how far it is.
    crate::telemetry::log(false);
    let mut doctor = Doctor::open(data_dir)?;
    if salvage {
        println!("{}", doctor.salvage(Timestamp::now())?);
        doctor = Doctor::open(data_dir)?;
    }
    if rebuild {
        let applied = doctor.rebuild()?;
        println!("The projections were made again, up to record {applied}.");
        doctor = Doctor::open(data_dir)?;
    }
    let report = doctor.examine()?;
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
