//! Methods and CSeq. RFC 3261 §7.1: methods compare with case.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::scan::{Cursor, Syntax, is_token};

macro_rules! methods {
    ($($variant:ident = $text:literal),* $(,)?) => {
        #[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
        #[serde(into = "String", from = "String")]
        pub enum Method {
            $($variant,)*
            /// Any other token, as it was written.
            Other(String),
        }

        impl Method {
            pub fn as_str(&self) -> &str {
                match self {
                    $(Method::$variant => $text,)*
                    Method::Other(name) => name,
                }
            }
        }

        impl From<&str> for Method {
            fn from(text: &str) -> Self {
                match text {
                    $($text => Method::$variant,)*
                    _ => Method::Other(text.to_owned()),
                }
            }
        }
    };
}

methods! {
    Invite = "INVITE",
    Ack = "ACK",
    Bye = "BYE",
    Cancel = "CANCEL",
    Options = "OPTIONS",
    Info = "INFO",
    Register = "REGISTER",
    Prack = "PRACK",
    Update = "UPDATE",
    Refer = "REFER",
    Subscribe = "SUBSCRIBE",
    Notify = "NOTIFY",
    Message = "MESSAGE",
    Publish = "PUBLISH",
}

impl Method {
    pub fn parse(text: &str) -> Result<Method, Syntax> {
        if is_token(text) { Ok(Method::from(text)) } else { Err(Syntax("the method")) }
    }
}

impl std::str::FromStr for Method {
    type Err = Syntax;

    fn from_str(text: &str) -> Result<Method, Syntax> {
        Method::parse(text)
    }
}

impl From<String> for Method {
    fn from(text: String) -> Self {
        Method::from(text.as_str())
    }
}

impl From<Method> for String {
    fn from(method: Method) -> Self {
        method.as_str().to_owned()
    }
}

impl fmt::Display for Method {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct CSeq {
    pub seq: u32,
    pub method: Method,
}

impl CSeq {
    pub fn parse(text: &str) -> Result<CSeq, Syntax> {
        const WHAT: Syntax = Syntax("CSeq");
        let mut cursor = Cursor::new(text);
        let digits = cursor.take_while(|b| b.is_ascii_digit());
        // RFC 3261 §8.1.1.5: the number is less than 2**31. An empty or longer run of digits fails here too.
        let seq = digits.parse::<u32>().ok().filter(|&n| n < 1 << 31).ok_or(WHAT)?;
        if cursor.take_while(super::scan::is_space).is_empty() {
            return Err(WHAT);
        }
        Ok(CSeq { seq, method: Method::parse(cursor.rest().trim_end_matches([' ', '\t'])).map_err(|_| WHAT)? })
    }
}

impl fmt::Display for CSeq {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.seq, self.method)
    }
}
