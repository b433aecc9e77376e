//! How state is written for the other host of a pair: MessagePack with the names of fields, so that neighbouring releases
//! understand each other: a field that is missing takes its default, one that is not known is passed over.

use bytes::Bytes;
use serde::{Serialize, de::DeserializeOwned};

/// Written once into a buffer that grows, then copied out: values are many and small.
#[derive(Debug, Default)]
pub struct Packer {
    buffer: Vec<u8>,
}

impl Packer {
    /// A value that cannot be written comes out empty, which no reader takes for one.
    pub fn pack(&mut self, value: &impl Serialize) -> Bytes {
        self.buffer.clear();
        let mut serializer = rmp_serde::Serializer::new(&mut self.buffer).with_struct_map();
        match value.serialize(&mut serializer) {
            Ok(()) => Bytes::copy_from_slice(&self.buffer),
            Err(_) => Bytes::new(),
        }
    }
}

pub fn pack(value: &impl Serialize) -> Bytes {
    Packer::default().pack(value)
}

/// None: it is no such value.
pub fn unpack<T: DeserializeOwned>(bytes: &[u8]) -> Option<T> {
    rmp_serde::from_slice(bytes).ok()
}

#[cfg(test)]
mod tests {
    use serde::Deserialize;

    use super::*;

    #[derive(Serialize)]
    struct Newer {
        kept: u32,
        added: Vec<String>,
    }

    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    struct Older {
        #[serde(default)]
        gone: bool,
        kept: u32,
    }

    #[test]
    fn neighbouring_releases_understand_each_other() {
        let bytes = pack(&Newer { kept: 7, added: vec!["x".into()] });
        assert_eq!(unpack(&bytes), Some(Older { gone: false, kept: 7 }));
        assert_eq!(unpack::<Older>(&pack(&"else")), None);
        assert_eq!(unpack::<Older>(&bytes[..bytes.len() - 1]), None);
        assert_eq!(unpack::<Older>(&[]), None);
    }
}
