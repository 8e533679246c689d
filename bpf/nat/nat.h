/* What the nat's µCubes share: the tables, and what is known of the packet at hand.
 *
 * nat.c        every frame arrives here; packets of known sessions, and what is translated by prefix (nat_prefix.h), are done with here
 * nat_open.c   packets of no session: whether a rule is for them, and a new session
 * nat_error.c  ICMP errors, and the packets that they quote
 *
 * Inside is what egress packets come from, outside is where they go. Both directions run the same programs and share all tables but the
 * packet at hand. docs/services/nat.md says what is meant; cubes/nat/ fills the tables.
 */
#include "lib/addr.h"
#include "lib/clock.h"
#include "lib/parse.h"
#include "lib/rewrite.h"
#include "lib/lpm.h"

enum nat_program { NAT_MAIN, NAT_OPEN, NAT_ERROR };

enum nat_drop { /* index into pcn_drops */
  DROP_TABLE_FULL = PCN_DROP_SERVICE, /* there is no room for one more session */
  DROP_NO_PORT,                       /* all that were tried are taken */
  DROP_NO_SESSION,                    /* it begins none and belongs to none, but its address may not leave */
  DROP_FRAGMENT,                      /* a later fragment whose first one was not seen */
  DROP_NO_PREFIX                      /* RFC 6296 has no translation for this address */
};

enum nat_kind { KIND_SNAT = 1, KIND_MASQUERADE, KIND_DNAT, KIND_PORT_FORWARDING, KIND_NPT, KIND_HAIRPIN };

/* ---- The rules. ---- */

/* By the number of a rule's content: while it is there, sessions by it live. */
BPF_F_TABLE("hash", u32, u32, rules, 16384, BPF_F_NO_PREALLOC);
/* The same by the lowest bits of the number, for the look-up that every packet makes: an array's costs 1 ns, and a hash's 25. Of rules that
 * share them one is here, and the others are found in `rules` alone. */
#define RULE_MARKS 1024
BPF_TABLE("array", u32, u32, rule_marks, RULE_MARKS);

struct source { /* what addresses inside become */
  u32 first[4];
  u32 addresses; /* so many, from the first on */
  u16 low, high; /* ports, host order */
  u32 rule, id;
  u32 kind;
};
BPF_F_TABLE("lpm_trie", struct prefix6, struct source, sources, 8192, BPF_F_NO_PREALLOC);

struct target_key { /* an address outside, alone, with a port, or with a port and a protocol */
  u32 length; /* bits: 128, 144, 152 */
  u32 address[4];
  u16 port; /* network order */
  u8 proto, zero;
};
struct target { /* what it is inside */
  u32 address[4];
  u16 port; /* network order; 0: it stays */
  u16 zero;
  u32 rule, id;
  u32 kind;
};
BPF_F_TABLE("lpm_trie", struct target_key, struct target, targets, 16384, BPF_F_NO_PREALLOC);

/* Addresses outside that are translated to some inside: who talks to one inside as one of these turned around here, and so do the answers.
 * The value is a rule's number. */
BPF_F_TABLE("hash", struct in6_addr, u32, outsides, 16384, BPF_F_NO_PREALLOC);

/* The rules as they are written, kept to be read back: the programs do not look at them. */
struct rule_key {
  u32 kind, id;
};
struct rule_said {
  u8 inside[16], outside[16], last[16];
  u16 inside_port, outside_port; /* host order */
  u16 low, high;
  u8 inside_length, outside_length, proto, said;
};
BPF_F_TABLE("hash", struct rule_key, struct rule_said, rules_said, 16384, BPF_F_NO_PREALLOC);

/* ---- Sessions. ---- */

struct session;
static __always_inline bool session_is_wanted(const struct session *session);
#include "lib/session.h"

static __always_inline bool session_is_wanted(const struct session *session) {
  u32 rule = session->rule, at = rule % RULE_MARKS, *mark = rule_marks.lookup(&at);
  return (mark && *mark == rule) || rules.lookup(&rule);
}

/* Of a fragmented packet what its first fragment said, by its ends as they are in the packet. */
struct fragment_key {
  u32 src[4], dst[4];
  u32 id;
  u32 proto;
};
struct fragment {
  u64 seen;
  u16 near_port, far_port;
  u32 zero;
};
BPF_TABLE("lru_hash", struct fragment_key, struct fragment, fragments, 8192);
#define FRAGMENT_TIME (30 * SESSION_SECOND)

