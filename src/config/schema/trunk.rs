//! Keys of a `[[trunk]]` that say where calls to it go and how many it takes. Values only.

use std::fmt;

use serde::{
    Deserialize, Deserializer, Serialize,
    de::{self, MapAccess, Visitor, value::MapAccessDeserializer},
};

/// One place that calls to a trunk go to: a string is its URI, with priority and weight as below.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct TrunkDestination {
    /// `sip:HOST[:PORT][;transport=udp|tcp]`, the host an IP address or a name.
    pub uri: String,
    /// The lowest is tried first; the policy is about those that share one.
    pub priority: u16,
    /// Its share among those of its priority, for `weighted` and `least_calls`.
    pub weight: u16,
}

impl TrunkDestination {
    pub const PRIORITY: u16 = 1;
    pub const WEIGHT: u16 = 1;
}

impl From<&str> for TrunkDestination {
    fn from(uri: &str) -> Self {
        TrunkDestination { uri: uri.to_owned(), priority: Self::PRIORITY, weight: Self::WEIGHT }
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Table {
    uri: String,
    #[serde(default = "priority")]
    priority: u16,
    #[serde(default = "weight")]
    weight: u16,
}

fn priority() -> u16 {
    TrunkDestination::PRIORITY
}

fn weight() -> u16 {
    TrunkDestination::WEIGHT
}

impl<'de> Deserialize<'de> for TrunkDestination {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct StringOrTable;

        impl<'de> Visitor<'de> for StringOrTable {
            type Value = TrunkDestination;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a URI, or a table with uri, priority and weight")
            }

            fn visit_str<E: de::Error>(self, uri: &str) -> Result<TrunkDestination, E> {
                Ok(TrunkDestination::from(uri))
            }

            fn visit_map<M: MapAccess<'de>>(self, map: M) -> Result<TrunkDestination, M::Error> {
                let Table { uri, priority, weight } = Table::deserialize(MapAccessDeserializer::new(map))?;
                Ok(TrunkDestination { uri, priority, weight })
            }
        }

        deserializer.deserialize_any(StringOrTable)
    }
}

/// Which of the destinations that share a priority is tried first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Policy {
    /// As listed.
    #[default]
    Order,
    /// By chance, each as often as its weight says (RFC 2782).
    Weighted,
    /// Each in turn.
    RoundRobin,
    /// The one with the fewest calls in progress for its weight.
    LeastCalls,
}

impl Policy {
    pub const fn as_str(self) -> &'static str {
        match self {
            Policy::Order => "order",
            Policy::Weighted => "weighted",
            Policy::RoundRobin => "round_robin",
            Policy::LeastCalls => "least_calls",
        }
    }
}

/// Calls that a trunk takes. In: it calls; out: it is called; without a word of direction: both together.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct TrunkLimits {
    /// Calls in progress at once.
    pub max_calls: Option<u32>,
    pub max_calls_in: Option<u32>,
    pub max_calls_out: Option<u32>,
    /// New calls per second.
    pub calls_per_second: Option<u32>,
    pub calls_per_second_in: Option<u32>,
    pub calls_per_second_out: Option<u32>,
    /// New calls that may come at once, for each of the rates. Default: a second's worth.
    pub burst: Option<u32>,
}

/// OPTIONS to each destination, and what is made of the answers. Absent: none are sent.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct TrunkHealth {
    /// From one OPTIONS to the next; one that is not answered by then has failed.
    pub interval_s: u32,
    /// Answers in a row that bring a destination up.
    pub up_after: u32,
    /// Failures in a row that take it down.
    pub down_after: u32,
    pub alive: Alive,
}

impl Default for TrunkHealth {
    fn default() -> Self {
        TrunkHealth { interval_s: 30, up_after: 2, down_after: 3, alive: Alive::Any }
    }
}

/// Which final response says that a destination lives.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Alive {
    /// Any: who refuses OPTIONS is there all the same.
    Any,
    /// 2xx.
    Success,
}
