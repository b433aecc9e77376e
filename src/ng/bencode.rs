//! Bencode as the `ng` protocol uses it: integers, byte strings, lists, dictionaries. Pure; slow-path thread.
//!
//! Always holds: what is read is no deeper than `NG_DEPTH` and no longer than its message, so that nothing is allotted for
//! a length that is only claimed; keys may come in any order, as proxies send them, and their order is kept.

use bytes::Bytes;

use super::value::{Dictionary, Value};
use crate::base::limits::NG_DEPTH;

/// Why bytes are no bencode, or not a whole one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BencodeError {
    #[error("it ends too early")]
    Short,
    #[error("something stands behind its end")]
    Long,
    #[error("a number cannot be read")]
    Number,
    #[error("no value begins with this byte: {0:#04x}")]
    Byte(u8),
    #[error("a key is no text")]
    Key,
    #[error("lists and dictionaries are inside each other more than {NG_DEPTH} deep")]
    Deep,
}

/// Reads one value that fills `bytes`.
pub fn read(bytes: &Bytes) -> Result<Value, BencodeError> {
    let mut reader = Reader { bytes, at: 0 };
    let value = reader.value(0)?;
    if reader.at == bytes.len() { Ok(value) } else { Err(BencodeError::Long) }
}

/// The length of the value at the start of `bytes`, of which more may come: `Short` says that it has not all come.
pub fn length(bytes: &Bytes) -> Result<usize, BencodeError> {
    let mut reader = Reader { bytes, at: 0 };
    reader.value(0)?;
    Ok(reader.at)
}

struct Reader<'a> {
    bytes: &'a Bytes,
    at: usize,
}

impl Reader<'_> {
    fn peek(&self) -> Result<u8, BencodeError> {
        self.bytes.get(self.at).copied().ok_or(BencodeError::Short)
    }

    fn value(&mut self, depth: usize) -> Result<Value, BencodeError> {
        if depth > NG_DEPTH {
            return Err(BencodeError::Deep);
        }
        match self.peek()? {
            b'i' => {
                self.at += 1;
                self.number(b'e').map(Value::Integer)
            }
            b'0'..=b'9' => self.text().map(Value::Text),
            b'l' => {
                self.at += 1;
                let mut list = Vec::new();
                while self.peek()? != b'e' {
                    list.push(self.value(depth + 1)?);
                }
                self.at += 1;
                Ok(Value::List(list))
            }
            b'd' => {
                self.at += 1;
                let mut pairs = Vec::new();
                while self.peek()? != b'e' {
                    if !self.peek()?.is_ascii_digit() {
                        return Err(BencodeError::Key);
                    }
                    let key = self.text()?;
                    pairs.push((key, self.value(depth + 1)?));
                }
                self.at += 1;
                Ok(Value::Dictionary(Dictionary(pairs)))
            }
            byte => Err(BencodeError::Byte(byte)),
        }
    }

    /// Digits up to `end`, which is passed over.
    fn number(&mut self, end: u8) -> Result<i64, BencodeError> {
        let rest = self.bytes.get(self.at..).unwrap_or_default();
        // The longest 64-bit number, its sign, and what ends it.
        let window = rest.get(..rest.len().min(21)).unwrap_or_default();
        let Some(len) = window.iter().position(|byte| *byte == end) else {
            let numeric = window.iter().all(|byte| byte.is_ascii_digit() || *byte == b'-');
            return Err(if numeric && rest.len() < 21 { BencodeError::Short } else { BencodeError::Number });
        };
        let digits = std::str::from_utf8(&rest[..len]).map_err(|_| BencodeError::Number)?;
        let plain = digits.strip_prefix('-').unwrap_or(digits).bytes().all(|byte| byte.is_ascii_digit());
        self.at += len + 1;
        digits.parse().ok().filter(|_| plain).ok_or(BencodeError::Number)
    }

    fn text(&mut self) -> Result<Bytes, BencodeError> {
        let len = usize::try_from(self.number(b':')?).map_err(|_| BencodeError::Number)?;
        let end = self.at.checked_add(len).filter(|end| *end <= self.bytes.len()).ok_or(BencodeError::Short)?;
        let text = self.bytes.slice(self.at..end);
        self.at = end;
        Ok(text)
    }
}

