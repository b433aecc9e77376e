//! `"display" <uri>;params`, as in From, To, Contact, Route and Record-Route (RFC 3261 §20.10).

use std::fmt;

use serde::{Deserialize, Serialize};

use super::{
    params::Params,
    scan::{Cursor, Syntax, is_space, is_token_byte, quote, unquote},
    uri::Uri,
};
use crate::base::limits::SIP_LIST_ENTRIES;

const WHAT: Syntax = Syntax("the address");

#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct NameAddr {
    /// What is shown, without quotes and escapes.
    pub display: Option<String>,
    pub uri: Uri,
    pub params: Params,
}

impl NameAddr {
    pub fn new(uri: Uri) -> Self {
        NameAddr { display: None, uri, params: Params::new() }
    }

    pub fn tag(&self) -> Option<&str> {
        self.params.value("tag")
    }

    pub fn set_tag(&mut self, tag: &str) {
        self.params.set("tag", Some(tag));
    }

    /// Exactly one address.
    pub fn parse(text: &str) -> Result<NameAddr, Syntax> {
        let mut cursor = Cursor::new(text);
        let address = NameAddr::take(&mut cursor)?;
        if cursor.at_end() { Ok(address) } else { Err(WHAT) }
    }

    /// One or more, separated by commas.
    pub fn parse_list(text: &str) -> Result<Vec<NameAddr>, Syntax> {
        let mut list = Vec::new();
        let mut cursor = Cursor::new(text);
        loop {
            if list.len() >= SIP_LIST_ENTRIES {
                return Err(WHAT);
            }
            list.push(NameAddr::take(&mut cursor)?);
            if cursor.at_end() {
                return Ok(list);
            }
            if !cursor.eat(b',') {
                return Err(WHAT);
            }
        }
    }

    /// Takes one address and the space around it.
    fn take(cursor: &mut Cursor<'_>) -> Result<NameAddr, Syntax> {
        cursor.skip_space();
        let (display, uri) = match take_display(cursor)? {
            Some(display) => (display, take_bracketed(cursor)?),
            None => (None, take_bare(cursor)?),
        };
        let params = Params::parse_header(cursor)?;
        cursor.skip_space();
        Ok(NameAddr { display, uri, params })
    }
}

/// What stands before `<`, up to it. None: there is no `<`, and nothing was taken.
fn take_display(cursor: &mut Cursor<'_>) -> Result<Option<Option<String>>, Syntax> {
    if cursor.peek() == Some(b'"') {
        let display = unquote(cursor.quoted().ok_or(WHAT)?);
        cursor.skip_space();
        return if cursor.peek() == Some(b'<') { Ok(Some(Some(display))) } else { Err(WHAT) };
    }
    let mut ahead = *cursor;
    let words = ahead.take_while(is_display_byte).trim_end_matches([' ', '\t']);
    if ahead.peek() != Some(b'<') {
        return Ok(None);
    }
    *cursor = ahead;
    Ok(Some((!words.is_empty()).then(|| words.to_owned())))
}

/// RFC 3261 §25.1: tokens and space. UTF-8 and a few others are met unquoted and mislead nobody; a comma, a colon or a
/// semicolon would.
fn is_display_byte(b: u8) -> bool {
    is_token_byte(b)
        || is_space(b)
        || b >= 0x80
        || matches!(b, b'(' | b')' | b'/' | b'@' | b'&' | b'#' | b'?' | b'=' | b'$')
}

fn take_bracketed(cursor: &mut Cursor<'_>) -> Result<Uri, Syntax> {
    if !cursor.eat(b'<') {
        return Err(WHAT);
    }
    // RFC 4475 §3.1.2.14: space between the brackets and the URI is an error; `Uri::parse` refuses it.
    let uri = Uri::parse(cursor.take_while(|b| b != b'>'))?;
    if cursor.eat(b'>') { Ok(uri) } else { Err(WHAT) }
}

/// RFC 3261 §20: a URI with a comma, question mark or semicolon stands in brackets; without them, what follows `;` is
/// the header's.
fn take_bare(cursor: &mut Cursor<'_>) -> Result<Uri, Syntax> {
    let uri = Uri::parse(cursor.take_while(|b| !is_space(b) && b != b';' && b != b','))?;
    if uri.headers.is_some() { Err(WHAT) } else { Ok(uri) }
}

impl fmt::Display for NameAddr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(display) = &self.display {
            write!(f, "{} ", quote(display))?;
        }
        write!(f, "<{}>{}", self.uri, self.params)
    }
}
