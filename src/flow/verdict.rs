//! What becomes of a packet: exactly one verdict each. Both reasons are closed sets: one counter and one Prometheus
//! label per entry, nothing else can happen.

/// How a worker has decided about one packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Rewritten in place; leaves by this port.
    Forward(crate::base::ids::PortId),
    /// For the kernel, through the exception device.
    Punt(PuntClass),
    Drop(DropReason),
}

macro_rules! closed_set {
    ($(#[$meta:meta])* $name:ident { $($(#[$vmeta:meta])* $variant:ident = $label:literal,)+ }) => {
        $(#[$meta])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        #[repr(u8)]
        pub enum $name { $($(#[$vmeta])* $variant,)+ }

        impl $name {
            pub const ALL: &'static [$name] = &[$($name::$variant,)+];
            pub const COUNT: usize = Self::ALL.len();

            /// The Prometheus label.
            pub const fn label(self) -> &'static str {
                match self { $($name::$variant => $label,)+ }
            }

            pub const fn index(self) -> usize {
                self as usize
            }
        }
    };
}

closed_set! {
    /// Why a packet went nowhere.
    DropReason {
        /// Ethernet: shorter than its header.
        ShortEthernet = "short_ethernet",
        /// Unicast to another station.
        OtherMac = "other_mac",
        /// An IP header that is short or lies about its length, version or header length.
        BadIp = "bad_ip",
        /// The IPv4 header checksum does not match.
        IpChecksum = "ip_checksum",
        /// UDP: short, or a length that does not fit the IP payload.
        BadUdp = "bad_udp",
        /// The media ports are never fragmented to: a first fragment for one of them.
        MediaFragment = "media_fragment",
        /// A media port where no call is.
        NoFlow = "no_flow",
        /// Not RTP: short, another version, or padding or extension that do not fit.
        BadRtp = "bad_rtp",
        /// Not RTCP: short, another version, or lengths that do not fit.
        BadRtcp = "bad_rtcp",
        /// A source that the flow does not admit.
        Source = "source",
        /// A payload type that was not negotiated.
        PayloadType = "payload_type",
        /// This node may not send for this flow.
        Muted = "muted",
        /// This node's lease has run out: another may have its floating addresses by now.
        Lease = "lease",
        /// The other side has not said where it wants its media.
        NoRemote = "no_remote",
        /// The next hop's link-layer address is not known.
        NoNeighbour = "no_neighbour",
        /// Larger than the outgoing port's MTU, or spread over buffers where it would have to be changed.
        TooBig = "too_big",
        /// No room in front of the packet for the larger header.
        NoHeadroom = "no_headroom",
        /// The device's transmit ring was full.
        TxFull = "tx_full",
        /// The class may not send more to the kernel this moment.
        PoliceNeighbour = "police_neighbour",
        PoliceSip = "police_sip",
        PoliceIcmp = "police_icmp",
        PoliceFragment = "police_fragment",
        PoliceOther = "police_other",
        /// The slow path did not keep up: its ring was full.
        PuntFull = "punt_full",
    }
}

closed_set! {
    /// What is handed to the kernel, each with its own share.
    PuntClass {
        /// ARP and neighbour discovery.
        Neighbour = "neighbour",
        /// UDP or TCP from or to a port where SIP listens.
        Sip = "sip",
        Icmp = "icmp",
        Fragment = "fragment",
        Other = "other",
    }
}

impl PuntClass {
    /// The reason counted where this class has used up its share.
    pub const fn policed(self) -> DropReason {
        match self {
            PuntClass::Neighbour => DropReason::PoliceNeighbour,
            PuntClass::Sip => DropReason::PoliceSip,
            PuntClass::Icmp => DropReason::PoliceIcmp,
            PuntClass::Fragment => DropReason::PoliceFragment,
            PuntClass::Other => DropReason::PoliceOther,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_are_distinct_and_in_order() {
        let mut labels: Vec<_> = DropReason::ALL.iter().map(|r| r.label()).collect();
        assert!(DropReason::ALL.iter().enumerate().all(|(i, r)| r.index() == i));
        labels.sort_unstable();
        labels.dedup();
        assert_eq!(labels.len(), DropReason::COUNT);
    }
}
