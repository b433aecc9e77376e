//! What messages of the `ng` protocol are made of, whichever way they are written. Pure; slow-path thread.
//!
//! Always holds: a dictionary keeps its keys in the order in which they came or were put in. Keys may be written with
//! blanks or hyphens between their words, and are found under either.

use bytes::Bytes;

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Value {
    Integer(i64),
    Text(Bytes),
    List(Vec<Value>),
    Dictionary(Dictionary),
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Dictionary(pub(super) Vec<(Bytes, Value)>);

impl Value {
    /// As text, if it is text and UTF-8.
    pub fn text(&self) -> Option<&str> {
        match self {
            Value::Text(bytes) => std::str::from_utf8(bytes).ok(),
            _ => None,
        }
    }

    /// A number, or text that is one: proxies send either.
    pub fn integer(&self) -> Option<i64> {
        match self {
            Value::Integer(number) => Some(*number),
            _ => self.text()?.trim().parse().ok(),
        }
    }

    /// The texts of a list; a text alone is a list of one.
    pub fn texts(&self) -> Vec<&str> {
        match self {
            Value::List(list) => list.iter().filter_map(Value::text).collect(),
            _ => self.text().into_iter().collect(),
        }
    }
}

impl From<&str> for Value {
    fn from(text: &str) -> Self {
        Value::Text(Bytes::copy_from_slice(text.as_bytes()))
    }
}

impl From<String> for Value {
    fn from(text: String) -> Self {
        Value::Text(text.into())
    }
}

impl From<Bytes> for Value {
    fn from(text: Bytes) -> Self {
        Value::Text(text)
    }
}

impl From<i64> for Value {
    fn from(number: i64) -> Self {
        Value::Integer(number)
    }
}

impl From<u64> for Value {
    fn from(number: u64) -> Self {
        Value::Integer(i64::try_from(number).unwrap_or(i64::MAX))
    }
}

impl From<usize> for Value {
    fn from(number: usize) -> Self {
        Value::Integer(i64::try_from(number).unwrap_or(i64::MAX))
    }
}

impl From<u16> for Value {
    fn from(number: u16) -> Self {
        Value::Integer(number.into())
    }
}

impl From<Vec<Value>> for Value {
    fn from(list: Vec<Value>) -> Self {
        Value::List(list)
    }
}

impl From<Dictionary> for Value {
    fn from(dictionary: Dictionary) -> Self {
        Value::Dictionary(dictionary)
    }
}

impl Dictionary {
    pub fn get(&self, name: &str) -> Option<&Value> {
        self.0.iter().find(|(key, _)| is_named(key, name)).map(|(_, value)| value)
    }

    /// Behind what is there; a key that is there already is left to the reader.
    pub fn put(&mut self, key: &str, value: impl Into<Value>) {
        self.0.push((Bytes::copy_from_slice(key.as_bytes()), value.into()));
    }

    /// `put`, to be written one behind another.
    pub fn with(mut self, key: &str, value: impl Into<Value>) -> Self {
        self.put(key, value);
        self
    }

    pub fn iter(&self) -> impl Iterator<Item = (&Bytes, &Value)> {
        self.0.iter().map(|(key, value)| (key, value))
    }
}

/// Whether `key` is `name`, which is written with hyphens: `call-id`, `call id`.
fn is_named(key: &[u8], name: &str) -> bool {
    key.len() == name.len() && key.iter().zip(name.as_bytes()).all(|(a, b)| a == b || *b == b'-' && *a == b' ')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_found_with_blanks_or_hyphens_and_the_first_wins() {
        let dictionary = Dictionary::default().with("transport protocol", "RTP/AVP").with("transport-protocol", "x");
        assert_eq!(dictionary.get("transport-protocol").and_then(Value::text), Some("RTP/AVP"));
        assert_eq!(dictionary.get("transport"), None);
        assert_eq!(dictionary.get("Transport-protocol"), None);
    }

    #[test]
    fn numbers_and_lists_may_come_as_text() {
        assert_eq!(Value::from("184").integer(), Some(184));
        assert_eq!(Value::from(-1i64).integer(), Some(-1));
        assert_eq!(Value::from("high").integer(), None);
        assert_eq!(Value::from("one").texts(), ["one"]);
        assert_eq!(Value::from(vec!["a".into(), Value::Integer(1), "b".into()]).texts(), ["a", "b"]);
    }
}
