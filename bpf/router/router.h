/* What the router's µCubes share: their tables, how a frame is read and sent on, and how neighbours are known.
 *
 * router.c          everything arrives here: Ethernet, ARP, IPv4
 * router_ipv6.c     IPv6 and neighbour discovery
 * router_error.c    makes an ICMP or ICMPv6 error of the packet at hand
 * router_resolve.c  what happens to a packet whose next hop's MAC address is not known
 * ..._shadow.c      the first two of a router with a network namespace
 *
 * An address is 16 bytes wherever both families share a table; IPv4 is ::ffff:a.b.c.d. cubes/router/__init__.py fills the tables.
 */
#include "lib/addr.h"
#include "lib/lpm.h"
#include "lib/ratelimit.h"

#ifndef PCN_HAS_NAMESPACE /* as of a router without one; router_shadow.c and router_ipv6_shadow.c are of one with */
#define PCN_HAS_NAMESPACE 0
#define SHORT_CUTS !PCN_XDP
static __always_inline int pcn_pkt_redirect_ns(struct CTXTYPE *ctx, struct pkt_metadata *md, u32 port) { return PCN_SHOT; }
#endif

#define IPV4_AT sizeof(struct ethhdr)
#define FITS_ALWAYS 590        /* bytes of a frame: less than any link carries */
#define HOP_LIMIT 64           /* of what the router itself sends */
#define REACHABLE 60           /* seconds that a learned neighbour is believed without a sign of life */
#define AGENT_SILENCE 3        /* seconds after which an agent that did not say that it lives is taken for dead */
#define PENDING 5              /* seconds after the last question in which an answer is one: an agent asks three times in three */
#define NS 1000000000ULL
#define MS 1000000ULL

enum router_program { ROUTER_MAIN, ROUTER_IPV6, ROUTER_ERROR, ROUTER_RESOLVE };

enum router_drop { /* index into pcn_drops */
  DROP_WRONG_MAC = PCN_DROP_SERVICE, /* for another station */
  DROP_PROTOCOL,                     /* neither ARP nor IP, or VLAN-tagged */
  DROP_MARTIAN,                      /* an address that no router may forward from or to; multicast is not routed */
  DROP_TTL,                          /* used up, and no error may be sent */
  DROP_UNREACHABLE,                  /* no route or no service, and no error may be sent */
  DROP_UNRESOLVED,                   /* the next hop's MAC is being asked for */
  DROP_LIMITED                       /* its source, its port or the router has had its share of ICMP errors or of questions */
};

enum slow_reason { SLOW_MISS = 1, SLOW_RESOLVED = 2 };

enum route_kind {
  ROUTE_LOCAL = 1, /* `via` is the router's own address, `port` the port that it is on */
  ROUTE_CONNECTED, /* `via` is the router's own address in this subnet */
  ROUTE_REMOTE,    /* `via` is the next hop */
  ROUTE_DISCARD    /* a subnet's broadcast address */
};

struct route {
  u32 kind;
  u32 port;
  u8 via[16];
};

#include "fib.h"
#include "fib6.h"

/* Sources that no packet from elsewhere has: the router's own addresses and its subnets' broadcast addresses. The value is a
 * route's kind. */
BPF_F_TABLE("hash", u32, u32, martians4, 32768, BPF_F_NO_PREALLOC);
BPF_F_TABLE("hash", struct in6_addr, u32, martians6, 32768, BPF_F_NO_PREALLOC);

/* A bit for each of them, by a hash of the address: where it is not set, and that is for nearly all packets, nothing is looked up. */
struct martian_filter {
  u32 words[64];
};
BPF_TABLE("array", u32, struct martian_filter, martian_filter, 1);

enum port_flags { PORT_USED = 1, PORT_IPV4 = 2, PORT_IPV6 = 4, PORT_OWN_MAC = 8, PORT_HOSTS = 16 };

struct router_port {
  u8 mac[6];
  u16 flags;
  u8 ipv4[4];
  u8 ipv6[16];
  u8 link_local[16];
  u8 length4, length6; /* prefix lengths of ipv4 and ipv6; not used by the programs */
  u8 other[2]; /* a u16: 1 + the port that is its short cut, of PORT_HOSTS the one it takes packets for; 0: none */
};
BPF_TABLE("array", u32, struct router_port, ports, PCN_MAX_PORTS);