pub fn write(value: &Value, out: &mut Vec<u8>) {
    match value {
        Value::Integer(number) => out.extend_from_slice(format!("i{number}e").as_bytes()),
        Value::Text(text) => write_text(text, out),
        Value::List(list) => {
            out.push(b'l');
            list.iter().for_each(|value| write(value, out));
            out.push(b'e');
        }
        Value::Dictionary(dictionary) => write_dictionary(dictionary, out),
    }
}

pub fn write_dictionary(dictionary: &Dictionary, out: &mut Vec<u8>) {
    out.push(b'd');
    for (key, value) in dictionary.iter() {
        write_text(key, out);
        write(value, out);
    }
    out.push(b'e');
}

fn write_text(text: &[u8], out: &mut Vec<u8>) {
    out.extend_from_slice(text.len().to_string().as_bytes());
    out.push(b':');
    out.extend_from_slice(text);
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn of(text: &str) -> Result<Value, BencodeError> {
        read(&Bytes::copy_from_slice(text.as_bytes()))
    }

    fn back(value: &Value) -> Vec<u8> {
        let mut out = Vec::new();
        write(value, &mut out);
        out
    }

    // BEP 3, "bencoding": the examples that the specification gives.
    #[test]
    fn the_examples_of_the_specification_are_read() {
        assert_eq!(of("4:spam"), Ok("spam".into()));
        assert_eq!(of("i3e"), Ok(Value::Integer(3)));
        assert_eq!(of("i-3e"), Ok(Value::Integer(-3)));
        assert_eq!(of("l4:spam4:eggse"), Ok(vec!["spam".into(), "eggs".into()].into()));
        let pairs = Dictionary::default().with("cow", "moo").with("spam", "eggs");
        assert_eq!(of("d3:cow3:moo4:spam4:eggse"), Ok(pairs.into()));
    }

    #[test]
    fn keys_in_any_order_keep_it() {
        let text = "d4:spam4:eggs3:cowi1ee";
        assert_eq!(back(&of(text).unwrap()), text.as_bytes());
    }

    #[test]
    fn what_is_no_bencode_is_refused_without_allotting_what_it_claims() {
        for (text, error) in [
            ("", BencodeError::Short),
            ("5:spam", BencodeError::Short),
            ("9999999999:spam", BencodeError::Short),
            ("99999999999999999999:x", BencodeError::Number),
            ("999999999999999999999999:x", BencodeError::Number),
            ("i3", BencodeError::Short),
            ("i+3e", BencodeError::Number),
            ("ie", BencodeError::Number),
            ("i1.5e", BencodeError::Number),
            ("l4:spam", BencodeError::Short),
            ("di1ei2ee", BencodeError::Key),
            ("d3:cowe", BencodeError::Byte(b'e')),
            ("i1ei2e", BencodeError::Long),
            ("x", BencodeError::Byte(b'x')),
        ] {
            assert_eq!(of(text), Err(error), "{text}");
        }
        assert_eq!(of(&"l".repeat(60_000)), Err(BencodeError::Deep));
        assert!(of(&format!("{}{}", "l".repeat(NG_DEPTH), "e".repeat(NG_DEPTH))).is_ok());
    }

    fn values() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            any::<i64>().prop_map(Value::Integer),
            proptest::collection::vec(any::<u8>(), 0..20).prop_map(|bytes| Value::Text(bytes.into())),
        ];
        leaf.prop_recursive(6, 64, 8, |inner| {
            prop_oneof![
                proptest::collection::vec(inner.clone(), 0..8).prop_map(Value::List),
                proptest::collection::vec(("[a-z -]{0,9}", inner), 0..8).prop_map(|pairs| {
                    Value::Dictionary(Dictionary(pairs.into_iter().map(|(key, value)| (key.into(), value)).collect()))
                }),
            ]
        })
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_again_and_every_part_of_it_is_short(value in values(), cut in any::<prop::sample::Index>()) {
            let bytes = Bytes::from(back(&value));
            prop_assert_eq!(read(&bytes), Ok(value));
            prop_assert_eq!(length(&bytes), Ok(bytes.len()));
            let part = bytes.slice(..cut.index(bytes.len()));
            prop_assert_eq!(length(&part), Err(BencodeError::Short));
        }
    }
}
