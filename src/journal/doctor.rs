//! Checks and repairs a data folder that no server has open.
//!
//! Invariant: a check changes nothing, and a repair deletes nothing: what it takes out is moved aside.

use std::fmt;
use std::fs::{self, File};
use std::path::{Path, PathBuf};

use super::local::{self, Found, LocalJournal, LocalOptions, Log, Mend, Problem};
use super::projections::upkeep::{self, Examined};
pub use super::projections::upkeep::{Before, Rebuilt};
use super::{Journal, JournalError, NO_MIGRATION};
use crate::id::{Digest, Seq};
use crate::secret::KeyId;
use crate::time::Timestamp;

#[cfg(test)]
mod tests;

/// A problem, and what to do about it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    pub file: PathBuf,
    pub offset: Option<u64>,
    pub problem: String,
    pub mend: String,
}

impl fmt::Display for Rebuilt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "The projections were rebuilt, up to record {}.", self.applied)?;
        match &self.before {
            Before::Missing => Ok(()),
            Before::Sound => write!(f, " The file that was there before was sound, and is removed."),
            Before::Damaged { kept_as } => write!(
                f,
                " The file that was there before was damaged, and is kept as {}. No server needs it: remove it when you have \
                 looked at it.",
                kept_as.display()
            ),
        }
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.file.display())?;
        if let Some(offset) = self.offset {
            write!(f, " at byte {offset}")?;
        }
        write!(f, ": {}\n  mend: {}", self.problem, self.mend)
    }
}

/// The result of a check.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Report {
    pub findings: Vec<Finding>,
    /// What the folder contains, one sentence each.
    pub notes: Vec<String>,
}

/// Why a folder cannot be checked or repaired.
#[derive(Debug, thiserror::Error)]
pub enum DoctorError {
    #[error(transparent)]
    Journal(#[from] JournalError),
    #[error("there is no data folder {0}; name one with --data-dir")]
    NoFolder(PathBuf),
    #[error("{0} is no data folder: it {1}; name one with --data-dir")]
    Unfit(PathBuf, String),
    #[error("{0}")]
    Refused(String),
}

/// A data folder that stays locked against other processes while this value lives.
#[derive(Debug)]
pub struct Doctor {
    dir: PathBuf,
    lock: File,
}

const SALVAGE: &str = "`caxton doctor --salvage` keeps what is before this place and puts the rest aside; or restore a backup with \
                   `caxton restore`";

impl Doctor {
    /// Locks the folder. A folder that a server uses is refused, and so is one that is no data folder.
    pub fn open(dir: &Path) -> Result<Self, DoctorError> {
        match local::look_at_folder(dir) {
            Ok(Found::DataFolder | Found::Backup) => {}
            Ok(Found::Nothing) => return Err(DoctorError::NoFolder(dir.to_owned())),
            Ok(Found::Empty) => return Err(DoctorError::Unfit(dir.to_owned(), "is empty".to_owned())),
            Err(unfit) => return Err(DoctorError::Unfit(dir.to_owned(), unfit.to_string())),
        }
        Ok(Self {
            dir: dir.to_owned(),
            lock: local::lock_folder(dir)?,
        })
    }

    /// Checks everything. It takes as long as reading the whole folder does.
    pub fn examine(&self) -> Result<Report, DoctorError> {
        let mut report = Report::default();
        if let Some(finding) = self.format() {
            // This release cannot judge the files of another one.
            report.findings.push(finding);
            return Ok(report);
        }
        let log = local::look(&self.dir)?;
        report.findings.extend(log.problems.iter().map(of_log));
        report.notes.push(format!(
            "log: {} segments, {} records, up to record {}",
            log.count(),
            log.records,
            log.next.0 - 1
        ));
        if log.is_pruned() {
            let before = log.next.0 - log.records;
            let note = format!("log: begins with record {before}; the projections hold what came before");
            report.notes.push(note);
        }
        if let Some((file, offset, bytes)) = &log.torn {
            report.notes.push(format!(
                "log: {} ends at byte {offset} with {bytes} bytes of a write that a crash interrupted; nobody was told that \
                 it was durable, and the next start cuts it off",
                file.display()
            ));
        }
        report.findings.extend(self.partitions(&log));
        let (modules, problems) = local::look_at_modules(&self.dir)?;
        report.notes.push(format!("modules: {modules}"));
        report.findings.extend(problems.into_iter().map(|problem| Finding {
            file: problem.file,
            offset: None,
            problem: problem.what,
            mend: "put the file back from a backup, or remove it and deploy the same module again".to_owned(),
        }));
        self.projections(&log, &mut report);
        report.notes.extend(self.set_aside()?);
        Ok(report)
    }

