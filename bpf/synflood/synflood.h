/* What all programs of synflood share: its counters, whose SYNs it answers, and the way back of an answer. */
#ifndef PCN_SYNFLOOD_H
#define PCN_SYNFLOOD_H
#include "lib/lpm.h"
#include "lib/segment.h"

#define TCP_MOST 60 /* bytes of a header with all its options */
#define PROXY 1     /* the µCube for what is not this host's */

enum counted { SYNS, COOKIES, CARRYING, COUNTED };
BPF_TABLE("percpu_array", u32, u64, counters, COUNTED);
/* The host's own addresses: a listening socket of any address would be found for whatever else passes, too. */
struct address {
  u32 words[4];
};
BPF_TABLE("hash", struct address, u8, own_addresses, 4096);
/* Networks behind this host, whose servers are answered for; the MSS that their clients are told. */
struct proxied {
  u32 mss;
};
BPF_F_TABLE("lpm_trie", struct prefix6, struct proxied, proxied, 1024, BPF_F_NO_PREALLOC);

static __always_inline void count(u32 what) {
  u64 *counter = counters.lookup(&what);
  if (counter)
    (*counter)++;
}

static __always_inline struct proxied *proxied_of(const u32 *address) {
  struct prefix6 key;
  lpm_host6(&key, address);
  return proxied.lookup(&key);
}

static __always_inline bool begins(const struct parsed *is) { return (is->flags & (TCP_SYN | TCP_ACK | TCP_RST | TCP_FIN)) == TCP_SYN; }

/* Options, or extension headers, which would be sent back. */
static __always_inline bool has_more(const struct parsed *is) {
  return is->l4 - is->l3 != (is->family == 4 ? sizeof(struct iphdr) : sizeof(struct ipv6hdr));
}

/* Under TC an answer that leaves by the netdev meets this cube's program on the way out, which is to know it from a server's. */
#define ANSWER_INDEX 0x70d0 /* of skb->tc_index, which no socket sets */
#if !PCN_XDP
static __always_inline bool take_answer(struct CTXTYPE *ctx) {
  if (ctx->tc_index != ANSWER_INDEX)
    return false;
  ctx->tc_index = 0;
  return true;
}
#else
static __always_inline bool take_answer(struct CTXTYPE *ctx) { return false; }
#endif

/* The way that the SYN came; where that leads to no cube, to the netdev that this one is on. */
static __always_inline int send_back(struct CTXTYPE *ctx, struct pkt_metadata *md) {
  u32 row = md->in_port;
  struct pcn_hop *hop = pcn_hops.lookup(&row);
  if (hop && (hop->kind == PCN_HOP_PROGRAM || hop->kind == PCN_HOP_NETDEV))
    return pcn_leave(ctx, row);
#if PCN_XDP
  return bpf_redirect(ctx->ingress_ifindex, 0); /* XDP_TX would want a program at the other end of a veth */
#else
  if (PCN_CONST(PROXIES))
    ctx->tc_index = ANSWER_INDEX;
  return bpf_redirect(ctx->ifindex, 0);
#endif
}
#endif
