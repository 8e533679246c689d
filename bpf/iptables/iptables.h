/* What the host firewall's µCubes share: the tables, and what is known of the packet at hand.
 *
 * iptables.c          every frame arrives here, at whatever netdev: which chain is it for, if for any
 * iptables_track.c    finds the connection that the packet belongs to (lib/follow.h)
 * iptables_tcp.c      what a segment of TCP makes of it
 * iptables_rules.c    finds the first rule that matches (iptables_search.h, lib/classify.h)
 * iptables_sets.c     finds the sets that the packet's addresses are in; then
 * iptables_in_sets.c  is iptables_rules.c, where rules ask for sets
 * iptables_verdict.c  counts, and does what was decided
 * iptables_details.h  limits, and what LOG writes
 * iptables_reject.c   answers what is rejected (lib/reject.h)
 *
 * Ingress programs see what is for this host (INPUT), egress programs what it sends (OUTPUT) or routes (FORWARD). All places share all
 * tables. docs/services/iptables.md says what is meant; cubes/iptables fills the tables.
 */
#include "lib/address_sets.h"
#include "lib/parse.h"
#include "lib/conntrack.h"
#include "lib/tcp_segment.h"
#include "lib/tuples.h"

enum iptables_program { IPTABLES_PARSE, IPTABLES_TRACK, IPTABLES_TCP, IPTABLES_RULES, IPTABLES_VERDICT, IPTABLES_REJECT, IPTABLES_SETS, IPTABLES_IN_SETS };
enum iptables_drop { DROP_TOO_DEEP = PCN_DROP_SERVICE /* more look-ups than a packet may have */ };

enum chain_number { INPUT, FORWARD, OUTPUT, CHAINS };
enum action { ACTION_ACCEPT, ACTION_DROP, ACTION_LOG, ACTION_RETURN, ACTION_REJECT, ACTION_AGAIN /* no rule's: see lib/undecided.h */ };
#define ACTION_KIND 15 /* the bits of an action that are an enum action; the next four say what a REJECT answers */
#define ACTION_LIMITED 0x100 /* the rule matches only so often (iptables_details.h) */
enum mode { MODE_TRACK = 1 };
enum inverted { INVERTED_SRC = 1, INVERTED_DST = 2, INVERTED_IN = 4, INVERTED_OUT = 8 };

#define LOOPBACK 1 /* the index of `lo` in every network namespace */

/* ---- The rule set. Rows are only added and marked as gone until `epoch`, one word, leads to a new version. ---- */

#define PAGES (CHAINS * 2 * BANK_PAGES) /* chain, bank, page; the bank is the epoch's last bit */

struct chain {
  u32 action; /* where no rule decides */
  u32 tuples;
  u32 grid; /* the control plane's own: see cubes/iptables/pieces.py */
  u32 zero;
};
struct version {
  u32 mode;
  u32 sets; /* enum sets of each chain, the first one's in the lowest 8 bits */
  struct chain chains[CHAINS];
};
BPF_TABLE("array", u32, u32, epoch, 1);
BPF_TABLE("array", u32, struct version, versions, 2);

/* A tuple: the bits that some rules look at (lib/classify.h), in the order of `best`, the first label among them. */
struct tuple {
  u64 best;
  u32 space, ports;
  u32 src[4], dst[4];
  u32 proto;
  u32 sets; /* only packets in these are asked about: the source's number, and 16 bits higher the destination's; 0: any. See SET_NOT */
};
struct page {
  struct tuple tuples[PAGE_TUPLES];
};
BPF_TABLE("array", u32, struct page, pages, PAGES);

/* What a rule asks, and what is to be done. */
struct conditions {
  u64 label; /* the rule's place: lower goes first */
  u64 rule;  /* under which it is counted */
  u64 skip;  /* of RETURN: the label of the last rule that is not asked any more */
  u32 src[4], src_mask[4], dst[4], dst_mask[4];
  u16 sport_low, sport_high, dport_low, dport_high;
  u32 in, out; /* indexes of netdevs; 0: any */
  u8 flags_mask, flags_set;
  u8 states; /* 0: any */
  u8 action;
  u8 inverted; /* what must not be so: enum inverted */
  u8 needs_ports;
  u8 family; /* 4 or 6; 0: any, or its addresses say */
  u8 limited;
};
struct key {
  u32 space;
  u32 src[4], dst[4];
  u32 ports;
  u16 seat;
  u8 proto, zero;
};
struct cell {
  struct key key; /* first, so that it is overwritten first: see lib/classify.h */
  u32 zero;
  struct conditions is;
  struct lifetime life;
};
BPF_F_TABLE("hash", struct key, struct cell, cells, 262144, BPF_F_NO_PREALLOC);

struct counter {
  u64 packets, bytes;
};
BPF_F_TABLE("percpu_hash", u64, struct counter, counters, 131072, BPF_F_NO_PREALLOC);
BPF_TABLE("percpu_array", u32, struct counter, decided, CHAINS); /* by the chain's default */

/* ---- The host. ---- */

struct wide {
  u32 address[4];
};
BPF_F_TABLE("hash", struct wide, u32, local, 16384, BPF_F_NO_PREALLOC); /* its addresses */
BPF_F_TABLE("hash", u32, u32, enslaved, 4096, BPF_F_NO_PREALLOC); /* index of a netdev: that of the bridge, or the like, which it is part of */

