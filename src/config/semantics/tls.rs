//! Checks of `[sip.tls]` and `[trunk.tls]`: files that exist, can be read, belong together and are valid today; keys that
//! mean nothing as they stand.

use std::path::Path;

use super::Checker;
use crate::{
    config::{
        SipTransport, Tls, Trunk, TrunkTls,
        document::{Step, at},
    },
    tls::{
        self,
        files::{self, FileError, Validity},
    },
};

pub(super) fn check(checker: &mut Checker<'_>) {
    let config = checker.config;
    let mut heard = false;
    for (index, listen) in config.sip.listen.iter().enumerate() {
        let Some(at) = listen.transports.iter().position(|t| *t == SipTransport::Tls) else { continue };
        heard = true;
        if config.sip.tls.is_none() && checker.whole(&["sip.tls"]) {
            checker.error(
                at!["sip", "listen", index, "transports", at],
                "tls without a certificate",
                "tls with [sip.tls], which names certificate and key",
            );
        }
    }
    if let Some(tls) = &config.sip.tls {
        own(checker, tls);
        if !heard && checker.whole(&["sip.listen"]) {
            checker.warn(at!["sip", "tls"], "no listener with tls", "\"tls\" among the transports of a [[sip.listen]]");
        }
    }
    for (index, trunk) in config.trunks.iter().enumerate() {
        of_trunk(checker, index, trunk);
    }
}

fn own(checker: &mut Checker<'_>, tls: &Tls) {
    let (certificate, key) = (at!["sip", "tls", "certificate"], at!["sip", "tls", "key"]);
    pair(checker, (certificate, &tls.certificate), (key, &tls.key));
}

/// A certificate and its key.
fn pair(checker: &mut Checker<'_>, certificate: (&[Step], &Path), key: (&[Step], &Path)) {
    let read = files::chain(certificate.1);
    if let Err(e) = &read {
        checker.error(
            certificate.0,
            e.to_string(),
            "a file in PEM with a certificate, then those between it and a root",
        );
    }
    if let Err(e) = files::key(key.1) {
        checker.error(key.0, e.to_string(), "a file in PEM with a private key");
        return;
    }
    let Ok(chain) = read else { return };
    valid(checker, certificate.0, chain.validity);
    match files::identity(certificate.1, key.1, &tls::provider()) {
        Ok(_) => {}
        Err(e @ FileError::Mismatch { .. }) => checker.error(key.0, e.to_string(), "the key of the certificate"),
        Err(e) => checker.error(key.0, e.to_string(), "an RSA, ECDSA (P-256, P-384) or Ed25519 key"),
    }
}

/// tandem runs with what has expired: calls in the clear go on, and a renewed certificate needs no restart.
fn valid(checker: &mut Checker<'_>, path: &[Step], validity: Validity) {
    let now = files::now();
    if validity.until < now {
        checker.warn(path, format!("expired on {}", files::date(validity.until)), "a certificate that is valid today");
    } else if validity.from > now {
        checker.warn(path, format!("valid from {}", files::date(validity.from)), "a certificate that is valid today");
    }
}

fn of_trunk(checker: &mut Checker<'_>, index: usize, trunk: &Trunk) {
    let config = checker.config;
    let tls = &trunk.tls;
    let ca = at!["trunk", index, "tls", "ca"];
    match &tls.ca {
        Some(file) => {
            if let Err(e) = files::roots(file) {
                checker.error(ca, e.to_string(), "a file in PEM with certificates of authorities");
            }
        }
        None if tls::needs_roots(config, trunk) => {
            if let Err(e) = files::system_roots() {
                checker.error(ca, e.to_string(), "a file in PEM with certificates of authorities");
            }
        }
        None => {}
    }
    client(checker, index, tls);
    for (at, name) in tls.peer_names.iter().enumerate().filter(|(_, name)| !is_name(name)) {
        checker.error(at!["trunk", index, "tls", "peer_names", at], format!("{name:?}"), NAME);
    }
    if let Some(name) = tls.server_name.as_ref().filter(|name| !is_name(name)) {
        checker.error(at!["trunk", index, "tls", "server_name"], format!("{name:?}"), NAME);
    }
    let there = config.sip.listen.iter().filter(|listen| listen.address == trunk.address);
    let heard = there.flat_map(|listen| &listen.transports).any(|transport| *transport == SipTransport::Tls);
    if *tls != TrunkTls::default() && !heard && checker.whole(&["sip.listen"]) {
        let allowed = format!("a trunk whose address has tls in sip.listen, or tls added to {:?}", trunk.address);
        // Who demands certificates would get no call at all.
        if tls.demands_certificate() {
            checker.error(
                at!["trunk", index, "tls", "peer_names"],
                "certificates demanded where no TLS is heard",
                allowed,
            );
        } else {
            checker.warn(at!["trunk", index, "tls"], "what nothing looks at", allowed);
        }
    }
    if tls.demands_certificate() && trunk.from.is_empty() && checker.whole(&["trunk.from"]) {
        let allowed = "a trunk with `from`: without it nobody calls from there";
        checker.warn(at!["trunk", index, "tls", "peer_names"], "no source to demand certificates of", allowed);
    }
}

const NAME: &str = "a host name or an IP address, whole: no * and no port";

/// What a certificate can name.
fn is_name(name: &str) -> bool {
    rustls::pki_types::ServerName::try_from(name).is_ok()
}

fn client(checker: &mut Checker<'_>, index: usize, tls: &TrunkTls) {
    let (certificate, key) = (at!["trunk", index, "tls", "certificate"], at!["trunk", index, "tls", "key"]);
    match (&tls.certificate, &tls.key) {
        (Some(file), Some(of)) => pair(checker, (certificate, file), (key, of)),
        (Some(_), None) => {
            checker.error(certificate, "a certificate without its key", "certificate and key, or neither")
        }
        (None, Some(_)) => checker.error(key, "a key without its certificate", "certificate and key, or neither"),
        (None, None) => {}
    }
}
