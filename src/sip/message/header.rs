//! Header names and the ordered list of header lines. Runs on the slow path.
//!
//! Always holds after parsing: names are canonical (compact forms mapped in), values are unfolded and trimmed.
//! Content-Length is framing and is not in the list: `Message::write` writes it.

use std::{
    fmt,
    hash::{Hash, Hasher},
};

use serde::{Deserialize, Serialize};

macro_rules! header_names {
    ($($variant:ident = $text:literal $(| $compact:literal)?),* $(,)?) => {
        #[derive(Clone, Debug, Serialize, Deserialize)]
        #[serde(into = "String", from = "String")]
        pub enum HeaderName {
            $($variant,)*
            /// Any other, as it was written; compares without case.
            Other(String),
        }

        impl HeaderName {
            const KNOWN: &[(&str, HeaderName)] = &[$(($text, HeaderName::$variant)),*];

            pub fn as_str(&self) -> &str {
                match self {
                    $(HeaderName::$variant => $text,)*
                    HeaderName::Other(name) => name,
                }
            }

            /// RFC 3261 §7.3.3.
            fn from_compact(letter: u8) -> Option<HeaderName> {
                $($(if letter.eq_ignore_ascii_case(&$compact) { return Some(HeaderName::$variant); })?)*
                None
            }
        }
    };
}

header_names! {
    Accept = "Accept",
    AcceptContact = "Accept-Contact" | b'a',
    AcceptEncoding = "Accept-Encoding",
    AcceptLanguage = "Accept-Language",
    AlertInfo = "Alert-Info",
    Allow = "Allow",
    AllowEvents = "Allow-Events" | b'u',
    AuthenticationInfo = "Authentication-Info",
    Authorization = "Authorization",
    CallId = "Call-ID" | b'i',
    CallInfo = "Call-Info",
    Contact = "Contact" | b'm',
    ContentDisposition = "Content-Disposition",
    ContentEncoding = "Content-Encoding" | b'e',
    ContentLanguage = "Content-Language",
    ContentLength = "Content-Length" | b'l',
    ContentType = "Content-Type" | b'c',
    CSeq = "CSeq",
    Date = "Date",
    Diversion = "Diversion",
    ErrorInfo = "Error-Info",
    Event = "Event" | b'o',
    Expires = "Expires",
    From = "From" | b'f',
    HistoryInfo = "History-Info",
    Identity = "Identity" | b'y',
    IdentityInfo = "Identity-Info" | b'n',
    InReplyTo = "In-Reply-To",
    MaxForwards = "Max-Forwards",
    MimeVersion = "MIME-Version",
    MinExpires = "Min-Expires",
    MinSe = "Min-SE",
    Organization = "Organization",
    PAssertedIdentity = "P-Asserted-Identity",
    PEarlyMedia = "P-Early-Media",
    PPreferredIdentity = "P-Preferred-Identity",
    Path = "Path",
    Priority = "Priority",
    Privacy = "Privacy",
    ProxyAuthenticate = "Proxy-Authenticate",
    ProxyAuthorization = "Proxy-Authorization",
    ProxyRequire = "Proxy-Require",
    RAck = "RAck",
    Reason = "Reason",
    RecordRoute = "Record-Route",
    ReferTo = "Refer-To" | b'r',
    ReferredBy = "Referred-By" | b'b',
    RejectContact = "Reject-Contact" | b'j',
    RemotePartyId = "Remote-Party-ID",
    Replaces = "Replaces",
    ReplyTo = "Reply-To",
    RequestDisposition = "Request-Disposition" | b'd',
    Require = "Require",
    RetryAfter = "Retry-After",
    Route = "Route",
    RSeq = "RSeq",
    Server = "Server",
    ServiceRoute = "Service-Route",
    SessionExpires = "Session-Expires" | b'x',
    SipETag = "SIP-ETag",
    SipIfMatch = "SIP-If-Match",
    Subject = "Subject" | b's',
    SubscriptionState = "Subscription-State",
    Supported = "Supported" | b'k',
    Timestamp = "Timestamp",
    To = "To" | b't',
    Unsupported = "Unsupported",
    UserAgent = "User-Agent",
    Via = "Via" | b'v',
    Warning = "Warning",
    WwwAuthenticate = "WWW-Authenticate",
}

impl From<&str> for HeaderName {
    fn from(text: &str) -> Self {
        if let [letter] = text.as_bytes()
            && let Some(name) = HeaderName::from_compact(*letter)
        {
            return name;
        }
        let known = HeaderName::KNOWN.iter().find(|(known, _)| known.eq_ignore_ascii_case(text));
        known.map_or_else(|| HeaderName::Other(text.to_owned()), |(_, name)| name.clone())
    }
}

impl From<String> for HeaderName {
    fn from(text: String) -> Self {
        HeaderName::from(text.as_str())
    }
}

impl From<HeaderName> for String {
    fn from(name: HeaderName) -> Self {
        name.as_str().to_owned()
    }
}

impl PartialEq for HeaderName {
    fn eq(&self, other: &Self) -> bool {
        match (self, other) {
            (HeaderName::Other(a), HeaderName::Other(b)) => a.eq_ignore_ascii_case(b),
            _ => std::mem::discriminant(self) == std::mem::discriminant(other),
        }
    }
}

impl Eq for HeaderName {}

impl Hash for HeaderName {
    fn hash<H: Hasher>(&self, state: &mut H) {
        std::mem::discriminant(self).hash(state);
        if let HeaderName::Other(name) = self {
            name.to_ascii_lowercase().hash(state);
        }
    }
}

impl fmt::Display for HeaderName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Header lines in their order.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Headers(Vec<(HeaderName, String)>);

impl Headers {
    pub fn new() -> Self {
        Headers::default()
    }

    /// The first line of that name.
    pub fn get(&self, name: &HeaderName) -> Option<&str> {
        self.0.iter().find(|(n, _)| n == name).map(|(_, value)| value.as_str())
    }

    /// Every line of that name, as it stands: a line may hold a list.
    pub fn all<'a>(&'a self, name: &'a HeaderName) -> impl Iterator<Item = &'a str> {
        self.0.iter().filter(move |(n, _)| n == name).map(|(_, value)| value.as_str())
    }

    pub fn contains(&self, name: &HeaderName) -> bool {
        self.get(name).is_some()
    }

    pub fn push(&mut self, name: HeaderName, value: impl Into<String>) {
        self.0.push((name, value.into()));
    }

    pub fn push_front(&mut self, name: HeaderName, value: impl Into<String>) {
        self.0.insert(0, (name, value.into()));
    }

    /// One line of that name, where the first one stood, else at the end.
    pub fn set(&mut self, name: HeaderName, value: impl Into<String>) {
        match self.0.iter().position(|(n, _)| *n == name) {
            Some(first) => {
                let mut at = 0;
                self.0.retain(|(n, _)| {
                    at += 1;
                    at - 1 <= first || *n != name
                });
                if let Some(line) = self.0.get_mut(first) {
                    line.1 = value.into();
                }
            }
            None => self.push(name, value),
        }
    }

    pub fn remove(&mut self, name: &HeaderName) {
        self.0.retain(|(n, _)| n != name);
    }

    /// Removes all lines but those of these names.
    pub fn keep_only(&mut self, names: &[HeaderName]) {
        self.0.retain(|(name, _)| names.contains(name));
        self.0.shrink_to_fit();
    }

    pub fn iter(&self) -> impl Iterator<Item = (&HeaderName, &str)> {
        self.0.iter().map(|(name, value)| (name, value.as_str()))
    }

    pub fn len(&self) -> usize {
        self.0.len()
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}
