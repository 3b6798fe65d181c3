//! Every bound in the product, named with its unit.

mod acl;
mod catalog;
mod consul;
mod dns;
mod expose;
mod metadata;
mod network;
mod registrations;
mod templates;

pub use acl::*;
pub use catalog::*;
pub use consul::*;
pub use dns::*;
pub use expose::*;
pub use metadata::*;
pub use network::*;
pub use registrations::*;
pub use templates::*;

/// Longest stack or service name, in bytes: one DNS label.
pub const NAME_BYTES_MAX: usize = 63;
/// Longest Docker container name that we make, in bytes.
pub const CONTAINER_NAME_BYTES_MAX: usize = 160;
/// Largest compose file read, in bytes.
pub const COMPOSE_FILE_BYTES_MAX: usize = 4 * 1024 * 1024;
/// Largest `env_file`, secret or config file read, in bytes (Docker's own secret limit).
pub const AUXILIARY_FILE_BYTES_MAX: usize = 500 * 1024;
/// Largest sum of the secrets and configs of one service, in bytes of their content: they travel
/// in its revision, which is one value of the store.
pub const SERVICE_FILES_BYTES_MAX: usize = 300 * 1024;
/// Most nodes a compose file may have once aliases are expanded.
pub const COMPOSE_NODES_MAX: usize = 200_000;
/// Most text a compose file may have once aliases and variables are expanded, in bytes.
pub const COMPOSE_EXPANDED_BYTES_MAX: usize = 16 * 1024 * 1024;
/// Most compose files read for one stack: `-f`, `extends` and `env_file` together.
pub const COMPOSE_FILES_MAX: usize = 200;
/// Most entries that merging files and `extends` may copy for one stack.
pub const COMPOSE_MERGED_ENTRIES_MAX: usize = 500_000;
/// Deepest nesting of defaults in one `${VAR:-…}`.
pub const INTERPOLATION_DEPTH_MAX: usize = 32;
/// Deepest nesting of a compose file.
pub const COMPOSE_DEPTH_MAX: usize = 64;
/// Longest `extends` chain.
pub const EXTENDS_DEPTH_MAX: usize = 16;
/// Most services in one stack.
pub const STACK_SERVICES_MAX: usize = 500;
/// Largest scale of one service on one environment.
pub const SCALE_MAX: u32 = 10_000;
/// Most environment variables of one container.
pub const ENVIRONMENT_MAX: usize = 2_000;
/// Most labels of one container.
pub const LABELS_MAX: usize = 1_000;
/// Most port mappings of one service.
pub const PORTS_MAX: usize = 1_000;
/// Most rules of one balancer.
pub const BALANCER_RULES_MAX: usize = 2_000;
/// Largest JSON request body of the API, in bytes.
pub const API_BODY_BYTES_MAX: usize = 8 * 1024 * 1024;
/// Largest build context taken by the API, in bytes.
pub const BUILD_CONTEXT_BYTES_MAX: u64 = 2 * 1024 * 1024 * 1024;
/// Largest piece of input that `exec` takes from its client, in bytes.
pub const EXEC_MESSAGE_BYTES_MAX: usize = 1024 * 1024;
/// Changes that the store may be ahead of a service's incarnations; a store put back from a copy
/// jumps by more.
pub const INCARNATIONS_BEHIND_MAX: u64 = 500_000_000;
/// Most join tokens kept, expired ones with them.
pub const JOIN_TOKENS_MAX: usize = 1_000;
/// Time that a join token is good for when nothing else is said, in milliseconds.
pub const JOIN_TOKEN_MS_DEFAULT: u64 = 3_600_000;
/// The shortest and the longest, in milliseconds.
pub const JOIN_TOKEN_MS_MIN: u64 = 60_000;
/// See `JOIN_TOKEN_MS_MIN`.
pub const JOIN_TOKEN_MS_MAX: u64 = 30 * 24 * 3_600_000;
/// Most events kept in memory for `remuda events`.
pub const EVENTS_MAX: usize = 10_000;
/// Most revisions of a service kept.
pub const REVISIONS_KEPT_MAX: usize = 10;
/// Largest value in the store, in bytes: the largest of a key (`CONSUL_VALUE_BYTES_MAX`) with what is
/// kept beside it.
pub const STORE_VALUE_BYTES_MAX: usize = 516 * 1024;
/// Most operations (compares, puts and deletes) of one change of the cluster.
pub const TXN_OPS_MAX: usize = 1_024;
/// Most operations (compares, puts and deletes) in one store transaction: a recursive delete in
/// Consul's key-value store is one transaction.
pub const STORE_TXN_OPS_MAX: usize = 131_072;
/// Longest key in the store, in bytes.
pub const STORE_KEY_BYTES_MAX: usize = 1_024;
/// Largest store transaction, keys and values together, in bytes.
pub const STORE_TXN_BYTES_MAX: usize = 16 * 1024 * 1024;
/// Largest answer to one range read of the store, in bytes; the rest comes with the next page.
pub const STORE_PAGE_BYTES_MAX: usize = 16 * 1024 * 1024;
/// Most bytes of queued writes in the store's writer before callers wait.
pub const STORE_QUEUE_BYTES_MAX: usize = 64 * 1024 * 1024;
/// Most writes that the store makes durable with one flush to disk.
pub const STORE_COMMIT_BATCH_MAX: usize = 2_048;
/// Most queued reads of the store before callers wait.
pub const STORE_READ_QUEUE_MAX: usize = 1_024;
/// Threads that read the store beside its writer.
pub const STORE_READERS: usize = 2;
/// Most watches on one store.
pub const WATCHES_MAX: usize = 1_024;
/// Most transactions that wait for one watcher before it has lagged.
pub const WATCH_QUEUE_MAX: usize = 4_096;
/// Most bytes that wait for one watcher before it has lagged.
pub const WATCH_QUEUE_BYTES_MAX: usize = 32 * 1024 * 1024;
/// Most leases at a time.
pub const LEASES_MAX: usize = 10_000;
/// Most keys attached to one lease: they go in one transaction when it ends.
pub const LEASE_KEYS_MAX: usize = 1_024;
/// Longest time to live of a lease, in milliseconds.
pub const LEASE_TTL_MS_MAX: u64 = 24 * 60 * 60 * 1_000;
/// Most queued writes in the store's writer before callers wait.
pub const STORE_QUEUE_MAX: usize = 4_096;
/// Most decisions that one plan commits; the rest comes with the next plan.
pub const DECISIONS_PER_PLAN_MAX: usize = 400;
/// Largest frame between agent and dataplane, in bytes.
pub const DATAPLANE_FRAME_BYTES_MAX: usize = 64 * 1024 * 1024;
/// Time the dataplane has to greet who connects to its socket, in milliseconds.
pub const DATAPLANE_GREETING_MS_MAX: u64 = 2_000;
/// Reports of the dataplane that wait for their reader in the agent.
pub const DATAPLANE_EVENTS_MAX: usize = 16;
/// Most connections to the socket of a dataplane at a time.
pub const DATAPLANE_CONNECTIONS_MAX: usize = 8;
/// Shortest time between two reports of the dataplane, in milliseconds; the first goes at once.
pub const DATAPLANE_REPORT_MS: u64 = 20;
/// Time between two looks of the dataplane at the requests it counted, in milliseconds.
pub const DATAPLANE_COUNT_MS: u64 = 5_000;
/// Messages that wait for the dataplane's main loop.
pub const DATAPLANE_QUEUE_MAX: usize = 256;
/// Time in which changes of the dataplane's state on disk are gathered, in milliseconds.
pub const DATAPLANE_STATE_MS: u64 = 100;
/// Time until state that could not be written to disk is written again, in milliseconds.
pub const DATAPLANE_STATE_RETRY_MS: u64 = 1_000;
/// Time that requests in flight have when a dataplane is told to end, in milliseconds.
pub const DATAPLANE_GRACE_MS: u64 = 5_000;
/// Most connections to the dataplane's port of metrics at a time.
pub const DATAPLANE_ADMIN_CONNECTIONS_MAX: usize = 32;
/// Longest time of one exchange on the dataplane's port of metrics, in milliseconds.
pub const DATAPLANE_ADMIN_MS_MAX: u64 = 10_000;
/// Life of an agent's certificate when nothing else is said, in milliseconds.
pub const CERTIFICATE_MS_DEFAULT: u64 = 90 * 24 * 3_600_000;
/// The shortest that can be asked for, in milliseconds.
pub const CERTIFICATE_MS_MIN: u64 = 10_000;
/// The longest, in milliseconds.
pub const CERTIFICATE_MS_MAX: u64 = 5 * 365 * 24 * 3_600_000;
/// Life of the cluster's CA and of what is made anew at each start, in milliseconds.
pub const CA_MS: u64 = 20 * 365 * 24 * 3_600_000;
/// A certificate is good from so long before it was made, in milliseconds: a clock that is set
/// back a little makes it no younger. At most half of its life.
pub const CERTIFICATE_SLACK_MS: u64 = 24 * 3_600_000;
/// Between two tries to renew a certificate, in milliseconds; less when its life is short.
pub const CERTIFICATE_RETRY_MS: u64 = 60_000;
/// An agent whose clock is further from the server's than this is refused, in milliseconds.
pub const CLOCK_SKEW_MS_MAX: u64 = 30 * 60_000;
/// Refused agents that are remembered.
pub const REFUSALS_KEPT_MAX: usize = 1_000;
/// For so long a refusal is shown with its host unless the agent comes again, in milliseconds.
pub const REFUSAL_SHOWN_MS: u64 = 30_000;
/// Largest request to join, in bytes: it comes from anybody.
pub const ENROLL_BYTES_MAX: usize = 64 * 1024;
/// Longest stay of a connection on the agents' link that has no certificate, in milliseconds.
pub const ENROLL_MS_MAX: u64 = 30_000;
/// Most names of containers that no stack knows which a host tells of.
pub const STRAYS_TOLD_MAX: usize = 20;
/// Longest word that a host says of itself or of a container, in bytes: names, versions, ids; longer
/// ones are cut.
pub const HOST_WORD_BYTES_MAX: usize = 512;
/// Largest frame between server and agent, in bytes.
pub const LINK_FRAME_BYTES_MAX: usize = 64 * 1024 * 1024;
/// Frames of one session that mean nothing to us before it is ended.
pub const LINK_FRAMES_SKIPPED_MAX: usize = 1_000;
/// Most containers an agent starts at the same time (Docker gains nothing above).
pub const CONTAINER_STARTS_PARALLEL_MAX: usize = 16;
/// Longest reason text kept, in bytes; longer ones are cut.
pub const REASON_BYTES_MAX: usize = 2_000;
/// Pids limit of a container that names none.
pub const PIDS_DEFAULT: i64 = 1_024;
/// Longest restart back-off, in milliseconds.
pub const RESTART_BACKOFF_MS_MAX: u64 = 60_000;
/// First restart back-off, in milliseconds; doubles to `RESTART_BACKOFF_MS_MAX`.
pub const RESTART_BACKOFF_MS_MIN: u64 = 500;
/// A container that ran this long starts again with the first back-off, in milliseconds.
pub const RESTART_BACKOFF_RESET_MS: u64 = 60_000;
/// Failed starts of a new revision after which its rollout stops.
pub const ROLLOUT_FAILURES_MAX: u32 = 3;
/// Time a new instance has to get healthy when its check names no `initializing_timeout`, in ms.
pub const ROLLOUT_READY_MS_DEFAULT: u64 = 60_000;
/// Time a new version's instance must have been ready before its predecessor goes, in milliseconds:
/// one that crashes soon after its start is found out while the old one still serves.
pub const ROLLOUT_PROVEN_MS: u64 = 3_000;
/// The same for an instance that has ended and was started again, in milliseconds.
pub const ROLLOUT_PROVEN_AGAIN_MS: u64 = 10_000;
/// Time a new instance may fail to be made for passing reasons (a registry that does not answer)
/// before its rollout stops, in milliseconds.
pub const ROLLOUT_STUCK_MS_DEFAULT: u64 = 120_000;
/// Time a container without any check must run to count as ready, in milliseconds.
pub const SETTLE_MS_DEFAULT: u64 = 1_000;
/// Grace for clients that hold a DNS answer of a draining instance, in milliseconds (TTL 1 s).
pub const DNS_LAME_DUCK_MS: u64 = 1_500;
/// Longest wait for requests in flight when a service names no `drain_timeout_ms`.
pub const DRAIN_MS_DEFAULT: u64 = 10_000;
/// Time from SIGTERM to SIGKILL when a service names no `stop_grace_period`, in milliseconds.
pub const STOP_GRACE_MS_DEFAULT: u64 = 10_000;
/// TTL of our own DNS names, in seconds.
pub const DNS_TTL_S: u32 = 1;
/// Longest wait for Docker to say that it is there, in milliseconds: above, it hangs.
pub const ENGINE_PING_MS_MAX: u64 = 5_000;
/// Pause between two such questions, in milliseconds.
pub const ENGINE_PING_PERIOD_MS: u64 = 3_000;
/// Longest wait for an answer to a short question to Docker (list, inspect, network …), in ms.
pub const ENGINE_CALL_MS_MAX: u64 = 30_000;
/// Longest wait for Docker to make, start or remove a container, in milliseconds.
pub const ENGINE_CONTAINER_MS_MAX: u64 = 120_000;
/// What Docker may take beyond the grace period to stop a container, in milliseconds.
pub const ENGINE_STOP_SLACK_MS: u64 = 30_000;
/// Longest silence of an image pull until it is given up, in milliseconds.
pub const ENGINE_PULL_SILENCE_MS_MAX: u64 = 120_000;
/// Longest silence of an image build until it is given up, in milliseconds.
pub const ENGINE_BUILD_SILENCE_MS_MAX: u64 = 1_800_000;
/// Docker may write an image out or take one in for so long without a word, in milliseconds: it
/// keeps a copy of all of it before the first byte, and unpacks all of it after the last one.
pub const ENGINE_ARCHIVE_SILENCE_MS_MAX: u64 = 1_800_000;
/// Most containers inspected at the same time.
pub const ENGINE_INSPECTS_PARALLEL_MAX: usize = 8;
/// Items of an engine's stream (events, log lines, build output) waiting for their reader.
pub const ENGINE_STREAM_QUEUE_MAX: usize = 256;
/// Longest log line or piece of terminal output given on, in bytes; longer ones come in pieces.
pub const LOG_LINE_BYTES_MAX: usize = 64 * 1024;
/// Largest Docker config file or answer of a credential helper read, in bytes.
pub const DOCKER_CONFIG_BYTES_MAX: u64 = 1024 * 1024;
/// Longest wait for a Docker credential helper, in milliseconds.
pub const CREDENTIAL_HELPER_MS_MAX: u64 = 10_000;
/// Most balancer addresses on one bridge.
pub const BRIDGE_ADDRESSES_MAX: usize = 4_096;
/// Addresses whose moving away is told to a bridge at a time.
pub const ANNOUNCED_ADDRESSES_MAX: usize = 1_024;
/// Time `iptables` has for one rule, in milliseconds.
pub const IPTABLES_MS_MAX: u64 = 10_000;
/// Time `nft` has to load our rules, in milliseconds.
pub const NFT_MS_MAX: u64 = 10_000;
/// Most of what `nft` prints that is read, in bytes.
pub const NFT_OUTPUT_BYTES_MAX: u64 = 16 * 1024 * 1024;
/// Most search domains in a container's resolv.conf (glibc before 2.26 reads no more).
pub const RESOLV_SEARCH_DOMAINS_MAX: usize = 6;
/// Most name servers in a container's resolv.conf, ours among them (resolvers read no more).
pub const RESOLV_SERVERS_MAX: usize = 3;
/// Longest line of a container's resolv.conf, in bytes without its end (musl skips longer ones).
pub const RESOLV_LINE_BYTES_MAX: usize = 254;
/// Most `options` words in a container's resolv.conf.
pub const RESOLV_OPTIONS_MAX: usize = 16;
/// Most threads of the proxy that carry traffic.
pub const PROXY_SHARDS_MAX: usize = 64;
/// Most client connections of one proxy thread; above, they wait in the accept queue.
pub const PROXY_CLIENTS_PER_SHARD_MAX: usize = 50_000;
/// Length of a listener's accept queue, in connections (the kernel's somaxconn caps it).
pub const PROXY_BACKLOG: i32 = 4_096;
/// Largest head of a request or an answer, in bytes.
pub const PROXY_HEAD_BYTES_MAX: usize = 64 * 1024;
/// Time for the head of a request from its first byte, and to the first byte of a new
/// connection, in milliseconds.
pub const PROXY_HEAD_MS_MAX: u64 = 30_000;
/// Longest idle time of a client's connection between two requests, in milliseconds.
pub const PROXY_CLIENT_IDLE_MS_MAX: u64 = 75_000;
/// Longest idle time of a pooled connection to an endpoint, in milliseconds: below the shortest
/// keep-alive timeout of common servers (5 s), so that they rarely close one under us.
pub const PROXY_POOL_IDLE_MS_MAX: u64 = 4_000;
/// Most idle connections kept to one endpoint by one proxy thread.
pub const PROXY_POOL_IDLE_MAX: usize = 1_024;
/// Most endpoints tried for one request or connection while nothing of it was sent.
pub const PROXY_TRIES_MAX: usize = 20;
/// Most endpoints that one request is sent to: one that kills them must not reach them all.
pub const PROXY_SENDS_MAX: usize = 5;
/// Most of a request's body that is kept to send it again, in bytes.
pub const PROXY_REPLAY_BYTES_MAX: usize = 64 * 1024;
/// Longest wait of a request for an endpoint that can take it, in milliseconds.
pub const PROXY_WAIT_MS_MAX: u64 = 2_000;
/// Pause until endpoints that could not be reached are asked anew for the same request or
/// connection, when there is nobody else, in milliseconds.
pub const PROXY_AGAIN_MS: u64 = 100;
/// Most requests of one proxy thread that wait for an endpoint of one upstream.
pub const PROXY_WAITING_MAX: usize = 1_024;
/// Time that a client of a published port has for its first bytes before its endpoint, which may
/// be the one to begin, is connected, in milliseconds.
pub const PROXY_FIRST_WORD_MS_MAX: u64 = 20;
/// Time that connections of an endpoint which drains have beyond its drain: it is being stopped
/// then, and ends them itself in its own manner; in milliseconds.
pub const PROXY_STOP_MS_MAX: u64 = 120_000;
/// Time that a request in flight on an endpoint that went down has to be answered before it is
/// sent to another one, in milliseconds.
pub const PROXY_DOWN_GRACE_MS: u64 = 300;
/// First time out of traffic of an endpoint that refused a connection, in milliseconds; doubles.
pub const PROXY_EJECT_MS_MIN: u64 = 100;
/// Longest time out of traffic of an endpoint that refuses connections, in milliseconds.
pub const PROXY_EJECT_MS_MAX: u64 = 5_000;
/// First wait until a listener whose address is taken is tried again, in milliseconds; doubles.
pub const PROXY_BIND_RETRY_MS_MIN: u64 = 50;
/// Longest wait until a listener whose address is taken is tried again, in milliseconds.
pub const PROXY_BIND_RETRY_MS_MAX: u64 = 1_000;
/// Bytes copied at once between the two sides of a TCP connection.
pub const PROXY_COPY_BYTES: usize = 64 * 1024;
/// Time without a datagram after which a UDP session ends, in milliseconds.
pub const PROXY_UDP_IDLE_MS_MAX: u64 = 60_000;
/// The same while its endpoint drains, in milliseconds.
pub const PROXY_UDP_DRAIN_IDLE_MS_MAX: u64 = 2_000;
/// Most UDP sessions of one listener in one proxy thread.
pub const PROXY_UDP_SESSIONS_MAX: usize = 4_096;
/// Time without an acknowledgement after which a peer counts as gone, in milliseconds.
pub const PROXY_PEER_SILENCE_MS_MAX: u64 = 15_000;
/// The same for an endpoint that a request was sent to, in milliseconds: a request that may be sent
/// again goes elsewhere then. The kernel of a host that lives acknowledges at once, whatever its
/// processes do.
pub const PROXY_ENDPOINT_SILENCE_MS_MAX: u64 = 2_000;
/// Largest DNS message over UDP that we send, in bytes, whatever the asker offers: it fits in one
/// packet on every network.
pub const DNS_UDP_BYTES_MAX: usize = 1_232;
/// Largest DNS message, in bytes (over TCP; its length has 16 bits).
pub const DNS_TCP_BYTES_MAX: usize = 65_535;
/// Most addresses in one answer: they fit in a message over TCP.
pub const DNS_ANSWER_ADDRESSES_MAX: usize = 2_000;
/// Most DNS connections over TCP at a time, in one thread.
pub const DNS_TCP_CONNECTIONS_MAX: usize = 256;
/// Longest silence of a DNS connection over TCP, in milliseconds.
pub const DNS_TCP_IDLE_MS_MAX: u64 = 10_000;
/// Most questions to the host's resolvers at a time.
pub const DNS_FORWARDS_MAX: usize = 1_024;
/// Most askers that wait for one question to the host's resolvers.
pub const DNS_FORWARD_WAITERS_MAX: usize = 256;
/// Longest wait for one of the host's resolvers, in milliseconds.
pub const DNS_FORWARD_MS_MAX: u64 = 2_000;
/// Most of the host's resolvers that are asked.
pub const DNS_RESOLVERS_MAX: usize = 8;
/// Most answers of the host's resolvers that are kept.
pub const DNS_CACHE_ENTRIES_MAX: usize = 10_000;
/// Most bytes of answers that are kept.
pub const DNS_CACHE_BYTES_MAX: usize = 8 * 1024 * 1024;
/// Longest time that an answer of the host's resolvers is kept, in seconds.
pub const DNS_CACHE_TTL_S_MAX: u32 = 86_400;
/// Longest wait until a DNS address that cannot be bound is tried again, in milliseconds.
pub const DNS_BIND_RETRY_MS: u64 = 250;
/// Most threads that answer DNS.
pub const DNS_THREADS_MAX: usize = 4;
/// Most probes under way at a time.
pub const PROBES_PARALLEL_MAX: usize = 1_024;
/// Other hosts that probe an instance besides its own: with it they are three, as in Rancher.
pub const PROBERS_OTHER_MAX: usize = 2;
/// Shortest interval between two probes of one target, in milliseconds.
pub const PROBE_INTERVAL_MS_MIN: u64 = 10;
/// Interval of probes of `ready_ports`, in milliseconds, once the first tries failed.
pub const PROBE_READY_INTERVAL_MS: u64 = 100;
/// Longest wait for an answer of a probe of `ready_ports`, in milliseconds.
pub const PROBE_READY_TIMEOUT_MS: u64 = 1_000;
/// Most of an HTTP probe's answer that is read for its status, in bytes.
pub const PROBE_HEAD_BYTES_MAX: usize = 1_024;

