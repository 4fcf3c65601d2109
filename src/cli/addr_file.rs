//! `--addr-file`: where the server writes its addresses.

use std::fs::{self, File, Permissions};
use std::io::{self, Write as _};
use std::os::unix::fs::{FileTypeExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

/// The file for the addresses. A plain file is replaced at once, so that no reader sees a part of it. Everything else that a path
/// can name, such as a FIFO, a device or a link, belongs to somebody else: it is opened and written, and stays what it is.
#[derive(Debug)]
pub(super) struct AddrFile {
    path: PathBuf,
    replace: bool,
}

impl AddrFile {
    /// Looks at what the path names, so that a path which cannot be written stops the start and not the running server.
    pub(super) fn find(path: PathBuf) -> io::Result<Self> {
        let wrong = |what: &str| {
            let problem = format!("--addr-file names {}, which is {what}; name a file", path.display());
            Err(io::Error::other(problem))
        };
        let replace = match fs::symlink_metadata(&path) {
            Ok(is) if is.is_dir() => return wrong("a folder"),
            Ok(is) if is.file_type().is_socket() => return wrong("a socket"),
            Ok(is) => is.is_file(),
            Err(error) if error.kind() == io::ErrorKind::NotFound => true,
            Err(error) => return Err(failed(&path)(error)),
        };
        Ok(Self { path, replace })
    }

    /// Writes the file. On a FIFO this waits for a reader.
    pub(super) async fn write(self, bytes: Vec<u8>) -> io::Result<()> {
        let writing = tokio::task::spawn_blocking(move || {
            let write = if self.replace { replace } else { write_into };
            write(&self.path, &bytes).map_err(failed(&self.path))
        });
        writing.await.map_err(io::Error::other)?
    }
}

fn failed(path: &Path) -> impl FnOnce(io::Error) -> io::Error + use<'_> {
    |error| {
        let problem = format!(
            "the file of --addr-file, {}, cannot be written: {error}",
            path.display()
        );
        io::Error::new(error.kind(), problem)
    }
}

fn replace(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
    let mut draft = tempfile::Builder::new()
        // As any file that a command makes: who may read it is for the umask.
        .permissions(Permissions::from_mode(0o666))
        .tempfile_in(folder.unwrap_or(Path::new(".")))?;
    draft.write_all(bytes)?;
    draft.persist(path)?;
    Ok(())
}

fn write_into(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let file = File::options().write(true).create(true).truncate(true).open(path);
    file?.write_all(bytes)
}

#[cfg(test)]
mod tests {
    use std::io::Read as _;

    use super::*;

    async fn write(path: &Path) {
        AddrFile::find(path.to_owned())
            .unwrap()
            .write(b"{}".to_vec())
            .await
            .unwrap();
    }

    #[tokio::test]
    async fn a_plain_file_is_replaced_and_an_absent_one_made() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("file");
        for _ in 0..2 {
            write(&path).await;
            assert_eq!(fs::read(&path).unwrap(), b"{}");
            fs::write(&path, "what was there before").unwrap();
        }
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1, "no draft is left");
    }

    #[tokio::test]
    async fn a_link_stays_and_its_file_is_written() {
        let dir = tempfile::tempdir().unwrap();
        let (link, file) = (dir.path().join("link"), dir.path().join("file"));
        fs::write(&file, "what was there before").unwrap();
        std::os::unix::fs::symlink(&file, &link).unwrap();
        write(&link).await;
        assert!(fs::symlink_metadata(&link).unwrap().is_symlink());
        assert_eq!(fs::read(&file).unwrap(), b"{}");
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_fifo_stays_and_its_reader_gets_the_addresses() {
        let dir = tempfile::tempdir().unwrap();
        let fifo = dir.path().join("fifo");
        let mode = rustix::fs::Mode::RUSR | rustix::fs::Mode::WUSR;
        rustix::fs::mknodat(rustix::fs::CWD, &fifo, rustix::fs::FileType::Fifo, mode, 0).unwrap();
        let path = fifo.clone();
        let reader = tokio::task::spawn_blocking(move || {
            let mut text = String::new();
            File::open(path).unwrap().read_to_string(&mut text).unwrap();
            text
        });
        write(&fifo).await;
        assert_eq!(reader.await.unwrap(), "{}");
        assert!(fs::symlink_metadata(&fifo).unwrap().file_type().is_fifo());
    }

    #[test]
    fn a_folder_and_a_socket_are_refused() {
        let dir = tempfile::tempdir().unwrap();
        let socket = dir.path().join("socket");
        let _listener = std::os::unix::net::UnixListener::bind(&socket).unwrap();
        for (path, what) in [(dir.path(), "a folder"), (&*socket, "a socket")] {
            let refused = AddrFile::find(path.to_owned()).unwrap_err().to_string();
            assert!(refused.contains("--addr-file") && refused.contains(what), "{refused}");
        }
    }

    #[tokio::test]
    async fn a_device_is_written() {
        write(Path::new("/dev/null")).await;
        assert!(!fs::symlink_metadata("/dev/null").unwrap().is_file());
    }
}
