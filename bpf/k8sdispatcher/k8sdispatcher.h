/* What the dispatcher's µCubes share: the tables, and what is known of the packet at hand.
 *
 * k8sdispatcher.c        every frame arrives here: packets of known sessions, and what needs none
 * k8sdispatcher_open.c   packets that need a session and have none
 * k8sdispatcher_error.c  ICMP errors, and the packets that they quote
 *
 * The FRONTEND port is at the node's netdev, the pods are behind the BACKEND port. In both directions the source of a session's first
 * packet becomes another one, and what is sent back to that is for the old one: lib/session.h's near end is who began, wherever he is.
 * docs/services/k8sdispatcher.md says what is meant.
 */
#include "lib/addr.h"
#include "lib/clock.h"
#include "lib/lpm.h"
#include "lib/parse.h"
#include "lib/rewrite.h"

enum dispatcher_program { DISPATCHER_MAIN, DISPATCHER_OPEN, DISPATCHER_ERROR };

enum dispatcher_drop { /* index into pcn_drops */
  DROP_TABLE_FULL = PCN_DROP_SERVICE, /* there is no room for one more session */
  DROP_NO_PORT,                       /* all that were tried are taken */
  DROP_NO_SESSION,                    /* it begins none and belongs to none, but its address may not go on */
  DROP_FRAGMENT,                      /* a later fragment whose first one was not seen */
  DROP_NO_ADDRESS                     /* its source would become an address that is not said for this family */
};

/* ---- Configuration ---- */

enum port_kind { PORT_BACKEND = 1, PORT_FRONTEND };
enum said { SAID_IPV4 = 1, SAID_IPV6 = 2 };
struct dispatcher_port {
  u32 kind;
  u32 other; /* the port on the other side, + 1; 0: there is none */
  u32 flags; /* enum said: which addresses, to be read back */
  u8 ipv4[4];
  u8 ipv6[16];
};
BPF_TABLE("array", u32, struct dispatcher_port, ports, PCN_MAX_PORTS);

/* By family, IPv4 first: addresses that sources become, of zeros where none is said. */
struct addresses {
  u32 node[4];     /* of the FRONTEND port */
  u32 internal[4]; /* internal-src-ip */
};
BPF_TABLE("array", u32, struct addresses, addresses, 2);

struct ranges { /* ports, host order */
  u16 low, high;                   /* that pods have at the node's address */
  u16 nodeport_low, nodeport_high; /* kept to be read back */
};
BPF_TABLE("array", u32, struct ranges, ranges, 1);

enum policy { POLICY_CLUSTER = 1, POLICY_LOCAL };
struct nodeport {
  u16 port; /* host order; of ICMP 0 */
  u8 proto, zero;
};
BPF_F_TABLE("hash", struct nodeport, u32, nodeport_rules, 16384, BPF_F_NO_PREALLOC);

struct external {
  u8 address[16] __attribute__((aligned(4)));
  u16 port;
  u8 proto, zero;
};
BPF_F_TABLE("hash", struct external, u32, external_rules, 65536, BPF_F_NO_PREALLOC);

BPF_F_TABLE("lpm_trie", struct prefix6, u32, internal_subnets, 16384, BPF_F_NO_PREALLOC);
BPF_F_TABLE("lpm_trie", struct prefix6, u32, unmasqueraded, 16384, BPF_F_NO_PREALLOC);

static __always_inline struct addresses *addresses_of(const u32 *address) {
  u32 six = address[0] || address[1] || address[2] != htonl(0xffff);
  return addresses.lookup(&six);
}

/* ---- Sessions ---- */

enum kind { KIND_POD_TO_EXT = 1, KIND_NODEPORT_CLUSTER };

struct session;
static __always_inline bool session_is_wanted(const struct session *session);
#include "lib/session.h"

/* While its outer address is the one that is said. */
static __always_inline bool session_is_wanted(const struct session *session) {
  struct addresses *own = addresses_of(session->outside);
  return own && same_address(session->kind == KIND_POD_TO_EXT ? own->node : own->internal, session->outside);
}

struct fragment_key {
  u32 src[4], dst[4];
  u32 id, proto;
};
struct fragment { /* what a fragmented packet's first fragment said */
  u64 seen;
  struct session_ports ports;
  u16 zero;
};
BPF_TABLE("lru_hash", struct fragment_key, struct fragment, fragments, 8192);
#define FRAGMENT_TIME (30 * SESSION_SECOND)

