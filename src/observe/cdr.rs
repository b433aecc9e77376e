//! Call-detail records: JSON lines appended to one file. The slow path hands a record over and goes on; the thread
//! `cdr` writes. A slow or full disk therefore costs records, which are counted, and never a call.
//!
//! Each line in the file is whole: a line that was cut (a full disk, a crash) is closed when the file is opened again.

use std::{
    fs::{File, OpenOptions},
    io::{self, Read, Seek, SeekFrom, Write},
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    thread::{self, JoinHandle},
};

use crossbeam::channel::{Receiver, Sender, TrySendError, bounded};
use serde::Serialize;

use super::metrics::{MetricSink, Source, families};

/// Records that may wait for the disk.
const QUEUE: usize = 8_192;
/// Bytes that are written at once.
const BATCH_BYTES: usize = 64 * 1024;

#[derive(Debug, thiserror::Error)]
pub enum CdrError {
    #[error("cannot append call-detail records to {path}: {source}")]
    Open { path: PathBuf, source: io::Error },
    #[error("cannot start the thread that writes call-detail records: {0}")]
    Thread(#[source] io::Error),
}

/// What became of the records so far.
#[derive(Debug, Default)]
pub struct CdrCounters {
    written: AtomicU64,
    /// The queue was full.
    dropped: AtomicU64,
    /// The file refused them.
    failed: AtomicU64,
    /// Of those that were queued, in order: what became of them is known.
    done: AtomicU64,
}

impl CdrCounters {
    pub fn written(&self) -> u64 {
        self.written.load(Ordering::Relaxed)
    }

    pub fn dropped(&self) -> u64 {
        self.dropped.load(Ordering::Relaxed)
    }

    pub fn failed(&self) -> u64 {
        self.failed.load(Ordering::Relaxed)
    }
}

impl Source for CdrCounters {
    fn collect(&self, sink: &mut MetricSink) {
        sink.count(&families::CDR_RECORDS, &[("result", "written")], self.written());
        sink.count(&families::CDR_RECORDS, &[("result", "dropped")], self.dropped());
        sink.count(&families::CDR_RECORDS, &[("result", "failed")], self.failed());
    }
}

enum Job {
    Line(Vec<u8>),
    Reopen,
}

/// The slow path's end. Dropping it writes what waits and closes the file.
#[derive(Debug)]
pub struct CdrWriter {
    /// None only while dropping.
    jobs: Option<Sender<Job>>,
    thread: Option<JoinHandle<()>>,
    counters: Arc<CdrCounters>,
    /// Records queued so far.
    queued: AtomicU64,
}

impl CdrWriter {
    /// Opens `path` for appending and starts the thread.
    pub fn start(path: &Path) -> Result<Self, CdrError> {
        Self::start_with(path, QUEUE, false)
    }

    /// As `start`; and no record is done before it is on the disk: another host holds it for as long.
    pub fn start_durable(path: &Path) -> Result<Self, CdrError> {
        Self::start_with(path, QUEUE, true)
    }

    fn start_with(path: &Path, queue: usize, durable: bool) -> Result<Self, CdrError> {
        let file = open(path).map_err(|source| CdrError::Open { path: path.to_owned(), source })?;
        let counters = Arc::new(CdrCounters::default());
        let (jobs, waiting) = bounded(queue);
        let mut disk = Disk { path: path.to_owned(), file: Some(file), counters: counters.clone(), durable };
        let thread = thread::Builder::new().name("cdr".into()).spawn(move || disk.run(&waiting));
        let thread = Some(thread.map_err(CdrError::Thread)?);
        Ok(CdrWriter { jobs: Some(jobs), thread, counters, queued: AtomicU64::new(0) })
    }

    /// Queues one record; false if it was dropped because the queue is full.
    pub fn write(&self, record: &impl Serialize) -> bool {
        let Ok(mut line) = serde_json::to_vec(record) else {
            self.counters.failed.fetch_add(1, Ordering::Relaxed);
            return false;
        };
        line.push(b'\n');
        let queued = self.send(Job::Line(line));
        if queued {
            self.queued.fetch_add(1, Ordering::Relaxed);
        } else {
            self.counters.dropped.fetch_add(1, Ordering::Relaxed);
        }
        queued
    }

    /// The number of the record that was queued last, from 1.
    pub fn last(&self) -> u64 {
        self.queued.load(Ordering::Relaxed)
    }

    /// All records up to this number are in the file (of a durable writer: on the disk), or could not be written.
    pub fn done(&self) -> u64 {
        self.counters.done.load(Ordering::Acquire)
    }

    /// Lets go of the file and opens its path anew, after a log rotation. Records queued before still go to the old
    /// file. False if the queue is full: then try again.
    pub fn reopen(&self) -> bool {
        self.send(Job::Reopen)
    }

    pub fn counters(&self) -> Arc<CdrCounters> {
        self.counters.clone()
    }