struct neighbour_key {
  u8 address[16];
  u32 port;
};
struct neighbour {
  u8 mac[6];
  u16 zero;
  u32 seen; /* CLOCK_MONOTONIC, seconds */
  u32 used; /* the same; an agent asks again ahead of time for what is in use */
};
BPF_TABLE("lru_hash", struct neighbour_key, struct neighbour, neighbours, 16384);
BPF_F_TABLE("hash", struct neighbour_key, struct neighbour, neighbours_static, 16384, BPF_F_NO_PREALLOC);

/* Who was asked for last when (nanoseconds of CLOCK_MONOTONIC), and whether packets wait for the answer in an agent. */
struct question {
  u64 asked;
  u32 waiting;
  u32 zero;
};
BPF_TABLE("lru_hash", struct neighbour_key, struct question, questions, 4096);

/* Seconds of CLOCK_MONOTONIC at which an agent last said that it looks after this cube. */
BPF_TABLE("array", u32, u32, agent, 1);

/* What was configured, kept to be read back: the programs do not look at it. */
struct sizes {
  u32 neighbours;
};
BPF_TABLE("array", u32, struct sizes, sizes, 1);
struct own_address {
  u32 port;
  u8 address[16];
  u32 length;
};
struct route_key {
  struct prefix6 network;
  u8 nexthop[16];
};
struct route_words {
  u32 pathcost;
  u32 interface; /* port + 1; 0: not said */
  u32 active;
};
BPF_F_TABLE("hash", struct own_address, u32, secondary_addresses, 16384, BPF_F_NO_PREALLOC);
BPF_F_TABLE("hash", struct route_key, struct route_words, routes, 65536, BPF_F_NO_PREALLOC);

/* What one µCube tells the next. A tail call stays on its CPU and nothing else of this cube runs there meanwhile. */
struct handover {
  u32 family;    /* 4 or 6 */
  u32 type, code; /* of the error to send */
  u32 mtu;       /* that the error tells; 0 in most */
  u32 port;      /* of the neighbour to ask for */
  u8 next[16];   /* its address */
};
BPF_TABLE("percpu_array", u32, struct handover, handovers, 1);

/* ---- Rate limits: what is costly is shared out by source, by port of arrival and by router. ---- */

enum limit { LIMIT_RESOLVE, LIMIT_ERROR, LIMITS };

struct limits {
  u64 spent[LIMITS]; /* token buckets */
};
BPF_TABLE("lru_hash", struct neighbour_key, struct limits, source_limits, 1024);
BPF_TABLE("array", u32, struct limits, port_limits, PCN_MAX_PORTS + 1); /* the last row is the router's */

/* `cost` of the time is what a source spends; the same weighs a quarter on a port, and a sixteenth on the router. So one source
 * takes no port's share, and no port the router's. Forged sources share a port's. */
static __always_inline bool may_spend(struct neighbour_key *source, u32 which, u64 cost, u64 burst) {
  u64 now = bpf_ktime_get_ns();
  u32 port = source->port, router = PCN_MAX_PORTS;
  struct limits fresh = {}, *of_source = source_limits.lookup(source);
  if (!of_source) {
    source_limits.update(source, &fresh);
    of_source = source_limits.lookup(source);
  }
  struct limits *of_port = port_limits.lookup(&port), *of_router = port_limits.lookup(&router);
  return of_source && of_port && of_router && tokens_take(&of_source->spent[which], now, cost, burst) &&
         tokens_take(&of_port->spent[which], now, cost / 4, burst) && tokens_take(&of_router->spent[which], now, cost / 16, burst);
}

static __always_inline u32 now_seconds(void) { return bpf_ktime_get_coarse_ns() / 1000000000; }

/* `folded`: the address, of IPv6 the words of it in one by exclusive or. cubes/router/__init__.py hashes in the same way. */
static __always_inline bool may_be_martian(u32 folded) {
  u32 zero = 0, bit = folded * 0x9e3779b1 >> 21;
  struct martian_filter *filter = martian_filter.lookup(&zero);
  return filter && filter->words[bit >> 5 & 63] >> (bit & 31) & 1;
}

static __always_inline struct router_port *port_of(u32 index) {
  struct router_port *port = ports.lookup(&index);
  return port && port->flags & PORT_USED ? port : NULL;
}

