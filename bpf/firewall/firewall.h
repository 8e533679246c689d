/* What the firewall's µCubes share: the tables, and what is known of the packet at hand.
 *
 * firewall.c          every frame arrives here: IP is read, all else passes
 * firewall_track.c    finds the connection that the packet belongs to (firewall_rematch.h: whether the rules were others meanwhile)
 * firewall_tcp.c      what becomes of it, if it is TCP and the packet is not of the usual kind
 * firewall_ipv4.c     finds the first rule that matches (firewall_classify.h, lib/classify.h)
 * firewall_ipv6.c     the same for IPv6
 * firewall_sets.c     finds the sets that the packet's addresses are in, and the sender's MAC; then
 * firewall_sets4.c    is firewall_ipv4.c, for rules that ask for these
 * firewall_sets6.c    the same for IPv6
 * firewall_verdict.c  counts, and does what was decided
 * firewall_reject.c   answers what is rejected
 *
 * Both directions run the same programs, each with its own chain of rules, and share all tables. docs/services/firewall.md
 * says what is meant, docs/decisions has the classifier; cubes/firewall/__init__.py fills the tables.
 */
#include "lib/address_sets.h"
#include "lib/parse.h"
#include "lib/conntrack.h"
#include "lib/tcp_segment.h"
#include "lib/tuples.h"

enum firewall_program {
  FIREWALL_PARSE,
  FIREWALL_TRACK,
  FIREWALL_IPV4,
  FIREWALL_IPV6,
  FIREWALL_VERDICT,
  FIREWALL_REJECT,
  FIREWALL_SETS,
  FIREWALL_SETS_IPV4,
  FIREWALL_SETS_IPV6,
  FIREWALL_TCP
};

enum firewall_drop { DROP_TOO_DEEP = PCN_DROP_SERVICE /* more look-ups than a packet may have */ };

enum action { ACTION_ACCEPT, ACTION_DROP, ACTION_LOG, ACTION_REJECT, ACTION_AGAIN /* no rule's: see lib/undecided.h */ };
#define ACTION_KIND 15 /* the bits of an action that are an enum action; those above say what a REJECT answers */
enum mode { MODE_TRACK = 1, MODE_ACCEPT_ESTABLISHED = 2, MODE_STRICT = 4 /* a connection begins with a SYN */, MODE_REMATCH = 8 };

#define CHAIN PCN_EGRESS

/* ---- The rule set. Rows are only added and marked as gone until `epoch`, one word, leads to a new version. ---- */

#define PAGES (2 * 2 * BANK_PAGES) /* chain, bank, page; the bank is the epoch's last bit */

struct chain {
  u32 action; /* where no rule matches */
  u32 tuples4, tuples6;
  u32 layout; /* the control plane's own: see cubes/firewall/epochs.py */
};
struct version {
  u32 mode;
  u32 sets; /* enum sets, those of EGRESS 8 bits higher */
  struct chain chains[2];
};
BPF_TABLE("array", u32, u32, epoch, 1);
BPF_TABLE("array", u32, struct version, versions, 2);

/* How often sets have changed, for MODE_REMATCH. Of two rows one is zeros, but while an edit is made: a change writes the next number
 * in one, then takes the members away that go, and then the row of before. So each step has another sum (rule_version). */
struct set_version {
  u32 number, zero;
  u64 members; /* the control plane's own: what the sets are, in short */
};
BPF_TABLE("array", u32, struct set_version, set_versions, 2);

/* A tuple: the bits that some rules look at. Those rules are in `cells` under the bits' values. Tuples are in the order of
 * `best`, the first label among their rules. */
struct tuple4 {
  u64 best;
  u32 space; /* the tuple's own number, the first word of its cells' keys */
  u32 ports;
  u32 src, dst;
  u32 proto;
  u32 sets; /* only packets that are in these can match: see `sets` of struct conditions; and TUPLE_SMAC */
};
struct tuple6 {
  u64 best;
  u32 space, ports;
  u32 src[4], dst[4];
  u32 proto;
  u32 sets;
};
struct page4 {
  struct tuple4 tuples[PAGE_TUPLES];
};
struct page6 {
  struct tuple6 tuples[PAGE_TUPLES];
};
BPF_TABLE("array", u32, struct page4, pages4, PAGES);
BPF_TABLE("array", u32, struct page6, pages6, PAGES);

