/* What the load balancer's µCubes share: the tables, and what is known of the packet at hand.
 *
 * lbdsr.c        every frame arrives here: what is for a virtual address gets a backend
 * lbdsr_icmp.c   ICMP errors, which go to the backend of the flow that they quote; neighbour discovery
 * lbdsr_send.c   tunnels
 *
 * Backends are known by two numbers, their service's and their own, which cubes/lbdsr/rows.py derives. Addresses are 16 bytes, ports in
 * host order. docs/services/lbdsr.md says what is meant.
 */
#include "lib/addr.h"
#include "lib/clock.h"
#include "lib/health.h"
#include "lib/maglev.h"
#include "lib/parse.h"

enum lbdsr_program { LBDSR_MAIN, LBDSR_ICMP, LBDSR_SEND };

enum lbdsr_drop { /* index into pcn_drops */
  DROP_FROM_BACKEND = PCN_DROP_SERVICE, /* backends answer clients directly: nothing comes back here */
  DROP_WRONG_MAC,                       /* for another station */
  DROP_NO_SERVICE,                      /* for no virtual address, or no protocol of one */
  DROP_NO_BACKEND,                      /* none that may have it */
  DROP_FRAGMENT,                        /* ahead of its packet's first one */
  DROP_TABLE_FULL                       /* a new flow could not be noted */
};

#define DRAIN_SECONDS 300 /* a flow that is silent for so long is a new one to a backend that drains */

enum port_kind { PORT_FRONTEND = 1, PORT_BACKEND };
struct lb_port {
  u32 kind;
  u32 other; /* the port on the other side */
};
BPF_TABLE("array", u32, struct lb_port, ports, PCN_MAX_PORTS);

enum said { SAID_VIP = 1, SAID_MAC = 2, SAID_TUNNEL4 = 4, SAID_TUNNEL6 = 8 }; /* leaves that are written, to be read back */
struct settings {
  u8 mac[6];  /* that virtual addresses have */
  u8 from[6]; /* that frames to backends come from. Not the same: a bridge that both ports are on would look for the first behind the second */
  u32 said;
  u8 vip[16], tunnel_ip[16], tunnel_ipv6[16];
};
BPF_TABLE("array", u32, struct settings, settings, 1);

/* As it is written: read back, not used by the programs. */
struct pool_key {
  u8 vip[16]; /* zeros: of frontend/vip */
  u32 id;
};
struct pool_words {
  u8 mac[6];
  u8 mode, state;
  u8 ip[16]; /* zeros: not said */
  u32 weight;
};
struct address {
  u8 bytes[16] __attribute__((aligned(4)));
};
BPF_F_TABLE("hash", struct address, u32, service_list, 65536, BPF_F_NO_PREALLOC);
BPF_F_TABLE("hash", struct pool_key, struct pool_words, pool_list, 262144, BPF_F_NO_PREALLOC);
BPF_F_TABLE("hash", struct pool_key, struct health, health, HEALTH_CHECKED, BPF_F_NO_PREALLOC);

struct limits {
  u32 flows; /* of max-flows, kept to be read back: the size of what is learned */
};
BPF_TABLE("array", u32, struct limits, limits, 1);

struct service {
  u32 number;
  u32 size; /* slots of its ring; 0: there is no backend */
};
BPF_F_TABLE("hash", struct address, struct service, services, 65536, BPF_F_NO_PREALLOC);

enum mode { MODE_L2, MODE_IPIP, MODE_GUE };
enum member_flags { MEMBER_DRAINS = 1, MEMBER_IPV6 = 2 /* its tunnel ends at an IPv6 address */ };
struct member_key {
  u32 service, backend; /* numbers */
};
struct member {
  u8 mac[6];
  u8 mode, flags;
  u8 ip[16] __attribute__((aligned(4)));
};
BPF_F_TABLE("hash", struct member_key, struct member, members, 262144, BPF_F_NO_PREALLOC);

struct flow_key {
  u32 client[4], vip[4];
  u16 client_port, port; /* of echo requests both 0, so that a client's go to one backend */
  u8 proto, zero[3];
};
struct flow {
  u32 service, backend; /* numbers: see members */
  u32 seen;             /* CLOCK_MONOTONIC, seconds */
  u32 zero;
};
BPF_TABLE("lru_hash", struct flow_key, struct flow, flows, 262144); /* or max-flows */

/* Where a packet's later fragments go, which have no ports. */
struct fragment_key {
  u32 src[4], dst[4];
  u32 id, proto;
};
BPF_TABLE("lru_hash", struct fragment_key, struct member_key, fragments, 4096);

struct counted {
  u64 flows, resumed, moved;
};
BPF_TABLE("percpu_array", u32, struct counted, counters, 1);

/* ---- The packet at hand, and the member that it goes to. A tail call stays on its CPU, and nothing else of this cube runs there. ---- */

struct packet {
  struct parsed is;
  struct member_key to;
  u32 hash;
};
BPF_TABLE("percpu_array", u32, struct packet, packets, 1);

static __always_inline struct packet *packet_context(void) {
  u32 zero = 0;
  return packets.lookup(&zero);
}

static __always_inline struct settings *settings_of(void) {
  u32 zero = 0;
  return settings.lookup(&zero);
}


static __always_inline int refuse(struct pkt_metadata *md, u32 reason) {
  md->reason = reason;
  return RX_DROP;
}

static __always_inline struct lb_port *port_of(u32 index) {
  struct lb_port *port = ports.lookup(&index);
  return port && port->kind ? port : NULL;
}

static __always_inline int to_program(struct CTXTYPE *ctx, u32 program) {
  call_ingress_program(ctx, program);
  return pcn_count_drop(PCN_DROP_NOT_READY);
}

static __always_inline struct service *find_service(const u32 *vip) {
  struct address key;
  __builtin_memcpy(&key, vip, 16);
  return services.lookup(&key);
}

static __always_inline bool is_icmp_error(const struct parsed *is) {
  u8 type = is->icmp_type;
  if (is->later_fragment || !is_icmp(is))
    return false;
  return is->family == 6 ? type < 128 : type == 3 || type == 4 || type == 5 || type == 11 || type == 12;
}

static __always_inline bool is_ported(u8 proto) { return proto == IPPROTO_TCP || proto == IPPROTO_UDP; }

/* The member of a new flow's hash, by its numbers; NULL: none. */
static __always_inline struct member *hashed_member(const struct service *service, u32 hash, struct member_key *to) {
  u32 *slot = ring_slot(service->number, service->size, hash);
  to->service = service->number;
  to->backend = slot ? *slot : 0;
  return slot ? members.lookup(to) : NULL;
}

/* Off to the member: by its MAC address, or through a tunnel. */
static __always_inline int send_to(struct CTXTYPE *ctx, struct pkt_metadata *md, struct packet *packet, const struct member *member, u32 out) {
  struct settings *own = settings_of();
  u8 macs[12];
  if (member->mode != MODE_L2)
    return to_program(ctx, LBDSR_SEND);
  if (!own)
    return refuse(md, PCN_DROP_NOT_READY);
  __builtin_memcpy(macs, member->mac, 6);
  __builtin_memcpy(macs + 6, own->from, 6);
  return pcn_store_bytes(ctx, 0, macs, 12) ? refuse(md, PCN_DROP_MALFORMED) : pcn_pkt_redirect(ctx, md, out);
}