    /// What repairs have set aside. Nothing removes it but an operator.
    fn set_aside(&self) -> Result<Vec<String>, DoctorError> {
        let failed = |source| JournalError::Io {
            what: format!("cannot list the folder {}", self.dir.display()),
            source,
        };
        let mut notes = Vec::new();
        for entry in fs::read_dir(&self.dir).map_err(failed)? {
            let name = entry.map_err(failed)?.file_name();
            let name = name.to_string_lossy();
            if name.starts_with("damaged-") || name.ends_with(".damaged") {
                notes.push(format!(
                    "set aside: a repair put damaged data into {name}. No server needs it: remove it when you have looked at it"
                ));
            }
        }
        notes.sort_unstable();
        Ok(notes)
    }

    /// The catalog's documents of agents; none if the projections are not sound.
    pub fn agents(&self) -> Result<Vec<String>, DoctorError> {
        match upkeep::examine(&self.dir) {
            Examined::Sound { .. } => Ok(upkeep::agents(&self.dir)?),
            Examined::Missing | Examined::Damaged { .. } => Ok(Vec::new()),
        }
    }

    /// A finding if the module that `who` needs is missing. Its content is not checked here: [`Self::examine`] checks
    /// every module.
    pub fn module(&self, digest: Digest, who: &str) -> Option<Finding> {
        let file = local::module_file(&self.dir, digest);
        (!file.exists()).then(|| Finding {
            file,
            offset: None,
            problem: format!("the module of {who} is missing"),
            mend: "put the file back from a backup, or deploy the same module again".to_owned(),
        })
    }

    /// A finding if the key in `file`, or in the folder's own key file, is not the key `needed` that opens `what`.
    pub fn key(&self, file: Option<&Path>, needed: KeyId, what: &str) -> Option<Finding> {
        let file = file.map_or_else(|| local::key_file(&self.dir), Path::to_owned);
        let found = match local::read_key(&file) {
            Ok(Some(key)) if key.id() == needed => return None,
            Ok(Some(key)) => format!("it holds key {}", key.id()),
            Ok(None) => "there is no file".to_owned(),
            Err(error) => error.to_string(),
        };
        Some(Finding {
            problem: format!("{what} is sealed with key {needed}: {found}"),
            offset: None,
            mend: "put the file of that key there, or name it with CAXTON_KEY_FILE; no backup contains it".to_owned(),
            file,
        })
    }

    fn format(&self) -> Option<Finding> {
        let file = self.dir.join("FORMAT");
        let finding = |problem: String, mend: &str| Finding {
            file: file.clone(),
            offset: None,
            problem,
            mend: mend.to_owned(),
        };
        let known = local::FORMAT;
        match fs::read_to_string(&file).map(|text| text.trim().parse::<u32>()) {
            Ok(Ok(found)) if found == known => None,
            Ok(Ok(found)) => Some(finding(
                format!("the data folder is of format {found}, and this release reads format {known}"),
                NO_MIGRATION,
            )),
            Ok(Err(_)) => Some(finding(
                "is no format version".to_owned(),
                "put the file back from a backup",
            )),
            Err(_) if !self.dir.join("journal").exists() => None,
            Err(error) => Some(finding(
                format!("cannot be read: {error}"),
                &format!("put the file back from a backup; in a folder of this release it holds the line `{known}`"),
            )),
        }
    }

    fn partitions(&self, log: &Log) -> Option<Finding> {
        let file = self.dir.join("PARTITIONS");
        let problem = match fs::read_to_string(&file) {
            Ok(text) if text.trim().parse::<u16>().is_ok_and(|count| count > 0) => return None,
            Ok(_) => "is no number of partitions".to_owned(),
            Err(_) if log.records == 0 => return None, // without records no agent has a partition yet
            Err(error) => format!("cannot be read: {error}"),
        };
        Some(Finding {
            file,
            offset: None,
            problem,
            mend: "put the file back from a backup, or write the number into it that the folder was made with (64 unless the \
                   configuration said otherwise)"
                .to_owned(),
        })
    }