    /// Records that wait for the disk.
    pub fn queued(&self) -> usize {
        self.jobs.as_ref().map_or(0, Sender::len)
    }

    fn send(&self, job: Job) -> bool {
        let Some(jobs) = &self.jobs else { return false };
        match jobs.try_send(job) {
            Ok(()) => true,
            Err(TrySendError::Full(_) | TrySendError::Disconnected(_)) => false,
        }
    }
}

impl Drop for CdrWriter {
    fn drop(&mut self) {
        self.jobs = None;
        if let Some(thread) = self.thread.take() {
            // A panicked writer has nothing left to flush.
            let _ = thread.join();
        }
    }
}

/// The thread's end.
struct Disk {
    path: PathBuf,
    /// None after the file could not be opened again; the next batch tries once more.
    file: Option<File>,
    counters: Arc<CdrCounters>,
    durable: bool,
}

impl Disk {
    /// Until the sender is gone and the queue empty.
    fn run(&mut self, jobs: &Receiver<Job>) {
        let mut batch = Vec::with_capacity(BATCH_BYTES);
        while let Ok(first) = jobs.recv() {
            let mut lines = 0;
            let mut next = Some(first);
            while let Some(job) = next {
                match job {
                    Job::Line(line) => {
                        batch.extend_from_slice(&line);
                        lines += 1;
                    }
                    Job::Reopen => {
                        self.flush(&mut batch, &mut lines);
                        self.file = None;
                        self.reopen();
                    }
                }
                next = if batch.len() < BATCH_BYTES { jobs.try_recv().ok() } else { None };
            }
            self.flush(&mut batch, &mut lines);
        }
        if let Some(file) = &self.file {
            let _ = file.sync_data();
        }
    }

    fn flush(&mut self, batch: &mut Vec<u8>, lines: &mut u64) {
        if *lines == 0 {
            return;
        }
        if self.file.is_none() {
            self.reopen();
        }
        let durable = self.durable;
        let result = self.file.as_mut().map(|file| {
            file.write_all(batch)?;
            if durable { sync(file) } else { Ok(()) }
        });
        match result {
            Some(Ok(())) => self.counters.written.fetch_add(*lines, Ordering::Relaxed),
            Some(Err(error)) => {
                tracing::error!(path = %self.path.display(), %error, lost = *lines, "call-detail records not written");
                // Part of a line may stand there: opening anew closes it.
                self.file = None;
                self.counters.failed.fetch_add(*lines, Ordering::Relaxed)
            }
            None => self.counters.failed.fetch_add(*lines, Ordering::Relaxed),
        };
        self.counters.done.fetch_add(*lines, Ordering::Release);
        batch.clear();
        *lines = 0;
    }

    fn reopen(&mut self) {
        match open(&self.path) {
            Ok(file) => self.file = Some(file),
            Err(error) => {
                tracing::error!(path = %self.path.display(), %error, "cannot open the file of call-detail records");
            }
        }
    }
}

/// fdatasync(2): EINVAL is what has no disk behind it, a pipe or a device, says.
fn sync(file: &File) -> io::Result<()> {
    match file.sync_data() {
        Err(e) if e.kind() == io::ErrorKind::InvalidInput => Ok(()),
        result => result,
    }
}

/// Opens for appending. If the last byte is no newline, one is added: half a record must not swallow the next.
fn open(path: &Path) -> io::Result<File> {
    let mut file = OpenOptions::new().append(true).read(true).create(true).open(path)?;
    // A device or a pipe has no end to look at.
    if file.metadata()?.is_file() && file.seek(SeekFrom::End(0))? > 0 {
        file.seek(SeekFrom::End(-1))?;
        let mut last = [0];
        file.read_exact(&mut last)?;
        if last != *b"\n" {
            file.write_all(b"\n")?;
        }
    }
    Ok(file)
}

#[cfg(test)]
mod tests {
    use std::{fs, time::Duration};

    use serde_json::json;

    use super::*;

    fn directory(name: &str) -> PathBuf {
        let path = std::env::temp_dir().join(format!("tandem-cdr-{name}-{}", std::process::id()));
        let _ = fs::remove_dir_all(&path);
        fs::create_dir_all(&path).unwrap();
        path
    }

    #[test]
    fn records_are_lines_appended_in_order_and_flushed_at_the_end() {
        let directory = directory("append");
        let path = directory.join("cdr.jsonl");
        fs::write(&path, "{\"old\":1}\n").unwrap();
        let writer = CdrWriter::start(&path).unwrap();
        for n in 0..1000 {
            assert!(writer.write(&json!({ "n": n })));
        }
        let counters = writer.counters();
        drop(writer);
        let text = fs::read_to_string(&path).unwrap();
        let expected: String = (0..1000).map(|n| format!("{{\"n\":{n}}}\n")).collect();
        assert_eq!(text, format!("{{\"old\":1}}\n{expected}"));
        assert_eq!((counters.written(), counters.dropped(), counters.failed()), (1000, 0, 0));
        fs::remove_dir_all(directory).unwrap();
    }