/* What a rule asks besides its key, and what is to be done. Nothing is taken for granted because the key matched. */
struct conditions {
  u64 label; /* the rule's place: lower goes first */
  u64 rule;  /* its identity, under which it is counted */
  u16 sport_low, sport_high, dport_low, dport_high;
  u32 device; /* index; 0: any */
  u32 limit;  /* packets a second; 0: no limit */
  u8 flags_mask, flags_set;
  u8 states; /* 0: any */
  u8 action;
  u8 needs_ports;
  u8 asks_smac; /* enum smac */
  u16 smac_high;
  u32 sets; /* the source's number, and 16 bits higher the destination's; 0: any. See SET_NOT */
  u32 smac_low;
};
struct key4 {
  u32 space, sets;
  u32 src, dst;
  u32 ports;
  u16 seat;
  u8 proto, zero;
};
struct cell4 {
  struct key4 key; /* first, so that it is overwritten first: see lib/classify.h */
  struct conditions is;
  u32 src, src_mask, dst, dst_mask;
  struct lifetime life;
};
struct key6 {
  u32 space, sets;
  u32 src[4], dst[4];
  u32 ports;
  u16 seat;
  u8 proto, zero;
};
struct cell6 {
  struct key6 key;
  struct conditions is;
  u32 src[4], src_mask[4], dst[4], dst_mask[4];
  struct lifetime life;
};
BPF_F_TABLE("hash", struct key4, struct cell4, cells4, 262144, BPF_F_NO_PREALLOC);
BPF_F_TABLE("hash", struct key6, struct cell6, cells6, 262144, BPF_F_NO_PREALLOC);

struct counter {
  u64 packets, bytes;
};
BPF_F_TABLE("percpu_hash", u64, struct counter, counters, 131072, BPF_F_NO_PREALLOC);

/* What decides where no rule does, by chain and enum decider. It decides most packets, and an array costs a hash's look-up less. */
enum decider { DECIDER_DEFAULT, DECIDER_ESTABLISHED, DECIDERS };
BPF_TABLE("percpu_array", u32, struct counter, decided, 2 * DECIDERS);

/* The rules as they are written, kept to be read back: the programs do not look at them. */
struct rule {
  u64 label;
  u8 src[16], dst[16];
  u8 src_length, dst_length; /* 255: not said */
  u8 said;                   /* enum of cubes/firewall/codec.py */
  u8 proto;
  u16 sport_low, sport_high, dport_low, dport_high;
  u8 flags[8]; /* as they are written: 1 + bit, 16 more with '!' */
  u32 limit;
  u8 states, action, chain, zero;
  u8 device[16];
  u32 sets; /* as in struct conditions */
};
/* What does not fit in there: leaves of several values, as "leaf=value" with line ends between, in pieces. */
struct text_key {
  u64 rule;
  u32 piece, zero;
};
struct text {
  u8 bytes[64];
};
BPF_F_TABLE("hash", struct text_key, struct text, texts, 131072, BPF_F_NO_PREALLOC);
struct run_key {
  u32 chain, first;
};
struct run {
  u32 step, count;
};
BPF_F_TABLE("hash", u64, struct rule, rules, 131072, BPF_F_NO_PREALLOC);
BPF_F_TABLE("hash", struct run_key, struct run, ids, 131072, BPF_F_NO_PREALLOC); /* ids, in runs of equal steps */

#define TUPLE_SMAC 0x4000 /* in a tuple's `sets`: its keys have the sender's MAC mixed into their ports */
enum smac { SMAC_ANY, SMAC_IS, SMAC_IS_NOT };

/* ---- Connections (lib/conntrack.h). One is settled once it is assured and not over: TCP's when an acknowledgement of the handshake's
 * answer has come, which needs a true source address; others' when they have been answered and are used after a while. Those that are
 * not are in `openings`, so that a flood of beginnings, or of connections that are over, cannot push out those that work. ---- */