/* Of a cube with XDP, by the index of a netdev: what XDP is not told of it. */
struct station {
  u8 mac[ETH_ALEN];
  u16 sends; /* XDP can send by it */
};
BPF_F_TABLE("hash", u32, struct station, stations, 4096, BPF_F_NO_PREALLOC);

/* ---- What is written, kept to be read back: the programs do not look at it. ---- */

struct rule {
  u32 chain, id;
  char text[696]; /* see cubes/iptables/rules.py */
};
struct said_chain {
  char name[32];
  u32 action, zero;
};
BPF_F_TABLE("hash", u64, struct rule, rules, 131072, BPF_F_NO_PREALLOC);
BPF_F_TABLE("hash", u32, struct said_chain, chains, 4096, BPF_F_NO_PREALLOC);
BPF_F_TABLE("hash", u64, u64, places, 131072, BPF_F_NO_PREALLOC); /* the label of each rule that is laid out */

/* What the search for the first rule that decides finds. */
struct verdict {
  u64 rule, skip;
  u32 action, zero;
};
#include "lib/undecided.h"

/* ---- The packet at hand. A tail call stays on its CPU, and nothing else of this direction runs there meanwhile. ---- */

struct packet {
  union { /* one and the same: with a name for lib/, without one for all else */
    struct parsed parsed;
    struct {
      PARSED
    };
  };
  u32 length;
  u32 in, out; /* indexes of netdevs; 0: none */
  u32 chain;
  u32 talk; /* this and the next: see lib/follow.h */
  u8 state, settled, settles, was, sender;
  u8 news; /* it is taken for what it says only if its checksum is right: see lib/l4_sum.h */

  u32 epoch, mode, default_action;
  u32 tuples, page; /* of this chain: how many, and where the first is */
  u32 sets;         /* enum sets */

  u32 at, seat, passes; /* how far the search has come */
  u64 after;            /* labels up to this one were dealt with (a LOG, a RETURN) */
  u64 best;             /* the first label found so far that decides, and what its rule says: */
  u64 rule, skip;
  u32 action;           /* ACTION_AGAIN: of the labels from `best` on nothing is known */
  struct undecided_rules undecided; /* those before it that log, or have a limit */

  struct members src_in, dst_in; /* the sets that its addresses are in, and number 0, which is no set's */

  u8 way[2 * ETH_ALEN]; /* of what XDP sends on: the next station's address, and the netdev's own */

  struct connection next;
  struct connection_key connection;
  struct tcp_segment segment;
};
#if PCN_EGRESS
BPF_TABLE("percpu_array", u32, struct packet, packet_out, 1);
#else
BPF_TABLE("percpu_array", u32, struct packet, packet_in, 1);
#endif

#include "lib/follow.h"

static __always_inline struct packet *packet_context(void) {
  u32 zero = 0;
#if PCN_EGRESS
  return packet_out.lookup(&zero);
#else
  return packet_in.lookup(&zero);
#endif
}

static __always_inline bool is_same_station(const u8 *one, const u8 *other) {
  const u16 *a = (const void *)one, *b = (const void *)other;
  return !((a[0] ^ b[0]) | (a[1] ^ b[1]) | (a[2] ^ b[2]));
}

/* The netdev that runs this program. */
static __always_inline u32 netdev_of(struct CTXTYPE *ctx) {
#if PCN_XDP
  return ctx->ingress_ifindex;
#else
  return ctx->ifindex;
#endif
}

/* Go on in another µCube of this direction; if it is not there, or the packet has come too far, it is dropped. */
static __always_inline int tail_call_next(struct CTXTYPE *ctx, u32 program) {
#if PCN_EGRESS
  call_egress_program(ctx, program);
#else
  call_ingress_program(ctx, program);
#endif
  return pcn_count_drop(DROP_TOO_DEEP);
}

static __always_inline void add(struct counter *counter, u32 bytes) {
  if (counter) {
    counter->packets++;
    counter->bytes += bytes;
  }
}

/* Counts by whom the packet is decided on: its rule, or the chain's default. */
static __always_inline void count(const struct packet *packet) {
  u32 chain = packet->chain;
  u64 rule = packet->rule;
  add(packet->best == NO_LABEL ? decided.lookup(&chain) : counters.lookup(&rule), packet->length);
}

#include "iptables_forward.h"

/* The search is over. What most packets need is done here; anything else is the last µCube's. */
static __always_inline int finish_lookup(struct CTXTYPE *ctx, struct pkt_metadata *md, struct packet *packet) {
  u32 action = packet->best == NO_LABEL ? packet->default_action : packet->action;
  if (action > ACTION_DROP || packet->undecided.some || (action == ACTION_ACCEPT && (packet->next.state != CONNECTION_NONE || packet->news)))
    return tail_call_next(ctx, IPTABLES_VERDICT);
  count(packet);
  md->reason = PCN_DROP_POLICY;
  return action == ACTION_ACCEPT ? let_go(ctx, packet) : RX_DROP;
}

static __always_inline int classify(struct CTXTYPE *ctx, struct pkt_metadata *md, struct packet *packet) {
  if (!packet->tuples)
    return finish_lookup(ctx, md, packet);
  if (packet->sets)
    return tail_call_next(ctx, packet->sets & SETS_FOUND ? IPTABLES_IN_SETS : IPTABLES_SETS);
  return tail_call_next(ctx, IPTABLES_RULES);
}