    #[test]
    fn half_a_line_from_a_crash_is_closed() {
        let directory = directory("half");
        let path = directory.join("cdr.jsonl");
        fs::write(&path, "{\"cut\":").unwrap();
        CdrWriter::start(&path).unwrap().write(&json!({ "n": 1 }));
        assert_eq!(fs::read_to_string(&path).unwrap(), "{\"cut\":\n{\"n\":1}\n");
        fs::remove_dir_all(directory).unwrap();
    }

    #[test]
    fn reopen_follows_a_rotation() {
        let directory = directory("rotate");
        let (path, old) = (directory.join("cdr.jsonl"), directory.join("cdr.jsonl.1"));
        let writer = CdrWriter::start(&path).unwrap();
        writer.write(&json!({ "n": 1 }));
        fs::rename(&path, &old).unwrap();
        // The old file is still open: what comes before `reopen` belongs to it.
        writer.write(&json!({ "n": 2 }));
        assert!(writer.reopen());
        writer.write(&json!({ "n": 3 }));
        drop(writer);
        assert_eq!(fs::read_to_string(&old).unwrap(), "{\"n\":1}\n{\"n\":2}\n");
        assert_eq!(fs::read_to_string(&path).unwrap(), "{\"n\":3}\n");
        fs::remove_dir_all(directory).unwrap();
    }

    #[test]
    fn a_disk_that_does_not_keep_up_costs_records_not_time() {
        let directory = directory("slow");
        let fifo = directory.join("fifo");
        let made = std::process::Command::new("mkfifo").arg(&fifo).status().unwrap();
        assert!(made.success());
        // A pipe that nobody reads blocks its writer when full (64 KiB, pipe(7)).
        let _reader = OpenOptions::new().read(true).write(true).open(&fifo).unwrap();
        let writer = CdrWriter::start_with(&fifo, 4, true).unwrap();
        let record = json!({ "padding": "x".repeat(16 * 1024) });
        let start = std::time::Instant::now();
        let mut refused = 0;
        for _ in 0..100 {
            refused += u64::from(!writer.write(&record));
            thread::sleep(Duration::from_millis(1));
        }
        assert!(start.elapsed() < Duration::from_secs(5), "the caller was held up");
        assert!(refused > 50, "only {refused} records were refused");
        assert_eq!(writer.counters().dropped(), refused);
        // Drain the pipe so that the thread can end.
        let mut reader = File::open(&fifo).unwrap();
        thread::spawn(move || {
            let _ = io::copy(&mut reader, &mut io::sink());
        });
        drop(_reader);
        drop(writer);
        fs::remove_dir_all(directory).unwrap();
    }

    #[test]
    fn a_record_is_done_once_it_is_in_the_file() {
        let directory = directory("done");
        let path = directory.join("cdr.jsonl");
        let writer = CdrWriter::start_durable(&path).unwrap();
        assert_eq!((writer.last(), writer.done()), (0, 0));
        for n in 1..=200 {
            assert!(writer.write(&json!({ "n": n })));
            assert_eq!(writer.last(), n);
            let done = writer.done();
            let lines = fs::read_to_string(&path).unwrap().lines().count() as u64;
            assert!(done <= lines && lines <= n, "{done} {lines} {n}");
        }
        let start = std::time::Instant::now();
        while writer.done() < 200 {
            assert!(start.elapsed() < Duration::from_secs(10));
            thread::sleep(Duration::from_millis(1));
        }
        drop(writer);
        // What cannot be written is done too: nobody waits for it.
        let writer = CdrWriter::start_durable(Path::new("/dev/full")).unwrap();
        assert!(writer.write(&json!({ "n": 1 })));
        while writer.done() < 1 {
            assert!(start.elapsed() < Duration::from_secs(10));
            thread::sleep(Duration::from_millis(1));
        }
        assert_eq!(writer.counters().failed(), 1);
        fs::remove_dir_all(directory).unwrap();
    }

    #[test]
    fn a_full_disk_is_counted() {
        // full(4): writes to /dev/full fail with ENOSPC.
        let writer = CdrWriter::start(Path::new("/dev/full")).unwrap();
        let counters = writer.counters();
        writer.write(&json!({ "n": 1 }));
        drop(writer);
        assert_eq!((counters.written(), counters.failed()), (0, 1));
    }

    #[test]
    fn a_path_that_cannot_be_opened_is_an_error_at_start() {
        let error = CdrWriter::start(Path::new("/nonexistent/cdr.jsonl")).unwrap_err();
        assert_eq!(
            error.to_string(),
            "cannot append call-detail records to /nonexistent/cdr.jsonl: No such file or directory (os error 2)"
        );
    }
}
