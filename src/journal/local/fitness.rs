//! Whether a folder that exists already may become a data folder, or the folder of a backup. This is known before anything in it
//! is changed: the server takes the access of everybody else away from its folder, and a wrong path may name a folder that others
//! need, such as `/tmp`.

use std::fmt;
use std::fs::{self, Permissions};
use std::io;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::Path;

use crate::journal::backup::MANIFEST;

/// The sticky bit, and the permission of all users to write: the mode of `/tmp` has both.
const SHARED: u32 = 0o1002;
/// The file system puts this folder into the root of a volume.
const LOST_AND_FOUND: &str = "lost+found";
/// Files that a start may have left that was interrupted before it wrote the format.
const FIRST_FILES: [&str; 1] = ["LOCK"];
/// The prefix of the temporary name of a file that is being written.
pub(super) const DRAFT: &str = ".tmp";
/// Most names of files that an error lists.
const NAMES: usize = 3;

/// What is at the path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::journal) enum Found {
    Nothing,
    /// An empty folder, which this user alone can write.
    Empty,
    /// A data folder, or one whose first start was interrupted.
    DataFolder,
    /// A complete backup.
    Backup,
}

/// Why the folder may not be used.
#[derive(Debug)]
pub(in crate::journal) enum Unfit {
    NoFolder,
    OfAnother { owner: u32, user: u32 },
    Shared,
    HasFiles(Vec<String>),
    Unreadable(io::Error),
}

impl fmt::Display for Unfit {
    /// The predicate of a sentence about the folder.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoFolder => write!(f, "is no folder"),
            Self::OfAnother { owner, user } => write!(
                f,
                "belongs to the user with id {owner}, and this process runs as the user with id {user}"
            ),
            Self::Shared => write!(
                f,
                "is a folder in which other users may write (its mode has the sticky bit, or write permission for all)"
            ),
            Self::HasFiles(names) => write!(
                f,
                "is not empty and no data folder of Caxton: it has {}",
                names.join(", ")
            ),
            Self::Unreadable(error) => write!(f, "cannot be read: {error}"),
        }
    }
}

/// Finds out what is at `dir`. A symbolic link is followed.
pub(in crate::journal) fn look(dir: &Path) -> Result<Found, Unfit> {
    let is = match fs::metadata(dir) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Found::Nothing),
        is => is.map_err(Unfit::Unreadable)?,
    };
    if !is.is_dir() {
        return Err(Unfit::NoFolder);
    }
    let user = rustix::process::geteuid().as_raw();
    if is.uid() != user {
        return Err(Unfit::OfAnother { owner: is.uid(), user });
    }
    if has_format(dir) || dir.join("journal").is_dir() {
        return Ok(if dir.join(MANIFEST).is_file() {
            Found::Backup
        } else {
            Found::DataFolder
        });
    }
    let names = names(dir).map_err(Unfit::Unreadable)?;
    let begun = |name: &String| FIRST_FILES.contains(&name.as_str()) || name.starts_with(DRAFT);
    let (first, foreign): (Vec<_>, Vec<_>) = names.into_iter().partition(begun);
    if !foreign.is_empty() {
        return Err(Unfit::HasFiles(shortened(foreign)));
    }
    if is.mode() & SHARED != 0 {
        return Err(Unfit::Shared);
    }
    Ok(if first.is_empty() {
        Found::Empty
    } else {
        Found::DataFolder
    })
}

/// Takes the access of all other users away, because the folder holds the agents' messages.
pub(in crate::journal) fn close_to_others(dir: &Path) -> io::Result<()> {
    fs::set_permissions(dir, Permissions::from_mode(0o700))
}

fn has_format(dir: &Path) -> bool {
    fs::read_to_string(dir.join("FORMAT")).is_ok_and(|text| text.trim().parse::<u32>().is_ok())
}

fn names(dir: &Path) -> io::Result<Vec<String>> {
    let mut names = Vec::new();
    for entry in fs::read_dir(dir)? {
        let name = entry?.file_name().to_string_lossy().into_owned();
        if name != LOST_AND_FOUND {
            names.push(name);
        }
    }
    Ok(names)
}

fn shortened(mut names: Vec<String>) -> Vec<String> {
    names.sort_unstable();
    let more = names.len().saturating_sub(NAMES);
    names.truncate(NAMES);
    if more > 0 {
        names.push(format!("and {more} more"));
    }
    names
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mode(dir: &Path, mode: u32) {
        fs::set_permissions(dir, Permissions::from_mode(mode)).unwrap();
    }

    #[test]
    fn a_folder_is_fit_if_it_is_empty_or_a_data_folder() {
        let dir = tempfile::tempdir().unwrap();
        let dir = dir.path();
        assert_eq!(look(&dir.join("absent")).unwrap(), Found::Nothing);
        assert_eq!(look(dir).unwrap(), Found::Empty);
        fs::create_dir(dir.join(LOST_AND_FOUND)).unwrap();
        assert_eq!(look(dir).unwrap(), Found::Empty, "the root of a volume");
        fs::write(dir.join("LOCK"), "").unwrap();
        fs::write(dir.join(".tmpX1"), "").unwrap();
        assert_eq!(look(dir).unwrap(), Found::DataFolder, "its first start was interrupted");
        fs::write(dir.join("FORMAT"), "2\n").unwrap();
        fs::write(dir.join("notes of the operator"), "").unwrap();
        assert_eq!(look(dir).unwrap(), Found::DataFolder);
        fs::remove_file(dir.join("FORMAT")).unwrap();
        fs::create_dir(dir.join("journal")).unwrap();
        assert_eq!(look(dir).unwrap(), Found::DataFolder, "it lost its format");
        fs::write(dir.join(MANIFEST), "{}").unwrap();
        assert_eq!(look(dir).unwrap(), Found::Backup);
    }

    #[test]
    fn a_folder_with_the_files_of_others_is_unfit_and_they_are_named() {
        let dir = tempfile::tempdir().unwrap();
        for name in ["FORMAT", "a", "b", "c", "d"] {
            fs::write(dir.path().join(name), "something else").unwrap();
        }
        let unfit = look(dir.path()).unwrap_err().to_string();
        assert!(unfit.ends_with("it has FORMAT, a, b, and 2 more"), "{unfit}");
    }

    #[test]
    fn a_shared_folder_is_unfit_even_if_it_is_empty() {
        let dir = tempfile::tempdir().unwrap();
        for shared in [0o1777, 0o1700, 0o777] {
            mode(dir.path(), shared);
            assert!(matches!(look(dir.path()), Err(Unfit::Shared)), "{shared:o}");
        }
        mode(dir.path(), 0o775);
        assert_eq!(look(dir.path()).unwrap(), Found::Empty);
    }

    #[test]
    fn what_is_no_folder_is_unfit() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("file");
        fs::write(&file, "").unwrap();
        assert!(matches!(look(&file), Err(Unfit::NoFolder)));
        assert!(matches!(look(&file.join("below")), Err(Unfit::Unreadable(_))));
    }

    #[test]
    fn a_link_is_followed() {
        let dir = tempfile::tempdir().unwrap();
        let (link, target) = (dir.path().join("link"), dir.path().join("target"));
        std::os::unix::fs::symlink(&target, &link).unwrap();
        assert_eq!(look(&link).unwrap(), Found::Nothing);
        fs::create_dir(&target).unwrap();
        assert_eq!(look(&link).unwrap(), Found::Empty);
        fs::write(target.join("a file"), "").unwrap();
        assert!(matches!(look(&link), Err(Unfit::HasFiles(_))));
    }
}
