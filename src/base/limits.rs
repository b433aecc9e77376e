//! Every bound in one place. An input that would pass one of these is refused, dropped or cut, and counted.

use std::time::Duration;

/// A file of `/sys`, `/proc` or `/etc` that is looked at when the machine is; what is behind that is not read.
pub const HOST_FILE_BYTES: u64 = 4 << 20;
/// Packets taken from a queue at once; the TSC is read once for each such burst.
pub const BURST: usize = 32;
/// Workers in one appliance.
pub const MAX_WORKERS: usize = 32;
/// Ports in one appliance.
pub const MAX_PORTS: usize = 8;
/// Media addresses over all ports.
pub const MAX_MEDIA_ADDRESSES: usize = 256;

/// Floating addresses that the EC2 API moves, and route tables per address: a takeover calls it once for each or fewer,
/// all at once, and AWS limits the calls of an account.
pub const MAX_EC2_ADDRESSES: usize = 32;
pub const MAX_EC2_ROUTE_TABLES: usize = 8;
/// Next hops known at once.
pub const MAX_NEXT_HOPS: usize = if cfg!(tandem_loom) { 1 } else { 1024 };
/// Payload-type rules in a plan: the formats of one media section that tandem keeps.
pub const MAX_PT_RULES: usize = 8;
/// How long a freed media port rests before it is allotted again.
pub const PORT_REST: Duration = Duration::from_secs(10);

/// A SIP message, start line to end of body. RFC 3261 §18.1.1 bounds UDP at 65,535.
pub const SIP_MESSAGE_BYTES: usize = 65_535;
/// Header lines in a SIP message, Content-Length aside.
pub const SIP_HEADERS: usize = 256;
/// The value of a single SIP header line after unfolding.
pub const SIP_HEADER_BYTES: usize = 8_192;
/// Via or Route entries that are followed.
pub const SIP_LIST_ENTRIES: usize = 70;
/// Parameters of one URI or header value.
pub const SIP_PARAMS: usize = 64;
/// A message body that is read as SDP.
pub const SDP_BYTES: usize = 16_384;
/// Media sections in one session description.
pub const SDP_MEDIA: usize = 16;
/// SIP connections over TCP at once, both directions.
pub const SIP_CONNECTIONS: usize = 4_096;
/// Of these, kept for connections that tandem opens: strangers cannot keep it from calling out.
pub const SIP_CONNECTIONS_RESERVED: usize = 256;
/// Accepted connections of all peers together that no trunk names.
pub const SIP_CONNECTIONS_OF_STRANGERS: usize = SIP_CONNECTIONS / 2;
/// Accepted connections of one source that no trunk names: an IPv4 address or an IPv6 /64.
pub const SIP_CONNECTIONS_PER_SOURCE: usize = 32;
/// Accepted connections of one address that a trunk names.
pub const SIP_CONNECTIONS_PER_TRUNK_SOURCE: usize = 256;
/// Transfers that a call has come by, those of calls that it was joined with among them.
pub const TRANSFERS_PER_CALL: usize = 8;
/// REFERs passed on within one call whose NOTIFYs are still known.
pub const REFERS_PASSED: usize = 4;
/// Subscriptions that pass through at once; one more gets 503.
pub const SIP_SUBSCRIPTIONS: usize = 16_384;
/// The longest that a subscription lasts without a refresh, whatever its ends agree on.
pub const SIP_SUBSCRIPTION: Duration = Duration::from_secs(24 * 3_600);
/// Bytes waiting to be sent on one SIP connection; past this its peer is taken for dead.
pub const SIP_OUTGOING_BYTES: usize = 512 * 1024;
/// Former connections whose messages go on one connection made in their place.
pub const SIP_CONNECTION_HEIR_OF: usize = 16;
/// A SIP connection that has carried no whole message for this long is closed.
pub const SIP_CONNECTION_IDLE: Duration = Duration::from_secs(30 * 60);
/// An accepted SIP connection that has not delivered a whole message by then is closed: 64 times T1 (RFC 3261
/// §17.1.2.2), after which a peer that still wanted something has given up.
pub const SIP_FIRST_MESSAGE: Duration = Duration::from_secs(32);
/// A SIP connection that is not made by then is given up.
pub const SIP_CONNECT: Duration = Duration::from_secs(5);
/// A SIP connection over TLS whose handshake is not done by then, counted from its beginning, is closed.
pub const SIP_TLS_HANDSHAKE: Duration = Duration::from_secs(8);
/// Handshakes of strangers under way at once: one costs the slow path about a millisecond when it comes to its end.
pub const SIP_TLS_HANDSHAKES_OF_STRANGERS: usize = 64;
/// Handshakes of strangers begun per second: a tenth of the slow path's time at most.
pub const SIP_TLS_HANDSHAKES_PER_SECOND: u32 = 100;
/// Bytes that one SIP connection over TLS may hold encrypted, besides what waits to be encrypted.
pub const SIP_TLS_BUFFER_BYTES: usize = 64 * 1024;
/// A file with certificates or a key: some thousand roots.
pub const TLS_FILE_BYTES: u64 = 8 << 20;
/// What a peer's TCP has not acknowledged for this long was sent to nobody.
pub const SIP_UNACKNOWLEDGED: Duration = Duration::from_secs(32);
/// A SIP connection whose framing is lost stays this long for the answer that says so.
pub const SIP_LAST_ANSWER: Duration = Duration::from_secs(2);
/// Latch candidates that one worker may have waiting for the slow path.
pub const CANDIDATES_QUEUED: usize = 1_024;
/// Sources whose messages are counted apart; further ones share one limit while these are active.
pub const SIP_SOURCES: usize = 16_384;
/// Sources whose offences are counted at once.
pub const SIP_OFFENDERS: usize = 16_384;
/// Sources banned for offences at once.
pub const SIP_BANS: usize = 65_536;
/// Networks banned by the operator at once.
pub const SIP_BANS_OF_OPERATOR: usize = 4_096;
/// Peers outside the configuration that we sent requests to, and therefore hear, at once.
pub const SIP_VOUCHED: usize = 4_096;
/// INVITEs of new calls that wait to be read while the slow path is busy with calls in progress; more get 503.
pub const SIP_OFFERS_WAITING: usize = 512;
/// What these may hold in all.
pub const SIP_OFFERS_BYTES: usize = 4 << 20;
/// Server transactions at once. Past this, requests outside a dialog get 503 without state; those of calls in progress are
/// still taken. Over UDP a call leaves two behind, its INVITE's and its BYE's, for 32 s each (RFC 3261 §17.2): this is
/// some 4,000 calls a second. What lingers has had its final response and holds that alone, about 1 KiB.
pub const SIP_SERVER_TRANSACTIONS: usize = 262_144;
/// Call-detail records that a standby holds until they are on the active host's disk: what may wait for that disk, and
/// as many again.
pub const SIP_RECORDS_UNWRITTEN: usize = 16_384;
/// Bytes that a standby may leave unacknowledged; past this it is given up and synchronised anew. Half of it is for
/// entries of a full synchronisation.
pub const REPLICA_WINDOW_BYTES: usize = 32 << 20;
/// Bytes of entries of a full synchronisation that one round of the slow path sends: a few calls, a fraction of a millisecond.
pub const REPLICA_SYNC_BYTES: usize = 32 * 1024;
/// One batch, written: what one round changed. Rounds last milliseconds.
pub const REPLICA_BATCH_BYTES: usize = 16 << 20;
/// A standby that acknowledges nothing for this long is given up, and a peer that sends nothing at all is gone.
pub const REPLICA_SILENT: Duration = Duration::from_secs(2);
/// One frame between the hosts of a pair.
pub const REPLICA_FRAME_BYTES: usize = REPLICA_BATCH_BYTES + (1 << 20);
/// Encrypted and not yet taken by the kernel: what the window allows, and what encryption adds.
pub const REPLICA_OUTBOX_BYTES: usize = 2 * REPLICA_WINDOW_BYTES;
/// Frames that wait for the standby's slow path; past this nothing more is read.
pub const REPLICA_INBOX_BYTES: usize = 16 << 20;
/// Connections at once that have not shown yet that they are the peer's.
pub const REPLICA_STRANGERS: usize = 8;
/// Lifetime of a registration with a trunk that is believed: a week.
pub const REGISTRATION_LONGEST_S: u32 = 604_800;
/// Routes that a registrar may give (RFC 3608).
pub const REGISTRATION_ROUTES: usize = 8;
/// Nonces with which requests of trunks were accepted; older ones than these are stale.
pub const DIGEST_NONCES: usize = 4_096;
/// A server that asks to be left alone for longer is asked again after this.
pub const RETRY_AFTER_LONGEST: Duration = Duration::from_secs(86_400);
/// Networks that the heartbeats of a pair go over.
pub const HA_PATHS: usize = 2;
/// Heartbeats taken from one path before the pair thread looks at its clock again: a flood costs this much and no more.
pub const HA_DATAGRAMS: usize = 64;
/// A pair's key file.
pub const HA_KEY_BYTES: u64 = 4_096;

