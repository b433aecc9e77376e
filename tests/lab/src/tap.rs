//! Watching an interface: a thread of its own reads every frame of both directions into a book.
//!
//! A tap that lost a frame proves nothing, so closing one fails if the kernel says that it did.

use std::{
    fs::File,
    io::{BufWriter, Write as _},
    path::Path,
    sync::{
        Arc, Mutex, MutexGuard,
        atomic::{AtomicBool, Ordering},
    },
    thread::JoinHandle,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail, ensure};

use crate::{
    book::Book,
    sys::{PacketSocket, in_netns},
};

/// Room for a second of full load while the reader waits for a core.
const BUFFER_BYTES: i32 = 256 << 20;

/// What waits when a tap is closed is read within this.
const LINGERS: Duration = Duration::from_millis(500);

pub struct Tap {
    pub place: String,
    book: Arc<Mutex<Book>>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<Result<u32>>>,
}

impl Tap {
    pub fn open(namespace: &str, interface: &str, book: Book) -> Result<Self> {
        let place = format!("{namespace}/{interface}");
        let mut socket = in_netns(namespace, || PacketSocket::open(interface, BUFFER_BYTES))
            .with_context(|| format!("no packet socket on {place}"))?;
        let book = Arc::new(Mutex::new(book));
        let stop = Arc::new(AtomicBool::new(false));
        let (shared, stopped) = (Arc::clone(&book), Arc::clone(&stop));
        let thread = std::thread::spawn(move || {
            let mut ending_since: Option<Instant> = None;
            loop {
                let ending = stopped.load(Ordering::Acquire);
                let count = socket.read()?;
                if count > 0 {
                    let mut book = lock(&shared);
                    for (stamp, bytes) in (0..count).map(|i| socket.frame(i)) {
                        book.note(stamp, bytes);
                    }
                }
                // An interface that is never silent ends, too.
                if ending && (count == 0 || ending_since.get_or_insert_with(Instant::now).elapsed() > LINGERS) {
                    return Ok(socket.dropped()?);
                }
            }
        });
        Ok(Tap { place, book, stop, thread: Some(thread) })
    }

    pub fn book(&self) -> MutexGuard<'_, Book> {
        lock(&self.book)
    }

    /// Starts the book anew, where nobody will judge what was in it.
    pub fn forget(&self) {
        *self.book() = Book::default();
    }

    /// Waits until the book shows what is asked for.
    pub fn wait<T>(&self, what: &str, limit: Duration, mut look: impl FnMut(&Book) -> Option<T>) -> Result<T> {
        let deadline = Instant::now() + limit;
        loop {
            if let Some(found) = look(&self.book()) {
                return Ok(found);
            }
            if Instant::now() >= deadline {
                bail!("{} did not see {what} within {:.1} s", self.place, limit.as_secs_f64());
            }
            std::thread::sleep(Duration::from_millis(2));
        }
    }

    /// Reads what still waits, and vouches that no frame was missed.
    pub fn close(&mut self) -> Result<()> {
        self.stop.store(true, Ordering::Release);
        let Some(thread) = self.thread.take() else { return Ok(()) };
        let dropped = thread.join().map_err(|_| anyhow::anyhow!("the tap at {} died", self.place))??;
        ensure!(dropped == 0, "the tap at {} missed {dropped} frames: the machine is too busy to judge", self.place);
        Ok(())
    }

    /// Writes the frames that were kept, for tshark.
    pub fn save(&self, path: &Path) -> Result<()> {
        let mut file = BufWriter::new(File::create(path)?);
        // The classic pcap header: magic (nanoseconds), version 2.4, snapshot length, link type Ethernet.
        for word in [0xa1b2_3c4d_u32, 0x0004_0002, 0, 0, 65_535, 1] {
            file.write_all(&word.to_le_bytes())?;
        }
        for (at, bytes) in &self.book().raw {
            let length = u32::try_from(bytes.len())?;
            for word in [u32::try_from(at.as_secs())?, at.subsec_nanos(), length, length] {
                file.write_all(&word.to_le_bytes())?;
            }
            file.write_all(bytes)?;
        }
        Ok(file.flush()?)
    }
}

impl Drop for Tap {
    fn drop(&mut self) {
        let _ = self.close();
    }
}

fn lock(book: &Mutex<Book>) -> MutexGuard<'_, Book> {
    book.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
}
