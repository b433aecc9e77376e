//! Certificates and keys as files: PEM in, what TLS needs out. Main thread while the configuration is read; slow-path
//! thread at a reload. Always holds: what is returned was parsed, and the key belongs to the certificate.

use std::{
    fs::File,
    io::{self, Read},
    path::{Path, PathBuf},
    sync::Arc,
    time::{SystemTime, UNIX_EPOCH},
};

use rustls::{
    RootCertStore,
    crypto::CryptoProvider,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
    sign::CertifiedKey,
};
use x509_parser::parse_x509_certificate;

use crate::base::limits::TLS_FILE_BYTES;

#[derive(Debug, thiserror::Error)]
pub enum FileError {
    #[error("cannot read {}: {source}", path.display())]
    Read { path: PathBuf, source: io::Error },
    #[error("{} is longer than {TLS_FILE_BYTES} bytes", .0.display())]
    TooLong(PathBuf),
    #[error("{} holds no certificate in PEM", .0.display())]
    NoCertificate(PathBuf),
    #[error("{}: certificate number {number} cannot be read: {why}", path.display())]
    BadCertificate { path: PathBuf, number: usize, why: String },
    #[error("{} holds no private key in PEM without a passphrase", .0.display())]
    NoKey(PathBuf),
    #[error("{}: the private key cannot be used: {why}", path.display())]
    BadKey { path: PathBuf, why: String },
    #[error("the key in {} is not that of the certificate in {}", key.display(), certificate.display())]
    Mismatch { key: PathBuf, certificate: PathBuf },
    #[error("this machine has no certificates of authorities, and none is named")]
    NoRoots,
}

/// When a certificate is valid, in seconds since 1970.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Validity {
    pub from: i64,
    pub until: i64,
}

impl Validity {
    fn of(certificate: &CertificateDer<'_>) -> Result<Validity, String> {
        let (_, parsed) = parse_x509_certificate(certificate).map_err(|e| e.to_string())?;
        let validity = parsed.validity();
        Ok(Validity { from: validity.not_before.timestamp(), until: validity.not_after.timestamp() })
    }
}

/// Seconds since 1970.
pub fn now() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.map_or(0, |since| i64::try_from(since.as_secs()).unwrap_or(i64::MAX))
}

/// A day, for people.
pub fn date(unix_s: i64) -> String {
    jiff::Timestamp::from_second(unix_s).map_or_else(|_| unix_s.to_string(), |at| at.strftime("%Y-%m-%d").to_string())
}

/// A certificate with those behind it, each read.
#[derive(Debug)]
pub struct Chain {
    pub certificates: Vec<CertificateDer<'static>>,
    /// In which all of them are valid.
    pub validity: Validity,
}

pub fn chain(path: &Path) -> Result<Chain, FileError> {
    let bytes = read(path)?;
    let bad = |number, why| FileError::BadCertificate { path: path.to_owned(), number, why };
    let mut chain = Chain { certificates: Vec::new(), validity: Validity { from: i64::MIN, until: i64::MAX } };
    for (number, certificate) in (1..).zip(CertificateDer::pem_slice_iter(&bytes)) {
        let certificate = certificate.map_err(|e| bad(number, e.to_string()))?;
        let validity = Validity::of(&certificate).map_err(|why| bad(number, why))?;
        chain.validity.from = chain.validity.from.max(validity.from);
        chain.validity.until = chain.validity.until.min(validity.until);
        chain.certificates.push(certificate);
    }
    if chain.certificates.is_empty() { Err(FileError::NoCertificate(path.to_owned())) } else { Ok(chain) }
}

pub fn key(path: &Path) -> Result<PrivateKeyDer<'static>, FileError> {
    PrivateKeyDer::from_pem_slice(&read(path)?).map_err(|_| FileError::NoKey(path.to_owned()))
}

/// A certificate and the key in another file, which belong together.
pub fn identity(
    certificate: &Path,
    key_file: &Path,
    provider: &CryptoProvider,
) -> Result<(Arc<CertifiedKey>, Validity), FileError> {
    let Chain { certificates, validity } = chain(certificate)?;
    let certified = CertifiedKey::from_der(certificates, key(key_file)?, provider).map_err(|e| match e {
        rustls::Error::InconsistentKeys(_) => {
            FileError::Mismatch { key: key_file.to_owned(), certificate: certificate.to_owned() }
        }
        other => FileError::BadKey { path: key_file.to_owned(), why: other.to_string() },
    })?;
    Ok((Arc::new(certified), validity))
}

/// The roots in a file.
pub fn roots(path: &Path) -> Result<RootCertStore, FileError> {
    let mut store = RootCertStore::empty();
    for (number, certificate) in (1..).zip(chain(path)?.certificates) {
        let bad = |e: rustls::Error| FileError::BadCertificate { path: path.to_owned(), number, why: e.to_string() };
        store.add(certificate).map_err(bad)?;
    }
    Ok(store)
}

/// The roots of this machine.
pub fn system_roots() -> Result<RootCertStore, FileError> {
    let mut store = RootCertStore::empty();
    store.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    if store.is_empty() { Err(FileError::NoRoots) } else { Ok(store) }
}

fn read(path: &Path) -> Result<Vec<u8>, FileError> {
    let unreadable = |source| FileError::Read { path: path.to_owned(), source };
    let mut bytes = Vec::new();
    let limit = TLS_FILE_BYTES + 1;
    File::open(path).and_then(|file| file.take(limit).read_to_end(&mut bytes)).map_err(unreadable)?;
    if bytes.len() as u64 >= limit { Err(FileError::TooLong(path.to_owned())) } else { Ok(bytes) }
}