/// A message of the `ng` protocol, cookie included: what a datagram holds.
pub const NG_MESSAGE_BYTES: usize = 65_507;
/// The cookie in front of it.
pub const NG_COOKIE_BYTES: usize = 255;
/// Lists and dictionaries inside each other in such a message.
pub const NG_DEPTH: usize = 16;
/// A Call-ID, tag, branch, label or metadata in such a message.
pub const NG_NAME_BYTES: usize = 1_024;
/// Answers that are kept for commands that come again, in number and bytes, and for how long.
pub const NG_REPLIES: usize = 32_768;
pub const NG_REPLIES_BYTES: usize = 32 << 20;
pub const NG_REPLY_KEPT: Duration = Duration::from_secs(10);
/// Branches of one call of the `ng` protocol, and tags that answered one branch.
pub const NG_BRANCHES: usize = 16;
pub const NG_FORKS: usize = 16;
/// Calls that one `list` names at most.
pub const NG_LISTED: usize = 1_000;
/// Keys and flags that are not known, of which one is told once.
pub const NG_KEYS_NOTED: usize = 256;
/// The longest that `delete-delay` keeps a call.
pub const NG_DELETE_DELAY: Duration = Duration::from_secs(3_600);
/// The head of a request that brings one by HTTP, and its fields.
pub const NG_HTTP_HEAD_BYTES: usize = 8_192;
pub const NG_HTTP_HEADERS: usize = 64;
/// Connections of the `ng` protocol at once, over all its listeners.
pub const NG_CONNECTIONS: usize = 64;
/// Bytes that wait to be sent on one of them; past this its peer is taken for dead.
pub const NG_OUTGOING_BYTES: usize = 1 << 20;
