//! What TLS is done with: our certificates, the roots and names of each trunk. Loaded at start and at each reload; read
//! only in between. The connections are elsewhere (`slow/sockets`).
//!
//! Always holds: a server's name is verified, and nothing is resumed: each connection shows its certificate, and it is
//! judged by what is loaded then.

pub mod files;
pub mod names;
#[cfg(test)]
pub mod testing;
mod verify;

use std::{path::PathBuf, sync::Arc};

use rustls::{
    ClientConfig, RootCertStore, ServerConfig, SupportedProtocolVersion,
    client::{Resumption, danger::ServerCertVerifier},
    crypto::{CryptoProvider, ring},
    server::{NoServerSessionStorage, WebPkiClientVerifier},
    sign::{CertifiedKey, SingleCertAndKey},
    version::{TLS12, TLS13},
};

use self::{
    files::FileError,
    verify::{Clients, Expected, Servers},
};
use crate::{
    config::{Config, NamedDestination, SipTransport, TlsVersion, Trunk},
    sip::{route::TrunkId, trunk::TlsPeer},
};

#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    #[error("{key}: {source}")]
    File { key: String, source: FileError },
    #[error("sip.tls is absent, but sip.listen has tls")]
    Absent,
    #[error("TLS cannot be set up: {0}")]
    SetUp(String),
}

/// One of our certificates as it was loaded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OwnCertificate {
    pub file: PathBuf,
    /// Seconds since 1970.
    pub expires_unix_s: i64,
}

#[derive(Debug)]
struct TrunkSide {
    /// None: nothing of it goes over TLS.
    roots: Option<Arc<RootCertStore>>,
    wildcards: bool,
    /// Shown to its destinations.
    own: Arc<CertifiedKey>,
    /// For connections from it, where it demands certificates.
    demanding: Option<Arc<ServerConfig>>,
}

#[derive(Debug)]
pub struct Credentials {
    provider: Arc<CryptoProvider>,
    versions: Vec<&'static SupportedProtocolVersion>,
    server: Arc<ServerConfig>,
    trunks: Vec<TrunkSide>,
    own: Vec<OwnCertificate>,
}

/// What everything cryptographic is done by.
pub fn provider() -> CryptoProvider {
    ring::default_provider()
}

impl Credentials {
    /// None: no listener has TLS.
    pub fn load(config: &Config) -> Result<Option<Credentials>, TlsError> {
        if !config.sip.listen.iter().any(|listen| listen.transports.contains(&SipTransport::Tls)) {
            return Ok(None);
        }
        let tls = config.sip.tls.as_ref().ok_or(TlsError::Absent)?;
        let mut loading = Loading {
            provider: Arc::new(provider()),
            versions: match tls.min_version {
                TlsVersion::Tls12 => vec![&TLS12, &TLS13],
                TlsVersion::Tls13 => vec![&TLS13],
            },
            own: Vec::new(),
            system: None,
        };
        let usual = loading.identity("sip.tls.certificate", &tls.certificate, &tls.key)?;
        let server = loading.server(&usual, None)?;
        let mut trunks = Vec::with_capacity(config.trunks.len());
        for trunk in &config.trunks {
            trunks.push(loading.trunk(config, trunk, &usual)?);
        }
        let Loading { provider, versions, own, .. } = loading;
        Ok(Some(Credentials { provider, versions, server, trunks, own }))
    }

    pub fn own(&self) -> &[OwnCertificate] {
        &self.own
    }

    /// For a connection from a trunk's address, or from a stranger.
    pub fn server(&self, trunk: Option<TrunkId>) -> Arc<ServerConfig> {
        let side = trunk.and_then(|id| self.trunks.get(usize::from(id.0)));
        side.and_then(|side| side.demanding.as_ref()).unwrap_or(&self.server).clone()
    }

    /// For a connection to where all of `peers` are expected; None: nobody is.
    pub fn client(&self, peers: &[TlsPeer]) -> Option<Arc<ClientConfig>> {
        let side = |peer: &TlsPeer| self.trunks.get(usize::from(peer.trunk.0));
        let own = &side(peers.first()?)?.own;
        let mut expected = Vec::with_capacity(peers.len());
        for peer in peers {
            let side = side(peer)?;
            let (roots, wildcards) = (side.roots.clone()?, side.wildcards);
            expected.push(Expected { roots, names: peer.names.clone(), wildcards });
        }
        let algorithms = self.provider.signature_verification_algorithms;
        let verifier: Arc<dyn ServerCertVerifier> = Arc::new(Servers { expected, algorithms });
        let mut config = ClientConfig::builder_with_provider(self.provider.clone())
            .with_protocol_versions(&self.versions)
            .ok()?
            .dangerous()
            .with_custom_certificate_verifier(verifier)
            .with_client_cert_resolver(Arc::new(SingleCertAndKey::from(own.clone())));
        config.resumption = Resumption::disabled();
        Some(Arc::new(config))
    }
}