/// Longest selector, in bytes.
pub const SELECTOR_BYTES_MAX: usize = 4_096;
/// Longest schedule, in bytes.
pub const SCHEDULE_BYTES_MAX: usize = 256;
/// Ended runs of a job that are kept when nothing is said.
pub const JOB_HISTORY_DEFAULT: u32 = 5;
/// Most runs of a job that may be kept.
pub const JOB_HISTORY_MAX: u32 = 100;
/// Runs of a job at the same time.
pub const JOB_RUNS_PARALLEL_MAX: usize = 50;
/// A run that could not begin for so long is left out, in milliseconds, when nothing is said.
pub const JOB_STARTING_DEADLINE_MS_DEFAULT: u64 = 600_000;
/// Low load must last so long before autoscaling takes instances away, in milliseconds, when
/// nothing is said.
pub const AUTOSCALE_DOWN_AFTER_MS_DEFAULT: u64 = 300_000;
/// High load must last so long before autoscaling adds instances, in milliseconds, when nothing
/// is said.
pub const AUTOSCALE_UP_AFTER_MS_DEFAULT: u64 = 30_000;
/// An instance that runs at most once is stopped by its host after this time without the server,
/// in milliseconds, when nothing is said.
pub const LOSS_STOP_AFTER_MS_DEFAULT: u64 = 60_000;
/// Sidekicks of one service.
pub const SIDEKICKS_MAX: usize = 50;
/// Placement constraints of one service.
pub const CONSTRAINTS_MAX: usize = 100;
/// Links of one service.
pub const LINKS_MAX: usize = 500;
/// Heartbeats of a session that wait for their answer; older ones are forgotten.
pub const HEARTBEATS_OPEN_MAX: usize = 64;
/// Time between the heartbeats of one agent while there are few, in milliseconds.
pub const HEARTBEAT_MS_MIN: u64 = 1_000;
/// The same of the largest fleet: two of them fit into `HOST_DISCONNECTED_MS`.
pub const HEARTBEAT_MS_MAX: u64 = 2_000;
/// Heartbeats a second of all agents together; with more agents each has fewer.
pub const HEARTBEATS_PER_S_MAX: u64 = 1_000;
/// TLS handshakes a second that one server begins: it answers meanwhile.
pub const HANDSHAKES_PER_S_MAX: u32 = 500;
/// Of these, so many may come at once after a rest.
pub const HANDSHAKES_AT_ONCE: u32 = 100;
/// Who would wait longer for its turn is let go and comes again, in milliseconds: well below the five
/// seconds after which an agent that dials gives up, so that no turn is spent on one that has left.
pub const HANDSHAKE_WAIT_MS_MAX: u64 = 2_500;
/// A host that has not been heard for so long is called disconnected, in milliseconds.
pub const HOST_DISCONNECTED_MS: u64 = 4_000;
/// A host that has not been heard for so long is called lost, in milliseconds.
pub const HOST_LOST_MS: u64 = 10_000;
/// Slots without an instance that are told one by one, for each service.
pub const BLOCKED_ROWS_MAX: usize = 200;
/// Plain containers of one host that are listed; further ones are counted.
pub const PLAIN_CONTAINERS_MAX: usize = 500;
/// Labels that are told of one plain container.
pub const PLAIN_LABELS_MAX: usize = 100;
/// Environment variables that are told of one plain container.
pub const PLAIN_VARIABLES_MAX: usize = 50;
/// Ports that are told of one plain container.
pub const PLAIN_PORTS_MAX: usize = 100;
/// Networks of Docker that are told of one plain container.
pub const PLAIN_NETWORKS_MAX: usize = 16;
/// Labels of one plain container, or its variables, taken together, in bytes.
pub const PLAIN_CONTAINER_BYTES_MAX: usize = 16 * 1024;
/// Records of plain containers that are written together: each may be large.
pub const PLAIN_EDITS_MAX: usize = 16;
/// All that one host tells of its plain containers, in bytes: labels and variables of further ones
/// are left out.
pub const PLAIN_WORDS_BYTES_MAX: usize = 1024 * 1024;
/// Docker's id of a container, in bytes.
pub const CONTAINER_ID_BYTES_MAX: usize = 64;
/// First wait until a plain container whose connecting failed is tried again, in milliseconds; doubles.
pub const PLAIN_RETRY_MS_MIN: u64 = 500;
/// Longest wait until a plain container whose connecting failed is tried again, in milliseconds.
pub const PLAIN_RETRY_MS_MAX: u64 = 30_000;
/// A container's resolv.conf that is read, in bytes.
pub const RESOLV_FILE_BYTES_MAX: u64 = 64 * 1024;
/// Labels that people may give one host.
pub const HOST_LABELS_MAX: usize = 100;
/// A drain gives up after this time when nothing is said, in milliseconds.
pub const DRAIN_DEADLINE_MS_DEFAULT: u64 = 600_000;
/// Between the moment at which a host must have stopped what may run only once and the moment at
/// which another one is made elsewhere, in milliseconds.
pub const LEASE_MARGIN_MS: u64 = 2_000;
/// Touched records that a cluster in memory remembers, for those who follow it.
pub const RECENT_KEYS_MAX: usize = 20_000;
/// Between two moves of one service that only spread it better, in milliseconds.
pub const REBALANCE_PAUSE_MS: u64 = 30_000;
/// Instances that a host may be starting while another one is moved to it.
pub const REBALANCE_STARTS_MAX: usize = 4;
/// How long a replacement without a verdict keeps other slots from being repaired, in milliseconds.
pub const REPAIR_TURN_MS: u64 = 30_000;
/// Hosts that an external scheduler is asked to put in order.
pub const SCHEDULER_CANDIDATES_MAX: usize = 1_000;
/// Longest wait for an answer of an external scheduler, in milliseconds.
pub const SCHEDULER_MS_MAX: u64 = 5_000;
/// Largest answer of an external scheduler, in bytes.
pub const SCHEDULER_BODY_BYTES_MAX: usize = 1024 * 1024;
/// An external scheduler that refused or was down is asked again after this time, in milliseconds.
pub const SCHEDULER_RETRY_MS: u64 = 5_000;
/// An image that nothing has needed for so long is removed from its host, in milliseconds.
pub const IMAGE_UNUSED_MS_MAX: u64 = 7 * 24 * 60 * 60 * 1_000;
/// An image of a build that lost its name to a newer one stays at least so long, in milliseconds.
pub const IMAGE_SUPERSEDED_MS_MIN: u64 = 20_000;
/// An image that was pulled or run more recently than that stays though the disk is short of room,
/// in milliseconds: it may be about to be run.
pub const IMAGE_PRESSED_MS_MIN: u64 = 600_000;
/// Less than this part of Docker's disk free is short of room, in per cent.
pub const IMAGE_DISK_PERCENT_MIN: u64 = 15;
/// Less than this free on Docker's disk is short of room, in bytes; a quarter of a smaller disk.
pub const IMAGE_DISK_BYTES_MIN: u64 = 2 * 1024 * 1024 * 1024;
/// Images go until this part of Docker's disk is free, in per cent.
pub const IMAGE_DISK_PERCENT_ENOUGH: u64 = 20;
/// Images go until this is free on Docker's disk, in bytes; a quarter of a smaller disk.
pub const IMAGE_DISK_BYTES_ENOUGH: u64 = 4 * 1024 * 1024 * 1024;
/// Images removed after one look at them.
pub const IMAGES_REMOVED_TOGETHER_MAX: usize = 16;
/// Time between two looks at the images of a host, in milliseconds.
pub const IMAGE_LOOK_MS: u64 = 30_000;
/// First wait until an image whose removal was refused is tried again, in milliseconds; doubles.
pub const IMAGE_RETRY_MS_MIN: u64 = 600_000;
/// Longest wait until an image whose removal was refused is tried again, in milliseconds.
pub const IMAGE_RETRY_MS_MAX: u64 = 24 * 60 * 60 * 1_000;
/// Layers of an image that goes from host to host.
pub const IMAGE_LAYERS_MAX: usize = 512;
/// An image that goes from host to host, unpacked, in bytes.
pub const IMAGE_BYTES_MAX: u64 = 256 * 1024 * 1024 * 1024;
/// A document of an image (configuration, manifest) that goes from host to host, in bytes.
pub const IMAGE_DOCUMENT_BYTES_MAX: u64 = 4 * 1024 * 1024;
/// One piece of a layer on its way between hosts, in bytes.
pub const IMAGE_CHUNK_BYTES: usize = 32 * 1024;
/// Images that one host fetches from others at a time.
pub const IMAGE_FETCHES_MAX: usize = 2;
/// Blobs that one host gives to others at a time.
pub const IMAGE_SERVES_MAX: usize = 4;
/// Blobs that pass through the server at a time.
pub const IMAGE_RELAYS_MAX: usize = 32;
/// Questions about images that one host has open at the server.
pub const IMAGE_WANTS_MAX: usize = 8;
/// Hosts that are asked at most whether they have an image.
pub const IMAGE_HOSTS_ASKED_MAX: usize = 64;
/// A host that does not say in this time whether it has an image counts as silent, in milliseconds.
pub const IMAGE_LOOK_MS_MAX: u64 = 3_000;
/// A transfer of an image in which nothing moves for so long is given up, in milliseconds; it goes
/// on from where it was.
pub const IMAGE_SILENCE_MS_MAX: u64 = 10_000;
/// Pieces of images that nothing needs just now are kept for so long, in milliseconds: a transfer
/// that was cut goes on with them, and the next host that asks is served from them.
pub const IMAGE_PIECES_KEPT_MS: u64 = 900_000;
/// Pieces of images that nothing needs just now, in bytes: the oldest go.
pub const IMAGE_PIECES_BYTES_MAX: u64 = 8 * 1024 * 1024 * 1024;
/// Room that a transfer of an image leaves on a disk, in bytes.
pub const IMAGE_ROOM_BYTES_MIN: u64 = 64 * 1024 * 1024;
/// A host waits so long for the word which image all hosts run, in milliseconds: a server that is
/// away must not keep it from starting what is here.
pub const IMAGE_SETTLE_MS_MAX: u64 = 2_000;
/// Images that a host remembers to have pulled, built or run; the longest unused are forgotten.
pub const IMAGES_REMEMBERED_MAX: usize = 5_000;
/// A file of hosts to add, in bytes.
pub const HOSTS_FILE_BYTES_MAX: u64 = 1024 * 1024;
/// Hosts of one such file.
pub const HOSTS_ADDED_MAX: usize = 1_000;
/// Hosts that are added at a time, when nobody says how many.
pub const HOSTS_ADDED_AT_ONCE: usize = 8;
/// Hosts that are added at a time, at most: each holds a connection of ssh.
pub const HOSTS_ADDED_AT_ONCE_MAX: usize = 64;
/// Life of the token that a host is added with, in milliseconds; it is good for one host.
pub const HOST_ADD_TOKEN_MS: u64 = 600_000;
/// Room that a new host needs on the disk of Docker and of Remuda's state, in bytes.
pub const HOST_ROOM_BYTES_MIN: u64 = 256 * 1024 * 1024;
/// A clock of a new host that is further off is told of, in milliseconds.
pub const CLOCK_TOLD_MS: u64 = 5_000;
/// Instances of an environment that every host knows whole; in a larger one a host knows those that
/// it has to do with, and asks for others when they are asked for there.
pub const VIEW_WHOLE_INSTANCES_MAX: usize = 2_000;
/// Names of services that a host has nothing to do with otherwise, asked for on one host.
pub const ASKED_NAMES_MAX: usize = 1_000;
/// What is kept for an agent that comes back, for each host, in entries of views; an entry of a
/// spec counts eight times. Who lacks more gets the whole.
pub const LINK_HISTORY_WEIGHT_MAX: usize = 256;
/// What waits to go down to one agent, in entries of views; an entry of a spec counts eight times.
/// Who lacks more gets the whole.
pub const LINK_OUTBOX_WEIGHT_MAX: usize = 4_096;
/// Whole publications that are made and wait for their streams to take them at a time.
pub const LINK_WHOLES_MAX: usize = 8;
/// Publications a second to all agents together, about: with more agents more is said at a time.
pub const LINK_FRAMES_PER_S_MAX: u64 = 10_000;
/// Longest time that a publication waits for that, in milliseconds.
pub const LINK_PACE_MS_MAX: u64 = 200;
/// Longest wait of a DNS question for what the server says of a name, in milliseconds: those who
/// ask try again after some seconds.
pub const DNS_LATER_MS_MAX: u64 = 2_000;
/// How long a host is told of a service for whose name it was asked once, in milliseconds.
pub const DNS_ASKED_KEPT_MS: u64 = 3_600_000;