/* Whom the BACKEND side asked for by ARP or neighbour discovery, and when (seconds): the next answer is its. */
struct address {
  u32 words[4];
};
BPF_TABLE("lru_hash", struct address, u32, questions, 1024);
#define QUESTION_SECONDS 3

/* ---- The packet at hand. A tail call stays on its CPU, and nothing else of this cube runs there meanwhile. ---- */

struct packet {
  struct parsed is;
  struct session_ports ports;
  u16 zero;
  u64 now;
  struct session_tuple key; /* its source is the near end */
  struct session_pool pool; /* what its source may become, and the session that is to be: here, so that no verifier knows them */
  struct session next;
};
BPF_TABLE("percpu_array", u32, struct packet, packets, 1);

static __always_inline struct packet *packet_context(void) {
  u32 zero = 0;
  return packets.lookup(&zero);
}

static __always_inline struct dispatcher_port *port_of(u32 index) {
  struct dispatcher_port *port = ports.lookup(&index);
  return port && port->kind && port->other ? port : NULL;
}

static __always_inline struct session_times session_times_of(void) {
  struct session_times times = {PCN_CONST(TCP_ESTABLISHED), PCN_CONST(TCP_TRANSITORY), PCN_CONST(UDP), PCN_CONST(ICMP), PCN_CONST(OTHER)};
  return times;
}

static __always_inline int refuse(struct pkt_metadata *md, u32 reason) {
  md->reason = reason;
  return RX_DROP;
}

static __always_inline int to_program(struct CTXTYPE *ctx, u32 program) {
  call_ingress_program(ctx, program);
  return pcn_count_drop(PCN_DROP_NOT_READY);
}

static __always_inline int across(struct CTXTYPE *ctx, struct pkt_metadata *md, const struct dispatcher_port *port) {
  return pcn_pkt_redirect(ctx, md, port->other - 1);
}

static __always_inline struct rewrite_place place_of(const struct parsed *is) {
  struct rewrite_place at = {.l3 = is->l3, .l4 = is->l4, .end = is->payload_end, .family = is->family, .proto = is->proto,
                             .later = is->later_fragment};
  return at;
}

/* An end becomes another, and the packet goes to the other port. `has_port`: this end has one that may change. */
static __always_inline int translate(struct CTXTYPE *ctx, struct pkt_metadata *md, struct packet *packet, const struct dispatcher_port *port,
                                     u32 end, const u32 *address, u16 to_port, bool has_port) {
  struct rewrite_place at = place_of(&packet->is);
  if (!rewrite_end(ctx, &at, end, address, has_port ? to_port : REWRITE_KEEP))
    return refuse(md, PCN_DROP_MALFORMED);
  return across(ctx, md, port);
}

static __always_inline bool source_has_port(const struct packet *packet) {
  return packet->ports.ported || packet->ports.echo == ECHO_REQUEST;
}

/* ---- What is for whom. ---- */

static __always_inline bool is_internal(const u32 *address) {
  struct prefix6 key;
  lpm_host6(&key, address);
  return internal_subnets.lookup(&key) != NULL;
}

static __always_inline bool is_unmasqueraded(const u32 *address) {
  struct prefix6 key;
  lpm_host6(&key, address);
  return unmasqueraded.lookup(&key) != NULL;
}

/* The policy of a service at this address and port; 0: there is none. Ports in network order. */
static __always_inline u32 policy_at(const u32 *address, u16 port, u8 proto) {
  struct addresses *own = addresses_of(address);
  u8 said = proto == IPPROTO_ICMPV6 ? IPPROTO_ICMP : proto;
  if (own && same_address(own->node, address)) {
    struct nodeport key = {.port = ntohs(port), .proto = said};
    u32 *policy = nodeport_rules.lookup(&key);
    if (policy)
      return *policy;
  }
  if (!PCN_CONST(EXTERNAL))
    return 0;
  struct external key = {.port = ntohs(port), .proto = said};
  __builtin_memcpy(key.address, address, 16);
  u32 *policy = external_rules.lookup(&key);
  return policy ? *policy : 0;
}