/* What the search for the first rule that decides finds. */
struct verdict {
  u64 rule;
  u32 action, limit;
};
#include "lib/undecided.h"

enum outdated { UP_TO_DATE, OUTDATED /* not accepted by the rules of now */, MATCHED_ANEW };

/* ---- The packet at hand. A tail call stays on its CPU, and nothing else of this direction runs there meanwhile. ---- */

struct packet {
  union { /* one and the same: with a name for lib/, without one for all else */
    struct parsed parsed;
    struct {
      PARSED
    };
  };
  u32 talk;             /* `ports` of its connection; of an ICMP question see icmp_ports */
  u32 length;
  u32 device;
  u8 state;
  u8 settled, settles; /* its connection is, or becomes if the packet is accepted, a settled one */
  u8 was;              /* enum connection_state of the connection that is known, or none */
  u8 sender;           /* which end of the key sent the packet: 1 the high one */
  u8 news;             /* it is taken for what it says only if its checksum is right: see lib/l4_sum.h */
  u8 answers;          /* it comes from the end that did not begin its connection */
  u8 outdated;         /* enum outdated */
  u8 turned;           /* src, dst and ports are those of what it answers: see firewall_rematch.h */
  u8 own_flags;
  u32 own_ports;

  u32 epoch, mode, default_action;
  u32 version; /* of rules and sets */
  u32 tuples, page; /* of this chain and family: how many, and where the first is */
  u32 sets;         /* enum sets */

  u32 at, seat, passes; /* how far the search has come */
  u64 after;            /* labels up to this one were dealt with (a LOG, a rule beyond its limit) */
  u64 best;             /* the first label found so far that decides, and what its rule says: */
  u64 rule;
  u32 action;           /* ACTION_AGAIN: of the labels from `best` on nothing is known */
  struct undecided_rules undecided; /* those before it that log, or have a limit */

  struct members src_in, dst_in; /* the sets that its addresses are in, and number 0, which is no set's */
  u32 smac_low, smac_high;       /* the sender's MAC: its last four bytes, and its first two; if rules ask for it */

  struct connection next; /* what the connection becomes if the packet is accepted; no state: nothing */
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

static __always_inline void count(u64 rule, u32 bytes) { add(counters.lookup(&rule), bytes); }

/* `turned`: 1 where the other chain was asked. */
static __always_inline void count_decided(enum decider decider, u32 turned, u32 bytes) {
  u32 index = (CHAIN ^ turned) * DECIDERS + decider;
  add(decided.lookup(&index), bytes);
}

/* The search is over. What most packets need is done here; anything else is the last µCube's. */
static __always_inline int finish_lookup(struct CTXTYPE *ctx, struct pkt_metadata *md, struct packet *packet) {
  bool found = packet->best != NO_LABEL;
  u32 action = found ? packet->action : packet->default_action;
  if (action > ACTION_DROP || packet->undecided.some || (action == ACTION_ACCEPT && (packet->next.state != CONNECTION_NONE || packet->news)))
    return tail_call_next(ctx, FIREWALL_VERDICT);
  if (found)
    count(packet->rule, packet->length);
  else
    count_decided(DECIDER_DEFAULT, packet->turned & 1, packet->length);
  md->reason = PCN_DROP_POLICY;
  return action == ACTION_ACCEPT ? RX_OK : RX_DROP;
}

static __always_inline int classify(struct CTXTYPE *ctx, struct pkt_metadata *md, struct packet *packet) {
  if (!packet->tuples)
    return finish_lookup(ctx, md, packet);
  if (packet->sets) {
    u32 program = packet->family == 4 ? FIREWALL_SETS_IPV4 : FIREWALL_SETS_IPV6;
    return tail_call_next(ctx, packet->sets & SETS_FOUND ? program : FIREWALL_SETS);
  }
  if (packet->family == 4)
    return tail_call_next(ctx, FIREWALL_IPV4);
  return tail_call_next(ctx, FIREWALL_IPV6);
}