static __always_inline int refuse(struct pkt_metadata *md, u32 reason) {
  md->reason = reason;
  return RX_DROP;
}

/* ---- Neighbours ---- */

static __always_inline struct neighbour *find_neighbour(struct neighbour_key *key) {
  struct neighbour *known;
  if (PCN_CONST(STATIC) && (known = neighbours_static.lookup(key)))
    return known;
  known = neighbours.lookup(key);
  u32 now = now_seconds();
  if (!known || (s32)(now - known->seen) > REACHABLE)
    return NULL;
  if (known->used != now)
    known->used = now;
  return known;
}

/* Whether this neighbour is being asked for. */
static __always_inline bool is_asked(struct neighbour_key *key) {
  struct question *question = questions.lookup(key);
  return question && bpf_ktime_get_ns() - question->asked < PENDING * NS;
}

/* A neighbour was heard of. `fresh`: it is worth a row if it has none. Gives whether it has one. */
static __always_inline bool learn(struct neighbour_key *key, const u8 *mac, bool fresh) {
  struct neighbour *known = neighbours.lookup(key);
  u32 now = now_seconds();
  if (known) {
    __builtin_memcpy(known->mac, mac, 6);
    known->seen = now;
  } else if (fresh) {
    struct neighbour row = {.seen = now, .used = now};
    __builtin_memcpy(row.mac, mac, 6);
    neighbours.update(key, &row);
  }
  return known || fresh;
}

/* What a neighbour told us is told; packets that wait for it in an agent are released by letting the agent see it. */
static __always_inline int answered(struct CTXTYPE *ctx, struct pkt_metadata *md, struct neighbour_key *key) {
  struct question *question = questions.lookup(key);
  u32 waiting = question ? question->waiting : 0;
  if (question)
    questions.delete(key);
  if (waiting)
    return pcn_pkt_controller(ctx, md, SLOW_RESOLVED);
  return PCN_SHOT; /* no loss, so not counted as one */
}

/* ---- Ways out ---- */

static __always_inline int to_program(struct CTXTYPE *ctx, u32 program) {
  call_ingress_program(ctx, program);
  return pcn_count_drop(PCN_DROP_NOT_READY);
}

static __always_inline int to_error_with_mtu(struct CTXTYPE *ctx, u32 family, u32 type, u32 code, u32 mtu) {
  u32 zero = 0;
  struct handover *handover = handovers.lookup(&zero);
  if (!handover)
    return PCN_SHOT;
  handover->family = family;
  handover->type = type;
  handover->code = code;
  handover->mtu = mtu;
  return to_program(ctx, ROUTER_ERROR);
}

static __always_inline int to_error(struct CTXTYPE *ctx, u32 family, u32 type, u32 code) {
  return to_error_with_mtu(ctx, family, type, code, 0);
}

/* The MTU of a port's netdev if the packet (or a segment of it) does not fit, else 0. What a port that leads to another cube
 * ends at is not known here. */
static __always_inline u32 too_big_for(struct CTXTYPE *ctx, struct pkt_metadata *md, u32 port) {
  u32 mtu = 0;
  if (md->packet_len <= FITS_ALWAYS)
    return 0;
  struct pcn_hop *hop = pcn_hops.lookup(&port);
  if (!hop || hop->kind != PCN_HOP_NETDEV)
    return 0;
  return bpf_check_mtu(ctx, hop->ifindex, &mtu, 0, PCN_XDP ? 0 : BPF_MTU_CHK_SEGS) > 0 ? mtu : 0;
}

static __always_inline int to_resolve(struct CTXTYPE *ctx, u32 family, struct neighbour_key *key) {
  u32 zero = 0;
  struct handover *handover = handovers.lookup(&zero);
  if (!handover)
    return PCN_SHOT;
  handover->family = family;
  handover->port = key->port;
  __builtin_memcpy(handover->next, key->address, 16);
  return to_program(ctx, ROUTER_RESOLVE);
}

/* Back to where it came from: the reply to a request. */
static __always_inline int reflect(struct CTXTYPE *ctx, struct pkt_metadata *md, struct ethhdr *eth, struct router_port *port) {
  __builtin_memcpy(eth->h_dest, eth->h_source, 6);
  __builtin_memcpy(eth->h_source, port->mac, 6);
  return pcn_pkt_redirect(ctx, md, md->in_port);
}
