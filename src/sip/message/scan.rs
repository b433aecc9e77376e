//! The characters of RFC 3261 §25.1 and a cursor that walks over a header's value once, left to right. Runs on the slow
//! path. Nothing here recurses, copies or steps back further than one byte; positions are byte offsets at ASCII
//! delimiters, so that they are character boundaries too.

/// A piece of text is not what the grammar allows; says which piece.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0} is not valid SIP syntax")]
pub struct Syntax(pub &'static str);

/// RFC 3261 §25.1: token.
pub fn is_token_byte(b: u8) -> bool {
    b.is_ascii_alphanumeric() || matches!(b, b'-' | b'.' | b'!' | b'%' | b'*' | b'_' | b'+' | b'`' | b'\'' | b'~')
}

pub fn is_token(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(is_token_byte)
}

/// Linear white space after unfolding.
pub fn is_space(b: u8) -> bool {
    matches!(b, b' ' | b'\t')
}

/// RFC 3261 §25.1: every `%` opens an escape of two hexadecimal digits.
pub fn escapes_are_whole(text: &str) -> bool {
    let bytes = text.as_bytes();
    let mut at = 0;
    while let Some(&b) = bytes.get(at) {
        if b == b'%' {
            if !bytes.get(at + 1..at + 3).is_some_and(|hex| hex.iter().all(u8::is_ascii_hexdigit)) {
                return false;
            }
            at += 2;
        }
        at += 1;
    }
    true
}

#[derive(Clone, Copy, Debug)]
pub struct Cursor<'a> {
    text: &'a str,
    at: usize,
}

impl<'a> Cursor<'a> {
    pub fn new(text: &'a str) -> Self {
        Cursor { text, at: 0 }
    }

    pub fn peek(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }

    pub fn at_end(&self) -> bool {
        self.at >= self.text.len()
    }

    pub fn rest(&self) -> &'a str {
        self.text.get(self.at..).unwrap_or("")
    }

    pub fn skip_space(&mut self) {
        self.take_while(is_space);
    }

    /// Takes `b` if it is next.
    pub fn eat(&mut self, b: u8) -> bool {
        let found = self.peek() == Some(b);
        if found {
            self.at += 1;
        }
        found
    }

    /// Takes `b` with any space around it. Takes nothing if it is not there.
    pub fn eat_spaced(&mut self, b: u8) -> bool {
        let mut ahead = *self;
        ahead.skip_space();
        if !ahead.eat(b) {
            return false;
        }
        ahead.skip_space();
        *self = ahead;
        true
    }

    /// The longest run of bytes that satisfy `keep`; `keep` must hold for all bytes ≥ 0x80 or for none.
    pub fn take_while(&mut self, keep: impl Fn(u8) -> bool) -> &'a str {
        let start = self.at;
        while self.peek().is_some_and(&keep) {
            self.at += 1;
        }
        self.text.get(start..self.at).unwrap_or("")
    }

    pub fn token(&mut self) -> Option<&'a str> {
        Some(self.take_while(is_token_byte)).filter(|t| !t.is_empty())
    }

    /// A quoted string with its quotes, escapes untouched. None (and nothing taken) if it does not start here or never
    /// ends.
    pub fn quoted(&mut self) -> Option<&'a str> {
        let bytes = self.text.as_bytes();
        if bytes.get(self.at) != Some(&b'"') {
            return None;
        }
        let mut end = self.at + 1;
        loop {
            match bytes.get(end)? {
                b'"' => break,
                // RFC 3261 §25.1: quoted-pair takes one ASCII byte.
                b'\\' => end += 2,
                _ => end += 1,
            }
        }
        let text = self.text.get(self.at..=end)?;
        self.at = end + 1;
        Some(text)
    }
}

/// What a quoted string says: without quotes and escapes.
pub fn unquote(quoted: &str) -> String {
    let inner = quoted.strip_prefix('"').and_then(|q| q.strip_suffix('"')).unwrap_or(quoted);
    let mut out = String::with_capacity(inner.len());
    let mut chars = inner.chars();
    while let Some(c) = chars.next() {
        match c {
            '\\' => out.extend(chars.next()),
            _ => out.push(c),
        }
    }
    out
}

/// `text` as a quoted string.
pub fn quote(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 2);
    out.push('"');
    for c in text.chars() {
        if c == '"' || c == '\\' || (c.is_ascii_control() && c != '\t') {
            out.push('\\');
        }
        out.push(c);
    }
    out.push('"');
    out
}
