/* What the policy-based forwarder's µCubes share: the rule set, and what is known of the packet at hand.
 *
 * pbforwarder.c          every frame arrives here: what rules may ask for is read into one vector
 * pbforwarder_search.c   finds the first rule that matches (lib/classify.h)
 * pbforwarder_rewrite.c  changes what a rule sets, and sends the packet on
 *
 * docs/services/pbforwarder.md says what is meant; cubes/pbforwarder fills the tables.
 */
#include "lib/parse.h"
#include "lib/tuples.h"

enum pbf_program { PBF_PARSE, PBF_SEARCH, PBF_REWRITE };

enum pbf_drop {
  DROP_TOO_DEEP = PCN_DROP_SERVICE, /* more look-ups than a packet may have */
  DROP_NO_ROOM                      /* no room for what is to be set or pushed */
};

enum action { ACTION_DROP, ACTION_SLOWPATH, ACTION_FORWARD, ACTION_REWRITE /* and forward */ };

/* What rules may ask for, as words that masks are laid over. Of what is no IP the first nine are zeros. */
#define WORDS 13
enum { AT_SRC, AT_DST = 4, AT_PORTS = 8, AT_MACS = 9 /* destination, source */, AT_LINK = 12 /* EtherType << 16 | VLAN id */ };

struct version {
  u32 tuples;
  u32 layout; /* the control plane's own */
};
BPF_TABLE("array", u32, u32, epoch, 1);
BPF_TABLE("array", u32, struct version, versions, 2);

struct tuple {
  u64 best;
  u32 space, ports;
  u32 words[WORDS];
  u8 proto, port, zero[2];
};
struct page {
  struct tuple tuples[PAGE_TUPLES];
};
BPF_TABLE("array", u32, struct page, pages, 2 * BANK_PAGES);

struct key {
  u32 space;
  u32 words[WORDS];
  u16 seat;
  u8 proto, port;
};
struct conditions {
  u64 label; /* the rule's id and 1: lower goes first */
  u64 rule;  /* its row in `rules` */
  u16 sport_low, sport_high, dport_low, dport_high;
  u8 needs_ports, proto, proto_mask, port, port_mask;
  u8 action;
  u16 out_port;
};
struct cell {
  struct key key; /* first, so that it is overwritten first: see lib/classify.h */
  u32 zero;
  struct conditions is;
  u32 words[WORDS], mask[WORDS];
  struct lifetime life;
};
BPF_F_TABLE("hash", struct key, struct cell, cells, 262144, BPF_F_NO_PREALLOC);

/* The rules as they are written, by a number that follows from the row: a rule that changes is another one. Programs read what is set. */
enum set { SET_SRC_MAC = 1, SET_DST_MAC = 2, SET_SRC_IP = 4, SET_DST_IP = 8, SET_SRC_PORT = 16, SET_DST_PORT = 32, SET_VLAN = 64, SET_PUSH = 128, SET_POP = 256 };

struct rule {
  u32 id;
  u32 said; /* bits of cubes/pbforwarder/rules.py */
  u32 words[WORDS], mask[WORDS];
  u16 sport_low, sport_high, dport_low, dport_high;
  u8 proto, in_port;
  u16 action, out_port;
  u16 sets; /* enum set */
  u32 src[4], dst[4]; /* IPv4 in the last word */
  u8 dst_mac[6], src_mac[6];
  u16 src_port, dst_port; /* network order */
  u16 vlan, push;
};
BPF_F_TABLE("hash", u64, struct rule, rules, 65536, BPF_F_NO_PREALLOC);

/* ---- The packet at hand. A tail call stays on its CPU, and nothing else of this cube runs there meanwhile. ---- */

struct packet {
  struct parsed is;
  u32 words[WORDS];
  u32 epoch, tuples, page;
  u32 at, seat, passes, has_ports;
  u8 proto, port;
  u16 action, out_port, zero;
  u64 after, best, rule;
};
BPF_TABLE("percpu_array", u32, struct packet, packets, 1);

static __always_inline struct packet *packet_context(void) {
  u32 zero = 0;
  return packets.lookup(&zero);
}

static __always_inline int refuse(struct pkt_metadata *md, u32 reason) {
  md->reason = reason;
  return RX_DROP;
}

static __always_inline int tail_call_next(struct CTXTYPE *ctx, u32 program) {
  call_ingress_program(ctx, program);
  return pcn_count_drop(DROP_TOO_DEEP);
}
