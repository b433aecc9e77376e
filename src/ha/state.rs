//! The generation on disk, the highest that this host may have been active under: a small JSON file, written anew beside
//! the old one, synced, and put in its place by a rename, so that a crash leaves one of the two. The thread `ha-disk`
//! writes; the pair thread waits for no disk.

use std::{
    fs::{self, File},
    io::{self, Write},
    path::{Path, PathBuf},
    sync::Arc,
    thread,
};

use crossbeam::channel::{Receiver, Sender, bounded};
use mio::Waker;
use serde::{Deserialize, Serialize};

use super::generation::Generation;

#[derive(Debug, thiserror::Error)]
pub enum StateError {
    #[error("cannot read the generation in {path}: {source}")]
    Read { path: PathBuf, source: io::Error },
    #[error("{path} holds no generation: {source}; if this host is new in its pair, remove the file")]
    Content { path: PathBuf, source: serde_json::Error },
    #[error("cannot write the generation to {path}, and without it this host could not be active: {source}")]
    Write { path: PathBuf, source: io::Error },
    #[error("cannot start the thread that writes the generation: {0}")]
    Thread(io::Error),
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Stored {
    generation: Generation,
}

/// What was to be written, and whether it is.
pub type Written = (Generation, Result<(), String>);

/// The pair thread's end.
#[derive(Debug)]
pub struct Disk {
    write: Sender<Generation>,
    written: Receiver<Written>,
}

impl Disk {
    /// Reads what is there, and writes it once: a disk that refuses is told of at the start, not at the takeover.
    pub fn open(path: &Path, waker: Arc<Waker>) -> Result<(Disk, Generation), StateError> {
        let generation = read(path)?;
        let failed = |source| StateError::Write { path: path.to_owned(), source };
        if let Some(folder) = path.parent().filter(|folder| !folder.as_os_str().is_empty()) {
            fs::create_dir_all(folder).map_err(failed)?;
        }
        replace(path, &generation).map_err(failed)?;
        // The machine asks for one at a time.
        let (write, jobs) = bounded::<Generation>(1);
        let (done, written) = bounded(1);
        let path = path.to_owned();
        let work = move || {
            for generation in jobs {
                let result = replace(&path, &generation).map_err(|error| format!("{}: {error}", path.display()));
                if done.send((generation, result)).is_err() {
                    return;
                }
                let _ = waker.wake();
            }
        };
        thread::Builder::new().name("ha-disk".into()).spawn(work).map_err(StateError::Thread)?;
        Ok((Disk { write, written }, generation))
    }

    /// False if the disk is at the one before.
    pub fn write(&self, generation: Generation) -> bool {
        self.write.try_send(generation).is_ok()
    }

    pub fn written(&self) -> Option<Written> {
        self.written.try_recv().ok()
    }
}

fn read(path: &Path) -> Result<Generation, StateError> {
    let bytes = match fs::read(path) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            return Ok(Generation { number: 0, node: String::new() });
        }
        Err(source) => return Err(StateError::Read { path: path.to_owned(), source }),
    };
    let stored: Result<Stored, _> = serde_json::from_slice(&bytes);
    stored.map(|stored| stored.generation).map_err(|source| StateError::Content { path: path.to_owned(), source })
}

fn replace(path: &Path, generation: &Generation) -> io::Result<()> {
    let text = serde_json::to_vec(&Stored { generation: generation.clone() })?;
    let mut beside = path.as_os_str().to_owned();
    beside.push(".new");
    let mut file = File::create(&beside)?;
    file.write_all(&text)?;
    file.write_all(b"\n")?;
    file.sync_all()?;
    fs::rename(&beside, path)?;
    // The rename itself has to be on the disk, which is the folder's content.
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    File::open(folder)?.sync_all()
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use super::*;

    fn folder(name: &str) -> PathBuf {
        let folder = std::env::temp_dir().join(format!("tandem-ha-state-{name}-{}", std::process::id()));
        let _ = fs::remove_dir_all(&folder);
        folder
    }

    fn waker() -> Arc<Waker> {
        Arc::new(Waker::new(mio::Poll::new().unwrap().registry(), mio::Token(0)).unwrap())
    }

    #[test]
    fn a_generation_is_there_after_a_restart() {
        let folder = folder("kept");
        let path = folder.join("ha.json");
        let (disk, generation) = Disk::open(&path, waker()).unwrap();
        assert_eq!(generation.number, 0);
        let taken = Generation { number: 7, node: "a".into() };
        assert!(disk.write(taken.clone()));
        let until = Instant::now() + Duration::from_secs(10);
        let written = loop {
            match disk.written() {
                Some(written) => break written,
                None => assert!(Instant::now() < until, "nothing is written"),
            }
            thread::sleep(Duration::from_millis(1));
        };
        assert_eq!(written, (taken.clone(), Ok(())));
        assert_eq!(Disk::open(&path, waker()).unwrap().1, taken);
        assert_eq!(fs::read_to_string(&path).unwrap(), "{\"generation\":{\"number\":7,\"node\":\"a\"}}\n");
        fs::remove_dir_all(folder).unwrap();
    }

    #[test]
    fn what_is_no_generation_is_not_taken_for_none() {
        let folder = folder("broken");
        fs::create_dir_all(&folder).unwrap();
        let path = folder.join("ha.json");
        fs::write(&path, "{\"generation\":{\"num").unwrap();
        let told = Disk::open(&path, waker()).unwrap_err().to_string();
        assert!(told.contains("holds no generation"), "{told}");
        fs::remove_dir_all(folder).unwrap();
    }
}
