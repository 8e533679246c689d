/* Services and the flows to them: tables of a load balancer that translates addresses, and what is done with packets of a flow.
 *
 * A flow is two rows: `flows` leads what its client sends to a backend, `replies` what comes back to the virtual address. Backends are
 * known by two numbers, their service's and their own, which cubes/lib/balancer.py derives from their addresses. Addresses are 16 bytes,
 * ports in host order; an echo's identifier is its client's port. A known flow costs two look-ups, its own row and its backend's: so a
 * backend that is taken away loses its flows with its row.
 *
 * Where a client's address is to be another one at the backend, the service says so:
 *     u32 balancer_alias(client, server, hash)    which other one, of a new flow; 0: its own
 *     void balancer_known_as(client, alias)       what it becomes
 * balancer_flow.h finds and begins flows, balancer_icmp.h translates errors about them, balancer_reject.h answers where no backend is.
 */
#ifndef PCN_LIB_BALANCER_H
#define PCN_LIB_BALANCER_H
#include "lib/addr.h"
#include "lib/clock.h"
#include "lib/maglev.h"
#include "lib/parse.h"

enum balancer_drop { /* index into pcn_drops */
  DROP_NO_BACKEND = PCN_DROP_SERVICE, /* none that may have a new flow */
  DROP_SOURCE_RANGE,                  /* not one of the service's clients */
  DROP_CLASH,                         /* the client's port is in use towards each backend that was tried, by another service */
  DROP_TABLE_FULL,                    /* a new flow could not be noted */
  DROP_FRAGMENT,                      /* of a packet for a service, ahead of its first one */
  DROP_BALANCER                       /* the first one of the service's own */
};

#define CLASH_SECONDS 60  /* a reply's row that is silent for so long makes room for another service's */
#define DRAIN_SECONDS 300 /* a flow that is silent for so long is a new one to a backend that drains */
#define NOTED_SECONDS 4   /* a flow is noted to be alive so often: it costs a look-up more */
#define TRIES 4           /* slots that are looked at for a new flow */

/* ---- Configuration, as it is written: read back, not used by the programs. ---- */

struct service_key {
  u8 vip[16];
  u16 vport;
  u8 proto; /* 255: ALL; in `services` IP's own number */
  u8 zero;
};
struct service_words {
  u32 affinity, no_backend, ring_size;
};
struct backend_key {
  u8 vip[16];
  u16 vport;
  u8 proto, zero;
  u8 ip[16];
  u16 port, zero2;
};
struct backend_words {
  u32 weight, state;
};
struct range_key {
  u8 vip[16];
  u16 vport;
  u8 proto, zero;
  u8 prefix[20];
};
BPF_F_TABLE("hash", struct service_key, struct service_words, service_list, 65536, BPF_F_NO_PREALLOC);
BPF_F_TABLE("hash", struct backend_key, struct backend_words, backend_list, 262144, BPF_F_NO_PREALLOC);
BPF_F_TABLE("hash", struct range_key, u32, range_list, 65536, BPF_F_NO_PREALLOC);

/* ---- What follows from it. ---- */

enum service_flags {
  SERVICE_REJECTS = 1,
  SERVICE_RANGES = 2, /* not all clients may */
  SERVICE_ECHO = 4    /* no service at all: echo requests to its address are answered */
};
struct service {
  u32 number;
  u32 size; /* slots of its ring; 0: there is no backend */
  u32 affinity;
  u32 flags;
};
BPF_F_TABLE("hash", struct service_key, struct service, services, 262144, BPF_F_NO_PREALLOC);

/* In front of all look-ups by a virtual address: a bit for each, by a hash of it, so that what is for none costs no look-up but this one.
 * Few others have a virtual address' bit. cubes/lib/vip_marks.py sets them. */
#define VIP_MARKS 1024 /* words */
BPF_TABLE("array", u32, u64, vip_marks, VIP_MARKS);

struct member_key {
  u32 service, backend; /* numbers */
};
enum member_flags { MEMBER_DRAINS = 1 };
struct member {
  u8 ip[16] __attribute__((aligned(4)));
  u16 port, flags;
};
BPF_F_TABLE("hash", struct member_key, struct member, members, 524288, BPF_F_NO_PREALLOC);

struct client_range {
  u32 length; /* bits, of service and address */
  u32 service;
  u8 address[16];
};
BPF_F_TABLE("lpm_trie", struct client_range, u32, client_ranges, 65536, BPF_F_NO_PREALLOC);

/* ---- What is learned. ---- */

struct flow_key {
  u32 client[4], server[4]; /* `server`: in `flows` the virtual address, in `replies` the backend's */
  u16 client_port, server_port;
  u8 proto, zero[3];
};
struct flow {
  u32 service, backend; /* numbers: see members */
  u32 seen;             /* CLOCK_MONOTONIC, seconds */
  u32 alias;            /* which address its client has at the backend; 0: its own */
};
struct reply {
  u32 vip[4], client[4]; /* the client's own address, where it has another one at the backend */
  u16 vport, zero;
  u32 seen;
};
BPF_TABLE("lru_hash", struct flow_key, struct flow, flows, 262144); /* or max-flows */
BPF_TABLE("lru_hash", struct flow_key, struct reply, replies, 262144);

struct affinity_key {
  u32 client[4];
  u32 service;
};
struct affinity {
  u32 backend, seen;
};
BPF_TABLE("lru_hash", struct affinity_key, struct affinity, affinities, 65536);

/* What a packet's later fragments become, which have no ports. */
struct fragment_key {
  u32 src[4], dst[4];
  u32 id;
  u32 proto;
};
struct fragment {
  u32 src[4], dst[4];
};
BPF_TABLE("lru_hash", struct fragment_key, struct fragment, fragments, 4096);

struct counted {
  u64 flows, resumed, moved;
};
BPF_TABLE("percpu_array", u32, struct counted, counters, 1);

/* ---- Helpers ---- */

static __always_inline struct counted *counted(void) {
  u32 zero = 0;
  return counters.lookup(&zero);
}

static __always_inline int refuse(struct pkt_metadata *md, u32 reason) {
  md->reason = reason;
  return RX_DROP;
}

/* False: no service has this address. */
static __always_inline bool may_be_vip(const u32 *address) {
  u32 hash = (address[0] ^ address[1] ^ address[2] ^ address[3]) * 0x9e3779b1u, at = hash >> 22;
  u64 *word = vip_marks.lookup(&at);
  return word && *word >> (hash >> 16 & 63) & 1;
}

/* ---- Translating ---- */

#include "lib/rewrite.h"

static __always_inline bool is_ported(u8 proto) { return proto == IPPROTO_TCP || proto == IPPROTO_UDP; }

static __always_inline struct rewrite_place place_of(const struct parsed *is) {
  struct rewrite_place at = {.l3 = is->l3, .l4 = is->l4, .end = is->payload_end, .family = is->family, .proto = is->proto,
                             .later = is->later_fragment};
  return at;
}

/* Under TC what is rewritten must lie in linear data; parse.h has shown PARSE_PULLED bytes. */
static __always_inline void pull_l4(struct CTXTYPE *ctx, const struct parsed *is) {
  if (is->l4 + 20 > PARSE_PULLED)
    pcn_pull(ctx, is->l4 + 20);
}

static __always_inline bool is_icmp_error(const struct parsed *is) {
  u8 type = is->icmp_type;
  if (is->later_fragment || !is_icmp(is))
    return false;
  return is->family == 6 ? type < 128 : type == 3 || type == 4 || type == 5 || type == 11 || type == 12;
}
#endif
