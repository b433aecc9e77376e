//! JSON as the `ng` protocol's other way to write its values. Pure; slow-path thread.
//!
//! serde_json reads; depth is bounded here, length by the message. JSON's true and false are 1 and 0, null is the empty
//! text; a number with a fraction has no meaning in the protocol and is refused.

use std::fmt;

use bytes::Bytes;
use serde::{
    Deserializer, Serialize, Serializer,
    de::{DeserializeSeed, Error, MapAccess, SeqAccess, Visitor},
    ser::{SerializeMap, SerializeSeq},
};

use super::value::{Dictionary, Value};
use crate::base::limits::NG_DEPTH;

pub fn read(bytes: &[u8]) -> Result<Value, serde_json::Error> {
    let mut deserializer = serde_json::Deserializer::from_slice(bytes);
    let value = At(0).deserialize(&mut deserializer)?;
    deserializer.end()?;
    Ok(value)
}

/// The length of the object at the start of `bytes`; None: it has not all come.
pub fn length(bytes: &[u8]) -> Option<usize> {
    let (mut depth, mut in_text, mut escaped) = (0usize, false, false);
    for (at, byte) in bytes.iter().enumerate() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if in_text => escaped = true,
            b'"' => in_text = !in_text,
            b'{' | b'[' if !in_text => depth += 1,
            b'}' | b']' if !in_text => {
                depth = depth.saturating_sub(1);
                if depth == 0 {
                    return Some(at + 1);
                }
            }
            _ => {}
        }
    }
    None
}

pub fn write(dictionary: &Dictionary) -> Vec<u8> {
    // Writing into memory does not fail, and every key is a text.
    serde_json::to_vec(dictionary).unwrap_or_default()
}

/// A value so many lists and dictionaries deep.
#[derive(Clone, Copy)]
struct At(usize);

impl<'de> DeserializeSeed<'de> for At {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        if self.0 > NG_DEPTH {
            return Err(D::Error::custom(format!("lists and objects are inside each other more than {NG_DEPTH} deep")));
        }
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for At {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a text, an integer, a list or an object")
    }

    fn visit_bool<E>(self, truth: bool) -> Result<Value, E> {
        Ok(Value::Integer(truth.into()))
    }

    fn visit_i64<E>(self, number: i64) -> Result<Value, E> {
        Ok(Value::Integer(number))
    }

    fn visit_u64<E: Error>(self, number: u64) -> Result<Value, E> {
        i64::try_from(number).map(Value::Integer).map_err(|_| E::custom("a number is too large"))
    }

    fn visit_str<E>(self, text: &str) -> Result<Value, E> {
        Ok(text.into())
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok("".into())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Value, A::Error> {
        let mut values = Vec::new();
        while let Some(value) = list.next_element_seed(At(self.0 + 1))? {
            values.push(value);
        }
        Ok(Value::List(values))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Value, A::Error> {
        let mut pairs = Vec::new();
        while let Some(key) = map.next_key::<String>()? {
            pairs.push((Bytes::from(key), map.next_value_seed(At(self.0 + 1))?));
        }
        Ok(Value::Dictionary(Dictionary(pairs)))
    }
}

impl Serialize for Value {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Value::Integer(number) => serializer.serialize_i64(*number),
            Value::Text(text) => serializer.serialize_str(&String::from_utf8_lossy(text)),
            Value::List(list) => {
                let mut sequence = serializer.serialize_seq(Some(list.len()))?;
                list.iter().try_for_each(|value| sequence.serialize_element(value))?;
                sequence.end()
            }
            Value::Dictionary(dictionary) => dictionary.serialize(serializer),
        }
    }
}

impl Serialize for Dictionary {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(self.0.len()))?;
        for (key, value) in &self.0 {
            map.serialize_entry(&String::from_utf8_lossy(key), value)?;
        }
        map.end()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_object_keeps_its_order_and_comes_back_as_it_was() {
        let text = r#"{"command":"offer","call-id":"x","flags":["trust address"],"TOS":184}"#;
        let Value::Dictionary(read) = read(text.as_bytes()).unwrap() else { panic!("no dictionary") };
        assert_eq!(write(&read), text.as_bytes());
    }

    #[test]
    fn what_the_protocol_has_no_value_for_is_refused_or_translated() {
        assert_eq!(read(b"[true,false,null]").unwrap(), vec![1i64.into(), 0i64.into(), "".into()].into());
        for wrong in ["1.5", "18446744073709551615", "{\"a\":1", "{} {}", "", "{1:2}"] {
            assert!(read(wrong.as_bytes()).is_err(), "{wrong}");
        }
        assert!(read("[".repeat(60_000).as_bytes()).is_err());
        assert!(read(format!("{}{}", "[".repeat(NG_DEPTH), "]".repeat(NG_DEPTH)).as_bytes()).is_ok());
        assert!(read(format!("{}{}", "[".repeat(NG_DEPTH + 2), "]".repeat(NG_DEPTH + 2)).as_bytes()).is_err());
    }

    #[test]
    fn the_end_of_an_object_is_found_whatever_its_texts_hold() {
        let object = br#"{"a":"}\"]","b":[{}]}"#;
        assert_eq!(length(&[object.as_slice(), b"more"].concat()), Some(object.len()));
        for end in 0..object.len() {
            assert_eq!(length(&object[..end]), None, "{end}");
        }
    }
}