    fn projections(&self, log: &Log, report: &mut Report) {
        let (problems, applied) = match upkeep::examine(&self.dir) {
            Examined::Missing if log.records == 0 && !log.is_pruned() => return,
            Examined::Missing => (vec!["there is no file".to_owned()], None),
            Examined::Damaged { problems } => (problems, None),
            Examined::Sound { applied } => (Vec::new(), Some(applied)),
        };
        let file = self.dir.join("projections.db");
        let again = if log.is_pruned() {
            "restore a backup with `caxton restore`: the log no longer has what they would be made from"
        } else {
            "the next start of the server makes them again, and so does `caxton doctor --rebuild`"
        };
        let finding = |problem: String, mend: &str| Finding {
            file: file.clone(),
            offset: None,
            problem: format!("the projections: {problem}"),
            mend: mend.to_owned(),
        };
        let damaged = problems.into_iter().map(|problem| finding(problem, again));
        report.findings.extend(damaged);
        let Some(applied) = applied else { return };
        let (first, last) = (log.next.0 - log.records, log.next.0 - 1);
        report.notes.push(format!("projections: sound, at record {applied}"));
        if applied.0 > last && !log.is_broken() && !log.is_foreign() {
            let mend = if log.is_pruned() {
                "`caxton doctor --salvage` begins another log after them"
            } else {
                "the log has lost records that were durable: restore a backup, or start the server, which goes on without them"
            };
            let problem = format!("they are at record {applied} and the log ends with {last}");
            report.findings.push(finding(problem, mend));
        }
        if log.is_pruned() && applied.0 + 1 < first {
            let problem = format!("they are at record {applied} and the log begins with {first}");
            report.findings.push(finding(problem, again));
        }
    }

    /// Rebuilds the projections from the log. The old file is replaced when the new one is whole. If the old file was
    /// damaged, it is kept beside the new one.
    pub fn rebuild(self) -> Result<Rebuilt, DoctorError> {
        if let Some(finding) = self.format() {
            return Err(DoctorError::Refused(finding.to_string()));
        }
        let log = local::look(&self.dir)?;
        if log.is_pruned() {
            return Err(DoctorError::Refused(format!(
                "the projections cannot be made again: the log begins with record {}, and what came before is in them alone; \
                 keep them, or restore a backup with `caxton restore`",
                log.next.0 - log.records
            )));
        }
        if let Some(problem) = log.problems.first() {
            return Err(DoctorError::Refused(format!(
                "the projections would be made from a log that is not sound: {}",
                of_log(problem)
            )));
        }
        let Self { dir, lock } = self;
        // The lock is released because the journal takes it itself.
        drop(lock);
        let journal = LocalJournal::open(&dir, LocalOptions::default())?;
        let rebuilt = upkeep::rebuild(&dir, &*journal);
        journal.close();
        Ok(rebuilt?)
    }

    /// Takes the broken part out of the log, and returns a description of what was done. If the log still has its first
    /// record, it is cut before the damage and the projections are rebuilt from the rest. Otherwise the projections
    /// cannot be rebuilt; if they have more than what is left of the log, a new log begins after them.
    pub fn salvage(self, now: Timestamp) -> Result<String, DoctorError> {
        if let Some(finding) = self.format() {
            return Err(DoctorError::Refused(finding.to_string()));
        }
        let log = local::look(&self.dir)?;
        if let Some(problem) = log.problems.iter().find(|problem| problem.mend == Mend::OtherRelease) {
            return Err(DoctorError::Refused(of_log(problem).to_string()));
        }
        let last = Seq(log.next.0 - 1);
        if log.is_pruned() {
            let Examined::Sound { applied } = upkeep::examine(&self.dir) else {
                return Err(nothing_to_go_on_from("are damaged or missing"));
            };
            let unsound = log.is_broken() || log.is_empty() || applied > last;
            if unsound && (applied > last || log.records == 0) {
                if applied < last {
                    return Err(nothing_to_go_on_from("do not reach what is left of it"));
                }
                let done = local::begin_after(&self.dir, &log, applied, now)?;
                return Ok(format!(
                    "The projections hold everything up to record {applied}, and another log begins after it. What the log was \
                     is in {}; {} later records in it can be read and are left out.",
                    done.aside.display(),
                    done.left_out
                ));
            }
        }
        let Some(done) = local::cut(&self.dir, &log, now)? else {
            return Ok("Nothing was changed: no frame of the log is damaged.".to_owned());
        };
        if !log.is_pruned() {
            self.rebuild()?;
        }
        Ok(format!(
            "The log and the projections end with record {last} now. What was damaged or came after it is in {}; {} records in \
             it can be read and are left out.",
            done.aside.display(),
            done.left_out
        ))
    }
}

fn nothing_to_go_on_from(why: &str) -> DoctorError {
    DoctorError::Refused(format!(
        "the log no longer has its first records, and the projections, which alone hold them, {why}: restore a backup with \
         `caxton restore`"
    ))
}

fn of_log(problem: &Problem) -> Finding {
    Finding {
        file: problem.file.clone(),
        offset: Some(problem.offset),
        problem: problem.what.clone(),
        mend: match problem.mend {
            Mend::Salvage => SALVAGE,
            Mend::OtherRelease => NO_MIGRATION,
            Mend::PutBack => "put back what is missing, or restore a backup with `caxton restore`",
            Mend::TakeOut => "move it out of the folder",
        }
        .to_owned(),
    }
}
