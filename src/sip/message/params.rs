//! `;name=value` lists of URIs and header fields. Values are kept as they were written: a quoted string keeps its quotes.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::scan::{Cursor, Syntax, escapes_are_whole};
use crate::base::limits::SIP_PARAMS;

const WHAT: Syntax = Syntax("a parameter");

/// Order kept; a name occurs once. Names compare without case.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Params(Vec<(String, Option<String>)>);

impl Params {
    pub fn new() -> Self {
        Params::default()
    }

    /// None: no such parameter. Some(None): there without a value.
    pub fn get(&self, name: &str) -> Option<Option<&str>> {
        self.0.iter().find(|(n, _)| n.eq_ignore_ascii_case(name)).map(|(_, v)| v.as_deref())
    }

    pub fn value(&self, name: &str) -> Option<&str> {
        self.get(name).flatten()
    }

    pub fn contains(&self, name: &str) -> bool {
        self.get(name).is_some()
    }

    /// Replaces the value where the name stands already, else appends.
    pub fn set(&mut self, name: &str, value: Option<&str>) {
        let value = value.map(str::to_owned);
        match self.0.iter_mut().find(|(n, _)| n.eq_ignore_ascii_case(name)) {
            Some(entry) => entry.1 = value,
            None => self.0.push((name.to_owned(), value)),
        }
    }

    pub fn remove(&mut self, name: &str) {
        self.0.retain(|(n, _)| !n.eq_ignore_ascii_case(name));
    }

    pub fn iter(&self) -> impl Iterator<Item = (&str, Option<&str>)> {
        self.0.iter().map(|(n, v)| (n.as_str(), v.as_deref()))
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// RFC 3261 §7.3.1 and §19.1.1: a name occurs at most once. Said twice alike it is kept once; said twice
    /// differently nobody knows which is meant.
    fn add(&mut self, name: &str, value: Option<&str>) -> Result<(), Syntax> {
        match self.get(name) {
            Some(before) if before == value => Ok(()),
            Some(_) => Err(WHAT),
            None if self.0.len() >= SIP_PARAMS => Err(WHAT),
            None => {
                self.0.push((name.to_owned(), value.map(str::to_owned)));
                Ok(())
            }
        }
    }

    /// Parameters of a header field, from the first `;` on, as far as they go. Space around `;` and `=` is allowed.
    pub(super) fn parse_header(cursor: &mut Cursor<'_>) -> Result<Params, Syntax> {
        let mut params = Params::default();
        while cursor.eat_spaced(b';') {
            params.add_header_param(cursor)?;
        }
        Ok(params)
    }

    /// As much of the parameters of a header field as can be read.
    pub(super) fn parse_header_leniently(cursor: &mut Cursor<'_>) -> Params {
        let mut params = Params::default();
        while cursor.eat_spaced(b';') && params.add_header_param(cursor).is_ok() {}
        params
    }

    fn add_header_param(&mut self, cursor: &mut Cursor<'_>) -> Result<(), Syntax> {
        let name = cursor.token().ok_or(WHAT)?;
        let value = match cursor.eat_spaced(b'=') {
            false => None,
            true if cursor.peek() == Some(b'"') => Some(cursor.quoted().ok_or(WHAT)?),
            true => Some(cursor.take_while(is_plain_value_byte)).filter(|v| !v.is_empty()).ok_or(WHAT)?.into(),
        };
        self.add(name, value)
    }

    /// `;name=value` of a URI: no space, no quotes. `text` is empty or starts with `;`.
    pub(super) fn parse_uri(text: &str) -> Result<Params, Syntax> {
        let mut params = Params::default();
        let Some(text) = text.strip_prefix(';') else { return if text.is_empty() { Ok(params) } else { Err(WHAT) } };
        for param in text.split(';') {
            let (name, value) = match param.split_once('=') {
                Some((name, value)) => (name, Some(value)),
                None => (param, None),
            };
            if name.is_empty() || !name.bytes().all(is_uri_param_byte) || !escapes_are_whole(param) {
                return Err(WHAT);
            }
            if value.is_some_and(|v| !v.bytes().all(is_uri_param_byte)) {
                return Err(WHAT);
            }
            params.add(name, value)?;
        }
        Ok(params)
    }
}

/// RFC 3261 §25.1: gen-value is a token, a host or a quoted string. Values met in practice hold more; only what would
/// end the value, or open a quoted string, is refused.
fn is_plain_value_byte(b: u8) -> bool {
    b > b' ' && b != 0x7f && !matches!(b, b'"' | b',' | b';' | b'<' | b'>' | b'\\')
}

/// RFC 3261 §25.1: paramchar, and what is met besides that ends nothing.
fn is_uri_param_byte(b: u8) -> bool {
    b > b' ' && b != 0x7f && !matches!(b, b'"' | b'<' | b'>' | b';' | b'?' | b',' | b'\\')
}

impl fmt::Display for Params {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (name, value) in &self.0 {
            match value {
                Some(value) => write!(f, ";{name}={value}")?,
                None => write!(f, ";{name}")?,
            }
        }
        Ok(())
    }
}
