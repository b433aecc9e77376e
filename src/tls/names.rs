//! Whom a certificate names, as SIP reads it (RFC 5922 §7). Any thread; pure.

use std::net::IpAddr;

use x509_parser::{extensions::GeneralName, parse_x509_certificate};

/// Whether a certificate names one of `expected`: host names, or addresses in their usual writing.
pub fn names_one_of(certificate: &[u8], expected: &[String], wildcards: bool) -> bool {
    let Ok((_, parsed)) = parse_x509_certificate(certificate) else { return false };
    // RFC 5922 §7.1 lets a certificate without alternative names stand for its CN; RFC 9525 §2 no longer does.
    let Ok(Some(alternative)) = parsed.subject_alternative_name() else { return false };
    let names = &alternative.value.general_names;
    expected.iter().any(|expected| names.iter().any(|name| is_named(name, expected, wildcards)))
}

fn is_named(name: &GeneralName<'_>, expected: &str, wildcards: bool) -> bool {
    match name {
        GeneralName::DNSName(name) => is_host(name, expected, wildcards),
        GeneralName::URI(uri) => domain_of(uri).is_some_and(|name| is_host(name, expected, false)),
        GeneralName::IPAddress(bytes) => {
            let named =
                <[u8; 4]>::try_from(*bytes).map(IpAddr::from).or(<[u8; 16]>::try_from(*bytes).map(IpAddr::from));
            named.is_ok_and(|named| expected.parse() == Ok(named))
        }
        _ => false,
    }
}

/// RFC 5922 §7.1: of a sip URI without user, which names a domain; any other names something else.
fn domain_of(uri: &str) -> Option<&str> {
    let (scheme, rest) = uri.split_once(':')?;
    let plain = !rest.contains(['@', ':', ';', '?', '/']);
    (scheme.eq_ignore_ascii_case("sip") && plain).then_some(rest)
}

/// RFC 5922 §7.2: the whole name, without case, no part of it. With `wildcards`, as RFC 9525 §6.3: `*` for the whole first
/// label, and for one only.
fn is_host(name: &str, expected: &str, wildcards: bool) -> bool {
    let plain = |name: &str| name.strip_suffix('.').unwrap_or(name).to_ascii_lowercase();
    let (name, expected) = (plain(name), plain(expected));
    if let Some(parent) = name.strip_prefix("*.") {
        return wildcards
            && parent.contains('.')
            && expected.split_once('.').is_some_and(|(label, rest)| !label.is_empty() && rest == parent);
    }
    !name.is_empty() && name == expected
}

#[cfg(test)]
mod tests {
    use rcgen::{CertificateParams, KeyPair, SanType};

    use super::*;

    fn certificate(names: &[SanType]) -> Vec<u8> {
        let mut params = CertificateParams::default();
        params.subject_alt_names = names.to_vec();
        params.self_signed(&KeyPair::generate().unwrap()).unwrap().der().to_vec()
    }

    fn dns(name: &str) -> SanType {
        SanType::DnsName(name.try_into().unwrap())
    }

    fn uri(name: &str) -> SanType {
        SanType::URI(name.try_into().unwrap())
    }

    fn names(certificate: &[u8], expected: &str) -> bool {
        names_one_of(certificate, &[expected.to_owned()], false)
    }

    #[test]
    fn rfc_5922_section_7_1_a_sip_uri_and_a_dns_name_are_identities() {
        let both = certificate(&[uri("sip:example.com"), dns("sbc.example.net")]);
        assert!(names(&both, "example.com"));
        assert!(names(&both, "SBC.example.NET"));
        assert!(!names(&both, "sbc.example.com"));
    }

    #[test]
    fn rfc_5922_section_7_1_other_uris_name_no_domain() {
        let others = certificate(&[uri("sip:alice@example.com"), uri("https:example.com"), uri("sips:example.com")]);
        assert!(!names(&others, "example.com"));
    }

    #[test]
    fn rfc_5922_section_7_2_no_part_of_a_name_and_no_wildcard_matches() {
        let one = certificate(&[dns("example.com"), dns("*.example.org")]);
        assert!(!names(&one, "sip.example.com"));
        assert!(!names(&one, "ample.com"));
        assert!(!names(&one, "sip.example.org"));
    }

    #[test]
    fn a_wildcard_that_is_allowed_stands_for_one_whole_label() {
        let one = certificate(&[dns("*.example.org"), dns("*.net")]);
        let allowed = |expected: &str| names_one_of(&one, &[expected.to_owned()], true);
        assert!(allowed("sip.example.org"));
        assert!(!allowed("a.sip.example.org") && !allowed("example.org") && !allowed("example.net"));
    }

    #[test]
    fn an_address_is_named_by_an_address_alone() {
        let one = certificate(&[SanType::IpAddress("192.0.2.7".parse().unwrap()), dns("192.0.2.8.example.com")]);
        assert!(names(&one, "192.0.2.7"));
        assert!(!names(&one, "192.0.2.8"));
    }

    #[test]
    fn without_alternative_names_the_common_name_counts_for_nothing() {
        let mut params = CertificateParams::default();
        params.distinguished_name.push(rcgen::DnType::CommonName, "example.com");
        let one = params.self_signed(&KeyPair::generate().unwrap()).unwrap();
        assert!(!names(one.der(), "example.com"));
    }
}
