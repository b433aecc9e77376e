//! net_pcap: frames of a capture come in byte for byte, and what is sent lands in another.

use std::fs;

use arrayvec::ArrayVec;
use dpdk_sys::{Eal, EalArgs, Mbuf, Pool, PoolArgs, Port, PortArgs};

type Burst = ArrayVec<Mbuf, 32>;

/// A classic little-endian capture of Ethernet frames (the libpcap file format, LINKTYPE_ETHERNET).
fn capture(frames: &[Vec<u8>]) -> Vec<u8> {
    let mut file = Vec::new();
    for word in [0xA1B2_C3D4, 0x0004_0002, 0, 0, 65_535, 1u32] {
        file.extend(word.to_le_bytes());
    }
    for frame in frames {
        for word in [1, 0, frame.len() as u32, frame.len() as u32] {
            file.extend(word.to_le_bytes());
        }
        file.extend(frame);
    }
    file
}

/// The frames of such a file.
fn frames_of(file: &[u8]) -> Vec<Vec<u8>> {
    let mut frames = Vec::new();
    let mut rest = &file[24..];
    while rest.len() >= 16 {
        let length = u32::from_le_bytes([rest[8], rest[9], rest[10], rest[11]]) as usize;
        frames.push(rest[16..16 + length].to_vec());
        rest = &rest[16 + length..];
    }
    frames
}

#[test]
fn a_capture_is_read_and_written() {
    let folder = std::env::temp_dir().join(format!("tandem-pcap-{}", std::process::id()));
    fs::create_dir_all(&folder).unwrap();
    let (input, output) = (folder.join("in.pcap"), folder.join("out.pcap"));
    // The last frame is longer than a buffer: it arrives as a chain.
    let frames: Vec<Vec<u8>> =
        [60usize, 214, 1514, 6000].iter().map(|n| (0..*n).map(|i| (i * 7) as u8).collect()).collect();
    fs::write(&input, capture(&frames)).unwrap();

    let eal = Eal::start(&EalArgs::ordinary(128, 0)).unwrap();
    let pool = Pool::create(
        &eal,
        &PoolArgs { name: "p", count: 1023, cache: 32, data_bytes: 2048, socket: None, shared_cpus: false },
    )
    .unwrap();
    let device = format!("net_pcap0,rx_pcap={},tx_pcap={}", input.display(), output.display());
    let port = Port::attach(&eal, &device).unwrap();
    let pools = [pool];
    let arguments = PortArgs {
        rx_pools: &pools,
        tx_queues: 1,
        rx_descriptors: 64,
        tx_descriptors: 64,
        mtu: 1500,
        program_reta: false,
    };
    let mut started = port.start(&arguments).map_err(|(_, e)| e).unwrap();
    let mut burst = Burst::new();
    assert_eq!(started.rx[0].rx(&mut burst), 4);
    assert_eq!(started.rx[0].rx(&mut burst), 0, "the capture is at its end");
    for (m, frame) in burst.iter().zip(&frames) {
        assert_eq!(m.segments().collect::<Vec<_>>().concat(), *frame);
    }
    assert_eq!(burst[3].segments_len(), 3);
    assert_eq!(started.tx[0].tx(&mut burst).packets, 0);
    let stats = started.port.stats().unwrap();
    let bytes = (60 + 214 + 1514 + 6000) as u64;
    assert_eq!((stats.rx_packets, stats.rx_bytes, stats.tx_packets, stats.tx_bytes), (4, bytes, 4, bytes));
    drop(started);
    assert_eq!(frames_of(&fs::read(&output).unwrap()), frames);
    assert_eq!(pool.available(), 1023);
    fs::remove_dir_all(&folder).unwrap();
}