/* ---- The packet at hand. A tail call stays on its CPU, and nothing else of this direction runs there meanwhile. ---- */

struct packet {
  struct parsed is;
  struct session_tuple key; /* its ends as they are in it */
  u64 now;
  struct session_tuple inside; /* its ends as they are inside */
  struct session_tuple way;    /* and outside, what its near end may be there, and the session that is to be: here, so that no verifier knows them */
  struct session_pool pool;
  struct session next;
  u8 echo;
  u8 has_port; /* its near end has a port that may become another */
  u8 mapped;   /* how many mappings were made for it (nat_open.c) */
  u8 zero[5];
};
#if PCN_EGRESS
BPF_TABLE("percpu_array", u32, struct packet, packet_out, 1);
#else
BPF_TABLE("percpu_array", u32, struct packet, packet_in, 1);
#endif

static __always_inline struct packet *packet_context(void) {
  u32 zero = 0;
#if PCN_EGRESS
  return packet_out.lookup(&zero);
#else
  return packet_in.lookup(&zero);
#endif
}

static __always_inline struct session_times nat_times(void) {
  struct session_times times = {PCN_CONST(TCP_ESTABLISHED), PCN_CONST(TCP_TRANSITORY), PCN_CONST(UDP), PCN_CONST(ICMP), PCN_CONST(OTHER)};
  return times;
}

static __always_inline int refuse(struct pkt_metadata *md, u32 reason) {
  md->reason = reason;
  return RX_DROP;
}

static __always_inline int to_program(struct CTXTYPE *ctx, u32 program) {
#if PCN_EGRESS
  call_egress_program(ctx, program);
#else
  call_ingress_program(ctx, program);
#endif
  return pcn_count_drop(PCN_DROP_NOT_READY);
}

static __always_inline void place_of(struct rewrite_place *at, const struct parsed *is) {
  at->l3 = is->l3;
  at->l4 = is->l4;
  at->end = is->payload_end;
  at->family = is->family;
  at->proto = is->proto;
  at->later = is->later_fragment;
  at->zero = 0;
}

/* What the end of this direction becomes: of egress packets the source, of ingress ones the target. */
#define NAT_END (PCN_EGRESS ? REWRITE_SOURCE : REWRITE_TARGET)

/* Back in, as if it had come from the wire: a packet from inside whose target is inside too. On a netdev the kernel receives it there once
 * more; on a port the ingress program goes on with it. */
static __always_inline int turn_around(struct CTXTYPE *ctx, struct pkt_metadata *md) {
  u32 inwards = md->in_port;
  u8 macs[12], turned[12];
  struct pcn_hop *hop = pcn_hops.lookup(&inwards);
  if (!hop || pcn_load_bytes(ctx, 0, macs, sizeof(macs)) < 0)
    return refuse(md, PCN_DROP_MALFORMED);
  __builtin_memcpy(turned, macs + 6, 6);
  __builtin_memcpy(turned + 6, macs, 6);
  if (pcn_store_bytes(ctx, 0, turned, sizeof(turned)) < 0)
    return refuse(md, PCN_DROP_MALFORMED);
#if !PCN_XDP
  if (hop->kind == PCN_HOP_PASS)
    return bpf_redirect(ctx->ifindex, BPF_F_INGRESS);
  ctx->cb[0] = md->in_port ^ 1; /* where the ingress program looks for it */
#endif
  call_ingress_program(ctx, NAT_MAIN);
  return pcn_count_drop(PCN_DROP_NOT_READY);
}

/* The end of this direction becomes another, and the packet goes on. Port 0 is the far end's affair, or nobody's. */
static __always_inline int translate(struct CTXTYPE *ctx, struct pkt_metadata *md, struct packet *packet, const u32 *address, u16 port,
                                     bool turns) {
  struct rewrite_place at;
  place_of(&at, &packet->is);
  if (packet->is.fragment && !packet->is.later_fragment) {
    struct fragment_key key = {.id = packet->is.fragment_id, .proto = packet->is.proto};
    struct fragment said = {.seen = packet->now, .near_port = packet->key.near_port, .far_port = packet->key.far_port};
    __builtin_memcpy(key.src, packet->is.src, 32);
    fragments.update(&key, &said);
  }
  if (!rewrite_end(ctx, &at, NAT_END, address, packet->has_port ? port : REWRITE_KEEP))
    return refuse(md, PCN_DROP_MALFORMED);
#if PCN_EGRESS
  if (turns)
    return turn_around(ctx, md);
#endif
  return RX_OK;
}
