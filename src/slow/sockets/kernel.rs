//! How SIP sockets are made. Runs on the slow-path thread; nothing here blocks.

use std::{
    io,
    mem::MaybeUninit,
    net::{IpAddr, SocketAddr, SocketAddrV6},
};

use mio::net::{TcpListener, TcpStream, UdpSocket};
use nix::sys::socket::{setsockopt, sockopt};
use socket2::{Domain, Protocol, SockRef, Socket, Type};

use super::Listener;
use crate::{base::limits::SIP_UNACKNOWLEDGED, config::SipTransport};

/// Kernel buffer of a UDP listener: half a second of a busy trunk.
const UDP_BUFFER_BYTES: usize = 4 << 20;
/// Connections that the kernel holds ready for us.
pub const BACKLOG: usize = 1_024;

pub fn bind(at: SocketAddr, transport: SipTransport) -> io::Result<Listener> {
    let (kind, protocol) = match transport {
        SipTransport::Udp => (Type::DGRAM, Protocol::UDP),
        SipTransport::Tcp | SipTransport::Tls => (Type::STREAM, Protocol::TCP),
    };
    let socket = Socket::new(Domain::for_address(at), kind, Some(protocol))?;
    // The address may come later: a floating one is only on the active node.
    match at {
        SocketAddr::V4(_) => socket.set_freebind_v4(true)?,
        SocketAddr::V6(_) => {
            socket.set_only_v6(true)?;
            socket.set_freebind_v6(true)?;
        }
    }
    if transport.is_stream() {
        socket.set_reuse_address(true)?;
    }
    socket.set_nonblocking(true)?;
    socket.bind(&at.into())?;
    match transport {
        SipTransport::Udp => {
            // RFC 3261 §18.4: an ICMP error is a failure of the transport. Without this an unconnected socket hears none.
            match at {
                SocketAddr::V4(_) => setsockopt(&socket, sockopt::Ipv4RecvErr, &true)?,
                SocketAddr::V6(_) => setsockopt(&socket, sockopt::Ipv6RecvErr, &true)?,
            }
            // With CAP_NET_ADMIN past the system's net.core.rmem_max, whose default holds some hundred messages; without it,
            // the kernel may grant less: that is its limit, not an error.
            if setsockopt(&socket, sockopt::RcvBufForce, &UDP_BUFFER_BYTES).is_err() {
                let _ = socket.set_recv_buffer_size(UDP_BUFFER_BYTES);
            }
            if setsockopt(&socket, sockopt::SndBufForce, &UDP_BUFFER_BYTES).is_err() {
                let _ = socket.set_send_buffer_size(UDP_BUFFER_BYTES);
            }
            Ok(Listener::Udp(UdpSocket::from_std(socket.into())))
        }
        SipTransport::Tcp | SipTransport::Tls => {
            socket.listen(BACKLOG as i32)?;
            Ok(Listener::Stream(TcpListener::from_std(socket.into()), transport))
        }
    }
}

/// The destination of a datagram that drew an ICMP error; None: no more of them. Reading one also clears the error that the
/// socket's next call would report.
pub fn refused(socket: &UdpSocket) -> Option<SocketAddr> {
    let mut head = [MaybeUninit::uninit(); 1];
    // The error queue gives the datagram back with the address that it was sent to.
    let (_, to) =
        SockRef::from(socket).recv_from_with_flags(&mut head, libc::MSG_ERRQUEUE | libc::MSG_DONTWAIT).ok()?;
    to.as_socket().map(unmapped)
}

/// Connects from the listener's address, with a port of the kernel's choice.
pub fn connect_from(local: SocketAddr, remote: SocketAddr) -> io::Result<TcpStream> {
    let socket = Socket::new(Domain::for_address(remote), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_nonblocking(true)?;
    let from = match local {
        SocketAddr::V4(local) => {
            socket.set_freebind_v4(true)?;
            SocketAddr::new(IpAddr::V4(*local.ip()), 0)
        }
        SocketAddr::V6(local) => {
            socket.set_freebind_v6(true)?;
            SocketAddr::V6(SocketAddrV6::new(*local.ip(), 0, 0, local.scope_id()))
        }
    };
    socket.bind(&from.into())?;
    match socket.connect(&remote.into()) {
        Ok(()) => {}
        Err(e) if e.raw_os_error() == Some(libc::EINPROGRESS) => {}
        Err(e) => return Err(e),
    }
    Ok(TcpStream::from_std(socket.into()))
}

/// Small messages, each waited for by somebody; and a peer that died without a word is noticed by what it owes.
pub fn tune(stream: &TcpStream) {
    let _ = stream.set_nodelay(true);
    let _ = SockRef::from(stream).set_tcp_user_timeout(Some(SIP_UNACKNOWLEDGED));
}

/// An IPv4 peer on a dual-stack socket reads as IPv4. A link-local peer keeps its interface: no answer finds it without.
pub fn unmapped(remote: SocketAddr) -> SocketAddr {
    match remote.ip().to_canonical() {
        IpAddr::V4(ip) => SocketAddr::new(IpAddr::V4(ip), remote.port()),
        IpAddr::V6(_) => remote,
    }
}

/// The process or the system has no file descriptors or memory to accept with: trying again at once changes nothing.
pub fn is_shortage(e: &io::Error) -> bool {
    matches!(e.raw_os_error(), Some(libc::EMFILE | libc::ENFILE | libc::ENOBUFS | libc::ENOMEM))
}

/// The kernel knows no way to the address. A full buffer or too long a message says nothing of the address: other
/// messages to it may do well.
pub fn is_unreachable(e: &io::Error) -> bool {
    use libc::{EACCES, EAFNOSUPPORT, EHOSTUNREACH, EINVAL, ENETDOWN, ENETUNREACH};
    matches!(e.raw_os_error(), Some(ENETUNREACH | EHOSTUNREACH | ENETDOWN | EACCES | EAFNOSUPPORT | EINVAL))
}