/// What is collected on the way.
struct Loading {
    provider: Arc<CryptoProvider>,
    versions: Vec<&'static SupportedProtocolVersion>,
    own: Vec<OwnCertificate>,
    /// Read once, if any trunk needs them.
    system: Option<Arc<RootCertStore>>,
}

impl Loading {
    fn identity(
        &mut self,
        key: &str,
        certificate: &std::path::Path,
        key_file: &std::path::Path,
    ) -> Result<Arc<CertifiedKey>, TlsError> {
        let wrong = |source| TlsError::File { key: key.to_owned(), source };
        let (identity, validity) = files::identity(certificate, key_file, &self.provider).map_err(wrong)?;
        let own = OwnCertificate { file: certificate.to_owned(), expires_unix_s: validity.until };
        if !self.own.contains(&own) {
            self.own.push(own);
        }
        Ok(identity)
    }

    fn trunk(&mut self, config: &Config, trunk: &Trunk, usual: &Arc<CertifiedKey>) -> Result<TrunkSide, TlsError> {
        let tls = &trunk.tls;
        let key = |name: &str| format!("trunk[{}].tls.{name}", trunk.name);
        let own = match (&tls.certificate, &tls.key) {
            (Some(certificate), Some(file)) => self.identity(&key("certificate"), certificate, file)?,
            _ => usual.clone(),
        };
        let roots = match &tls.ca {
            Some(file) => {
                let wrong = |source| TlsError::File { key: key("ca"), source };
                Some(Arc::new(files::roots(file).map_err(wrong)?))
            }
            None if needs_roots(config, trunk) => {
                let wrong = |source| TlsError::File { key: key("ca"), source };
                Some(self.system_roots().map_err(wrong)?)
            }
            None => None,
        };
        let mut side = TrunkSide { roots, wildcards: tls.wildcards, own, demanding: None };
        if let Some(roots) = side.roots.clone().filter(|_| tls.demands_certificate()) {
            let expected = Expected { roots, names: tls.peer_names.clone(), wildcards: tls.wildcards };
            side.demanding = Some(self.server(usual, Some(expected))?);
        }
        Ok(side)
    }

    fn system_roots(&mut self) -> Result<Arc<RootCertStore>, FileError> {
        if self.system.is_none() {
            self.system = Some(Arc::new(files::system_roots()?));
        }
        self.system.clone().ok_or(FileError::NoRoots)
    }

    fn server(&self, own: &Arc<CertifiedKey>, expected: Option<Expected>) -> Result<Arc<ServerConfig>, TlsError> {
        let wrong = |e: &dyn std::error::Error| TlsError::SetUp(e.to_string());
        let clients = match expected {
            Some(expected) => {
                let chain =
                    WebPkiClientVerifier::builder_with_provider(expected.roots.clone(), self.provider.clone()).build();
                Arc::new(Clients { chain: chain.map_err(|e| wrong(&e))?, expected })
            }
            None => WebPkiClientVerifier::no_client_auth(),
        };
        let mut config = ServerConfig::builder_with_provider(self.provider.clone())
            .with_protocol_versions(&self.versions)
            .map_err(|e| wrong(&e))?
            .with_client_cert_verifier(clients)
            .with_cert_resolver(Arc::new(SingleCertAndKey::from(own.clone())));
        config.session_storage = Arc::new(NoServerSessionStorage {});
        config.send_tls13_tickets = 0;
        Ok(Arc::new(config))
    }
}

/// Whether anything of a trunk that names no roots is to be verified.
pub fn needs_roots(config: &Config, trunk: &Trunk) -> bool {
    let heard = |transport| {
        let mut there = config.sip.listen.iter().filter(|listen| listen.address == trunk.address);
        there.any(|listen| listen.transports.contains(&transport))
    };
    let may_be = |uri: &str| match NamedDestination::parse(uri) {
        Some(named) => named.transport.is_none_or(|transport| transport == SipTransport::Tls),
        None => uri.parse::<crate::config::Destination>().is_ok_and(|to| to.transport == SipTransport::Tls),
    };
    let over_tls = trunk.destinations.iter().any(|to| may_be(&to.uri)) || trunk.tls.demands_certificate();
    heard(SipTransport::Tls) && over_tls
}
