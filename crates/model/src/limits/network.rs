//! Limits of the network between containers and hosts.

/// Most other hosts that one host has ways to.
pub const OVERLAY_PEERS_MAX: usize = 10_000;
/// Most ways from one host to others.
pub const OVERLAY_ROUTES_MAX: usize = 100_000;
/// Most keys that one host has at a time: the newest, and earlier ones that others still use.
pub const WIREGUARD_KEYS_MAX: usize = 4;
/// Age at which hosts are told to make new keys, in milliseconds.
pub const WIREGUARD_KEY_MS_MAX: u64 = 7 * 24 * 3_600_000;
/// An earlier key is given up after this time though a peer has not taken up the newer one, in
/// milliseconds.
pub const WIREGUARD_OVERLAP_MS_MAX: u64 = 24 * 3_600_000;
/// An earlier key is kept until nothing has come by it for so long, in milliseconds.
pub const WIREGUARD_QUIET_MS: u64 = 10_000;
/// Handshakes of peers that are answered in a second without further proof of their address.
pub const WIREGUARD_HANDSHAKES_PER_S_MAX: u64 = 500;
/// Handshakes that a host begins in one round of its clock.
pub const WIREGUARD_BEGUN_MAX: usize = 64;
/// Packets to one peer that wait for a handshake.
pub const WIREGUARD_WAITING_MAX: usize = 128;
/// Up to so many hosts `net check` looks at every pair unless it is told otherwise.
pub const NET_CHECK_ALL_HOSTS_MAX: usize = 32;
/// Most hosts in one check of the network.
pub const NET_CHECK_HOSTS_MAX: usize = 10_000;
/// Hosts that one host asks at a time in a check of the network.
pub const NET_CHECK_PEERS_PARALLEL_MAX: usize = 64;
/// Containers of a host that others ask in a check of the network.
pub const NET_CHECK_CONTAINERS_MAX: usize = 2;
/// Size of a small packet in a check of the network, in bytes.
pub const NET_CHECK_SMALL_BYTES: u16 = 64;
/// Small packets that one host sends another one in a check of the network.
pub const NET_CHECK_SMALL_PACKETS: u32 = 20;
/// Time between two of them, in milliseconds.
pub const NET_CHECK_PACKET_MS: u64 = 50;
/// A packet that has not arrived so long after the last one was sent is lost, in milliseconds.
pub const NET_CHECK_LATE_MS_MAX: u64 = 800;
/// Time for a TCP connection in a check of the network, in milliseconds.
pub const NET_CHECK_TCP_MS_MAX: u64 = 1_500;
/// Time that a host has to begin a check of the network, in milliseconds; it puts its own right
/// first.
pub const NET_CHECK_READY_MS_MAX: u64 = 5_000;
/// Time that a host has to tell what has arrived, in milliseconds.
pub const NET_CHECK_TELL_MS_MAX: u64 = 3_000;
/// Largest CNI configuration read, in bytes.
pub const CNI_CONFIG_BYTES_MAX: u64 = 256 * 1024;
/// Most plugins of a CNI configuration.
pub const CNI_PLUGINS_MAX: usize = 32;
/// Most folders in which CNI plugins are looked for.
pub const CNI_BIN_DIRS_MAX: usize = 16;
/// Time that one CNI plugin has for one call, in milliseconds.
pub const CNI_CALL_MS_MAX: u64 = 30_000;
/// Most of what a CNI plugin writes, in bytes: one that writes more is ended.
pub const CNI_OUTPUT_BYTES_MAX: u64 = 256 * 1024;
/// Containers that are plugged in, taken out or checked by CNI at the same time.
pub const CNI_TASKS_PARALLEL_MAX: usize = 8;
/// First wait until CNI is asked again after an error, in milliseconds; doubles.
pub const CNI_RETRY_MS_MIN: u64 = 500;
/// Longest wait until CNI is asked again after an error, in milliseconds.
pub const CNI_RETRY_MS_MAX: u64 = 30_000;
/// Time between two checks of one container by CNI, in milliseconds.
pub const CNI_CHECK_MS: u64 = 180_000;
/// Rules of a network policy: of the environment, and of one service with those of its stack.
pub const POLICY_RULES_MAX: usize = 200;
/// Ports and ranges of ports of one rule.
pub const POLICY_PORTS_MAX: usize = 100;
/// Floating addresses of one environment.
pub const FLOATING_MAX: usize = 64;
/// Labels that the hosts of one floating address are chosen by.
pub const FLOATING_HOSTS_MAX: usize = 16;
/// Hosts that vote about one floating address.
pub const FLOATING_VOTERS_MAX: usize = 5;
/// Hosts that may have one floating address at a time: more of them wait.
pub const FLOATING_CANDIDATES_MAX: usize = 16;
/// UDP port that hosts vote about floating addresses on, at the address that other hosts use.
pub const FLOATING_PORT: u16 = 7605;
/// For how long a vote about a floating address is given, in milliseconds.
pub const FLOATING_VOTE_MS: u64 = 600;
/// So much earlier than its votes end a holder gives the address up, in milliseconds: clocks may run
/// by a tenth faster or slower than each other.
pub const FLOATING_MARGIN_MS: u64 = 60;
/// Time between two renewals of the votes for a holder, in milliseconds.
pub const FLOATING_RENEW_MS: u64 = 150;
/// Longest wait for answers of voters before another try, in milliseconds.
pub const FLOATING_ANSWER_MS: u64 = 100;
/// Time after which what could not be had for a floating address is tried again, in milliseconds.
pub const FLOATING_RETRY_MS: u64 = 2_000;
/// Longest message about floating addresses, in bytes.
pub const FLOATING_MESSAGE_BYTES_MAX: usize = 256;
/// Messages about floating addresses that are taken at one look.
pub const FLOATING_MESSAGES_AT_ONCE: usize = 64;
/// How often the rules that keep the kernel silent about a floating address are put in place anew, in
/// milliseconds: who loads rules of his own may take them away.
pub const FLOATING_SILENCE_MS: u64 = 10_000;
