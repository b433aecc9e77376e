//! Digest authentication (RFC 3261 §22, RFC 7616, RFC 8760), towards a trunk and from it. Slow-path thread, no I/O.
//!
//! # tandem is challenged
//!
//! There is one place where requests go out, `Core::send`, and one where responses come in, `Endpoint::response`; no kind of
//! request has anything of its own:
//!
//! 1. `Core::send` knows the trunk. If it has an account, the request shows what the server at that address has asked for
//!    before (`client::Spaces::authorize`).
//! 2. A 401 or 407 is looked at before whoever sent the request hears of it (`endpoint::credentials`). If it is to be
//!    answered, the same request goes out again: same Call-ID, From and To, the next CSeq number of its dialog, a branch
//!    of its own, on the same path (RFC 3261 §22.2, §8.1.3.5). The transaction table puts the new transaction where the old
//!    one was (`Transactions::again`), so that who sent the request knows it by the same `ClientId`; the old one lingers
//!    to acknowledge repetitions.
//! 3. What is not answered passes on as any other response: credentials that are refused, a realm or algorithm that is not
//!    known, a trunk without an account.
//!
//! An ACK shows what its INVITE showed (§22.1); CANCEL shows nothing. INVITEs that nobody waits for any longer are not sent
//! again.
//!
//! # tandem challenges
//!
//! Where `trunk.auth.challenge` names a realm, each request from the trunk but ACK and CANCEL (RFC 3261 §22.1) must show the
//! account, in a dialog and outside. tandem is who is called, not a proxy: it answers 401 with WWW-Authenticate (§22.2),
//! SHA-256 before MD5. Only addresses that `trunk.from` names get that far, and those are never banned
//! (`sip::guard`): wrong credentials are counted and told, not held against the address.
//!
//! # The files
//!
//! - `digest`: the hashes. `header`: challenges and credentials as text. Both serve either role.
//! - `client`: which challenge is answered, and the nonces that are known.
//! - `server`: nonces of ours, and what credentials are worth.
//!
//! Always: a password stays in the configuration; what is saved, shown and logged holds none, nor a hash of one alone.

pub mod client;
pub mod digest;
pub mod header;
pub mod server;
#[cfg(test)]
mod tests;
